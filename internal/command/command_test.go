package command

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

func TestTable(t *testing.T) {
	rows := Table()
	if !slices.IsSortedFunc(rows, func(a, b *Command) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted")
	}
	index(rows) // panics on duplicates
	for _, row := range rows {
		if row.Help == "" {
			t.Errorf("%s: no help", row.Name)
		}
		if row.Run == nil && !row.Missing {
			t.Errorf("%s: nothing to run", row.Name)
		}
		if len(row.Fields) > 64 {
			t.Errorf("%s: %d fields are more than ParseFields takes", row.Name, len(row.Fields))
		}
		seen := map[string]bool{}
		for _, f := range row.Fields {
			if seen[f.Name] {
				t.Errorf("%s: field %s twice", row.Name, f.Name)
			}
			seen[f.Name] = true
			var g generic
			if known, _ := g.set([]byte(f.Name), bsonval.True); known {
				t.Errorf("%s: field %s is a generic argument", row.Name, f.Name)
			}
		}
	}
}

func TestIndexRefusesDuplicates(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	index([]*Command{{Name: "a"}, {Name: "b", Aliases: []string{"a"}}})
}

func TestArgumentErrors(t *testing.T) {
	f := newFixture(t)
	for _, tc := range []struct {
		name string
		db   string
		cmd  bson.D
		code mongoerr.Code
		text string
	}{
		{"no such command", "d", bson.D{field("foo", 1)}, 59, "no such command: 'foo'"},
		{"known but missing", "d", bson.D{field("lockInfo", 1)}, 238, "command 'lockInfo' is not implemented"},
		{"unknown field", "d", bson.D{field("find", "c"), field("foo", 1)}, 40415, "BSON field 'find.foo' is an unknown field."},
		{"wrong type", "d", bson.D{field("find", "c"), field("limit", "x")}, 14,
			"BSON field 'find.limit' is the wrong type 'string', expected types '[long, int, decimal, double]'"},
		{"required field", "d", bson.D{field("distinct", "c")}, 40414, "BSON field 'distinct.key' is missing but a required field"},
		{"duplicate field", "d", bson.D{field("find", "c"), field("limit", 1), field("limit", 2)}, 40413, "BSON field 'find.limit' is a duplicate field"},
		{"negative", "d", bson.D{field("find", "c"), field("skip", -1)}, 2, "BSON field 'skip' value must be >= 0, actual value '-1'"},
		{"collection of another type", "d", bson.D{field("find", 1)}, 73, "collection name has invalid type int"},
		{"empty collection", "d", bson.D{field("find", "")}, 73, "Invalid namespace specified 'd.'"},
		{"database name", "d.e", bson.D{field("find", "c")}, 73, "Invalid database name: 'd.e'"},
		{"admin only", "d", bson.D{field("killOp", 1), field("op", 1)}, 13, "killOp may only be run against the admin database."},
		{"unsupported", "d", bson.D{field("find", "c"), field("resumeAfter", bson.D{})}, 238, "'find.resumeAfter' is not implemented"},
		{"maxTimeMS", "d", bson.D{field("ping", 1), field("maxTimeMS", -1)}, 2, ""},
		{"fractional maxTimeMS", "d", bson.D{field("ping", 1), field("maxTimeMS", 1.5)}, 9, ""},
		{"read concern level", "d", bson.D{field("find", "c"), field("readConcern", bson.D{field("level", "x")})}, 2, ""},
		{"read concern not supported", "d", bson.D{field("ping", 1), field("readConcern", bson.D{field("level", "majority")})}, 72, ""},
		{"write concern not supported", "d", bson.D{field("find", "c"), field("writeConcern", bson.D{})}, 72, ""},
		{"write concern", "d", bson.D{field("delete", "c"), field("deletes", bson.A{}), field("writeConcern", bson.D{field("w", 51)})}, 9, ""},
		{"api version", "d", bson.D{field("ping", 1), field("apiVersion", "2")}, 322, ""},
		{"api strict", "d", bson.D{field("distinct", "c"), field("key", "a"), field("apiVersion", "1"), field("apiStrict", true)}, 323, ""},
		{"api strict without version", "d", bson.D{field("ping", 1), field("apiStrict", true)}, 4886600, ""},
		{"txnNumber on a read", "d", bson.D{field("find", "c"), field("lsid", lsid(1)), field("txnNumber", int64(1))}, 50768, ""},
		{"txnNumber without session", "d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}}), field("txnNumber", int64(1))}, 72, ""},
		{"session id", "d", bson.D{field("ping", 1), field("lsid", bson.D{})}, 40414, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			reply := f.run(tc.db, tc.cmd)
			if got := mongoerr.Code(reply.Lookup("code").Int64()); got != tc.code {
				t.Fatalf("code %d, want %d: %s", got, tc.code, bsonval.FormatDoc(reply))
			}
			if got := reply.Lookup("errmsg").Str(); tc.text != "" && got != tc.text {
				t.Errorf("got  %q\nwant %q", got, tc.text)
			}
		})
	}
}

