package command

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// logged are the entries of the oplog that match.
func (f *fixture) logged(filter bson.D) []bsonval.Doc {
	f.t.Helper()
	reply := f.must("local", bson.D{field("find", "oplog.rs"), field("filter", filter), field("batchSize", 10_000)})
	var list []bsonval.Doc
	it := reply.LookupPath("cursor", "firstBatch").Doc().Iter()
	for it.Next() {
		list = append(list, it.Value().Doc().Clone())
	}
	return list
}

// TestRetriedWritesAreLoggedOnce: an entry and the outcome that keeps a write from happening again are one commit.
func TestRetriedWritesAreLoggedOnce(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, server.ReplicaSet)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1), field("n", 0)}, bson.D{field("_id", 2), field("n", 0)}})})
	writes := []bson.D{
		{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 7)}, bson.D{field("_id", 8)}})},
		{field("update", "c"), field("updates", bson.A{inc(1), inc(2), inc(9)})},
		{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{field("_id", 7)}), field("limit", 1)}})},
		{field("findAndModify", "c"), field("query", bson.D{field("_id", 2)}), field("update", bson.D{field("$inc", bson.D{field("n", 1)})})},
	}
	send := func() {
		for number, cmd := range writes {
			f.must("d", retryable(cmd, int64(number+1)))
			f.must("d", retryable(cmd, int64(number+1)))
		}
	}
	send()
	var got []string
	for _, e := range f.logged(bson.D{field("lsid", bson.D{field("$exists", true)})}) {
		got = append(got, fmt.Sprintf("%s%d.%d", e.Lookup("op").Str(), e.Lookup("txnNumber").Int64(), e.Lookup("stmtId").Int32()))
	}
	if want := "[i1.0 i1.1 u2.0 u2.1 d3.0 u4.0]"; fmt.Sprint(got) != want {
		t.Errorf("entries %v, want %s", got, want)
	}
	f.close()
	f = open(t, dir, server.ReplicaSet)
	defer f.close()
	f.must("d", retryable(writes[3], 4))
	if n := len(f.logged(bson.D{field("lsid", bson.D{field("$exists", true)})})); n != 6 {
		t.Errorf("%d entries after a retry in another process", n)
	}
}

// TestTransactionIsLogged: a transaction is one entry with the session's name.
func TestTransactionIsLogged(t *testing.T) {
	f := newFixture(t)
	f.must("d", inTxn(1, 1, bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}})}, starts))
	f.must("d", inTxn(1, 1, bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 2)}})}))
	if n := len(f.logged(bson.D{field("op", "c"), field("o.applyOps", bson.D{field("$exists", true)})})); n != 0 {
		t.Errorf("%d entries before the commit", n)
	}
	f.must("admin", inTxn(1, 1, bson.D{field("commitTransaction", 1)}))
	f.must("admin", inTxn(1, 1, bson.D{field("commitTransaction", 1)}))
	list := f.logged(bson.D{field("o.applyOps", bson.D{field("$exists", true)})})
	if len(list) != 1 {
		t.Fatalf("%d entries", len(list))
	}
	id := mustLSID(t, 1)
	if e := list[0]; e.LookupPath("o", "applyOps").Doc().Len() != 3 || string(e.LookupPath("lsid", "id").Bytes()) != string(id.UUID[:]) ||
		e.Lookup("txnNumber").Int64() != 1 {
		t.Errorf("entry %s", bsonval.FormatDoc(e))
	}
}

func TestApplyOpsReplies(t *testing.T) {
	f := newFixture(t)
	op := func(kind, ns string, o bson.D, more ...bson.E) bson.D {
		return append(bson.D{field("op", kind), field("ns", ns), field("o", o)}, more...)
	}
	reply := f.must("admin", bson.D{field("applyOps", bson.A{
		op("c", "d.$cmd", bson.D{field("create", "c")}), op("i", "d.c", bson.D{field("_id", 1)}),
	})})
	if got := bsonval.FormatDoc(reply); reply.Lookup("applied").Int32() != 2 || bsonval.Format(reply.Lookup("results")) != "[ true, true ]" {
		t.Errorf("reply %s", got)
	}
	reply = f.run("admin", bson.D{field("applyOps", bson.A{
		op("i", "d.c", bson.D{field("_id", 2)}), op("u", "d.c", bson.D{field("x", 1)}, field("o2", bson.D{field("_id", 9)})),
	})})
	if mongoerr.Code(reply.Lookup("code").Int32()) != mongoerr.UnknownError || reply.Lookup("applied").Int32() != 2 ||
		bsonval.Format(reply.Lookup("results")) != "[ true, false ]" {
		t.Errorf("reply %s", bsonval.FormatDoc(reply))
	}
	f.must("admin", bson.D{field("applyOps", bson.A{op("u", "d.c", bson.D{field("x", 1)}, field("o2", bson.D{field("_id", 9)}))}), field("alwaysUpsert", true)})
	if n := f.count("d", "c", bson.D{}); n != 3 {
		t.Errorf("%d documents", n)
	}
}

