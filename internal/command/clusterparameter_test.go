package command

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

func setCluster(name string, value bson.D) bson.D {
	return bson.D{field("setClusterParameter", bson.D{field(name, value)})}
}

func getCluster(f *fixture, name string) bsonval.Doc {
	f.t.Helper()
	return f.must("admin", bson.D{field("getClusterParameter", name)}).Lookup("clusterParameters").Doc().Index(0).Doc().Clone()
}

// TestClusterParametersLast: what is set is there after a restart, with the time at which it was set.
func TestClusterParametersLast(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, server.ReplicaSet)
	defer func() { f.close() }()
	for _, c := range []struct {
		name, field    string
		value          any
		before, stored string
	}{
		{"changeStreams", "expireAfterSeconds", 100.0, `100`, `3600`},
		{"defaultMaxTimeMS", "readOperations", 2000, `2000`, `0`},
		{"pauseMigrationsDuringMultiUpdates", "enabled", true, `true`, `false`},
		{"changeStreamOptions", "preAndPostImages", bson.D{field("expireAfterSeconds", 70)}, `{ expireAfterSeconds: 70 }`, `{ expireAfterSeconds: "off" }`},
	} {
		if got := getCluster(f, c.name); bsonval.Format(got.Lookup(c.field)) != c.stored || !got.Lookup("clusterParameterTime").IsMissing() {
			t.Errorf("%s is %s before it is set", c.name, bsonval.FormatDoc(got))
		}
		f.must("admin", setCluster(c.name, bson.D{field(c.field, c.value)}))
		was := getCluster(f, c.name)
		if bsonval.Format(was.Lookup(c.field)) != c.before || was.Lookup("clusterParameterTime").Int64() == 0 {
			t.Errorf("%s is %s", c.name, bsonval.FormatDoc(was))
		}
		f.close()
		f = open(t, dir, server.ReplicaSet)
		if got := getCluster(f, c.name); bsonval.FormatDoc(got) != bsonval.FormatDoc(was) {
			t.Errorf("%s is %s after a restart, was %s", c.name, bsonval.FormatDoc(got), bsonval.FormatDoc(was))
		}
	}
	if f.db.ImagesExpiry().Seconds() != 70 {
		t.Errorf("images expire after %v", f.db.ImagesExpiry())
	}
	f.must("admin", setCluster("defaultMaxTimeMS", bson.D{})) // the default again
	if got := getCluster(f, "defaultMaxTimeMS"); got.Lookup("readOperations").Int64() != 0 {
		t.Errorf("%s", bsonval.FormatDoc(got))
	}
	for _, bad := range []bson.D{
		setCluster("changeStreams", bson.D{field("expireAfterSeconds", 0)}),
		setCluster("defaultMaxTimeMS", bson.D{field("readOperations", -1)}),
		setCluster("defaultMaxTimeMS", bson.D{field("readOperations", int64(1)<<40)}),
	} {
		if code := f.code("admin", bad); code != mongoerr.BadValue {
			t.Errorf("%v: code %d", bad, code)
		}
	}
}

// TestDefaultMaxTime: reads that name no time limit get the default one, other commands do not.
func TestDefaultMaxTime(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	f.must("admin", setCluster("defaultMaxTimeMS", bson.D{field("readOperations", 20)}))
	slow := field("filter", bson.D{field("$expr", bson.D{field("$eq", bson.A{bson.D{field("$size", bson.D{field("$filter", bson.D{
		field("input", bson.D{field("$range", bson.A{0, 1500000})}), field("cond", bson.D{field("$gt", bson.A{"$$this", -1})}),
	})})}, 0})})})
	if code := f.code("d", bson.D{field("find", "c"), slow}); code != mongoerr.MaxTimeMSExpired {
		t.Errorf("default limit: code %d", code)
	}
	f.must("d", bson.D{field("find", "c"), slow, field("maxTimeMS", 0)})
	f.must("d", bson.D{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", slow.Value), field("limit", 0)}})})
}