func lsid(n byte) bson.D {
	return bson.D{field("id", bson.Binary{Subtype: 4, Data: []byte{15: n}})}
}

func TestStandaloneHasNoTransactionNumbers(t *testing.T) {
	f := open(t, "", server.Standalone)
	defer f.close()
	cmd := bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}}), field("lsid", lsid(1)), field("txnNumber", int64(1))}
	if got := f.code("d", cmd); got != mongoerr.IllegalOperation {
		t.Errorf("code %d", got)
	}
	if reply := f.must("d", bson.D{field("ping", 1)}); !reply.Lookup("$clusterTime").IsMissing() {
		t.Errorf("a standalone tells a cluster time: %s", bsonval.FormatDoc(reply))
	}
}

func TestReplyTimesGrowWithWrites(t *testing.T) {
	f := newFixture(t)
	before := f.must("d", bson.D{field("ping", 1)}).Lookup("operationTime").Int64()
	after := f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}})}).Lookup("operationTime").Int64()
	if after <= before {
		t.Errorf("operationTime %d after %d", after, before)
	}
}

func TestToInt64(t *testing.T) {
	decimal := func(s string) bsonval.Value {
		d, _, err := bsonval.ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		return bsonval.DecimalValue(d)
	}
	for _, tc := range []struct {
		v    bsonval.Value
		want int64
	}{
		{bsonval.Double(1.9), 1}, {bsonval.Double(-1.9), -1}, {decimal("1.5"), 2}, {decimal("2.5"), 2}, {decimal("-0.5"), 0},
		{decimal("-0.50001"), -1}, {decimal("0.5000000000000000000000000000000001"), 1}, {decimal("NaN"), 0},
		{decimal("Infinity"), 1<<63 - 1}, {decimal("-1E+30"), -1 << 63},
	} {
		if got := toInt64(tc.v); got != tc.want {
			t.Errorf("%s: %d, want %d", bsonval.Format(tc.v), got, tc.want)
		}
	}
}

func TestCursors(t *testing.T) {
	f := newFixture(t)
	docs := bson.A{}
	for i := range 5 {
		docs = append(docs, bson.D{field("_id", i)})
	}
	f.must("d", bson.D{field("insert", "c"), field("documents", docs)})
	first := f.must("d", bson.D{field("find", "c"), field("batchSize", 2)}).Lookup("cursor").Doc()
	id := first.Lookup("id").Int64()
	if id < 1<<31 || first.Lookup("firstBatch").Doc().Len() != 2 {
		t.Fatalf("%s", bsonval.FormatDoc(first))
	}
	if got := f.code("d", bson.D{field("getMore", id), field("collection", "x")}); got != mongoerr.Unauthorized {
		t.Errorf("other namespace: code %d", got)
	}
	more := f.must("d", bson.D{field("getMore", id), field("collection", "c")}).Lookup("cursor").Doc()
	if more.Lookup("nextBatch").Doc().Len() != 3 || more.Lookup("id").Int64() != 0 {
		t.Errorf("%s", bsonval.FormatDoc(more))
	}
	if got := f.code("d", bson.D{field("getMore", id), field("collection", "c")}); got != mongoerr.CursorNotFound {
		t.Errorf("used up: code %d", got)
	}
	if id := f.must("d", bson.D{field("find", "c"), field("limit", 2), field("batchSize", 2)}).LookupPath("cursor", "id"); id.Int64() != 0 {
		t.Error("cursor stays open at its limit")
	}
	inSession := f.must("d", bson.D{field("find", "c"), field("batchSize", 2), field("lsid", lsid(1))}).LookupPath("cursor", "id").Int64()
	f.must("admin", bson.D{field("killSessions", bson.A{lsid(1)})})
	if got := f.code("d", bson.D{field("getMore", inSession), field("collection", "c"), field("lsid", lsid(1))}); got != mongoerr.CursorNotFound {
		t.Errorf("cursor of a killed session: code %d", got)
	}
}

