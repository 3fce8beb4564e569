package e2e

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

const (
	maxDocument = 16 << 20
	maxMessage  = 48_000_000
	closed      = int32(-1) // stands for a connection that the server closes without an answer
)

// badInput is a message and the code it is answered with: 0 if all is well with it.
type badInput struct {
	name string
	send []byte
	code int32
}

// TestBadInput sends messages that are wrong in many ways. Each is answered with MongoDB's code (or the connection is
// closed, where MongoDB closes it), and neither the server nor other connections take notice.
func TestBadInput(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	endNeighbours := neighbours(t, s)
	for _, list := range [][]badInput{sizes(t), nesting(t), ids(t), badDocuments(t), badCommands(t), numbers(t), frames(t)} {
		for _, in := range list {
			t.Run(in.name, func(t *testing.T) {
				c := harness.Dial(t, s.Addr)
				reply, err := c.Call(in.send)
				if in.code == closed {
					if !hungUp(err) {
						t.Fatalf("want the connection closed, got %v %v", reply, err)
					}
					return
				}
				if err != nil {
					t.Fatalf("want code %d, got %v", in.code, err)
				}
				if code := harness.Code(reply); code != in.code {
					t.Errorf("want code %d, got %s", in.code, text(reply))
				}
				if reply := c.Run(t, "admin", "ping"); reply.Lookup("ok").Double() != 1 {
					t.Errorf("the connection is spoilt: %s", reply)
				}
			})
		}
	}
	endNeighbours()
	s.Stop(t)
}

func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func text(reply bson.Raw) string {
	s := reply.String()
	return s[:min(len(s), 500)]
}

// neighbours works on connections of its own until the function it returns is called: one with pings, one with a cursor
// that was opened before.
func neighbours(t *testing.T, s *harness.Server) (stop func()) {
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetDirect(true))
	c := client.Database("neighbour").Collection("c")
	var docs []any
	for i := range 500 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	must(c.InsertMany(t.Context(), docs))(t)
	cursor := must(c.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(2)))(t)
	ctx, cancel := context.WithCancel(t.Context())
	raw := harness.Dial(t, s.Addr)
	ping := harness.Msg(0, harness.Doc(t, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "admin"}}))
	var pings atomic.Int64
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if reply, err := raw.Call(ping); err != nil || reply.Lookup("ok").Double() != 1 {
				done <- errors.Join(err, errors.New("a neighbour's ping failed"))
				return
			}
			pings.Add(1)
		}
		done <- nil
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("after %d pings: %v", pings.Load(), err)
		}
		same(t, len(all(t, cursor, nil)), len(docs))
	}
}

// insert is an insert of documents as bytes.
func insert(t *testing.T, docs ...[]byte) []byte {
	return harness.Msg(0, harness.Doc(t, bson.D{{Key: "insert", Value: "bad"}, {Key: "$db", Value: "e2e_bad"}}), harness.Sequence{Name: "documents", Docs: docs})
}

// command is a command given as relaxed Extended JSON.
func command(t *testing.T, json string) []byte {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(json), false, &d); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return harness.Msg(0, harness.Doc(t, append(d, bson.E{Key: "$db", Value: "e2e_bad"})))
}

// sized is a document of exactly n bytes.
func sized(t *testing.T, n int) []byte {
	empty := len(harness.Doc(t, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "s", Value: ""}}))
	return harness.Doc(t, bson.D{{Key: "_id", Value: bson.NewObjectID()}, {Key: "s", Value: strings.Repeat("x", n-empty)}})
}

func sizes(t *testing.T) []badInput {
	third := maxMessage/3 - 1000
	full := insert(t, sized(t, third), sized(t, third), sized(t, third))
	full = insert(t, sized(t, third), sized(t, third), sized(t, third+maxMessage-len(full))) // to the byte
	over := insert(t, sized(t, third), sized(t, third), sized(t, third+3000))
	grow := harness.Msg(0, harness.Doc(t, bson.D{{Key: "update", Value: "bad"}, {Key: "$db", Value: "e2e_bad"}}), harness.Sequence{Name: "updates", Docs: [][]byte{
		harness.Doc(t, bson.D{{Key: "q", Value: bson.D{{Key: "s", Value: bson.D{{Key: "$exists", Value: true}}}}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "t", Value: strings.Repeat("x", maxDocument-100)}}}}}}),
	}})
	return []badInput{
		{"a document of 16 MiB", insert(t, sized(t, maxDocument)), 0},
		{"a document of 16 MiB and a byte", insert(t, sized(t, maxDocument+1)), 10334},
		{"a document larger than anything internal", insert(t, sized(t, maxDocument+16<<10+1)), 10334},
		{"an update beyond 16 MiB", grow, 17419},
		{"a message of 48 MB", full, 0},
		{"a message of more than 48 MB", over, closed},
	}
}

