package command

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// images is config.image_collection.
func images(f *fixture, filter bson.D) bsonval.Doc {
	f.t.Helper()
	return f.must("config", bson.D{field("find", "image_collection"), field("filter", filter)}).LookupPath("cursor", "firstBatch").Doc().Clone()
}

// lastEntry is the newest entry of the oplog about d.c.
func lastEntry(f *fixture) bsonval.Doc {
	f.t.Helper()
	return f.must("local", bson.D{field("find", "oplog.rs"), field("filter", bson.D{field("ns", "d.c")}), field("sort", bson.D{field("$natural", -1)}),
		field("limit", 1)}).LookupPath("cursor", "firstBatch").Doc().Index(0).Doc().Clone()
}

// TestRetryImages: the document that a retryable findAndModify returns is in config.image_collection, and the entry of the
// write says so.
func TestRetryImages(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, server.ReplicaSet)
	defer func() { f.close() }()
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1), field("n", 0), field("x", "y")}})})
	find := func(more ...bson.E) bson.D {
		return append(bson.D{field("findAndModify", "c"), field("query", bson.D{field("_id", 1)})}, more...)
	}
	inc := field("update", bson.D{field("$inc", bson.D{field("n", 1)})})
	for number, c := range []struct {
		cmd                bson.D
		kind, image, value string
	}{
		{find(inc), "preImage", `{ _id: 1, n: 0, x: "y" }`, `{ _id: 1, n: 0, x: "y" }`},
		{find(inc, field("new", true)), "postImage", `{ _id: 1, n: 2, x: "y" }`, `{ _id: 1, n: 2, x: "y" }`},
		{find(inc, field("fields", bson.D{field("x", 1)})), "preImage", `{ _id: 1, n: 2, x: "y" }`, `{ _id: 1, x: "y" }`},
		{find(field("update", bson.D{field("n", 5)}), field("new", true), field("fields", bson.D{field("_id", 0)})), "postImage", `{ _id: 1, n: 5 }`, `{ n: 5 }`},
		{find(field("update", bson.D{field("$set", bson.D{field("n", 5)})})), "", ``, `{ _id: 1, n: 5 }`}, // changes nothing
		{find(field("remove", true)), "preImage", `{ _id: 1, n: 5 }`, `{ _id: 1, n: 5 }`},
		{find(inc, field("upsert", true)), "", ``, `null`},
	} {
		cmd := retryable(c.cmd, int64(number+1))
		first := f.must("d", cmd).Clone()
		if got := bsonval.Format(first.Lookup("value")); got != c.value {
			t.Errorf("%v: value %s, want %s", c.cmd, got, c.value)
		}
		if number%2 == 1 {
			f.close()
			f = open(t, dir, server.ReplicaSet)
		}
		if again := f.must("d", cmd); c.kind != "" && !bsonval.Identical(first.Lookup("value"), again.Lookup("value")) {
			t.Errorf("%v: the retry says %s", c.cmd, bsonval.FormatDoc(again))
		}
		entry, kept := lastEntry(f), images(f, bson.D{})
		if c.kind == "" {
			if kept.Len() != 0 {
				t.Errorf("%v: kept %s by %s", c.cmd, bsonval.FormatDoc(kept), bsonval.FormatDoc(entry))
			}
			continue
		}
		got := kept.Index(0).Doc()
		want := fmt.Sprintf(`{ _id: %s, txnNum: %s, ts: %s, imageKind: %q, image: %s, invalidated: false }`, bsonval.Format(entry.Lookup("lsid")),
			bsonval.Format(entry.Lookup("txnNumber")), bsonval.Format(entry.Lookup("ts")), c.kind, c.image)
		if kept.Len() != 1 || bsonval.FormatDoc(got) != want || entry.Lookup("needsRetryImage").Str() != c.kind {
			t.Errorf("%v: entry %s\nkept %s\nwant %s", c.cmd, bsonval.FormatDoc(entry), bsonval.FormatDoc(kept), want)
		}
	}
}

