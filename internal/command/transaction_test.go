package command

import (
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// inTxn makes a command a statement of transaction number of session n.
func inTxn(n byte, number int64, cmd bson.D, more ...bson.E) bson.D {
	cmd = append(slices.Clone(cmd), field("lsid", lsid(n)), field("txnNumber", number), field("autocommit", false))
	return append(cmd, more...)
}

var starts = field("startTransaction", true)

func insertOf(docs ...bson.D) bson.D {
	return bson.D{field("insert", "c"), field("documents", docs)}
}

func docID(id int) bson.D { return bson.D{field("_id", id)} }

var (
	findAll     = bson.D{field("find", "c")}
	commitTxn   = bson.D{field("commitTransaction", 1)}
	abortTxn    = bson.D{field("abortTransaction", 1)}
	listIndexes = bson.D{field("listIndexes", "c")}
)

// labelled says whether a reply has an error label.
func labelled(reply bsonval.Doc, label string) bool {
	it := reply.Lookup("errorLabels").Doc().Iter()
	for it.Next() {
		if it.Value().Str() == label {
			return true
		}
	}
	return false
}

// refused checks the code of a reply and whether it says that the transaction should start again.
func (f *fixture) refused(what string, reply bsonval.Doc, code mongoerr.Code, transient bool) {
	f.t.Helper()
	if got := reply.Lookup("code"); got.IsMissing() || mongoerr.Code(got.Int32()) != code {
		f.t.Errorf("%s: got %s, want %d", what, bsonval.FormatDoc(reply), code)
	}
	if labelled(reply, mongoerr.LabelTransientTransaction) != transient {
		f.t.Errorf("%s: labels of %s", what, bsonval.FormatDoc(reply))
	}
}

// bulkInto is a bulkWrite of one insert.
func bulkInto(ns string) bson.D {
	return bson.D{field("bulkWrite", 1), field("ops", bson.A{bson.D{field("insert", 0), field("document", bson.D{})}}),
		field("nsInfo", bson.A{bson.D{field("ns", ns)}})}
}

func TestTransactionArguments(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	f.must("d", bson.D{field("create", "capped"), field("capped", true), field("size", 10000)})
	cursor := field("cursor", bson.D{})
	concern := func(level string) bson.E { return field("readConcern", bson.D{field("level", level)}) }
	for i, c := range []struct {
		name string
		db   string
		cmd  bson.D
		more []bson.E
		code mongoerr.Code
	}{
		{"count", "d", bson.D{field("count", "c")}, nil, 263},
		{"listIndexes", "d", listIndexes, nil, 263},
		{"explain", "d", bson.D{field("explain", findAll)}, nil, 263},
		{"prepare", "admin", bson.D{field("prepareTransaction", 1)}, nil, 238},
		{"local", "local", findAll, nil, 263},
		{"config", "config", insertOf(docID(1)), nil, 263},
		{"admin", "admin", findAll, nil, 263},
		{"killCursors first", "d", bson.D{field("killCursors", "c"), field("cursors", bson.A{})}, nil, 263},
		{"out", "d", bson.D{field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$out", "o")}}), cursor}, nil, 263},
		{"merge", "d", bson.D{field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$merge", "o")}}), cursor}, nil, 263},
		{"collStats", "d", bson.D{field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$collStats", bson.D{})}}), cursor}, nil, 263},
		{"unionWith", "d", bson.D{field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$unionWith", "c")}}), cursor}, nil, 50742},
		{"union in a lookup", "d", bson.D{field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$lookup", bson.D{field("from", "c"),
			field("pipeline", bson.A{bson.D{field("$unionWith", "c")}}), field("as", "x")})}}), cursor}, nil, 50742},
		{"system collection", "d", bson.D{field("insert", "system.x"), field("documents", bson.A{docID(1)})}, nil, 50791},
		{"bulk into system collection", "admin", bulkInto("d.system.x"), nil, 50791},
		{"bulk into config", "admin", bulkInto("config.x"), nil, 263},
		{"bulk", "admin", bulkInto("d.c"), nil, 0},
		{"capped snapshot", "d", bson.D{field("find", "capped")}, []bson.E{concern("snapshot")}, 246},
		{"capped", "d", bson.D{field("find", "capped")}, nil, 0},
		{"hello first", "admin", bson.D{field("hello", 1)}, nil, 263},
		{"coordinate", "admin", bson.D{field("coordinateCommitTransaction", 1)}, nil, 263},
		{"write concern", "d", insertOf(docID(9)), []bson.E{field("writeConcern", bson.D{field("w", 1)})}, 72},
		{"linearizable", "d", findAll, []bson.E{concern("linearizable")}, 72},
		{"available", "d", findAll, []bson.E{concern("available")}, 72},
		{"atClusterTime", "d", findAll, []bson.E{field("readConcern", bson.D{field("level", "snapshot"), field("atClusterTime", bson.Timestamp{T: 1})})}, 239},
		{"snapshot", "d", insertOf(docID(2)), []bson.E{concern("snapshot")}, 0},
		{"majority", "d", findAll, []bson.E{concern("majority")}, 0},
	} {
		if got := f.code(c.db, inTxn(1, int64(i), c.cmd, append([]bson.E{starts}, c.more...)...)); got != c.code {
			t.Errorf("%s: %d, want %d", c.name, got, c.code)
		}
	}
	f.must("d", inTxn(2, 1, findAll, starts))
	f.refused("later read concern", f.run("d", inTxn(2, 1, findAll, concern("local"))), 72, false)
	f.must("d", inTxn(2, 1, findAll)) // and that did not end it
	f.must("admin", inTxn(2, 1, bson.D{field("buildInfo", 1)}))
	f.refused("write concern of commit", f.run("admin", inTxn(2, 1, append(slices.Clone(commitTxn), field("writeConcern", 1)))), 14, false)
	f.must("admin", inTxn(2, 1, commitTxn, field("writeConcern", bson.D{field("w", "majority")})))
	s := open(t, "", server.Standalone)
	defer s.close()
	if got := s.code("d", inTxn(1, 1, findAll, starts)); got != 20 {
		t.Errorf("standalone: %d", got)
	}
}

func TestTransactionStates(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	f.refused("continue none", f.run("d", inTxn(1, 5, findAll)), 251, true)
	f.refused("commit none", f.run("admin", inTxn(1, 5, commitTxn)), 251, true)
	f.must("d", inTxn(1, 5, insertOf(docID(2)), starts))
	f.refused("start again", f.run("d", inTxn(1, 5, findAll, starts)), 117, false)
	f.refused("older", f.run("d", inTxn(1, 4, findAll, starts)), 225, false)
	f.refused("retryable write of the number", f.run("d", append(insertOf(docID(3)), field("lsid", lsid(1)), field("txnNumber", int64(5)))), 72, false)
	f.refused("newer, not started", f.run("d", inTxn(1, 6, findAll)), 251, true)
	if n := f.count("d", "c", bson.D{}); n != 1 {
		t.Errorf("%d documents before the commit", n)
	}
	f.must("admin", inTxn(1, 5, commitTxn))
	f.must("admin", inTxn(1, 5, commitTxn))
	f.refused("statement after commit", f.run("d", inTxn(1, 5, findAll)), 256, false)
	f.refused("abort after commit", f.run("admin", inTxn(1, 5, abortTxn)), 256, false)
	f.must("d", inTxn(1, 6, insertOf(docID(3)), starts))
	f.must("admin", inTxn(1, 6, abortTxn))
	f.refused("abort again", f.run("admin", inTxn(1, 6, abortTxn)), 251, true)
	f.refused("commit after abort", f.run("admin", inTxn(1, 6, commitTxn)), 251, true)
	f.must("d", inTxn(1, 7, insertOf(docID(4)), starts))
	f.must("d", inTxn(1, 8, findAll, starts)) // aborts the one before
	f.must("d", append(insertOf(docID(5)), field("lsid", lsid(1)), field("txnNumber", int64(9))))
	f.refused("after a retryable write", f.run("d", inTxn(1, 9, findAll)), 251, true)
	if n := f.count("d", "c", bson.D{}); n != 3 {
		t.Errorf("%d documents, want those with _id 1, 2 and 5", n)
	}
	counts := f.must("admin", bson.D{field("serverStatus", 1)}).Lookup("transactions").Doc()
	for name, want := range map[string]int64{"totalStarted": 4, "totalCommitted": 1, "totalAborted": 3, "currentOpen": 0, "currentActive": 0} {
		if got := counts.Lookup(name).Int64(); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestTransactionErrorsAbort(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	bad := bson.D{field("update", "c"), field("updates", bson.A{bson.D{field("q", docID(1)), field("u", bson.D{field("$nope", 1)})}})}
	for number, statement := range []bson.D{
		append(insertOf(docID(8), docID(1), docID(9)), field("ordered", false)), bad,
		{field("find", "c"), field("filter", bson.D{field("$nope", 1)})},
		{field("findAndModify", "c"), field("query", docID(1)), field("update", bson.D{field("$nope", 1)})},
		{field("bulkWrite", 1), field("ops", bson.A{bson.D{field("insert", 0), field("document", docID(1))}}), field("nsInfo", bson.A{bson.D{field("ns", "d.c")}})},
	} {
		db := "d"
		if statement[0].Key == "bulkWrite" {
			db = "admin"
		}
		f.must("d", inTxn(1, int64(number), insertOf(docID(100)), starts))
		reply := f.run(db, inTxn(1, int64(number), statement))
		if labelled(reply, mongoerr.LabelTransientTransaction) {
			t.Errorf("%v: starting again would help: %s", statement, bsonval.FormatDoc(reply))
		}
		f.refused("after a failed statement", f.run("admin", inTxn(1, int64(number), commitTxn)), 251, true)
	}
	if n := f.count("d", "c", bson.D{}); n != 1 {
		t.Errorf("%d documents", n)
	}
	f.must("d", inTxn(1, 50, findAll, starts))
	f.must("d", bson.D{field("update", "c"), field("updates", bson.A{inc(1)})})
	f.refused("conflict", f.run("d", inTxn(1, 50, bson.D{field("update", "c"), field("updates", bson.A{inc(1)})})), 112, true)
}

func TestTransactionCursors(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1), docID(2), docID(3)))
	open := func(number int64) (id int64) {
		reply := f.must("d", inTxn(1, number, append(slices.Clone(findAll), field("batchSize", 1)), starts))
		return reply.LookupPath("cursor", "id").Int64()
	}
	more := func(id int64) bson.D { return bson.D{field("getMore", id), field("collection", "c")} }
	id := open(1)
	f.must("d", insertOf(docID(4)))
	f.must("d", inTxn(1, 1, insertOf(docID(5))))
	f.refused("outside", f.run("d", append(more(id), field("lsid", lsid(1)))), 50740, false)
	batch := f.must("d", inTxn(1, 1, more(id))).LookupPath("cursor", "nextBatch").Doc()
	if n := batch.Len(); n != 3 { // 2, 3 and the transaction's own 5
		t.Errorf("%d documents in the second batch: %s", n, bsonval.FormatDoc(batch))
	}
	id = open(2)
	f.must("admin", inTxn(1, 2, commitTxn))
	f.refused("after commit", f.run("d", append(more(id), field("lsid", lsid(1)))), 43, false)
}

func TestCommitIsRetriedAfterRestart(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, server.ReplicaSet)
	f.must("d", inTxn(1, 3, insertOf(docID(1)), starts))
	f.must("d", inTxn(2, 3, insertOf(docID(2)), starts))
	f.must("admin", inTxn(1, 3, commitTxn))
	f.close()
	f = open(t, dir, server.ReplicaSet)
	defer f.close()
	f.must("admin", inTxn(1, 3, commitTxn))
	f.refused("statement of a committed one", f.run("d", inTxn(1, 3, findAll)), 256, false)
	f.refused("older", f.run("d", inTxn(1, 2, findAll, starts)), 225, false)
	f.refused("lost with the process", f.run("admin", inTxn(2, 3, commitTxn)), 251, true)
	if n := f.count("d", "c", bson.D{}); n != 1 {
		t.Errorf("%d documents", n)
	}
	f.must("d", append(insertOf(docID(3)), field("lsid", lsid(1)), field("txnNumber", int64(4))))
}

// TestTransactionsEndWithTheirSession: endSessions, killSessions and the end of their lifetime abort transactions.
func TestTransactionsEndWithTheirSession(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	update := bson.D{field("update", "c"), field("updates", bson.A{inc(1)})}
	f.must("d", inTxn(1, 1, update, starts))
	f.must("admin", bson.D{field("endSessions", bson.A{lsid(1)})})
	f.must("d", inTxn(2, 1, update, starts)) // the claim is free again
	f.must("admin", bson.D{field("killSessions", bson.A{lsid(2)})})
	f.refused("killed", f.run("d", inTxn(2, 1, findAll)), 251, true)

	f.must("admin", bson.D{field("setParameter", 1), field("transactionLifetimeLimitSeconds", 1)})
	f.must("d", inTxn(3, 1, update, starts))
	shown := func() (n int) {
		list := f.must("admin", bson.D{field("currentOp", 1), field("type", "idleSession")}).Lookup("inprog").Doc()
		return list.Len()
	}
	if shown() != 1 {
		t.Error("currentOp does not show the idle transaction")
	}
	if got := f.code("admin", bson.D{field("setParameter", 1), field("transactionLifetimeLimitSeconds", 0)}); got != 2 {
		t.Errorf("lifetime 0: %d", got)
	}
	for deadline := time.Now().Add(10 * time.Second); shown() > 0; <-time.After(20 * time.Millisecond) {
		f.cs.cfg.Sessions.ExpireTransactions()
		if time.Now().After(deadline) {
			t.Fatal("the transaction does not expire")
		}
	}
	f.refused("expired", f.run("admin", inTxn(3, 1, commitTxn)), 251, true)
	f.must("d", update)
}