func TestWriteErrors(t *testing.T) {
	f := newFixture(t)
	docs := bson.A{bson.D{field("_id", 1)}, bson.D{field("_id", 1)}, bson.D{field("_id", 2)}}
	for _, tc := range []struct {
		coll    string
		ordered bool
		n       int32
	}{{"ordered", true, 1}, {"unordered", false, 2}} {
		reply := f.run("d", bson.D{field("insert", tc.coll), field("documents", docs), field("ordered", tc.ordered)})
		errs := reply.Lookup("writeErrors").Doc()
		e := errs.Index(0).Doc()
		if reply.Lookup("n").Int32() != tc.n || errs.Len() != 1 || e.Lookup("index").Int32() != 1 || e.Lookup("code").Int32() != 11000 ||
			bsonval.Format(e.Lookup("keyValue")) != "{ _id: 1 }" {
			t.Errorf("%s: %s", tc.coll, bsonval.FormatDoc(reply))
		}
	}
	reply := f.run("d", bson.D{field("update", "ordered"), field("ordered", false), field("updates", bson.A{
		bson.D{field("q", bson.D{field("_id", 1)}), field("u", bson.D{field("$set", bson.D{field("_id", 5)})})},
		bson.D{field("q", bson.D{field("_id", 7)}), field("u", bson.D{field("$set", bson.D{field("a", 1)})}), field("upsert", true)},
	})})
	if reply.Lookup("n").Int32() != 1 || reply.Lookup("upserted").Doc().Index(0).Doc().Lookup("index").Int32() != 1 {
		t.Errorf("%s", bsonval.FormatDoc(reply))
	}
}

func TestUnacknowledgedWrite(t *testing.T) {
	f := newFixture(t)
	reply := f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}}), field("writeConcern", bson.D{field("w", 0)})})
	if !reply.Lookup("n").IsMissing() || f.count("d", "c", bson.D{}) != 1 {
		t.Errorf("%s", bsonval.FormatDoc(reply))
	}
}

func TestWriteConcernError(t *testing.T) {
	f := newFixture(t)
	insert := bson.D{field("insert", "c"), field("documents", bson.A{bson.D{}})}
	for w, want := range map[any]mongoerr.Code{2: 100, "dc": 79} {
		e := f.run("d", append(slices.Clone(insert), field("writeConcern", bson.D{field("w", w)}))).Lookup("writeConcernError")
		if e.IsMissing() || mongoerr.Code(e.Doc().Lookup("code").Int32()) != want {
			t.Errorf("w: %v: %s", w, bsonval.Format(e))
		}
	}
	f.must("admin", bson.D{field("setDefaultRWConcern", 1), field("defaultWriteConcern", bson.D{field("w", 2)})})
	if e := f.run("d", insert).Lookup("writeConcernError"); e.IsMissing() || e.Doc().LookupPath("errInfo", "writeConcern", "provenance").Str() != "customDefault" {
		t.Errorf("default write concern: %s", bsonval.Format(e))
	}
}

