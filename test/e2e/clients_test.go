package e2e

import (
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// question is a command that a shell, a driver or a graphical client sends, and what it looks for in the reply.
type question struct {
	db, command string   // the command as Extended JSON
	code        int32    // of the error that is the right answer; 0 if none is
	has         []string // dotted paths that the reply must have
}

// questions are what mongosh, Compass, Studio 3T and the drivers ask on connecting and while a user clicks around.
var questions = []question{
	// Who are you?
	{"admin", `{"hello": 1, "helloOk": true}`, 0, []string{"isWritablePrimary", "hosts.0", "setName", "me", "maxBsonObjectSize", "maxWriteBatchSize", "localTime", "logicalSessionTimeoutMinutes", "connectionId", "maxWireVersion", "topologyVersion.counter"}},
	{"admin", `{"isMaster": 1}`, 0, []string{"ismaster", "maxWireVersion"}},
	{"admin", `{"ismaster": 1}`, 0, []string{"ismaster"}},
	{"admin", `{"ping": 1}`, 0, nil},
	{"admin", `{"buildInfo": 1}`, 0, []string{"version", "versionArray.3", "gitVersion", "modules", "bits", "debug", "maxBsonObjectSize", "storageEngines", "openssl", "buildEnvironment", "javascriptEngine", "sysInfo", "allocator"}},
	{"test", `{"buildinfo": 1}`, 0, []string{"version"}},
	{"admin", `{"connectionStatus": 1, "showPrivileges": true}`, 0, []string{"authInfo.authenticatedUsers", "authInfo.authenticatedUserRoles", "authInfo.authenticatedUserPrivileges"}},
	{"admin", `{"getParameter": 1, "featureCompatibilityVersion": 1}`, 0, []string{"featureCompatibilityVersion.version"}},
	{"admin", `{"getParameter": "*"}`, 0, []string{"featureCompatibilityVersion", "internalQueryMaxBlockingSortMemoryUsageBytes"}},
	{"admin", `{"getParameter": {"showDetails": true}, "featureCompatibilityVersion": 1}`, 0, []string{"featureCompatibilityVersion.value.version", "featureCompatibilityVersion.settableAtRuntime"}},
	{"admin", `{"hostInfo": 1}`, 0, []string{"system.hostname", "system.numCores", "os.type", "os.name", "extra"}},
	{"admin", `{"getCmdLineOpts": 1}`, 0, []string{"argv.1", "parsed.net.port", "parsed.storage.dbPath", "parsed.replication.replSet"}},
	{"admin", `{"getLog": "startupWarnings"}`, 0, []string{"log", "totalLinesWritten"}},
	{"admin", `{"getLog": "global"}`, 0, []string{"log.0"}},
	{"admin", `{"getLog": "*"}`, 0, []string{"names.0"}},
	{"admin", `{"atlasVersion": 1}`, 59, nil},
	{"admin", `{"serverStatus": 1}`, 0, []string{"host", "version", "process", "pid", "uptime", "uptimeMillis", "localTime", "connections.current", "connections.available", "opcounters.insert", "network.bytesIn", "mem.resident", "metrics", "storageEngine.name", "repl.setName"}},
	{"admin", `{"serverStatus": 1, "metrics": 0, "repl": 0}`, 0, []string{"uptime"}},
	{"admin", `{"replSetGetStatus": 1}`, 0, []string{"set", "myState", "members.0.stateStr", "members.0.self", "members.0.health", "optimes"}},
	{"admin", `{"replSetGetConfig": 1}`, 0, []string{"config._id", "config.members.0.host"}},
	{"admin", `{"top": 1}`, 0, []string{"totals"}},
	{"admin", `{"whatsmyuri": 1}`, 0, []string{"you"}},
	{"admin", `{"listCommands": 1}`, 0, []string{"commands.find.help", "commands.aggregate"}},
	{"admin", `{"usersInfo": 1}`, 0, []string{"users"}},
	{"admin", `{"currentOp": 1}`, 0, []string{"inprog"}},
	{"admin", `{"getDefaultRWConcern": 1}`, 0, []string{"defaultReadConcern", "defaultWriteConcern"}},
	{"admin", `{"startSession": 1}`, 0, []string{"id.id", "timeoutMinutes"}},
	{"admin", `{"killAllSessions": []}`, 0, nil},
	{"admin", `{"killAllSessionsByPattern": []}`, 0, nil},
	{"admin", `{"aggregate": 1, "pipeline": [{"$currentOp": {"allUsers": true, "idleConnections": true, "idleSessions": true}}], "cursor": {}}`, 0, []string{"cursor.firstBatch.0.opid"}},
	{"admin", `{"aggregate": 1, "pipeline": [{"$listLocalSessions": {"allUsers": true}}], "cursor": {}}`, 0, []string{"cursor.firstBatch"}},
	{"config", `{"aggregate": "system.sessions", "pipeline": [{"$listSessions": {"allUsers": true}}], "cursor": {}}`, 0, []string{"cursor.firstBatch"}},
	// What do you hold?
	{"admin", `{"listDatabases": 1, "nameOnly": true, "authorizedDatabases": true}`, 0, []string{"databases.0.name"}},
	{"admin", `{"listDatabases": 1}`, 0, []string{"databases.0.sizeOnDisk", "databases.0.empty", "totalSize", "totalSizeMb"}},
	{"ask", `{"listCollections": 1, "authorizedCollections": true, "nameOnly": true}`, 0, []string{"cursor.firstBatch.0.name", "cursor.firstBatch.0.type"}},
	{"ask", `{"listCollections": 1, "filter": {"name": "things"}, "cursor": {}}`, 0, []string{"cursor.firstBatch.0.options", "cursor.firstBatch.0.info.uuid", "cursor.firstBatch.0.idIndex.key._id"}},
	{"ask", `{"listIndexes": "things", "cursor": {}}`, 0, []string{"cursor.firstBatch.1.key.k"}},
	{"ask", `{"dbStats": 1, "scale": 1}`, 0, []string{"collections", "objects", "avgObjSize", "dataSize", "storageSize", "indexes", "indexSize", "totalSize"}},
	{"ask", `{"dbstats": 1}`, 0, []string{"collections"}},
	{"ask", `{"collStats": "things"}`, 0, []string{"ns", "count", "size", "avgObjSize", "storageSize", "nindexes", "indexSizes._id_", "totalIndexSize", "totalSize", "capped"}},
	{"ask", `{"aggregate": "things", "pipeline": [{"$collStats": {"storageStats": {}, "count": {}}}], "cursor": {}}`, 0, []string{"cursor.firstBatch.0.storageStats.count", "cursor.firstBatch.0.count", "cursor.firstBatch.0.host", "cursor.firstBatch.0.localTime"}},
	{"ask", `{"aggregate": "things", "pipeline": [{"$indexStats": {}}], "cursor": {}}`, 0, []string{"cursor.firstBatch.0.accesses.ops", "cursor.firstBatch.0.spec"}},
	{"ask", `{"aggregate": "things", "pipeline": [{"$sample": {"size": 3}}], "cursor": {}, "allowDiskUse": true}`, 0, []string{"cursor.firstBatch.2"}},
	{"ask", `{"dataSize": "ask.things"}`, 0, []string{"size", "numObjects"}},
	{"ask", `{"validate": "things"}`, 0, []string{"valid", "nrecords", "keysPerIndex"}},
	{"ask", `{"profile": -1}`, 0, []string{"was", "slowms", "sampleRate"}},
	{"local", `{"find": "startup_log", "sort": {"$natural": -1}, "limit": 1}`, 0, []string{"cursor.firstBatch"}},
	{"local", `{"listCollections": 1}`, 0, []string{"cursor.firstBatch"}},
	{"config", `{"find": "settings", "filter": {"_id": "balancer"}}`, 0, []string{"cursor.firstBatch"}},
	{"ask", `{"find": "things", "filter": {}, "$readPreference": {"mode": "secondaryPreferred"}}`, 0, []string{"cursor.firstBatch.0"}},
	{"ask", `{"find": "things", "filter": {}, "readConcern": {"level": "majority"}, "maxTimeMS": 60000, "comment": "shell"}`, 0, []string{"cursor.firstBatch.0"}},
	{"ask", `{"find": "things", "filter": {}, "apiVersion": "1"}`, 0, []string{"cursor.firstBatch.0"}},
	{"ask", `{"count": "things", "query": {}}`, 0, []string{"n"}},
	{"ask", `{"distinct": "things", "key": "k"}`, 0, []string{"values.0"}},
	{"ask", `{"findandmodify": "things", "query": {"_id": 0}, "update": {"$set": {"seen": true}}}`, 0, []string{"value._id", "lastErrorObject.n"}},
	{"ask", `{"planCacheClear": "things"}`, 0, nil},
	{"ask", `{"aggregate": "things", "pipeline": [{"$planCacheStats": {}}], "cursor": {}}`, 0, []string{"cursor.firstBatch"}},
	{"ask", `{"getLastError": 1}`, 59, nil},
	{"ask", `{"create": "made", "capped": false}`, 0, nil},
	{"ask", `{"dropIndexes": "things", "index": "missing"}`, 27, nil},
	{"ask", `{"deleteIndexes": "things", "index": "missing"}`, 27, nil},
	{"admin", `{"listShards": 1}`, 59, nil},
	{"admin", `{"logout": 1}`, 0, nil},
}

// TestClientQuestions asks what clients ask and checks that they find what they look for.
func TestClientQuestions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetAppName("e2e"))
	fillThings(t, client.Database("ask"))
	for _, q := range questions {
		t.Run(q.db+" "+q.command, func(t *testing.T) {
			raw := harness.Dial(t, s.Addr) // a fresh connection, so that no driver completes the command
			var d bson.D
			if err := bson.UnmarshalExtJSON([]byte(q.command), false, &d); err != nil {
				t.Fatal(err)
			}
			reply, err := raw.Call(harness.Msg(0, harness.Doc(t, append(d, bson.E{Key: "$db", Value: q.db}))))
			if err != nil {
				t.Fatal(err)
			}
			if harness.Code(reply) != q.code {
				t.Fatalf("want code %d, got %s", q.code, text(reply))
			}
			for _, path := range q.has {
				if _, err := reply.LookupErr(strings.Split(path, ".")...); err != nil {
					t.Errorf("%s is not in %s", path, text(reply))
				}
			}
		})
	}
	t.Run("uptime", func(t *testing.T) { uptimeIsWhole(t, client) })
	t.Run("cursor ids", func(t *testing.T) { cursorIDsAreLarge(t, client.Database("ask")) })
	t.Run("duplicate keys", func(t *testing.T) { duplicateKeys(t, client.Database("ask")) })
	t.Run("empty timestamps", func(t *testing.T) { emptyTimestamps(t, client.Database("ask")) })
	t.Run("plans", func(t *testing.T) { planStages(t, client.Database("ask")) })
	t.Run("no reply wanted", func(t *testing.T) { noReply(t, s) })
	t.Run("legacy hello", func(t *testing.T) { legacyHello(t, s) })
	t.Run("awaited hello", func(t *testing.T) { awaitedHello(t, s) })
}

