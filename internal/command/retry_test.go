package command

import (
	"slices"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// retryable adds session and number to a write command.
func retryable(cmd bson.D, number int64, more ...bson.E) bson.D {
	return append(append(slices.Clone(cmd), field("lsid", lsid(9)), field("txnNumber", number)), more...)
}

func inc(id int) bson.D {
	return bson.D{field("q", bson.D{field("_id", id)}), field("u", bson.D{field("$inc", bson.D{field("n", 1)})})}
}

// TestRetriedWritesHappenOnce sends every retryable write twice, in one process and over a restart.
func TestRetriedWritesHappenOnce(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, server.ReplicaSet)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{
		bson.D{field("_id", 1), field("n", 0)}, bson.D{field("_id", 2), field("n", 0)}, bson.D{field("_id", 3), field("n", 0)},
	})})
	for number, cmd := range []bson.D{
		{field("insert", "c"), field("documents", bson.A{bson.D{field("a", 1)}, bson.D{field("a", 1)}})},
		{field("update", "c"), field("updates", bson.A{inc(1), inc(2)})},
		{field("update", "c"), field("updates", bson.A{bson.D{field("q", bson.D{field("u", 1)}), field("u", bson.D{field("$inc", bson.D{field("n", 1)})}), field("upsert", true)}})},
		{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{field("a", 1)}), field("limit", 1)}})},
		{field("findAndModify", "c"), field("query", bson.D{field("_id", 3)}), field("update", bson.D{field("$inc", bson.D{field("n", 1)})}), field("new", true)},
	} {
		cmd = retryable(cmd, int64(number+1))
		first := f.must("d", cmd).Clone()
		before := dump(f)
		for _, restart := range []bool{false, true} {
			if restart {
				f.close()
				f = open(t, dir, server.ReplicaSet)
			}
			again := f.must("d", cmd)
			if got := dump(f); got != before {
				t.Errorf("%v happened again (restart: %v): %s, was %s", cmd, restart, got, before)
			}
			for _, name := range []string{"n", "nModified", "upserted", "value", "lastErrorObject"} {
				if !bsonval.Identical(first.Lookup(name), again.Lookup(name)) {
					t.Errorf("%v: %s is %s, was %s", cmd, name, bsonval.Format(again.Lookup(name)), bsonval.Format(first.Lookup(name)))
				}
			}
			if again.Lookup("retriedStmtIds").IsMissing() && again.Lookup("retriedStmtId").IsMissing() {
				t.Errorf("%v: reply does not tell of the retry: %s", cmd, bsonval.FormatDoc(again))
			}
		}
	}
	old := retryable(bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}})}, 1)
	if got := f.code("d", old); got != mongoerr.TransactionTooOld {
		t.Errorf("older number: code %d", got)
	}
	f.close()
}

// dump is the content of d.c.
func dump(f *fixture) string {
	reply := f.must("d", bson.D{field("find", "c"), field("sort", bson.D{field("_id", 1)})})
	return bsonval.Format(reply.LookupPath("cursor", "firstBatch"))
}

func TestRetryRunsWhatIsLeft(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 5)}})})
	docs := bson.A{bson.D{field("_id", 4)}, bson.D{field("_id", 5)}, bson.D{field("_id", 6)}}
	cmd := retryable(bson.D{field("insert", "c"), field("documents", docs)}, 1)
	reply := f.run("d", cmd)
	if reply.Lookup("n").Int32() != 1 || reply.Lookup("writeErrors").Doc().Index(0).Doc().Lookup("index").Int32() != 1 {
		t.Fatalf("%s", bsonval.FormatDoc(reply))
	}
	f.must("d", bson.D{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{field("_id", 5)}), field("limit", 1)}})})
	reply = f.must("d", cmd)
	if reply.Lookup("n").Int32() != 3 || bsonval.Format(reply.Lookup("retriedStmtIds")) != "[ 0 ]" || f.count("d", "c", bson.D{}) != 3 {
		t.Errorf("%s", bsonval.FormatDoc(reply))
	}
}

// TestRetryOfManyTransactions retries an insert too large for one transaction of the kernel.
func TestRetryOfManyTransactions(t *testing.T) {
	f := newFixture(t)
	const n = 2500
	docs := make(bson.A, n)
	for i := range docs {
		docs[i] = bson.D{field("x", i)}
	}
	cmd := retryable(bson.D{field("insert", "c"), field("documents", docs)}, 1)
	f.must("d", cmd)
	reply := f.must("d", cmd)
	if reply.Lookup("n").Int32() != n || reply.Lookup("retriedStmtIds").Doc().Len() != n || f.count("d", "c", bson.D{}) != n {
		t.Errorf("n %d, %d documents", reply.Lookup("n").Int32(), f.count("d", "c", bson.D{}))
	}
}

func TestRetryBulkWrite(t *testing.T) {
	f := newFixture(t)
	cmd := retryable(bson.D{field("bulkWrite", 1), field("nsInfo", bson.A{bson.D{field("ns", "d.c")}}), field("ops", bson.A{
		bson.D{field("insert", 0), field("document", bson.D{field("_id", 1), field("n", 0)})},
		bson.D{field("update", 0), field("filter", bson.D{field("_id", 1)}), field("updateMods", bson.D{field("$inc", bson.D{field("n", 1)})})},
		bson.D{field("insert", 0), field("document", bson.D{field("x", 1)})},
	})}, 1)
	f.must("admin", cmd)
	before := dump(f)
	reply := f.must("admin", cmd)
	if dump(f) != before || reply.Lookup("nInserted").Int32() != 2 || reply.Lookup("nModified").Int32() != 1 ||
		bsonval.Format(reply.Lookup("retriedStmtIds")) != "[ 0, 1, 2 ]" {
		t.Errorf("%s\n%s", dump(f), bsonval.FormatDoc(reply))
	}
}

func TestRetryRefusesMulti(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}})})
	cmd := retryable(bson.D{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{}), field("limit", 0)}})}, 1)
	if got := f.code("d", cmd); got != mongoerr.InvalidOptions || f.count("d", "c", bson.D{}) != 1 {
		t.Errorf("code %d, %d documents left", got, f.count("d", "c", bson.D{}))
	}
}

func TestStatementIDs(t *testing.T) {
	f := newFixture(t)
	insert := bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("a", 1)}})}
	f.must("d", retryable(insert, 1, field("stmtId", int32(7))))
	f.must("d", retryable(insert, 1, field("stmtIds", bson.A{int32(7)})))
	f.must("d", retryable(insert, 1, field("stmtIds", bson.A{int32(8)})))
	if n := f.count("d", "c", bson.D{}); n != 2 {
		t.Errorf("%d documents, want 2", n)
	}
	if got := f.code("d", retryable(insert, 1, field("stmtIds", bson.A{int32(1), int32(2)}))); got != mongoerr.InvalidLength {
		t.Errorf("too many ids: code %d", got)
	}
}

// TestConcurrentRetries sends one write from many clients at once.
func TestConcurrentRetries(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1), field("n", 0)}})})
	cmd := retryable(bson.D{field("update", "c"), field("updates", bson.A{inc(1)})}, 1)
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			client := *f
			client.conn = server.NewLocalConn()
			client.must("d", cmd)
		})
	}
	clients.Wait()
	if f.count("d", "c", bson.D{field("n", 1)}) != 1 {
		t.Errorf("%s", dump(f))
	}
}
