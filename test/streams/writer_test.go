package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

const (
	writers = 16
	kept    = 12 // documents of a writer that are left alone by inserts and deletes
	hotDocs = 3
)

// places are the collections that are written.
var places = [...]place{{"streams_a", "docs"}, {"streams_a", "more"}, {"streams_b", "docs"}}

type place struct{ db, coll string }

func (p place) of(c *mongo.Client) *mongo.Collection { return c.Database(p.db).Collection(p.coll) }

// hot are documents that everybody increments, in the first place.
func hotID(i int) string { return fmt.Sprintf("hot-%d", i) }

// step is one change of a document of the writer's own: what its event must say.
type step struct {
	at   place
	kind string // insert, update, delete
	id   string
	n    int64 // what the document has then; 0: deleted
}

// writer changes documents of its own, one operation at a time, and hot ones.
type writer struct {
	w       int
	rng     *rand.Rand
	n       int64 // of the operation made last
	docs    []doc // that exist
	journal []step
	raised  int64 // acknowledged increments of hot documents
	open    []step
}

type doc struct {
	at place
	id string
}

// run works until the connection breaks or ctx ends. Another error is the test's failure.
func (w *writer) run(ctx context.Context, c *mongo.Client) error {
	for ctx.Err() == nil {
		if err := w.one(context.Background(), c); err != nil {
			if broken(err) {
				return nil
			}
			return fmt.Errorf("writer %d: %w", w.w, err)
		}
	}
	return nil
}

// one does one operation and notes it.
func (w *writer) one(ctx context.Context, c *mongo.Client) error {
	w.n++
	raise := int64(0)
	var err error
	switch k := w.rng.IntN(10); {
	case k < 2:
		w.open = nil
		raise = 1
		_, err = places[0].of(c).UpdateOne(ctx, d("_id", hotID(w.rng.IntN(hotDocs))), d("$inc", d("n", int64(1))))
	case k < 4:
		raise = 1
		w.open = []step{w.insert(), w.update(), w.update(), w.delete()}
		err = w.transaction(ctx, c, w.rng.IntN(hotDocs))
	default:
		w.open = []step{w.draw()}
		err = w.open[0].do(ctx, c)
	}
	if err != nil {
		return err
	}
	w.raised += raise
	w.note()
	return nil
}

// draw chooses an operation on one document.
func (w *writer) draw() step {
	switch {
	case len(w.docs) < kept || w.rng.IntN(4) == 0:
		return w.insert()
	case len(w.docs) > 2*kept || w.rng.IntN(3) == 0:
		return w.delete()
	}
	return w.update()
}

func (w *writer) insert() step {
	return step{places[w.rng.IntN(len(places))], "insert", fmt.Sprintf("%d-%d", w.w, w.n), w.n}
}

// update and delete change the writer's documents: of one operation, different ones.
func (w *writer) update() step {
	if len(w.docs) < 3 {
		return w.insert()
	}
	x := w.docs[w.rng.IntN(len(w.docs)-1)]
	return step{x.at, "update", x.id, w.n}
}

func (w *writer) delete() step {
	if len(w.docs) < 3 {
		return w.insert()
	}
	x := w.docs[len(w.docs)-1]
	return step{x.at, "delete", x.id, 0}
}

// do changes the document.
func (s step) do(ctx context.Context, c *mongo.Client) error {
	coll, one := s.at.of(c), d("_id", s.id)
	var changed int64
	switch s.kind {
	case "insert":
		_, err := coll.InsertOne(ctx, d("_id", s.id, "n", s.n, "list", bson.A{s.n}))
		return err
	case "update":
		res, err := coll.UpdateOne(ctx, one, d("$set", d("n", s.n), "$push", d("list", s.n)))
		if err != nil {
			return err
		}
		changed = res.ModifiedCount
	default:
		res, err := coll.DeleteOne(ctx, one)
		if err != nil {
			return err
		}
		changed = res.DeletedCount
	}
	if changed != 1 {
		return &wrong{fmt.Errorf("%s of %s changed %d documents", s.kind, s.id, changed)}
	}
	return nil
}

// transaction does the open steps and raises a hot document in one transaction, which is tried again as long as others
// are in its way.
func (w *writer) transaction(ctx context.Context, c *mongo.Client, hot int) error {
	// The same document may have been drawn twice; a transaction's steps are of different ones here.
	seen := map[string]bool{}
	var steps []step
	for _, s := range w.open {
		if !seen[s.id] {
			seen[s.id] = true
			steps = append(steps, s)
		}
	}
	w.open = steps
	session, err := c.StartSession()
	if err != nil {
		return err
	}
	defer leave(session.EndSession)
	for pause := time.Millisecond; ; pause = min(2*pause, 64*time.Millisecond) {
		err := w.attempt(mongo.NewSessionContext(ctx, session), c, hot)
		if err == nil {
			return nil
		}
		var se mongo.ServerError
		if !errors.As(err, &se) || broken(err) || !se.HasErrorLabel("TransientTransactionError") {
			return err
		}
		time.Sleep(time.Duration(w.rng.Int64N(int64(pause)))) //nolint:forbidigo // a back-off: others hold the hot document
	}
}

// leave says goodbye to a server that may be gone.
func leave(f func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), hasty)
	defer cancel()
	f(ctx)
}

func (w *writer) attempt(ctx context.Context, c *mongo.Client, hot int) error {
	session := mongo.SessionFromContext(ctx)
	if err := session.StartTransaction(); err != nil {
		return err
	}
	abort := func(err error) error {
		leave(func(ctx context.Context) { _ = session.AbortTransaction(ctx) })
		return err
	}
	for _, s := range w.open {
		if err := s.do(ctx, c); err != nil {
			return abort(err)
		}
	}
	if _, err := places[0].of(c).UpdateOne(ctx, d("_id", hotID(hot)), d("$inc", d("n", int64(1)))); err != nil {
		return abort(err)
	}
	return session.CommitTransaction(ctx)
}

// note takes over what the open operation has done.
func (w *writer) note() {
	for _, s := range w.open {
		w.journal = append(w.journal, s)
		switch s.kind {
		case "insert":
			w.docs = append(w.docs, doc{s.at, s.id})
		case "delete":
			for i, x := range w.docs {
				if x.id == s.id {
					w.docs = append(w.docs[:i:i], w.docs[i+1:]...)
					break
				}
			}
		}
	}
	w.open = nil
}

// settle finds out whether the operation that the server's end left open has happened: wholly or not at all.
func (w *writer) settle(ctx context.Context, c *mongo.Client) error {
	done := 0
	for _, s := range w.open {
		var have struct{ N int64 }
		err := s.at.of(c).FindOne(ctx, d("_id", s.id)).Decode(&have)
		if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
			return err
		}
		if have.N == s.n {
			done++
		}
	}
	switch done {
	case 0:
		w.open = nil
	case len(w.open):
		w.note()
	default:
		return fmt.Errorf("writer %d: %d of the %d changes of a transaction have happened: %v", w.w, done, len(w.open), w.open)
	}
	return nil
}