func fillThings(t *testing.T, db *mongo.Database) {
	t.Helper()
	var docs []any
	for i := range 300 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "k", Value: i % 10}, {Key: "n", Value: i}, {Key: "tags", Value: bson.A{"a", i}}})
	}
	must(db.Collection("things").InsertMany(t.Context(), docs))(t)
	must(db.Collection("things").Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "k", Value: 1}, {Key: "n", Value: 1}}}))(t)
}

// uptimeIsWhole: tools format the uptime as seconds; it is a double without a fraction.
func uptimeIsWhole(t *testing.T, client *mongo.Client) {
	reply := must(client.Database("admin").RunCommand(t.Context(), bson.D{{Key: "serverStatus", Value: 1}}).Raw())(t)
	up, ok := reply.Lookup("uptime").DoubleOK()
	if !ok || up != math.Trunc(up) {
		t.Errorf("uptime %s", reply.Lookup("uptime"))
	}
	if _, ok := reply.Lookup("uptimeMillis").Int64OK(); !ok {
		t.Errorf("uptimeMillis %s", reply.Lookup("uptimeMillis"))
	}
}

// cursorIDsAreLarge: ids above 2^31 show which clients drop the upper half.
func cursorIDsAreLarge(t *testing.T, db *mongo.Database) {
	large, seen := 0, map[int64]bool{}
	for range 20 {
		cur := must(db.Collection("things").Find(t.Context(), bson.D{}, options.Find().SetBatchSize(1)))(t)
		if cur.ID() > math.MaxInt32 {
			large++
		}
		seen[cur.ID()] = true
		same(t, len(all(t, cur, nil)), 300)
	}
	if large < 15 || len(seen) < 20 {
		t.Errorf("%d of 20 ids are above 2^31, %d differ", large, len(seen))
	}
}