func TestBulkWrite(t *testing.T) {
	f := newFixture(t)
	reply := f.must("admin", bson.D{field("bulkWrite", 1),
		field("ops", bson.A{
			bson.D{field("insert", 0), field("document", bson.D{field("_id", 1), field("x", 1)})},
			bson.D{field("insert", 0), field("document", bson.D{field("_id", 1)})},
			bson.D{field("insert", 1), field("document", bson.D{field("_id", 2)})},
			bson.D{field("update", 0), field("filter", bson.D{field("_id", 1)}), field("updateMods", bson.D{field("$inc", bson.D{field("x", 1)})})},
			bson.D{field("delete", 1), field("filter", bson.D{}), field("multi", true)},
		}),
		field("nsInfo", bson.A{bson.D{field("ns", "d.a")}, bson.D{field("ns", "d.b")}}), field("ordered", false)})
	for name, want := range map[string]int32{"nErrors": 1, "nInserted": 2, "nMatched": 1, "nModified": 1, "nDeleted": 1, "nUpserted": 0} {
		if got := reply.Lookup(name).Int32(); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
	batch := reply.LookupPath("cursor", "firstBatch").Doc()
	if batch.Len() != 5 || batch.Index(1).Doc().Lookup("code").Int32() != 11000 || batch.Index(1).Doc().Lookup("idx").Int32() != 1 {
		t.Errorf("%s", bsonval.FormatDoc(batch))
	}
}

func TestSystemCommands(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1)}}), field("lsid", lsid(3))})
	status := f.must("admin", bson.D{field("serverStatus", 1), field("locks", 0)})
	if n := status.LookupPath("opcounters", "insert"); n.Int64() != 1 {
		t.Errorf("opcounters.insert: %s", bsonval.Format(n))
	}
	if n := status.LookupPath("metrics", "commands", "insert", "total"); n.Int64() != 1 {
		t.Errorf("metrics.commands.insert.total: %s", bsonval.Format(n))
	}
	if !status.Lookup("locks").IsMissing() {
		t.Error("a section that was not wanted")
	}
	ops := f.must("admin", bson.D{field("aggregate", 1), field("cursor", bson.D{}), field("pipeline", bson.A{bson.D{field("$currentOp", bson.D{})}})})
	if op := ops.LookupPath("cursor", "firstBatch").Doc().Index(0); op.Doc().LookupPath("command", "aggregate").IsMissing() {
		t.Errorf("$currentOp does not show itself: %s", bsonval.FormatDoc(ops))
	}
	sessions := f.must("d", bson.D{field("aggregate", 1), field("cursor", bson.D{}), field("pipeline", bson.A{bson.D{field("$listLocalSessions", bson.D{})}})})
	if sessions.LookupPath("cursor", "firstBatch").Doc().Len() != 1 {
		t.Errorf("%s", bsonval.FormatDoc(sessions))
	}
	if hash := f.must("d", bson.D{field("dbHash", 1)}).LookupPath("collections", "c"); len(hash.Str()) != 32 {
		t.Errorf("dbHash: %s", bsonval.Format(hash))
	}
	top := f.must("admin", bson.D{field("top", 1)})
	if n := top.LookupPath("totals", "d.c", "insert", "count"); n.TruncInt64() != 1 {
		t.Errorf("top: %s", bsonval.FormatDoc(top))
	}
	for _, cmd := range []string{"buildInfo", "hostInfo", "getCmdLineOpts", "replSetGetStatus", "replSetGetConfig", "listCommands", "connectionStatus", "hello", "isMaster", "startSession", "getDefaultRWConcern"} {
		f.must("admin", bson.D{field(cmd, 1)})
	}
}

func TestParameters(t *testing.T) {
	f := newFixture(t)
	if v := f.must("admin", bson.D{field("getParameter", 1), field("featureCompatibilityVersion", 1)}).LookupPath("featureCompatibilityVersion", "version"); v.Str() != "8.2" {
		t.Errorf("%s", bsonval.Format(v))
	}
	if got := f.code("admin", bson.D{field("getParameter", 1), field("noSuchThing", 1)}); got != mongoerr.InvalidOptions {
		t.Errorf("unknown: code %d", got)
	}
	if got := f.code("admin", bson.D{field("setParameter", 1), field("maxBSONDepth", 7)}); got != mongoerr.IllegalOperation {
		t.Errorf("fixed: code %d", got)
	}
	if all := f.must("admin", bson.D{field("getParameter", "*")}); all.Len() < 10 {
		t.Errorf("%s", bsonval.FormatDoc(all))
	}
}

func TestLogBuffer(t *testing.T) {
	f := newFixture(t)
	f.cs.cfg.Logger.Warn("careful", "n", 1)
	f.cs.cfg.Log.Started()
	f.cs.cfg.Logger.Warn("later")
	for range logLines {
		f.cs.cfg.Logger.Info("fill", "error", errors.New("text"))
	}
	reply := f.must("admin", bson.D{field("getLog", "global")})
	if lines := reply.Lookup("log").Doc(); lines.Len() != logLines || !strings.Contains(lines.Index(0).Str(), `"error":"text"`) {
		t.Errorf("%d lines, first %s", lines.Len(), lines.Index(0).Str())
	}
	warnings := f.must("admin", bson.D{field("getLog", "startupWarnings")}).Lookup("log").Doc()
	if warnings.Len() != 1 || !strings.Contains(warnings.Index(0).Str(), `"msg":"careful"`) {
		t.Errorf("%s", bsonval.FormatDoc(warnings))
	}
}

