package archelon_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
)

// neighbour pings on a connection of its own while something hostile runs, and
// watches the memory of the process.
type neighbour struct {
	stop, done chan struct{}
	pings      []time.Duration
	heap       uint64
	err        error
}

func watch(client *mongo.Client) *neighbour {
	n := &neighbour{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(n.done)
		for {
			began := time.Now()
			if err := client.Database("admin").RunCommand(context.Background(), bson.D{{Key: "ping", Value: 1}}).Err(); err != nil {
				n.err = err
				return
			}
			n.pings = append(n.pings, time.Since(began))
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			n.heap = max(n.heap, m.HeapAlloc)
			select {
			case <-n.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return n
}

// Bounds of what a neighbour may notice. A server that stops for everybody, or
// takes memory without bound, breaks them by far; a busy test machine does not.
const (
	usualPing = 100 * time.Millisecond
	worstPing = 2 * time.Second
	mostHeap  = 1 << 30
)

func (n *neighbour) check(t *testing.T) {
	t.Helper()
	close(n.stop)
	<-n.done
	if n.err != nil {
		t.Fatalf("the neighbour's ping failed: %v", n.err)
	}
	slices.Sort(n.pings)
	usual, worst := n.pings[len(n.pings)*9/10], n.pings[len(n.pings)-1]
	if usual > usualPing && len(n.pings) >= 20 || worst > worstPing {
		t.Errorf("the neighbour's pings took %v at the 90th percentile and %v at worst", usual, worst)
	}
	if n.heap > mostHeap {
		t.Errorf("the heap grew to %d MiB", n.heap>>20)
	}
}

// hostile is a command that would run too long or take too much memory.
type hostile struct {
	name    string
	command string // Extended JSON; the collection is c
	codes   []int32
	within  time.Duration
}

const (
	timedOut    = 50
	tooLarge    = 10334
	memoryLimit = 146
	bufferLimit = 13548
	overflow    = 15
	scriptError = 139
)

// doubling builds a value that doubles in size forty times.
func doubling(operator, first string) string {
	return `{"aggregate": 1, "pipeline": [{"$documents": [{}]}, {"$project": {"x": {"$reduce": {"input": {"$range": [0, 40]},
		"initialValue": ` + first + `, "in": {"` + operator + `": ["$$value", "$$value"]}}}}}], "cursor": {}, "maxTimeMS": 5000}`
}

func hostileCommands() []hostile {
	const soon = 4 * time.Second
	return []hostile{
		{"backtracking regex", `{"find": "c", "filter": {"s": {"$regex": "^(?=(a+)+$)(a+)+\\1$"}}, "maxTimeMS": 300}`,
			[]int32{timedOut, 51156}, soon},
		{"backtracking regex in an expression", `{"aggregate": "c", "pipeline": [{"$match": {"$expr": {"$regexMatch":
			{"input": "$s", "regex": "^(?=(a+)+$)(a+)+\\1$"}}}}], "cursor": {}, "maxTimeMS": 300}`, []int32{timedOut, 51156}, soon},
		{"slow regex", `{"find": "c", "filter": {"t": {"$regex": "^(a|aa|aaa)*\\1b"}}, "maxTimeMS": 300}`, []int32{timedOut}, 1200 * time.Millisecond},
		{"slow regex in an expression", `{"aggregate": "c", "pipeline": [{"$project": {"x": {"$regexFind":
			{"input": "$t", "regex": "^(a|aa|aaa)*\\1b"}}}}], "cursor": {}, "maxTimeMS": 300}`, []int32{timedOut}, 1200 * time.Millisecond},
		{"huge $range", `{"aggregate": 1, "pipeline": [{"$documents": [{}]}, {"$project": {"x": {"$range": [0, 2000000000]}}}],
			"cursor": {}, "maxTimeMS": 3000}`, []int32{memoryLimit, tooLarge, timedOut}, soon},
		{"range of ranges", `{"aggregate": 1, "pipeline": [{"$documents": [{}]}, {"$project": {"x": {"$sum": {"$map": {"input":
			{"$range": [0, 100000]}, "in": {"$size": {"$map": {"input": {"$range": [0, 100000]}, "in": 1}}}}}}}}],
			"cursor": {}, "maxTimeMS": 300}`, []int32{timedOut}, soon},
		{"doubling string", doubling("$concat", `"x"`), []int32{bufferLimit}, 2 * soon},
		{"doubling array", doubling("$concatArrays", `[1]`), []int32{memoryLimit}, 2 * soon},
		{"result of more than 16 MiB", `{"aggregate": "c", "pipeline": [{"$project": {"x": {"$map": {"input": {"$range": [0, 20]},
			"in": {"$concat": ["$big", "$big"]}}}}}], "cursor": {}, "maxTimeMS": 5000}`, []int32{tooLarge, memoryLimit}, 2 * soon},
		{"group of more than 16 MiB", `{"aggregate": "c", "pipeline": [{"$unwind": "$many"}, {"$group": {"_id": null, "x":
			{"$push": "$big"}}}], "cursor": {}, "maxTimeMS": 5000}`, []int32{tooLarge, memoryLimit}, 2 * soon},
		{"cross join", `{"aggregate": "c", "pipeline": [{"$unwind": "$many"}, {"$unwind": "$many2"}, {"$lookup": {"from": "c",
			"pipeline": [{"$unwind": "$many"}, {"$unwind": "$many2"}, {"$match": {"$expr": {"$eq": ["$many", "$$CURRENT.many2"]}}},
			{"$count": "n"}], "as": "x"}}, {"$count": "n"}], "cursor": {}, "maxTimeMS": 300}`, []int32{timedOut}, soon},
		{"loop in $where", `{"find": "c", "filter": {"$where": "while (true) {}"}, "maxTimeMS": 300}`, []int32{timedOut}, soon},
		{"loop in $function", `{"aggregate": "c", "pipeline": [{"$project": {"x": {"$function": {"body":
			"function() { for (;;) {} }", "args": [], "lang": "js"}}}}], "cursor": {}, "maxTimeMS": 300}`, []int32{timedOut}, soon},
		{"recursion in $where", `{"find": "c", "filter": {"$where": "function f() { return f(); } return f();"}, "maxTimeMS": 3000}`,
			[]int32{scriptError}, soon},
		{"memory bomb in $where", `{"find": "c", "filter": {"$where": "var a = []; while (true) { a.push(new Array(100000).fill(1)); }"},
			"maxTimeMS": 3000}`, []int32{scriptError, timedOut}, 2 * soon},
		{"string bomb in $where", `{"find": "c", "filter": {"$where": "var s = 'x'; while (true) { s += s; }"}, "maxTimeMS": 3000}`,
			[]int32{scriptError, timedOut}, 2 * soon},
		where("array bomb", "var a = [1]; for (;;) a.push(a.concat(a));"),
		where("huge array", "return new Array(1e9).fill(0).length"),
		where("repeated string", "return 'x'.repeat(Math.pow(2, 28)) + 'y'.repeat(Math.pow(2, 30))"),
		where("nested JSON", "var a = []; for (var i = 0; i < 3e6; i++) a = [a]; return JSON.stringify(a)"),
		where("backtracking regex", "return /^(?=(a+)+$)(a+)+\\\\1$/.test(this.s)"),
		where("endless array-like", "return Array.prototype.indexOf.call({length: Math.pow(2, 53)}, 1)"),
		where("endless proxy", "return [].indexOf.call(new Proxy([], {get: (t, k) => k == 'length' ? 1e15 : 1}), 2)"),
		where("getter", "var o = {get a() { for (;;); }}; return o.a"),
		where("constructed function", "return (function() {}).constructor('var s = 1; for (;;) s += s + String(s)')()"),
		where("eval", "return eval('var s = 1; for (;;) s += s + String(s)')"),
		where("generator", "function* g() { for (;;) yield {} } return Array.from(g())"),
		where("conversion", "var s = 'x', o = {[Symbol.toPrimitive]() { return s }}; for (;;) s = o + o"),
		where("unending catch", "for (;;) { try { var s = 'x'; for (;;) s += s; } catch (e) { } finally { continue } }"),
		where("integer bomb", "var n = 3n; for (;;) n *= n"),
		where("deep source", strings.Repeat("(", 1<<20)),
	}
}

// where is a script that runs for a second at most.
func where(name, script string) hostile {
	return hostile{name + " in $where", `{"find": "c", "filter": {"$where": "` + script + `"}, "maxTimeMS": 1000}`,
		[]int32{scriptError, timedOut}, 4 * time.Second}
}

// TestHostileCommands runs expressions, patterns and scripts that would take
// forever or all memory. Each ends soon with MongoDB's error, and meanwhile
// others are served.
func TestHostileCommands(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds of processor time")
	}
	db, client := start(t, archelon.Config{Storage: archelon.StorageMemory})
	other, err := mongo.Connect(options.Client().ApplyURI(db.URI()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Disconnect(context.Background()) })
	many := bson.A{}
	for i := range 2000 {
		many = append(many, i)
	}
	_, err = client.Database("d").Collection("c").InsertOne(t.Context(), bson.D{
		{Key: "s", Value: strings.Repeat("a", 5000) + "!"}, {Key: "t", Value: strings.Repeat("a", 100) + "!b"}, {Key: "big", Value: strings.Repeat("x", 1<<20)},
		{Key: "many", Value: many}, {Key: "many2", Value: many},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hostileCommands() {
		t.Run(h.name, func(t *testing.T) {
			var cmd bson.D
			if err := bson.UnmarshalExtJSON([]byte(h.command), false, &cmd); err != nil {
				t.Fatal(err)
			}
			n := watch(other)
			began := time.Now()
			err := client.Database("d").RunCommand(t.Context(), cmd).Err()
			took := time.Since(began)
			n.check(t)
			var e mongo.CommandError
			if !errors.As(err, &e) || !slices.Contains(h.codes, e.Code) {
				t.Errorf("got %v, want an error with a code of %v", err, h.codes)
			}
			if took > h.within {
				t.Errorf("took %v, more than %v", took, h.within)
			}
		})
	}
}

// deep nests an operator in itself.
func deep(operator string, levels int) bson.D {
	d := bson.D{}
	for range levels {
		d = bson.D{{Key: operator, Value: bson.A{d}}}
	}
	return d
}

// TestDeepNesting sends expressions and filters that are nested deeper than
// documents may be.
func TestDeepNesting(t *testing.T) {
	_, client := start(t, archelon.Config{Storage: archelon.StorageMemory})
	db := client.Database("d")
	for _, levels := range []int{95, 110, 1000} {
		for name, cmd := range map[string]bson.D{
			"filter": {{Key: "find", Value: "c"}, {Key: "filter", Value: deep("$and", levels)}},
			"expression": {{Key: "aggregate", Value: "c"}, {Key: "cursor", Value: bson.D{}}, {Key: "pipeline", Value: bson.A{
				bson.D{{Key: "$project", Value: bson.D{{Key: "x", Value: deep("$not", levels)}}}}}}},
		} {
			err := db.RunCommand(t.Context(), cmd).Err()
			var e mongo.CommandError
			if levels < 100 && err != nil || levels >= 100 && (!errors.As(err, &e) || e.Code != overflow && e.Code != 22) {
				t.Errorf("%s of %d levels: %v", name, levels, err)
			}
		}
	}
	if err := client.Ping(t.Context(), nil); err != nil {
		t.Errorf("ping afterwards: %v", err)
	}
}
