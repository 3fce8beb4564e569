package command

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

func timestamp(bits uint64) bson.Timestamp {
	return bson.Timestamp{T: uint32(bits >> 32), I: uint32(bits)}
}

// at is a read concern of a level with a time.
func at(level, name string, bits uint64) bson.E {
	return field("readConcern", bson.D{field("level", level), field(name, timestamp(bits))})
}

func TestReadConcernArguments(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	now := f.cs.clock.Time()
	level := func(level string) bson.E { return field("readConcern", bson.D{field("level", level)}) }
	find, count := bson.D{field("find", "c")}, bson.D{field("count", "c")}
	distinct := bson.D{field("distinct", "c"), field("key", "_id")}
	aggregate := bson.D{field("aggregate", "c"), field("pipeline", bson.A{}), field("cursor", bson.D{})}
	for _, c := range []struct {
		name    string
		cmd     bson.D
		concern bson.E
		code    mongoerr.Code
	}{
		{"snapshot find", find, level("snapshot"), 0},
		{"snapshot distinct", distinct, level("snapshot"), 0},
		{"snapshot aggregate", aggregate, level("snapshot"), 0},
		{"snapshot count", count, level("snapshot"), mongoerr.InvalidOptions},
		{"linearizable count", count, level("linearizable"), 0},
		{"linearizable find", find, level("linearizable"), 0},
		{"available", find, level("available"), 0},
		{"majority insert", insertOf(docID(8)), level("majority"), mongoerr.InvalidOptions},
		{"after", find, at("local", "afterClusterTime", now), 0},
		{"after majority", count, at("majority", "afterClusterTime", now), 0},
		{"after snapshot", find, at("snapshot", "afterClusterTime", now), 0},
		{"after, insert", insertOf(docID(9)), at("local", "afterClusterTime", now), 0},
		{"after linearizable", find, at("linearizable", "afterClusterTime", now), mongoerr.InvalidOptions},
		{"after available", find, at("available", "afterClusterTime", now), mongoerr.InvalidOptions},
		{"after the future", find, at("local", "afterClusterTime", now+1<<34), mongoerr.InvalidOptions},
		{"after null", find, at("local", "afterClusterTime", 0), mongoerr.InvalidOptions},
		{"at", find, at("snapshot", "atClusterTime", now), 0},
		{"at the future", find, at("snapshot", "atClusterTime", now+1<<34), mongoerr.InvalidOptions},
		{"at null", find, at("snapshot", "atClusterTime", 0), mongoerr.InvalidOptions},
		{"at local", find, at("local", "atClusterTime", now), mongoerr.InvalidOptions},
		{"at and after", find, field("readConcern", bson.D{field("level", "snapshot"), field("atClusterTime", timestamp(now)),
			field("afterClusterTime", timestamp(now))}), mongoerr.InvalidOptions},
		{"after an optime", find, field("readConcern", bson.D{field("afterOpTime", bson.D{field("ts", timestamp(now)), field("t", int64(1))})}), 0},
		{"long ago", find, at("snapshot", "atClusterTime", 1<<32), mongoerr.SnapshotTooOld},
	} {
		if got := f.code("d", append(append(bson.D{}, c.cmd...), c.concern)); got != c.code {
			t.Errorf("%s: %d, want %d", c.name, got, c.code)
		}
	}
	f.must("d", bson.D{field("create", "capped"), field("capped", true), field("size", 10000)})
	if got := f.code("d", bson.D{field("find", "capped"), level("snapshot")}); got != mongoerr.SnapshotUnavailable {
		t.Errorf("snapshot of a capped collection: %d", got)
	}
}