func duplicateKeys(t *testing.T, db *mongo.Database) {
	run := func(command bson.D) bson.Raw {
		raw, _ := db.RunCommand(t.Context(), command).Raw()
		return raw
	}
	twice := run(bson.D{{Key: "insert", Value: "things"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: 5}}}}})
	failure := twice.Lookup("writeErrors", "0").Document()
	modify := run(bson.D{{Key: "findAndModify", Value: "things"}, {Key: "query", Value: bson.D{{Key: "x", Value: 1}}}, {Key: "update", Value: bson.D{{Key: "_id", Value: 5}}}, {Key: "upsert", Value: true}})
	for name, reply := range map[string]bson.Raw{"insert": failure, "findAndModify": modify} {
		same(t, reply.Lookup("code").Int32(), int32(11000))
		if got := reply.Lookup("keyPattern").String(); got != `{"_id": {"$numberInt":"1"}}` {
			t.Errorf("%s: keyPattern %s", name, got)
		}
		if got := reply.Lookup("keyValue").String(); got != `{"_id": {"$numberInt":"5"}}` {
			t.Errorf("%s: keyValue %s", name, got)
		}
		if got := reply.Lookup("errmsg").StringValue(); !strings.Contains(got, "E11000 duplicate key error collection: ask.things index: _id_ dup key: { _id: 5 }") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// emptyTimestamps: Timestamp(0, 0) at the top level becomes the time, unless the command says that it must stay, as
// restoring tools do.
func emptyTimestamps(t *testing.T, db *mongo.Database) {
	c := db.Collection("stamps")
	empty := bson.Timestamp{}
	for id, keep := range map[int]bool{1: false, 2: true} {
		must(db.RunCommand(t.Context(), bson.D{{Key: "insert", Value: "stamps"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: id}, {Key: "ts", Value: empty}}}}, {Key: "bypassEmptyTsReplacement", Value: keep}}).Raw())(t)
		must(db.RunCommand(t.Context(), bson.D{{Key: "update", Value: "stamps"}, {Key: "updates", Value: bson.A{bson.D{
			{Key: "q", Value: bson.D{{Key: "_id", Value: 10 + id}}}, {Key: "u", Value: bson.D{{Key: "ts", Value: empty}}}, {Key: "upsert", Value: true},
		}}}, {Key: "bypassEmptyTsReplacement", Value: keep}}).Raw())(t)
	}
	for id, keep := range map[int]bool{1: false, 11: false, 2: true, 12: true} {
		var got struct{ Ts bson.Timestamp }
		if err := c.FindOne(t.Context(), bson.D{{Key: "_id", Value: id}}).Decode(&got); err != nil {
			t.Fatal(err)
		}
		if got.Ts.IsZero() != keep {
			t.Errorf("_id %d: %v, bypassEmptyTsReplacement %t", id, got.Ts, keep)
		}
	}
}

