package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

const (
	accounts = 10
	fortune  = 100 // of each account at first

	perGeneration = 300 // appends until new lists are begun, so that they stay short
	sharedLists   = 6   // of each generation
	opPatience    = 20 * time.Second
)

// workload is what the clients do and what they saw.
type workload struct {
	began time.Time
	value atomic.Int64 // the last number appended

	mu      sync.Mutex // guards the fields below
	txns    []Txn
	inserts []Insert
	totals  []Total
	errs    []error // that no client should see
}

func (w *workload) now() time.Duration { return time.Since(w.began) }

func (w *workload) note(t Txn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.txns = append(w.txns, t)
}

func (w *workload) unexpected(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs = append(w.errs, err)
}

// databases are where documents with even and odd numbers are.
func databases(c *mongo.Client) [2]*mongo.Database {
	return [2]*mongo.Database{c.Database("even"), c.Database("odd")}
}

// worker is one client's thread.
type worker struct {
	*workload
	client *mongo.Client
	r      *rand.Rand
}

// run works until the context ends.
func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		func() {
			ctx, cancel := context.WithTimeout(ctx, opPatience)
			defer cancel()
			switch n := w.r.IntN(100); {
			case n < 40:
				w.lists(ctx)
			case n < 65:
				w.single(ctx)
			case n < 80:
				w.transfer(ctx)
			case n < 90:
				w.total(ctx)
			default:
				w.insert(ctx)
			}
		}()
	}
}

// key is the name of a list, and the collection it is in. Lists with an "s" are
// used outside of transactions only.
func (w *worker) key(kind string) (string, *mongo.Collection) {
	n := w.r.IntN(sharedLists)
	return fmt.Sprintf("%s%d-%d", kind, w.value.Load()/perGeneration, n), databases(w.client)[n%2].Collection("lists")
}

type document struct {
	ID string  `bson:"_id"`
	L  []int64 `bson:"l"`
}

// transaction runs f in a transaction and returns what is known of its outcome,
// and whether a commit was sent.
func (w *worker) transaction(ctx context.Context, f func(ctx context.Context) error) (o Outcome, tried bool) {
	session, err := w.client.StartSession()
	if err != nil {
		return Aborted, false
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	opts := options.Transaction().SetReadConcern(readconcern.Snapshot()).SetWriteConcern(writeconcern.Majority())
	if err := session.StartTransaction(opts); err != nil {
		return Aborted, false
	}
	ctx = mongo.NewSessionContext(ctx, session)
	if err := f(ctx); err != nil {
		w.expect(err)
		_ = session.AbortTransaction(ctx)
		return Aborted, false
	}
	if w.r.IntN(20) == 0 {
		_ = session.AbortTransaction(ctx)
		return Aborted, false
	}
	err = session.CommitTransaction(ctx)
	var command mongo.CommandError
	switch {
	case err == nil:
		return Committed, true
	case errors.As(err, &command) && !command.HasErrorLabel("NetworkError") && !command.HasErrorLabel("UnknownTransactionCommitResult"):
		w.expect(err)
		return Aborted, true
	}
	return Unknown, true
}

// expect complains of an error that concurrency and crashes do not explain.
func (w *worker) expect(err error) {
	var se mongo.ServerError
	if !errors.As(err, &se) || se.HasErrorLabel("NetworkError") || se.HasErrorLabel("TransientTransactionError") ||
		se.HasErrorLabel("RetryableWriteError") || se.HasErrorCode(112) || mongo.IsDuplicateKeyError(err) || mongo.IsTimeout(err) {
		return
	}
	w.unexpected(err)
}

// lists reads and appends in a transaction.
func (w *worker) lists(ctx context.Context) {
	t := Txn{Start: w.now()}
	t.Outcome, t.Tried = w.transaction(ctx, func(ctx context.Context) error {
		for range 1 + w.r.IntN(4) {
			if err := w.listOp(ctx, &t); err != nil {
				return err
			}
		}
		return nil
	})
	t.End = w.now()
	w.note(t)
}

func (w *worker) listOp(ctx context.Context, t *Txn) error {
	key, coll := w.key("t")
	switch n := w.r.IntN(10); {
	case n < 4:
		return w.push(ctx, t, key, coll)
	case n < 6:
		_, err := w.read(ctx, t, key, coll)
		return err
	case n < 8: // read-modify-write
		list, err := w.read(ctx, t, key, coll)
		if err != nil {
			return err
		}
		v := w.value.Add(1)
		_, err = coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: key}},
			bson.D{{Key: "$set", Value: bson.D{{Key: "l", Value: append(list, v)}}}}, options.UpdateOne().SetUpsert(true))
		t.Ops = append(t.Ops, Op{Key: key, Append: v})
		return err
	}
	return w.readRange(ctx, t)
}