// TestRetryImagesAreReadOnly: the images can be queried like a collection's documents, nobody else writes them, and they
// go with their session.
func TestRetryImagesAreReadOnly(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1), docID(2)))
	set := func(n byte, id int) bson.D {
		return bson.D{field("findAndModify", "c"), field("query", docID(id)), field("update", bson.D{field("$set", bson.D{field("n", int(n))})}),
			field("lsid", lsid(n)), field("txnNumber", int64(1))}
	}
	f.must("d", set(1, 1))
	f.must("d", set(2, 2))
	if n := f.count("config", "image_collection", bson.D{}); n != 2 {
		t.Errorf("%d images", n)
	}
	if n := f.count("config", "image_collection", bson.D{field("image._id", 2)}); n != 1 {
		t.Errorf("%d images of 2", n)
	}
	id := images(f, bson.D{field("image._id", 2)}).Index(0).Doc().Lookup("_id")
	if got := images(f, bson.D{field("_id", bson.Raw(id.Doc()))}); got.Len() != 1 {
		t.Errorf("by _id: %s", bsonval.FormatDoc(got))
	}
	sum := f.must("config", bson.D{field("aggregate", "image_collection"), field("cursor", bson.D{}), field("pipeline", bson.A{
		bson.D{field("$group", bson.D{field("_id", "$imageKind"), field("n", bson.D{field("$sum", "$image._id")})})},
	})})
	if got := bsonval.Format(sum.LookupPath("cursor", "firstBatch")); got != `[ { _id: "preImage", n: 3 } ]` {
		t.Errorf("aggregated: %s", got)
	}
	for _, cmd := range []bson.D{
		{field("insert", "image_collection"), field("documents", bson.A{bson.D{}})},
		{field("create", "image_collection")},
	} {
		if code := f.code("config", cmd); code != mongoerr.InvalidNamespace {
			t.Errorf("%v: code %d", cmd, code)
		}
	}
	if code := f.code("admin", bson.D{field("renameCollection", "d.c"), field("to", "config.image_collection")}); code != mongoerr.IllegalOperation {
		t.Errorf("renamed: code %d", code)
	}
	f.must("config", bson.D{field("listIndexes", "image_collection")})
	listed := f.must("config", bson.D{field("listCollections", 1), field("filter", bson.D{field("name", "image_collection")})})
	if listed.LookupPath("cursor", "firstBatch").Doc().Len() != 1 {
		t.Error("listCollections does not show it")
	}
	f.must("admin", bson.D{field("endSessions", bson.A{lsid(2)})})
	if got := images(f, bson.D{}); got.Len() != 1 || got.Index(0).Doc().LookupPath("image", "_id").Int32() != 1 {
		t.Errorf("after the session's end: %s", bsonval.FormatDoc(got))
	}
}

// TestRetryOfAnotherFindAndModify: a retry that wants something else than the write with its number has stored is refused.
func TestRetryOfAnotherFindAndModify(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	find := func(id int, more ...bson.E) bson.D {
		return append(bson.D{field("findAndModify", "c"), field("query", docID(id))}, more...)
	}
	update := bson.D{field("update", "c"), field("updates", bson.A{inc(1)})}
	inc := field("update", bson.D{field("$inc", bson.D{field("n", 1)})})
	upsert, isNew, remove := field("upsert", true), field("new", true), field("remove", true)
	for number, c := range []struct {
		first, retry bson.D
		code         mongoerr.Code
	}{
		{find(1, inc), find(1, inc, isNew), 40611},
		{find(1, inc, isNew), find(1, inc), 40612},
		{find(1, inc), find(1, remove), 40609},
		{find(2, inc, upsert), find(2, inc), 40608},
		{update, find(1, inc), 40609},
		{find(1, remove), find(1, inc), 40606},
	} {
		f.must("d", retryable(c.first, int64(number+1)))
		if code := f.code("d", retryable(c.retry, int64(number+1))); code != c.code {
			t.Errorf("%v after %v: code %d, want %d", c.retry, c.first, code, c.code)
		}
	}
}
