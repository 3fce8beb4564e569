package loadgen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// worker is what one connection's goroutine works with.
type worker struct {
	coll  *mongo.Collection
	rand  *rand.Rand
	gen   *Generator
	docs  int           // loaded ones, _id 0 to docs-1
	extra *atomic.Int64 // next _id for inserted documents, shared
}

// workload is one measured operation. op does it once and returns the number of documents it touched.
type workload struct {
	name, help string
	op         func(ctx context.Context, w *worker) (int, error)
}

// workloads is the table of measured operations, in the order in which they run. Loading comes before all of them and
// has a loop of its own.
var workloads = []workload{
	{"find_id", "one document by _id", findID},
	{"find_20", "20 documents by an index on customer", find20},
	{"sort_20", "newest 20 of a region, by an index that gives the order", sort20},
	{"update_id", "one document by _id, $inc and $set", updateID},
	{"insert_1", "one new document", insert1},
	{"mixed", "half find_id, half update_id", mixed},
	{"count", "count by an indexed equality", countCustomer},
	{"scan", "filter without an index over the whole collection, a thousandth matches", scan},
	{"group", "group the whole collection by one field, sum and average", group},
}

// Workloads lists the names of the measured operations with what they do, for help texts.
func Workloads() (names, help []string) {
	for _, w := range workloads {
		names, help = append(names, w.name), append(help, w.help)
	}
	return names, help
}

func byID(w *worker) bson.D {
	return bson.D{{Key: "_id", Value: int64(w.rand.IntN(w.docs))}}
}

func findID(ctx context.Context, w *worker) (int, error) {
	_, err := w.coll.FindOne(ctx, byID(w)).Raw()
	return 1, err
}

// drain reads a cursor to its end and checks the number of documents when want is not negative.
func drain(ctx context.Context, cur *mongo.Cursor, err error, want int) (int, error) {
	if err != nil {
		return 0, err
	}
	defer cur.Close(ctx)
	n := 0
	for cur.Next(ctx) {
		n++
	}
	if err := cur.Err(); err != nil {
		return n, err
	}
	if want >= 0 && n != want {
		return n, fmt.Errorf("%d documents instead of %d", n, want)
	}
	return n, nil
}

func customer(w *worker) bson.D {
	return bson.D{{Key: "customer", Value: int64(w.rand.IntN(Customers(w.docs)))}}
}

// find20 checks the number of documents only where the load is a multiple of it; inserted ones have no customer.
func find20(ctx context.Context, w *worker) (int, error) {
	want := perCustomer
	if w.docs%perCustomer != 0 {
		want = -1
	}
	cur, err := w.coll.Find(ctx, customer(w))
	return drain(ctx, cur, err, want)
}

func sort20(ctx context.Context, w *worker) (int, error) {
	filter := bson.D{{Key: "region", Value: pick(w.rand, Regions())}}
	cur, err := w.coll.Find(ctx, filter, options.Find().SetSort(bson.D{{Key: "at", Value: -1}}).SetLimit(20))
	return drain(ctx, cur, err, -1)
}

func updateID(ctx context.Context, w *worker) (int, error) {
	update := bson.D{
		{Key: "$inc", Value: bson.D{{Key: "updates", Value: 1}}},
		{Key: "$set", Value: bson.D{{Key: "note", Value: "touched"}}},
	}
	res, err := w.coll.UpdateOne(ctx, byID(w), update)
	if err == nil && res.MatchedCount != 1 {
		err = fmt.Errorf("%d documents matched instead of 1", res.MatchedCount)
	}
	return 1, err
}

func insert1(ctx context.Context, w *worker) (int, error) {
	id := w.extra.Add(1)
	_, err := w.coll.InsertOne(ctx, bson.D{
		{Key: "_id", Value: id}, {Key: "kind", Value: "inserted"}, {Key: "name", Value: "a document of some hundred bytes"},
		{Key: "values", Value: bson.A{id, id + 1, id + 2}}, {Key: "score", Value: -1.0},
	})
	return 1, err
}

func mixed(ctx context.Context, w *worker) (int, error) {
	if w.rand.IntN(2) == 0 {
		return findID(ctx, w)
	}
	return updateID(ctx, w)
}

func countCustomer(ctx context.Context, w *worker) (int, error) {
	n, err := w.coll.CountDocuments(ctx, customer(w))
	return int(n), err
}

// scan touches every document, so that its rate is in documents looked at.
func scan(ctx context.Context, w *worker) (int, error) {
	from := w.rand.Float64() * 99
	filter := bson.D{{Key: "score", Value: bson.D{{Key: "$gte", Value: from}, {Key: "$lt", Value: from + 0.1}}}}
	cur, err := w.coll.Find(ctx, filter)
	if _, err := drain(ctx, cur, err, -1); err != nil {
		return 0, err
	}
	return w.docs, nil
}

func group(ctx context.Context, w *worker) (int, error) {
	cur, err := w.coll.Aggregate(ctx, bson.A{bson.D{{Key: "$group", Value: bson.D{
		{Key: "_id", Value: "$region"},
		{Key: "n", Value: bson.D{{Key: "$sum", Value: 1}}},
		{Key: "score", Value: bson.D{{Key: "$avg", Value: "$score"}}},
	}}}})
	n, err := drain(ctx, cur, err, -1)
	if err == nil && n == 0 {
		err = errors.New("no groups")
	}
	return w.docs, err
}