func (w *worker) push(ctx context.Context, t *Txn, key string, coll *mongo.Collection) error {
	v := w.value.Add(1)
	t.Ops = append(t.Ops, Op{Key: key, Append: v})
	_, err := coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: key}},
		bson.D{{Key: "$push", Value: bson.D{{Key: "l", Value: v}}}}, options.UpdateOne().SetUpsert(true))
	return err
}

func (w *worker) read(ctx context.Context, t *Txn, key string, coll *mongo.Collection) ([]int64, error) {
	var d document
	err := coll.FindOne(ctx, bson.D{{Key: "_id", Value: key}}).Decode(&d)
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return nil, err
	}
	t.Ops = append(t.Ops, Op{Key: key, List: d.L})
	return d.L, nil
}

// readRange reads all lists of the generation, in several batches.
func (w *worker) readRange(ctx context.Context, t *Txn) error {
	prefix := fmt.Sprintf("t%d-", w.value.Load()/perGeneration)
	found := map[string][]int64{}
	for _, db := range databases(w.client) {
		cur, err := db.Collection("lists").Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: prefix}, {Key: "$lt", Value: prefix + "~"}}}},
			options.Find().SetSort(bson.D{{Key: "_id", Value: -1}}).SetBatchSize(2))
		if err != nil {
			return err
		}
		var docs []document
		if err := cur.All(ctx, &docs); err != nil {
			return err
		}
		for _, d := range docs {
			found[d.ID] = d.L
		}
	}
	for n := range sharedLists {
		key := fmt.Sprintf("%s%d", prefix, n)
		t.Ops = append(t.Ops, Op{Key: key, List: found[key]})
	}
	return nil
}

// single reads or appends to one document, outside of a transaction.
func (w *worker) single(ctx context.Context) {
	kind := "s"
	if w.r.IntN(3) == 0 {
		kind = "t"
	}
	key, coll := w.key(kind)
	t := Txn{Start: w.now()}
	var err error
	switch w.r.IntN(4) {
	case 0, 1:
		_, err = w.read(ctx, &t, key, coll)
	case 2:
		err = w.push(ctx, &t, key, coll)
	default:
		v := w.value.Add(1)
		t.Ops = append(t.Ops, Op{Key: key, Append: v})
		var d document
		err = coll.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: key}}, bson.D{{Key: "$push", Value: bson.D{{Key: "l", Value: v}}}},
			options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Decode(&d)
		if err == nil {
			t.Ops = append(t.Ops, Op{Key: key, List: d.L})
		}
	}
	t.End = w.now()
	t.Outcome = outcome(err)
	w.expect(err)
	w.note(t)
}

// outcome is what the error of a single write tells. An error may be that of the
// driver's second try, when the first one had been seen, and lost in a crash.
func outcome(err error) Outcome {
	if err == nil {
		return Committed
	}
	return Unknown
}

// transfer moves money between two accounts.
func (w *worker) transfer(ctx context.Context) {
	from, to, amount := w.r.IntN(accounts), w.r.IntN(accounts), 1+w.r.Int64N(20)
	if from == to {
		return
	}
	w.transaction(ctx, func(ctx context.Context) error {
		for id, change := range map[int]int64{from: -amount, to: amount} {
			coll := databases(w.client)[id%2].Collection("accounts")
			res, err := coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: change}}}})
			if err != nil {
				return err
			}
			if res.MatchedCount != 1 {
				w.unexpected(fmt.Errorf("account %d is not there", id))
			}
		}
		return nil
	})
}

// total sums up all accounts.
func (w *worker) total(ctx context.Context) {
	t := Total{Start: w.now()}
	done := false
	w.transaction(ctx, func(ctx context.Context) error {
		for _, db := range databases(w.client) {
			cur, err := db.Collection("accounts").Find(ctx, bson.D{}, options.Find().SetBatchSize(2))
			if err != nil {
				return err
			}
			var docs []struct{ N int64 }
			if err := cur.All(ctx, &docs); err != nil {
				return err
			}
			for _, d := range docs {
				t.Sum += d.N
				t.Accounts++
			}
		}
		done = true
		return nil
	})
	if !done {
		return
	}
	t.End = w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.totals = append(w.totals, t)
}

// insert inserts under the unique index, in a transaction or not.
func (w *worker) insert(ctx context.Context) {
	in := Insert{ID: w.value.Add(1), Start: w.now()}
	in.Key = in.ID/20 + w.r.Int64N(3)
	coll := w.client.Database("even").Collection("keys")
	var failure error
	f := func(ctx context.Context) error {
		_, failure = coll.InsertOne(ctx, bson.D{{Key: "_id", Value: in.ID}, {Key: "u", Value: in.Key}})
		return failure
	}
	if w.r.IntN(2) == 0 {
		in.Outcome, _ = w.transaction(ctx, f)
	} else {
		if in.Outcome = outcome(f(ctx)); mongo.IsDuplicateKeyError(failure) {
			in.Outcome = Aborted
		}
		w.expect(failure)
	}
	in.Duplicate = mongo.IsDuplicateKeyError(failure)
	in.End = w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inserts = append(w.inserts, in)
}