// A time that a client has seen elsewhere is waited for by writing to the log.
func TestAfterClusterTime(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	ahead := f.cs.clock.Time() + 1000
	gossip := field("$clusterTime", bson.D{field("clusterTime", timestamp(ahead))})
	reply := f.must("d", bson.D{field("find", "c"), gossip})
	if applied := uint64(reply.Lookup("operationTime").Int64()); applied >= ahead {
		t.Errorf("operationTime %d, nothing has been written at %d", applied, ahead)
	}
	if now := uint64(reply.LookupPath("$clusterTime", "clusterTime").Int64()); now < ahead {
		t.Errorf("$clusterTime %d, want %d", now, ahead)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			g := *f
			g.conn = server.NewLocalConn()
			reply := g.must("d", bson.D{field("find", "c"), at("majority", "afterClusterTime", ahead)})
			if applied := uint64(reply.Lookup("operationTime").Int64()); applied < ahead {
				t.Errorf("operationTime %d, want %d", applied, ahead)
			}
		})
	}
	readers.Wait()
	if failed := f.run("d", bson.D{field("find", 1)}); failed.Lookup("operationTime").IsMissing() || failed.Lookup("$clusterTime").IsMissing() {
		t.Errorf("an error without times: %s", bsonval.FormatDoc(failed))
	}
	for _, c := range []struct {
		v    any
		code mongoerr.Code
	}{
		{1, mongoerr.TypeMismatch},
		{bson.D{}, 40414},
		{bson.D{field("clusterTime", 1)}, mongoerr.TypeMismatch},
		{bson.D{field("clusterTime", timestamp(1)), field("signature", 1)}, mongoerr.TypeMismatch},
		{bson.D{field("clusterTime", timestamp(1)), field("signature", bson.D{field("keyId", int64(0))})}, 40414},
		{bson.D{field("clusterTime", timestamp(1)), field("signature", bson.D{field("hash", bson.Binary{Data: make([]byte, 20)}), field("keyId", int64(0))})}, 0},
		{bson.D{field("clusterTime", timestamp(1<<63))}, mongoerr.ClusterTimeFailsRateLimiter},
	} {
		if got := f.code("d", bson.D{field("ping", 1), field("$clusterTime", c.v)}); got != c.code {
			t.Errorf("$clusterTime %v: %d, want %d", c.v, got, c.code)
		}
	}
}

// ids lists the numbers in a cursor's batch.
func ids(reply bsonval.Doc, batch string) string {
	var out []int32
	it := reply.LookupPath("cursor", batch).Doc().Iter()
	for it.Next() {
		out = append(out, it.Value().Doc().Lookup("_id").Int32())
	}
	return fmt.Sprint(out)
}

