package streams

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// last is the document whose insertion, in each place, ends a consumer.
const last = "last"

// consumer follows a collection, a database or everything, and makes a copy of the data of the events.
type consumer struct {
	name  string
	at    place // coll or both may be empty
	flaky bool  // dies now and then and is resumed with the last token; else the driver resumes where it can
	rng   *rand.Rand

	token bson.Raw // behind the last event that was taken
	began *bson.Timestamp

	text   string // of the last event's token
	data   map[doc]bson.M
	steps  [writers][]step
	txns   map[string]bool // seen, by session and number
	txn    string          // that the last event belongs to
	ended  int
	raised int64
	seen   atomic.Int64
	opened int
}

// places are those that it sees.
func (x *consumer) places() (list []place) {
	for _, p := range places {
		if (x.at.db == "" || x.at.db == p.db) && (x.at.coll == "" || x.at.coll == p.coll) {
			list = append(list, p)
		}
	}
	return list
}

// run follows the events until all places have ended.
func (x *consumer) run(ctx context.Context, c *mongo.Client) error {
	x.data, x.txns = map[doc]bson.M{}, map[string]bool{}
	for x.ended < len(x.places()) {
		err := x.follow(ctx, c)
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w after %d events", x.name, errors.Join(ctx.Err(), err), x.seen.Load())
		}
		if err != nil && !broken(err) {
			return fmt.Errorf("%s, event %d: %w", x.name, x.seen.Load(), err)
		}
		if err != nil {
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // a back-off: the server is starting
		}
	}
	return nil
}

func (x *consumer) open(ctx context.Context, c *mongo.Client) (*mongo.ChangeStream, error) {
	opts := options.ChangeStream().SetBatchSize(int32(1 + x.rng.IntN(200))).SetMaxAwaitTime(300 * time.Millisecond)
	switch {
	case x.token == nil:
		opts.SetStartAtOperationTime(x.began)
	case x.rng.IntN(2) == 0:
		opts.SetResumeAfter(x.token)
	default:
		opts.SetStartAfter(x.token)
	}
	x.opened++
	switch {
	case x.at.db == "":
		return c.Watch(ctx, mongo.Pipeline{}, opts)
	case x.at.coll == "":
		return c.Database(x.at.db).Watch(ctx, mongo.Pipeline{}, opts)
	}
	return x.at.of(c).Watch(ctx, mongo.Pipeline{}, opts)
}

// follow reads one stream until it breaks, dies or has all.
func (x *consumer) follow(ctx context.Context, c *mongo.Client) error {
	cs, err := x.open(ctx, c)
	if err != nil {
		return err
	}
	defer cs.Close(context.WithoutCancel(ctx))
	life := -1
	if x.flaky {
		life = x.rng.IntN(300)
	}
	for ; life != 0 && x.ended < len(x.places()); life-- {
		if !cs.TryNext(ctx) {
			if cs.Err() != nil || cs.ID() == 0 {
				return cs.Err()
			}
			x.token = cs.ResumeToken() // of an empty batch: behind what does not concern it
			continue
		}
		if err := x.take(cs.Current); err != nil {
			return &wrong{err}
		}
		x.token = cs.Current.Lookup("_id").Document()
		if x.rng.IntN(2) == 0 {
			x.token = cs.ResumeToken()
		}
	}
	return nil
}

// event is what the events here have.
type event struct {
	ID struct {
		Data string `bson:"_data"`
	} `bson:"_id"`
	OperationType string `bson:"operationType"`
	FullDocument  bson.M `bson:"fullDocument"`
	NS            struct {
		DB   string `bson:"db"`
		Coll string `bson:"coll"`
	} `bson:"ns"`
	DocumentKey struct {
		ID string `bson:"_id"`
	} `bson:"documentKey"`
	UpdateDescription struct {
		UpdatedFields bson.M `bson:"updatedFields"`
	} `bson:"updateDescription"`
	LSID      bson.Raw `bson:"lsid"`
	TxnNumber int64    `bson:"txnNumber"`
}

// take checks an event and does to the copy what it says.
func (x *consumer) take(raw bson.Raw) error {
	var e event
	if err := bson.Unmarshal(raw, &e); err != nil {
		return err
	}
	if e.ID.Data <= x.text {
		return fmt.Errorf("token %s behind %s", e.ID.Data, x.text)
	}
	x.text = e.ID.Data
	if err := x.checkTxn(&e); err != nil {
		return err
	}
	id := doc{place{e.NS.DB, e.NS.Coll}, e.DocumentKey.ID}
	have, exists := x.data[id]
	n := int64(0)
	switch e.OperationType {
	case "insert":
		if exists {
			return fmt.Errorf("second insert of %v", id)
		}
		x.data[id] = e.FullDocument
		n, _ = e.FullDocument["n"].(int64)
	case "update":
		if !exists {
			return fmt.Errorf("update of %v, which is not there", id)
		}
		if err := apply(have, e.UpdateDescription.UpdatedFields); err != nil {
			return fmt.Errorf("%v: %w", raw, err)
		}
		n, _ = have["n"].(int64)
	case "delete":
		if !exists {
			return fmt.Errorf("delete of %v, which is not there", id)
		}
		delete(x.data, id)
	case "create":
		return nil
	default:
		return fmt.Errorf("event %s", raw)
	}
	x.seen.Add(1)
	return x.checkOrder(&e, id, n, have)
}

// apply changes a document as an updateDescription says; lists grow at their end here.
func apply(m bson.M, set bson.M) error {
	for k, v := range set {
		name, _, inList := strings.Cut(k, ".")
		if !inList {
			m[k] = v
			continue
		}
		list, _ := m[name].(bson.A)
		if k != fmt.Sprintf("%s.%d", name, len(list)) {
			return fmt.Errorf("%s set in a list of %d", k, len(list))
		}
		m[name] = append(list, v)
	}
	return nil
}

// checkTxn checks that a transaction's events come one after the other.
func (x *consumer) checkTxn(e *event) error {
	txn := ""
	if e.LSID != nil {
		txn = fmt.Sprint(e.LSID, e.TxnNumber)
	}
	if txn != "" && txn != x.txn {
		if x.txns[txn] {
			return fmt.Errorf("transaction %s is torn", txn)
		}
		x.txns[txn] = true
	}
	x.txn = txn
	return nil
}

// checkOrder notes a writer's step, and checks that a hot document has been raised by one.
func (x *consumer) checkOrder(e *event, id doc, n int64, now bson.M) error {
	switch {
	case id.id == last:
		x.ended++
	case strings.HasPrefix(id.id, "hot-"):
		if e.OperationType == "insert" {
			return nil
		}
		was, _ := now["was"].(int64) // of the copy's own
		if n != was+1 {
			return fmt.Errorf("%s raised from %d to %d", id.id, was, n)
		}
		now["was"] = n
		x.raised++
	default:
		var w int
		if _, err := fmt.Sscanf(id.id, "%d-", &w); err != nil || w < 0 || w >= writers {
			return fmt.Errorf("whose is %s?", id.id)
		}
		x.steps[w] = append(x.steps[w], step{id.at, e.OperationType, id.id, n})
	}
	return nil
}