// nested is a document with levels nested documents, itself included.
func nested(t *testing.T, levels int) []byte {
	d := bson.D{{Key: "x", Value: 1}}
	for range levels - 1 {
		d = bson.D{{Key: "a", Value: d}}
	}
	return harness.Doc(t, d)
}

func nesting(t *testing.T) []badInput {
	and := func(levels int) []byte {
		d := bson.D{{Key: "x", Value: 1}}
		for range levels {
			d = bson.D{{Key: "$nor", Value: bson.A{d}}}
		}
		return harness.Msg(0, harness.Doc(t, bson.D{{Key: "find", Value: "bad"}, {Key: "filter", Value: d}, {Key: "$db", Value: "e2e_bad"}}))
	}
	return []badInput{
		{"100 levels", insert(t, nested(t, 100)), 0},
		{"150 levels", insert(t, nested(t, 150)), 0},
		{"180 levels", insert(t, nested(t, 180)), 0},
		{"181 levels", insert(t, nested(t, 181)), 15},
		{"250 levels", insert(t, nested(t, 250)), 15},
		{"100,000 levels", insert(t, nested(t, 100_000)), 15},
		{"a filter of 40 levels", and(40), 0},
		{"a filter of 98 levels", and(98), 0},
		{"a filter of 200 levels", and(200), 15},
		{"an expression of 150 levels", command(t, `{"find": "bad", "filter": {"$expr": `+strings.Repeat(`{"$not": [`, 60)+"1"+strings.Repeat("]}", 60)+`}}`), 0},
		{"a pattern of 20,000 groups", command(t, `{"find": "bad", "filter": {"s": {"$regex": "`+strings.Repeat("(", 20_000)+strings.Repeat(")", 20_000)+`"}}}`), 51091},
	}
}

func ids(t *testing.T) []badInput {
	doc := func(d bson.D) []byte { return harness.Doc(t, d) }
	return []badInput{
		{"no _id", insert(t, doc(bson.D{{Key: "x", Value: 1}})), 0},
		{"the same _id twice in a message", insert(t, doc(bson.D{{Key: "_id", Value: "a"}}), doc(bson.D{{Key: "_id", Value: "a"}})), 11000},
		{"the same number of another type", insert(t, doc(bson.D{{Key: "_id", Value: int32(5)}}), doc(bson.D{{Key: "_id", Value: 5.0}})), 11000},
		{"two _id fields", insert(t, doc(bson.D{{Key: "_id", Value: 1}, {Key: "_id", Value: 2}})), 2},
		{"_id an array", insert(t, doc(bson.D{{Key: "_id", Value: bson.A{1}}})), 53},
		{"_id a pattern", insert(t, doc(bson.D{{Key: "_id", Value: bson.Regex{Pattern: "x"}}})), 53},
		{"_id undefined", insert(t, doc(bson.D{{Key: "_id", Value: bson.Undefined{}}})), 53},
		{"_id with an operator", insert(t, doc(bson.D{{Key: "_id", Value: bson.D{{Key: "$x", Value: 1}}}})), 52},
		{"_id changed", command(t, `{"update": "bad", "updates": [{"q": {"_id": "a"}, "u": {"$set": {"_id": "b"}}}]}`), 66},
	}
}

