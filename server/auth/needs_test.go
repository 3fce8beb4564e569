package auth

import (
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
)

func doc(t testing.TB, text string) server.Doc {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(text), false, &d); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return server.Doc(raw)
}

func TestActionNames(t *testing.T) {
	if !slices.IsSortedFunc(actionNames[:], func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		t.Error("the names are not in the order of the alphabet")
	}
	for a, want := range map[Action]string{AnyAction: "anyAction", Call: "call", Find: "find", KillOp: "killop", Update: "update", ViewUser: "viewUser"} {
		if a.String() != want {
			t.Errorf("%d is %s, not %s", a, a, want)
		}
	}
}

// mayRun says whether a user with roles may run a command.
func mayRun(t *testing.T, roles, db, text string, services Services) bool {
	t.Helper()
	var granted []server.UserRole
	for _, r := range strings.Fields(roles) {
		name, of, ok := strings.Cut(r, "@")
		if !ok {
			of = "admin"
		}
		role := server.UserRole{Name: name, DB: of}
		if err := CheckRole(role); err != nil {
			t.Fatal(err)
		}
		granted = append(granted, role)
	}
	body := doc(t, text)
	c := command{db: db, body: body, services: services, user: server.NewUser("me", "admin", granted)}
	c.name, _, _ = body.First()
	r := c.rule()
	if r.needs != nil {
		r.needs(&c)
	}
	ps := privilegesOf(granted)
	for i := range c.list {
		if !ps.allow(&c.list[i]) {
			return false
		}
	}
	return true
}