// planStages checks the names of explain's stages, which clients draw as a tree.
func planStages(t *testing.T, db *mongo.Database) {
	for _, c := range []struct {
		command string
		want    []string
	}{
		{`{"find": "things", "filter": {"tags": "a"}}`, []string{"COLLSCAN"}},
		{`{"find": "things", "filter": {"k": 3}}`, []string{"FETCH", "IXSCAN"}},
		{`{"find": "things", "filter": {"_id": 3}}`, []string{"EXPRESS_IXSCAN"}},
		{`{"find": "things", "filter": {"k": 3}, "projection": {"_id": 0, "n": 1}}`, []string{"PROJECTION_COVERED", "IXSCAN"}},
		{`{"find": "things", "filter": {"k": 3}, "projection": {"tags": 1}}`, []string{"PROJECTION_SIMPLE", "FETCH", "IXSCAN"}},
		{`{"find": "things", "sort": {"tags": 1}, "limit": 3}`, []string{"SORT", "COLLSCAN"}},
		{`{"find": "things", "filter": {"k": 3}, "sort": {"n": -1}, "skip": 1, "limit": 3}`, []string{"LIMIT", "SKIP", "FETCH", "IXSCAN"}},
		{`{"find": "nowhere"}`, []string{"EOF"}},
		{`{"update": "things", "updates": [{"q": {"k": 3}, "u": {"$set": {"x": 1}}}]}`, []string{"UPDATE", "FETCH", "IXSCAN"}},
		{`{"delete": "things", "deletes": [{"q": {"tags": 3}, "limit": 1}]}`, []string{"DELETE", "COLLSCAN"}},
	} {
		var command bson.D
		if err := bson.UnmarshalExtJSON([]byte(c.command), false, &command); err != nil {
			t.Fatal(err)
		}
		raw := must(db.RunCommand(t.Context(), bson.D{{Key: "explain", Value: command}, {Key: "verbosity", Value: "queryPlanner"}}).Raw())(t)
		plan, ok := raw.Lookup("queryPlanner", "winningPlan").DocumentOK()
		if !ok {
			t.Fatalf("%s: %s", c.command, raw)
		}
		if got := stages(plan); strings.Join(got, " ") != strings.Join(c.want, " ") {
			t.Errorf("%s: %v, want %v", c.command, got, c.want)
		}
	}
}