func TestSnapshotReads(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}, bson.D{field("_id", 2)}, bson.D{field("_id", 3)}})})
	snapshot := field("readConcern", bson.D{field("level", "snapshot")})
	first := f.must("d", bson.D{field("find", "c"), field("batchSize", 1), snapshot})
	then := uint64(first.LookupPath("cursor", "atClusterTime").Int64())
	if then == 0 || then > uint64(first.Lookup("operationTime").Int64()) {
		t.Fatalf("atClusterTime: %s", bsonval.FormatDoc(first))
	}
	f.must("d", bson.D{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{field("_id", 2)}), field("limit", 1)}})})
	f.must("d", bson.D{field("createIndexes", "c"), field("indexes", bson.A{bson.D{field("key", bson.D{field("x", 1)}), field("name", "x")}})})
	f.must("d", insertOf(docID(4)))
	more := f.must("d", bson.D{field("getMore", first.LookupPath("cursor", "id").Int64()), field("collection", "c")})
	if got := ids(more, "nextBatch"); got != "[2 3]" || uint64(more.LookupPath("cursor", "atClusterTime").Int64()) != then {
		t.Errorf("getMore: %s", bsonval.FormatDoc(more))
	}
	again := at("snapshot", "atClusterTime", then)
	for name, cmd := range map[string]bson.D{
		"find":      {field("find", "c"), again},
		"by _id":    {field("find", "c"), field("filter", bson.D{field("_id", bson.D{field("$in", bson.A{1, 2, 3, 4})})}), again},
		"aggregate": {field("aggregate", "c"), field("pipeline", bson.A{bson.D{field("$match", bson.D{})}}), field("cursor", bson.D{}), again},
	} {
		if got := ids(f.must("d", cmd), "firstBatch"); got != "[1 2 3]" {
			t.Errorf("%s at the time of the first: %s", name, got)
		}
	}
	one := f.must("d", bson.D{field("find", "c"), field("filter", bson.D{field("_id", 2)}), again})
	if got := ids(one, "firstBatch"); got != "[2]" {
		t.Errorf("look-up: %s", got)
	}
	values := f.must("d", bson.D{field("distinct", "c"), field("key", "_id"), again})
	if values.Lookup("values").Doc().Len() != 3 || uint64(values.Lookup("atClusterTime").Int64()) != then {
		t.Errorf("distinct: %s", bsonval.FormatDoc(values))
	}
	if got := ids(f.must("d", bson.D{field("find", "c"), snapshot}), "firstBatch"); got != "[1 3 4]" {
		t.Errorf("now: %s", got)
	}
	// What nobody has read is not kept, unless nothing has happened since.
	between := uint64(f.must("d", insertOf(docID(5))).Lookup("operationTime").Int64())
	written := uint64(f.must("d", insertOf(docID(6))).Lookup("operationTime").Int64())
	f.must("admin", bson.D{field("appendOplogNote", 1), field("data", bson.D{field("note", 1)})})
	if got := ids(f.must("d", bson.D{field("find", "c"), at("snapshot", "atClusterTime", written)}), "firstBatch"); got != "[1 3 4 5 6]" {
		t.Errorf("just written: %s", got)
	}
	if code := f.code("d", bson.D{field("find", "c"), at("snapshot", "atClusterTime", between)}); code != mongoerr.SnapshotUnavailable {
		t.Errorf("between: %d", code)
	}
	f.refused("transaction on a definition that has changed", f.run("d", inTxn(1, 1, findAll, starts, again)), mongoerr.SnapshotUnavailable, true)
	// Dropped since: as of then it is there.
	f.must("d", bson.D{field("drop", "c")})
	if got := ids(f.must("d", bson.D{field("find", "c"), again}), "firstBatch"); got != "[1 2 3]" {
		t.Errorf("after a drop: %s", got)
	}
	f.must("admin", bson.D{field("setParameter", 1), field("minSnapshotHistoryWindowInSeconds", 0)})
	if n := f.db.SnapshotsKept(); n != 0 {
		t.Errorf("%d states kept without a window", n)
	}
	if code := f.code("d", bson.D{field("find", "c"), again}); code != mongoerr.SnapshotTooOld && code != mongoerr.SnapshotUnavailable {
		t.Errorf("not kept: %d", code)
	}
}

// A transaction reads and writes on the state of a past time; what was changed since conflicts.
func TestTransactionAt(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}, bson.D{field("_id", 2)}})})
	then := uint64(f.must("d", bson.D{field("find", "c"), field("readConcern", bson.D{field("level", "snapshot")})}).LookupPath("cursor", "atClusterTime").Int64())
	set := func(id int) bson.D {
		return bson.D{field("update", "c"), field("updates", bson.A{bson.D{field("q", bson.D{field("_id", id)}), field("u", bson.D{field("$set", bson.D{field("x", 1)})})}})}
	}
	f.must("d", set(1))
	f.must("d", insertOf(docID(3)))
	again := at("snapshot", "atClusterTime", then)
	if got := ids(f.must("d", inTxn(1, 1, findAll, starts, again)), "firstBatch"); got != "[1 2]" {
		t.Errorf("transaction at the time of the first: %s", got)
	}
	f.must("d", inTxn(1, 1, set(2)))
	f.must("admin", inTxn(1, 1, commitTxn))
	f.must("d", inTxn(1, 2, findAll, starts, again))
	f.refused("changed since", f.run("d", inTxn(1, 2, set(1))), mongoerr.WriteConflict, true)
}