func TestExplain(t *testing.T) {
	f := newFixture(t)
	f.must("d", bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("_id", 1), field("a", 1)}})})
	for _, inner := range []bson.D{
		{field("find", "c"), field("filter", bson.D{field("a", 1)})},
		{field("count", "c")}, {field("distinct", "c"), field("key", "a")},
		{field("aggregate", "c"), field("pipeline", bson.A{}), field("cursor", bson.D{})},
		{field("update", "c"), field("updates", bson.A{bson.D{field("q", bson.D{}), field("u", bson.D{field("$set", bson.D{field("a", 2)})})}})},
		{field("delete", "c"), field("deletes", bson.A{bson.D{field("q", bson.D{}), field("limit", 1)}})},
		{field("findAndModify", "c"), field("remove", true)},
	} {
		reply := f.must("d", bson.D{field("explain", inner), field("verbosity", "executionStats")})
		if reply.Lookup("queryPlanner").IsMissing() && reply.Lookup("stages").IsMissing() || reply.Lookup("serverInfo").IsMissing() {
			t.Errorf("%v: %s", inner, bsonval.FormatDoc(reply))
		}
	}
	if f.count("d", "c", bson.D{field("a", 1)}) != 1 {
		t.Error("explaining a write has changed something")
	}
	if got := f.code("d", bson.D{field("explain", bson.D{field("ping", 1)})}); got != mongoerr.IllegalOperation {
		t.Errorf("ping: code %d", got)
	}
}

func FuzzHostAndPort(f *testing.F) {
	for _, s := range []string{"a:1", "[::1]:27017", "", ":", "a:b", "[", "[]", "host"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if err := checkHostAndPort(s); err != nil && mongoerr.As(err) == nil {
			t.Errorf("%q: %v", s, err)
		}
	})
}

// FuzzCommand sends arbitrary documents as commands: whatever they are, there is a reply.
func FuzzCommand(f *testing.F) {
	for _, cmd := range []bson.D{
		{field("find", "c"), field("filter", bson.D{}), field("sort", bson.D{field("a", 1)})},
		{field("update", "c"), field("updates", bson.A{bson.D{field("q", bson.D{}), field("u", bson.A{})}})},
		{field("aggregate", 1), field("pipeline", bson.A{bson.D{field("$currentOp", bson.D{})}}), field("cursor", bson.D{})},
		{field("insert", "c"), field("documents", bson.A{bson.D{}}), field("lsid", lsid(1)), field("txnNumber", int64(1))},
		{field("bulkWrite", 1), field("ops", bson.A{}), field("nsInfo", bson.A{})},
	} {
		body, err := bson.Marshal(cmd)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	fx := open(f, "", server.ReplicaSet)
	f.Cleanup(fx.close)
	f.Fuzz(func(t *testing.T, body []byte) {
		if bsonval.Validate(body) != nil {
			return
		}
		reply, err := server.Call(t.Context(), fx.cs, server.NewRequest(fx.conn, "admin", body))
		if err != nil {
			t.Fatalf("%s: %v", bsonval.FormatDoc(body), err)
		}
		if reply.Lookup("ok").IsMissing() {
			t.Fatalf("no ok: %s", bsonval.FormatDoc(reply))
		}
	})
}

// Stages that MongoDB has and this server does not are refused by name.
func TestRefusedStages(t *testing.T) {
	f := newFixture(t)
	f.must("d", insertOf(docID(1)))
	for _, c := range []struct {
		db    string
		coll  any
		stage string
		arg   any
		code  mongoerr.Code
	}{
		{"d", "c", "$search", bson.D{}, 31082},
		{"d", "c", "$vectorSearch", bson.D{}, 31082},
		{"d", "c", "$scoreFusion", bson.D{}, 31082},
		{"d", "c", "$score", bson.D{field("score", 1)}, mongoerr.NotImplemented},
		{"d", "c", "$score", 1, mongoerr.FailedToParse},
		{"admin", 1, "$shardedDataDistribution", bson.D{}, 6789101},
		{"admin", 1, "$shardedDataDistribution", 1, 6789100},
		{"admin", 1, "$listSampledQueries", bson.D{}, mongoerr.IllegalOperation},
		{"d", "c", "$listSampledQueries", bson.D{}, mongoerr.InvalidNamespace},
		{"admin", 1, "$listSampledQueries", bson.D{field("x", 1)}, 40415},
		{"d", "c", "$noSuchStage", bson.D{}, 40324},
	} {
		cmd := bson.D{field("aggregate", c.coll), field("pipeline", bson.A{bson.D{field(c.stage, c.arg)}}), field("cursor", bson.D{})}
		if got := f.code(c.db, cmd); got != c.code {
			t.Errorf("%s %v: %d, want %d", c.stage, c.arg, got, c.code)
		}
	}
}
