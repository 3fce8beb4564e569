package command

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
)

// TestCurrentOpShowsTransactions: the read concern of a transaction, with where it comes from, and the time it reads at.
func TestCurrentOpShowsTransactions(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	level := func(name string) bson.E {
		return field("readConcern", bson.D{field("level", name)})
	}
	f.must("d", inTxn(1, 1, findAll, starts))
	f.must("d", inTxn(2, 1, findAll, starts, level("snapshot")))
	f.must("d", inTxn(3, 1, findAll, starts, level("majority")))
	shown := map[byte]bsonval.Doc{}
	ops := f.must("admin", bson.D{field("currentOp", 1), field("type", "idleSession")}).Lookup("inprog").Doc().Clone()
	for it := ops.Iter(); it.Next(); {
		op := it.Value().Doc()
		id := op.LookupPath("lsid", "id").Bytes()
		shown[id[len(id)-1]] = op.Lookup("transaction").Doc()
	}
	for n, want := range map[byte]string{
		1: `{ level: "local", provenance: "implicitDefault" }`,
		2: `{ level: "snapshot", provenance: "clientSupplied" }`,
		3: `{ level: "majority", provenance: "clientSupplied" }`,
	} {
		got := shown[n]
		if rc := bsonval.Format(got.LookupPath("parameters", "readConcern")); rc != want {
			t.Errorf("transaction %d: read concern %s, want %s", n, rc, want)
		}
		if at := uint64(got.Lookup("readTimestamp").Int64()); (at != 0) != (n == 2) || at > f.cs.clock.Applied() {
			t.Errorf("transaction %d reads at %s", n, bsonval.Format(got.Lookup("readTimestamp")))
		}
	}
}

// TestStreamMetrics: serverStatus counts change streams, and the reads of the log.
func TestStreamMetrics(t *testing.T) {
	f := newFixture(t)
	watch := bson.D{field("aggregate", "c"), field("cursor", bson.D{}), field("pipeline", bson.A{
		bson.D{field("$changeStream", bson.D{field("showExpandedEvents", true)})},
	})}
	id := f.must("d", watch).LookupPath("cursor", "id").Int64()
	metric := func(path ...string) int64 {
		return f.must("admin", bson.D{field("serverStatus", 1)}).LookupPath(append([]string{"metrics"}, path...)...).Int64()
	}
	if metric("changeStreams", "showExpandedEvents") != 1 || metric("changeStreams", "cursor", "open", "total") != 1 {
		t.Error("the stream is not counted")
	}
	f.must("d", bson.D{field("killCursors", "c"), field("cursors", bson.A{id})})
	if metric("changeStreams", "cursor", "open", "total") != 0 || metric("changeStreams", "cursor", "totalOpened") != 1 {
		t.Error("the stream counts as open still")
	}
	log := f.must("local", bson.D{field("find", "oplog.rs"), field("tailable", true), field("awaitData", true), field("batchSize", 1)})
	f.must("local", bson.D{field("getMore", log.LookupPath("cursor", "id").Int64()), field("collection", "oplog.rs"), field("maxTimeMS", 1)})
	if metric("repl", "network", "oplogGetMoresProcessed", "num") != 1 {
		t.Error("the read of the log is not counted")
	}
}

// TestDefaultReadConcernCounts: reads that name no read concern have the default one.
func TestDefaultReadConcernCounts(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1), docID(2), docID(3)))
	durable := func(more ...bson.E) bool {
		id := f.must("d", append(bson.D{field("find", "c"), field("batchSize", 1)}, more...)).LookupPath("cursor", "id").Int64()
		cur, err := f.db.CheckOut(id, database.Namespace{DB: "d", Coll: "c"}, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer cur.Close()
		return cur.Durable()
	}
	if durable() {
		t.Error("a read waits for the disk at first")
	}
	f.must("admin", bson.D{field("setDefaultRWConcern", 1), field("defaultReadConcern", bson.D{field("level", "majority")})})
	if !durable() || durable(field("readConcern", bson.D{field("level", "local")})) {
		t.Error("the default read concern does not count, or counts for reads with one")
	}
	f.must("d", inTxn(1, 1, findAll, starts))
	op := f.must("admin", bson.D{field("currentOp", 1), field("type", "idleSession")}).Lookup("inprog").Doc().Index(0).Doc()
	if rc := bsonval.Format(op.LookupPath("transaction", "parameters", "readConcern")); rc != `{ level: "majority", provenance: "customDefault" }` {
		t.Errorf("the transaction has %s", rc)
	}
}
