package pgshared

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// follower is what a change stream tells about documents {_id, n} that are inserted, incremented and removed.
type follower struct {
	t      *testing.T
	docs   map[string]int
	events []string
}

// follow follows a stream up to the insertion of a document.
func (f *follower) follow(ctx context.Context, stream *mongo.ChangeStream, last string) {
	defer stream.Close(ctx)
	for stream.Next(ctx) {
		var e struct {
			OperationType string
			DocumentKey   struct {
				ID string `bson:"_id"`
			}
			FullDocument      struct{ N int }
			UpdateDescription struct{ UpdatedFields struct{ N int } }
		}
		if err := stream.Decode(&e); err != nil {
			f.t.Error(err)
			return
		}
		id, n := e.DocumentKey.ID, e.FullDocument.N
		if e.OperationType == "update" {
			n = e.UpdateDescription.UpdatedFields.N
		}
		f.events = append(f.events, fmt.Sprint(e.OperationType, " ", id, " ", n))
		old, there := f.docs[id]
		switch {
		case e.OperationType == "insert" && !there, e.OperationType == "update" && there && n == old+1:
			f.docs[id] = n
		case e.OperationType == "delete" && there:
			delete(f.docs, id)
		default:
			f.t.Errorf("%s, when it was %d (%v)", f.events[len(f.events)-1], old, there)
		}
		if id == last {
			return
		}
	}
	f.t.Error(stream.Err())
}

// TestStreamsAndCuts writes through both processes in every way while their connections are cut: the streams of both tell the same,
// each change once, and what they tell adds up to what is there.
func TestStreamsAndCuts(t *testing.T) {
	random := harness.Seed(t, "ARCHELON_PGSHARED_SEED")
	rounds := harness.Rounds(t, "ARCHELON_PGSHARED_CUTS", 5, 15)
	p := start(t)
	var colls [2]*mongo.Collection
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rounds)*400*time.Millisecond+time.Minute)
	defer cancel()
	var followers [2]follower
	var watching, writing sync.WaitGroup
	for i, addr := range []*harness.Server{p.a, p.b} {
		colls[i] = p.to(addr).Database("d").Collection("c")
		if i == 0 {
			check(t)(colls[0].InsertOne(ctx, d("_id", "first", "n", 0)))
		}
		followers[i] = follower{t: t, docs: map[string]int{"first": 0}}
		stream, err := colls[i].Watch(ctx, mongo.Pipeline{})
		must(t, err)
		watching.Go(func() { followers[i].follow(ctx, stream, "last") })
	}
	writes, stop := context.WithCancel(ctx)
	for n := range 8 {
		writing.Go(func() {
			w := anyWriter{colls[n%2], rand.New(rand.NewPCG(random, uint64(n)))}
			for writes.Err() == nil {
				w.write(ctx)
			}
		})
	}
	for range rounds {
		<-time.After(400 * time.Millisecond)
		_, err := postgres.server.SQL(postgres.server.URL(),
			"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'archelon' AND random() < 0.4")
		must(t, err)
	}
	stop()
	writing.Wait()
	for ctx.Err() == nil {
		if _, err := colls[0].InsertOne(ctx, d("_id", "last", "n", 0)); err == nil || mongo.IsDuplicateKeyError(err) {
			break
		}
	}
	watching.Wait()
	cur, err := colls[1].Find(ctx, bson.D{})
	must(t, err)
	var docs []struct {
		ID string `bson:"_id"`
		N  int
	}
	must(t, cur.All(ctx, &docs))
	final := map[string]int{}
	for _, x := range docs {
		final[x.ID] = x.N
	}
	for i := range followers {
		if !maps.Equal(followers[i].docs, final) {
			t.Errorf("the stream of process %d tells of %v, there is %v", i, followers[i].docs, final)
		}
	}
	if !slices.Equal(followers[0].events, followers[1].events) {
		t.Errorf("the streams differ: %d and %d events", len(followers[0].events), len(followers[1].events))
	}
	if n := len(followers[0].events); n < 100 {
		t.Errorf("only %d events: the test tested nothing", n)
	}
	validate(t, p.to(p.a), "c")
	if kept, n := count(t, colls[0]); kept != n {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}

// anyWriter writes a dozen documents.
type anyWriter struct {
	coll *mongo.Collection
	r    *rand.Rand
}

func (w *anyWriter) id() bson.D { return d("_id", fmt.Sprint(w.r.IntN(12))) }

// write does one of all kinds of writes. Those whose connection is cut fail or do not; the streams tell.
func (w *anyWriter) write(ctx context.Context) {
	inc := d("$inc", d("n", 1))
	switch w.r.IntN(6) {
	case 0:
		_, _ = w.coll.UpdateOne(ctx, w.id(), inc, options.UpdateOne().SetUpsert(true))
	case 1:
		_, _ = w.coll.DeleteOne(ctx, w.id())
	case 2:
		_ = w.coll.FindOneAndUpdate(ctx, w.id(), inc).Err()
	case 3:
		var models []mongo.WriteModel
		for range 5 {
			models = append(models, mongo.NewUpdateOneModel().SetFilter(w.id()).SetUpdate(inc).SetUpsert(w.r.IntN(2) == 0))
		}
		_, _ = w.coll.BulkWrite(ctx, models)
	case 4:
		ids := []bson.D{w.id(), w.id()}
		session, err := w.coll.Database().Client().StartSession()
		if err != nil {
			return
		}
		defer session.EndSession(ctx)
		_, _ = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
			if _, err := w.coll.UpdateOne(ctx, ids[0], inc); err != nil {
				return nil, err
			}
			return w.coll.UpdateOne(ctx, ids[1], inc, options.UpdateOne().SetUpsert(true))
		})
	case 5:
		_, _ = w.coll.UpdateMany(ctx, d("n", d("$lt", 3)), inc)
	}
}