// stages are the names of a plan's stages from the root on.
func stages(plan bson.Raw) []string {
	var out []string
	if name, ok := plan.Lookup("stage").StringValueOK(); ok {
		out = append(out, name)
	}
	if in, ok := plan.Lookup("inputStage").DocumentOK(); ok {
		out = append(out, stages(in)...)
	}
	if list, ok := plan.Lookup("inputStages").ArrayOK(); ok {
		values, _ := list.Values()
		for _, v := range values {
			out = append(out, stages(v.Document())...)
		}
	}
	return out
}

// noReply: a command with moreToCome gets no answer, however it ends; the next reply on the connection is that of the
// next command.
func noReply(t *testing.T, s *harness.Server) {
	c := harness.Dial(t, s.Addr)
	write := func(id int) []byte {
		return harness.Msg(harness.MoreToCome, harness.Doc(t, bson.D{{Key: "insert", Value: "silent"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: id}}}}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 0}}}, {Key: "$db", Value: "ask"}}))
	}
	for _, id := range []int{1, 1, 2} { // the second fails
		if err := c.Send(write(id)); err != nil {
			t.Fatal(err)
		}
	}
	reply := must(c.Call(harness.Msg(0, harness.Doc(t, bson.D{{Key: "count", Value: "silent"}, {Key: "$db", Value: "ask"}}))))(t)
	same(t, reply.Lookup("n").AsInt64(), int64(2))
}

// legacyHello: drivers begin with an OP_QUERY, since they do not know yet whom they talk to.
func legacyHello(t *testing.T, s *harness.Server) {
	for _, name := range []string{"isMaster", "ismaster", "hello"} {
		reply := must(harness.Dial(t, s.Addr).Call(harness.Query("admin.$cmd", harness.Doc(t, bson.D{{Key: name, Value: 1}, {Key: "helloOk", Value: true}}))))(t)
		if ok, _ := reply.Lookup("helloOk").BooleanOK(); !ok || reply.Lookup("maxWireVersion").AsInt64() < 25 {
			t.Errorf("%s: %s", name, reply)
		}
	}
}

// awaitedHello: a monitor's hello waits for a change, and answers after maxAwaitTimeMS without one.
func awaitedHello(t *testing.T, s *harness.Server) {
	c := harness.Dial(t, s.Addr)
	first := c.Run(t, "admin", "hello")
	began := time.Now()
	reply := must(c.Call(harness.Msg(0, harness.Doc(t, bson.D{{Key: "hello", Value: 1}, {Key: "topologyVersion", Value: first.Lookup("topologyVersion")}, {Key: "maxAwaitTimeMS", Value: int64(300)}, {Key: "$db", Value: "admin"}}))))(t)
	if took := time.Since(began); took < 250*time.Millisecond || reply.Lookup("ok").Double() != 1 {
		t.Errorf("answered after %s: %s", took, reply)
	}
}