// The states kept are bounded.
func TestSnapshotsAreBounded(t *testing.T) {
	f := newFixture(t)
	for i := range 150 {
		f.must("d", insertOf(docID(i)))
		f.must("d", bson.D{field("find", "c"), field("batchSize", 0), field("readConcern", bson.D{field("level", "snapshot")})})
	}
	if n := f.db.SnapshotsKept(); n != 128 {
		t.Errorf("%d states are kept", n)
	}
}

// TestSnapshotSession drives the driver's snapshot sessions.
func TestSnapshotSession(t *testing.T) {
	f := newFixture(t)
	client := f.serve()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := client.Database("d").Collection("c")
	if _, err := c.InsertMany(ctx, []bson.D{docID(1), docID(2)}); err != nil {
		t.Fatal(err)
	}
	err := client.UseSessionWithOptions(ctx, options.Session().SetSnapshot(true), func(sctx context.Context) error {
		for i := range 3 {
			cur, err := c.Find(sctx, bson.D{}, options.Find().SetBatchSize(1))
			if err != nil {
				return err
			}
			var all []bson.D
			if err := cur.All(sctx, &all); err != nil || len(all) != 2 {
				return fmt.Errorf("find %d: %v, %v", i, all, err)
			}
			var values []int32
			if err := c.Distinct(sctx, "_id", bson.D{}).Decode(&values); err != nil || len(values) != 2 {
				return fmt.Errorf("distinct %d: %v, %v", i, values, err)
			}
			if _, err := c.InsertOne(ctx, bson.D{field("_id", 10+i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	err = client.UseSession(ctx, func(sctx context.Context) error {
		// Causally consistent: a read sees the session's writes.
		if _, err := c.InsertOne(sctx, bson.D{field("_id", 20)}); err != nil {
			return err
		}
		return c.FindOne(sctx, bson.D{field("_id", 20)}).Err()
	})
	if err != nil {
		t.Error(err)
	}
	if _, ok := any(err).(mongo.CommandError); ok {
		t.Error(err)
	}
}

func TestOplogCommands(t *testing.T) {
	f := newFixture(t)
	note := bson.D{field("appendOplogNote", 1), field("data", bson.D{field("msg", "hello")})}
	before := f.cs.clock.Applied()
	f.must("admin", note)
	if f.cs.clock.Applied() <= before {
		t.Error("the note is not in the log")
	}
	if n := f.count("local", "oplog.rs", bson.D{field("op", "n"), field("o.msg", "hello")}); n != 1 {
		t.Errorf("%d notes", n)
	}
	for _, c := range []struct {
		cmd  bson.D
		code mongoerr.Code
	}{
		{note[:1], mongoerr.NoSuchKey},
		{append(note, field("maxClusterTime", timestamp(1))), mongoerr.StaleClusterTime},
		{bson.D{field("replSetResizeOplog", 1), field("size", 100.0)}, mongoerr.BadValue},
		{bson.D{field("replSetResizeOplog", 1), field("minRetentionHours", -1)}, mongoerr.BadValue},
		{bson.D{field("replSetResizeOplog", 1), field("size", 1000.0), field("minRetentionHours", 1.5)}, 0},
	} {
		if got := f.code("admin", c.cmd); got != c.code {
			t.Errorf("%v: %d, want %d", c.cmd, got, c.code)
		}
	}
	status := f.must("admin", bson.D{field("serverStatus", 1), field("oplog", 1)})
	if status.LookupPath("oplog", "latestOptime", "ts").Int64() == 0 || status.LookupPath("oplogTruncation", "oplogMinRetentionHours").AsDouble() != 1.5 {
		t.Errorf("serverStatus: %s, %s", bsonval.Format(status.Lookup("oplog")), bsonval.Format(status.Lookup("oplogTruncation")))
	}
	s := open(t, "", server.Standalone)
	defer s.close()
	for _, cmd := range []bson.D{note, {field("replSetResizeOplog", 1), field("size", 1000.0)}} {
		if got := s.code("admin", cmd); got != mongoerr.NoReplicationEnabled {
			t.Errorf("standalone %v: %d", cmd, got)
		}
	}
}