func TestRights(t *testing.T) {
	services := func(_, command string) Access {
		if command == "thumbnail" {
			return Callable
		}
		return ByTable
	}
	for _, c := range []struct {
		roles, db, command string
		want               bool
	}{
		{"read@shop", "shop", `{"find": "c"}`, true},
		{"read@shop", "shop", `{"find": "system.users"}`, false},
		{"read@shop", "shop", `{"find": "system.js"}`, true},
		{"read@shop", "bank", `{"find": "c"}`, false},
		{"read@shop", "shop", `{"insert": "c"}`, false},
		{"read@shop", "shop", `{"FIND": "c"}`, true},
		{"", "shop", `{"find": "c"}`, false},
		{"", "shop", `{"ping": 1}`, true},
		{"", "shop", `{"startSession": 1}`, true},
		{"readWrite@shop", "shop", `{"insert": "c"}`, true},
		{"readWrite@shop", "shop", `{"insert": "c", "bypassDocumentValidation": true}`, false},
		{"readWrite@shop dbAdmin@shop", "shop", `{"insert": "c", "bypassDocumentValidation": true}`, true},
		{"readWrite@shop", "shop", `{"update": "c", "updates": [{"upsert": true}]}`, true},
		{"readWrite@shop", "shop", `{"findAndModify": "c", "remove": true}`, true},
		{"readWrite@shop", "shop", `{"dropDatabase": 1}`, false},
		{"dbAdmin@shop", "shop", `{"dropDatabase": 1}`, true},
		{"dbAdmin@shop", "shop", `{"find": "c"}`, false},
		{"dbAdmin@shop", "shop", `{"find": "system.profile"}`, true},
		{"dbOwner@shop", "shop", `{"createUser": "x"}`, true},
		{"readAnyDatabase", "bank", `{"find": "c"}`, true},
		{"readAnyDatabase", "local", `{"find": "oplog.rs"}`, false},
		{"clusterMonitor", "local", `{"find": "oplog.rs"}`, true},
		{"readAnyDatabase", "admin", `{"serverStatus": 1}`, false},
		{"clusterMonitor", "admin", `{"serverStatus": 1}`, true},
		{"clusterMonitor", "admin", `{"shutdown": 1}`, false},
		{"hostManager", "admin", `{"shutdown": 1}`, true},
		{"clusterAdmin", "admin", `{"setParameter": 1}`, true},
		{"clusterAdmin", "shop", `{"find": "c"}`, false},
		{"root", "shop", `{"find": "system.users"}`, true},
		{"root", "admin", `{"applyOps": []}`, true},
		{"root", "shop", `{"thumbnail": 1}`, true},
		{"readWriteAnyDatabase", "shop", `{"thumbnail": 1}`, false},
		{"call@shop", "shop", `{"thumbnail": 1}`, true},
		{"call@shop", "bank", `{"thumbnail": 1}`, false},
		{"callAnyDatabase", "bank", `{"thumbnail": 1}`, true},
		{"call@shop", "shop", `{"find": "$cmd", "filter": {"thumbnail": 1}}`, true},
		{"call@shop", "shop", `{"find": "$cmd", "filter": {"$query": {"killOp": 1}}}`, false},
		{"read@shop", "shop", `{"$query": {"dropDatabase": 1}}`, false},
		{"call@shop", "shop", `{"getMore": {"$numberLong": "5"}, "collection": "$cmd.thumbnail"}`, true},
		{"read@shop", "shop", `{"getMore": {"$numberLong": "5"}, "collection": "$cmd.thumbnail"}`, false},
		{"read@shop", "bank", `{"getMore": {"$numberLong": "5"}, "collection": "c"}`, false},

		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$match": {}}, {"$lookup": {"from": "d", "as": "x"}}]}`, true},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$lookup": {"from": {"db": "bank", "coll": "d"}, "as": "x"}}]}`, false},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$facet": {"a": [{"$unionWith": {"coll": "system.users"}}]}}]}`, false},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$lookup": {"from": "d", "as": "x", "pipeline": [{"$graphLookup": {"from": "system.users"}}]}}]}`, false},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$unionWith": "d"}]}`, true},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$out": "d"}]}`, false},
		{"readWrite@shop", "shop", `{"aggregate": "c", "pipeline": [{"$out": "d"}]}`, true},
		{"readWrite@shop", "shop", `{"aggregate": "c", "pipeline": [{"$out": {"db": "bank", "coll": "d"}}]}`, false},
		{"readWrite@shop", "shop", `{"aggregate": "c", "pipeline": [{"$merge": {"into": {"db": "bank", "coll": "d"}}}]}`, false},
		{"read@shop readWrite@bank", "shop", `{"aggregate": "c", "pipeline": [{"$merge": {"into": {"db": "bank", "coll": "d"}}}]}`, true},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$merge": "d"}]}`, false},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$merge": {"into": "system.js", "whenMatched": "keepExisting", "whenNotMatched": "discard"}}]}`, true},
		{"read@shop", "shop", `{"aggregate": 1, "pipeline": [{"$changeStream": {}}]}`, true},
		{"read@admin", "admin", `{"aggregate": 1, "pipeline": [{"$changeStream": {"allChangesForCluster": true}}]}`, false},
		{"readAnyDatabase", "admin", `{"aggregate": 1, "pipeline": [{"$changeStream": {"allChangesForCluster": true}}]}`, true},
		{"read@shop", "admin", `{"aggregate": 1, "pipeline": [{"$currentOp": {}}]}`, false},
		{"read@shop", "shop", `{"aggregate": "c", "pipeline": [{"$indexStats": {}}]}`, true},
		{"read@shop", "shop", `{"explain": {"find": "c"}}`, true},
		{"read@shop", "shop", `{"explain": {"delete": "c"}}`, false},

		{"readWrite@shop", "admin", `{"bulkWrite": 1, "ops": [{"insert": 0}, {"update": 0}], "nsInfo": [{"ns": "shop.c"}]}`, true},
		{"readWrite@shop", "admin", `{"bulkWrite": 1, "ops": [{"insert": 0}, {"delete": 1}], "nsInfo": [{"ns": "shop.c"}, {"ns": "bank.c"}]}`, false},
		{"readWrite@shop", "admin", `{"bulkWrite": 1, "ops": [{"insert": 0}], "nsInfo": [{"ns": "shop.c"}, {"ns": "bank.c"}]}`, true},
		{"readWrite@shop", "admin", `{"renameCollection": "shop.a", "to": "shop.b", "dropTarget": true}`, true},
		{"readWrite@shop", "admin", `{"renameCollection": "shop.a", "to": "bank.b"}`, false},
		{"readWrite@shop readWrite@bank", "admin", `{"renameCollection": "shop.a", "to": "bank.b"}`, true},
		{"readWrite@shop", "shop", `{"create": "v", "viewOn": "c", "pipeline": []}`, true},
		{"readWrite@shop", "shop", `{"create": "v", "viewOn": "system.users", "pipeline": []}`, false},
		{"readWrite@shop", "shop", `{"mapReduce": "c", "out": {"merge": "d", "db": "bank"}}`, false},
		{"readWrite@shop", "shop", `{"mapReduce": "c", "out": "d"}`, true},
		{"read@shop", "shop", `{"listCollections": 1}`, true},
		{"read@shop", "bank", `{"listCollections": 1}`, false},
		{"read@shop", "bank", `{"listCollections": 1, "nameOnly": true, "authorizedCollections": true}`, true},
		{"read@shop", "admin", `{"listDatabases": 1}`, true},
		{"read@shop", "admin", `{"listDatabases": 1, "authorizedDatabases": false}`, false},
		{"readWrite@shop", "shop", `{"cloneCollectionAsCapped": "a", "toCollection": "b"}`, true},
		{"", "admin", `{"usersInfo": "me"}`, true},
		{"", "admin", `{"usersInfo": "you"}`, false},
		{"", "shop", `{"usersInfo": "me"}`, false},
		{"", "shop", `{"usersInfo": {"user": "me", "db": "admin"}}`, true},
		{"", "admin", `{"usersInfo": ["me", "you"]}`, false},
		{"", "admin", `{"usersInfo": 1}`, false},
		{"userAdminAnyDatabase", "admin", `{"usersInfo": {"forAllDBs": true}}`, true},
		{"userAdmin@shop", "shop", `{"usersInfo": {"user": "x", "db": "bank"}}`, false},
		{"", "shop", `{"noSuchCommand": 1}`, true}, // the handler refuses it
	} {
		if got := mayRun(t, c.roles, c.db, c.command, services); got != c.want {
			t.Errorf("[%s] on %s: %s: %v", c.roles, c.db, c.command, got)
		}
	}
}

// TestUUID: a collection named by its UUID may be any.
func TestUUID(t *testing.T) {
	const find = `{"find": {"$uuid": "00112233-4455-6677-8899-aabbccddeeff"}}`
	if mayRun(t, "read@shop", "shop", find, nil) || !mayRun(t, "root", "shop", find, nil) {
		t.Error("a UUID needs a right of its own")
	}
}
