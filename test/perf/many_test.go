package perf

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// manyDocs is the size of the collection of TestMany, manyStatements how many statements a
// command of several has.
const (
	manyDocs       = 100_000
	manyStatements = 1000
)

// many is an operation on many documents: the messages of it, and how many documents it is about.
type many struct {
	name string
	docs int
	send func(c *client, message func(name string, fields func(), sequence string, docs ...[]byte))
}

// manyOps are done in this order, one client sending them to a binary.
func manyOps() []many {
	doc := func(json string) bsonval.Doc {
		var d bson.Raw
		if err := bson.UnmarshalExtJSON([]byte(json), false, &d); err != nil {
			panic(err)
		}
		return bsonval.Doc(d)
	}
	one := func(command, sequence, statement string) func(*client, func(string, func(), string, ...[]byte)) {
		return func(_ *client, message func(string, func(), string, ...[]byte)) {
			message(command, nil, sequence, doc(statement))
		}
	}
	several := func(command, sequence, statement string) func(*client, func(string, func(), string, ...[]byte)) {
		return func(_ *client, message func(string, func(), string, ...[]byte)) {
			var list [][]byte
			for i := range manyStatements {
				list = append(list, doc(fmt.Sprintf(statement, 1_000_000+i)))
			}
			message(command, nil, sequence, list...)
		}
	}
	index := func(spec string) func(*client, func(string, func(), string, ...[]byte)) {
		return func(c *client, message func(string, func(), string, ...[]byte)) {
			message("createIndexes", func() { c.field("indexes", bsonval.Array(doc(`{"0": `+spec+`}`))) }, "")
		}
	}
	return []many{
		{"insert, 1,000 in a command", manyDocs, func(_ *client, message func(string, func(), string, ...[]byte)) {
			var list [][]byte
			for d := range loadgen.Generate(2, manyDocs) {
				if list = append(list, append([]byte(nil), d...)); len(list) == 1000 {
					message("insert", nil, "documents", list...)
					list = nil
				}
			}
		}},
		{"index", manyDocs, index(`{"key": {"region": 1}, "name": "region"}`)},
		{"unique index", manyDocs, index(`{"key": {"score": 1, "_id": 1}, "name": "score", "unique": true}`)},
		{"count by an index", manyDocs, func(c *client, message func(string, func(), string, ...[]byte)) {
			message("count", func() { c.field("query", bsonval.Document(doc(`{"score": {"$gte": {"$minKey": 1}}}`))) }, "")
		}},
		{"countDocuments of all", manyDocs, func(c *client, message func(string, func(), string, ...[]byte)) {
			message("aggregate", func() {
				c.field("pipeline", bsonval.Array(doc(`{"0": {"$match": {}}, "1": {"$group": {"_id": 1, "n": {"$sum": 1}}}}`)))
				c.field("cursor", bsonval.Document(bsonval.EmptyDoc))
			}, "")
		}},
		{"updateMany", manyDocs, one("update", "updates", `{"q": {}, "u": {"$inc": {"n": 1}}, "multi": true}`)},
		{"updateMany of an indexed field", manyDocs, one("update", "updates", `{"q": {}, "u": {"$set": {"region": "all"}}, "multi": true}`)},
		{"upserts of new documents, 1,000 in a command", manyStatements, several("update", "updates", `{"q": {"_id": %d}, "u": {"$inc": {"n": 1}}, "upsert": true}`)},
		{"updates by _id, 1,000 in a command", manyStatements, several("update", "updates", `{"q": {"_id": %d}, "u": {"$inc": {"n": 1}}}`)},
		{"deletes by _id, 1,000 in a command", manyStatements, several("delete", "deletes", `{"q": {"_id": %d}, "limit": 1}`)},
		{"$merge of 5,000", 5000, func(c *client, message func(string, func(), string, ...[]byte)) {
			message("aggregate", func() {
				c.field("pipeline", bsonval.Array(doc(`{"0": {"$limit": 5000}, "1": {"$merge": {"into": "merged"}}}`)))
				c.field("cursor", bsonval.Document(bsonval.EmptyDoc))
			}, "")
		}},
		{"deleteMany", manyDocs, one("delete", "deletes", `{"q": {"n": 1}, "limit": 0}`)},
	}
}

func microseconds(v float64) string {
	if v < 1 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// TestMany measures operations on many documents, by one client, in each engine.
func TestMany(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure; takes half a minute")
	}
	storages := []string{"memory", "pebble"}
	pg, err := pgharness.Start(map[string]string{"shared_buffers": "512MB", "max_wal_size": "4GB"})
	switch {
	case err == nil:
		t.Cleanup(func() { pg.Close() })
		storages = append(storages, pg.URL())
	case !errors.Is(err, pgharness.ErrNotInstalled):
		t.Fatal(err)
	}
	binary := harness.Build(t)
	ops := manyOps()
	rows := make([][]string, len(ops))
	head := []string{"µs a document"}
	for _, storage := range storages {
		name, _, _ := strings.Cut(storage, ":")
		head = append(head, name)
		s := harness.Start(t, binary, harness.FreeAddr(t), t.TempDir(), "--log-level", "warn", "--storage", storage)
		c := dial(t, s.Addr)
		for i, op := range ops {
			took := time.Duration(0)
			op.send(c, func(command string, fields func(), sequence string, docs ...[]byte) {
				c.begin()
				c.field(command, bsonval.String("many"))
				if fields != nil {
					fields()
				}
				c.end(sequence, docs...)
				begun := time.Now()
				c.must(t)
				took += time.Since(begun)
			})
			if rows[i] == nil {
				rows[i] = []string{op.name}
			}
			rows[i] = append(rows[i], microseconds(float64(took.Nanoseconds())/1000/float64(op.docs)))
		}
		s.Stop(t)
	}
	t.Log("\n" + markdown(head, rows))
}