// TestImagesExpiry: changeStreamOptions are kept.
func TestImagesExpiry(t *testing.T) {
	f := newFixture(t)
	set := func(after any) bson.D {
		return bson.D{field("setClusterParameter", bson.D{field("changeStreamOptions", bson.D{field("preAndPostImages", bson.D{field("expireAfterSeconds", after)})})})}
	}
	get := func() string {
		reply := f.must("admin", bson.D{field("getClusterParameter", "changeStreamOptions")})
		return bsonval.Format(reply.Lookup("clusterParameters").Doc().Index(0).Doc().LookupPath("preAndPostImages", "expireAfterSeconds"))
	}
	if got := get(); got != `"off"` {
		t.Errorf("at first %s", got)
	}
	f.must("admin", set(100))
	if got := get(); got != "100" {
		t.Errorf("then %s", got)
	}
	for _, bad := range []any{"on", 0, -1} {
		if code := f.code("admin", set(bad)); code != mongoerr.BadValue {
			t.Errorf("%v: %d", bad, code)
		}
	}
	f.must("admin", set("off"))
	if got := get(); got != `"off"` {
		t.Errorf("at last %s", got)
	}
}

// TestCommandsOnTheOplog: what reads a collection reads the oplog.
func TestCommandsOnTheOplog(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}})})
	f.must("local", bson.D{field("collStats", "oplog.rs")})
	f.must("local", bson.D{field("count", "oplog.rs")})
	f.must("local", bson.D{field("listIndexes", "oplog.rs")})
	f.must("local", bson.D{field("dbStats", 1)})
	f.must("local", bson.D{field("distinct", "oplog.rs"), field("key", "op")})
	f.must("admin", bson.D{field("listDatabases", 1)})
	if v := f.must("local", bson.D{field("validate", "oplog.rs")}); !v.Lookup("valid").Truthy() {
		t.Errorf("validate: %s", bsonval.FormatDoc(v))
	}
	f.must("local", bson.D{field("compact", "oplog.rs"), field("force", true)})
	f.must("local", bson.D{field("explain", bson.D{field("find", "oplog.rs"), field("filter", bson.D{field("ts", bson.D{field("$gt", bson.Timestamp{T: 5})})})})})
	for _, q := range []bson.D{{field("_id", 1)}, {field("o._id", 1)}, {field("ts", bson.D{field("$gt", bson.Timestamp{T: 5})}), field("op", "i")}} {
		n := len(f.logged(q))
		if want := len(q) - 1; q[0].Key != "_id" && n != max(want, 1) || q[0].Key == "_id" && n != 0 {
			t.Errorf("%v: %d entries", q, n)
		}
	}
	stats := f.must("local", bson.D{field("collStats", "oplog.rs")})
	if !stats.Lookup("capped").Truthy() || stats.Lookup("maxSize").TruncInt64() != 16<<20 || stats.Lookup("count").TruncInt64() < 3 {
		t.Errorf("collStats: %s", bsonval.FormatDoc(stats))
	}
	for _, write := range []bson.D{
		{field("insert", "oplog.rs"), field("documents", bson.A{bson.D{field("_id", 1)}})},
		{field("update", "oplog.rs"), field("updates", bson.A{inc(1)})},
		{field("delete", "oplog.rs"), field("deletes", bson.A{bson.D{field("q", bson.D{}), field("limit", 0)}})},
		{field("delete", "oplog.rs"), field("deletes", bson.A{bson.D{field("q", bson.D{field("_id", 1)}), field("limit", 1)}})},
		{field("findAndModify", "oplog.rs"), field("query", bson.D{field("_id", 1)}), field("remove", true)},
	} {
		if code := f.code("local", write); code != mongoerr.InvalidNamespace {
			t.Errorf("%v: %d", write, code)
		}
	}
}