// element is a document with one element of any type byte and value bytes.
func element(kind byte, value ...byte) []byte {
	b := append([]byte{0, 0, 0, 0, kind, 'f', 0}, value...)
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func badDocuments(t *testing.T) []badInput {
	lying := element(0x02, 0xff, 0xff, 0xff, 0x7f, 'x', 0)
	short := harness.Doc(t, bson.D{{Key: "a", Value: "text"}})
	binary.LittleEndian.PutUint32(short, uint32(len(short)+40))
	unterminated := harness.Doc(t, bson.D{{Key: "a", Value: "text"}})
	unterminated[len(unterminated)-1] = 1
	return []badInput{
		{"invalid UTF-8 in a value", insert(t, harness.Doc(t, bson.D{{Key: "s", Value: "a\xff\xfe\xc0"}})), 0},
		{"invalid UTF-8 in a name", insert(t, harness.Doc(t, bson.D{{Key: "s\xff", Value: 1}})), 0},
		{"half a surrogate pair", insert(t, harness.Doc(t, bson.D{{Key: "s", Value: "\xed\xa0\x80"}})), 0},
		{"an unknown type", insert(t, element(0x42, 1, 2, 3)), 22},
		{"a string that claims 2 GB", insert(t, lying), 22},
		{"a string of negative length", insert(t, element(0x02, 0xff, 0xff, 0xff, 0xff, 0)), 22},
		{"a boolean of 7", insert(t, element(0x08, 7)), 22},
		{"a document longer than the message", insert(t, short), 22},
		{"a document without its end", insert(t, unterminated), 22},
		{"a document of negative length", insert(t, []byte{0xff, 0xff, 0xff, 0xff, 0}), 10334},
		{"an empty sequence", insert(t), 16},
		{"a name with a dollar", insert(t, harness.Doc(t, bson.D{{Key: "$x", Value: 1}})), 0},
	}
}

func badCommands(t *testing.T) []badInput {
	utf := harness.Msg(0, harness.Doc(t, bson.D{{Key: "find", Value: "a\xff"}, {Key: "$db", Value: "e2e_bad"}}))
	zero := harness.Msg(0, harness.Doc(t, bson.D{{Key: "find", Value: "a\x00b"}, {Key: "$db", Value: "e2e_bad"}}))
	twice := harness.Msg(0, harness.Doc(t, bson.D{{Key: "find", Value: "c"}, {Key: "limit", Value: 1}, {Key: "limit", Value: 2}, {Key: "$db", Value: "e2e_bad"}}))
	return []badInput{
		{"an unknown command", command(t, `{"nope": 1}`), 59},
		{"an unknown field", command(t, `{"find": "bad", "nope": 1}`), 40415},
		{"an unknown field of an update", command(t, `{"update": "bad", "updates": [{"q": {}, "u": {}, "nope": 1}]}`), 40415},
		{"a field twice", twice, 40413},
		{"a missing field", command(t, `{"update": "bad"}`), 40414},
		{"a field of the wrong type", command(t, `{"find": "bad", "filter": 1}`), 14},
		{"an unknown query operator", command(t, `{"find": "bad", "filter": {"a": {"$nope": 1}}}`), 2},
		{"an unknown expression", command(t, `{"find": "bad", "filter": {"$expr": {"$nope": 1}}}`), 168},
		{"an unknown stage", command(t, `{"aggregate": "bad", "pipeline": [{"$nope": 1}], "cursor": {}}`), 40324},
		{"an unknown accumulator", command(t, `{"aggregate": "bad", "pipeline": [{"$group": {"_id": 1, "a": {"$nope": 1}}}], "cursor": {}}`), 15952},
		{"an unknown update operator", command(t, `{"update": "bad", "updates": [{"q": {}, "u": {"$nope": {"a": 1}}}]}`), 9},
		{"an empty collection name", command(t, `{"find": ""}`), 73},
		{"a collection name with a zero", zero, 73},
		{"a collection name that is no UTF-8", utf, 0},
		{"no database", harness.Msg(0, harness.Doc(t, bson.D{{Key: "ping", Value: 1}})), 40571},
		{"an empty command", harness.Msg(0, harness.Doc(t, bson.D{})), 40571},
		{"a wrong pattern", command(t, `{"find": "bad", "filter": {"a": {"$regex": "("}}}`), 51091},
	}
}

func numbers(t *testing.T) []badInput {
	return []badInput{
		{"an int64 to count on", insert(t, harness.Doc(t, bson.D{{Key: "_id", Value: "big"}, {Key: "n", Value: int64(math.MaxInt64)}, {Key: "d", Value: math.MaxFloat64}})), 0},
		{"$inc beyond int64", command(t, `{"update": "bad", "updates": [{"q": {"_id": "big"}, "u": {"$inc": {"n": 1}}}]}`), 2},
		{"$mul beyond int64", command(t, `{"update": "bad", "updates": [{"q": {"_id": "big"}, "u": {"$mul": {"n": 2}}}]}`), 2},
		{"$inc of a double to infinity", command(t, `{"update": "bad", "updates": [{"q": {"_id": "big"}, "u": {"$mul": {"d": 10}}}]}`), 0},
		{"$toInt beyond int32", command(t, `{"aggregate": 1, "pipeline": [{"$documents": [{"a": {"$toInt": 3000000000}}]}], "cursor": {}}`), 241},
		{"$abs of the least int64", command(t, `{"aggregate": 1, "pipeline": [{"$documents": [{"a": {"$abs": {"$numberLong": "-9223372036854775808"}}}]}], "cursor": {}}`), 28680},
		{"a negative skip", command(t, `{"find": "bad", "skip": -1}`), 2},
		{"a negative batch size", command(t, `{"find": "bad", "batchSize": -1}`), 2},
		{"a limit that is no number", command(t, `{"find": "bad", "limit": "1"}`), 14},
		{"a limit beyond int64", command(t, `{"aggregate": "bad", "pipeline": [{"$limit": 1e30}], "cursor": {}}`), 5107201},
		{"a $mod by zero", command(t, `{"find": "bad", "filter": {"a": {"$mod": [0, 1]}}}`), 2},
	}
}

func frames(t *testing.T) []badInput {
	ping := harness.Doc(t, bson.D{{Key: "ping", Value: 1}, {Key: "$db", Value: "admin"}})
	header := func(length int32, opcode int32) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(length))
		b = append(b, 1, 0, 0, 0, 0, 0, 0, 0)
		return binary.LittleEndian.AppendUint32(b, uint32(opcode))
	}
	msg := func(sections ...byte) []byte { return harness.Frame(2013, append([]byte{0, 0, 0, 0}, sections...)) }
	random := make([]byte, 4096)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	random[3] |= 0x80 // a negative length
	list := []badInput{
		{"a negative length", header(-5, 2013), closed},
		{"a length below the header's", header(8, 2013), closed},
		{"a length of 2 GB", header(math.MaxInt32, 2013), closed},
		{"random bytes", random, closed},
		{"a request of another protocol", []byte("GET / HTTP/1.1\r\nHost: example.net\r\n\r\n"), closed},
		{"an unknown opcode", harness.Frame(1234, ping), closed},
		{"an OP_INSERT", harness.Frame(2002, append([]byte{0, 0, 0, 0, 'd', '.', 'c', 0}, ping...)), closed},
		{"an unknown required flag", harness.Msg(1<<5, ping), closed},
		{"an unknown optional flag", harness.Msg(1<<20, ping), 0},
		{"no section", msg(), 40587},
		{"an unknown kind of section", msg(append([]byte{9}, ping...)...), 40432},
		{"two bodies", msg(append(append(append([]byte{0}, ping...), 0), ping...)...), 40430},
		{"a sequence twice", harness.Msg(0, ping, harness.Sequence{Name: "a"}, harness.Sequence{Name: "a"}), 40431},
		{"a sequence that is a field too", harness.Msg(0, ping, harness.Sequence{Name: "ping"}), 40433},
		{"a sequence that claims too much", msg(append(append([]byte{0}, ping...), 1, 0xff, 0xff, 0, 0, 'a', 0)...), 22},
		{"compression of an unknown kind", harness.Frame(2012, append([]byte{0xdd, 7, 0, 0, 5, 0, 0, 0, 9}, ping...)), closed},
		{"a compressed size that lies", harness.Frame(2012, []byte{0xdd, 7, 0, 0, 0xff, 0xff, 0xff, 0x01, 1, 1, 2, 3}), closed},
		{"an OP_QUERY that reads a collection", harness.Query("d.c", ping), 5739101},
		{"an OP_QUERY with a command", harness.Query("admin.$cmd", ping), 352},
	}
	return append(list, badInput{"a command in many pieces of garbage", bytes.Repeat([]byte{0}, 64), closed})
}
