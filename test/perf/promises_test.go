package perf

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
	"github.com/archelon-db/archelon/test/harness"
)

// TestPromises measures what docs/performance.md promises.
func TestPromises(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure; takes some minutes")
	}
	binary := harness.Build(t)
	r := newReport(t)
	t.Run("start", func(t *testing.T) { measureStart(t, r, binary) })
	t.Run("connections", func(t *testing.T) { measureConnections(t, r, binary) })
	t.Run("read", func(t *testing.T) { measureReads(t, r, binary) })
	t.Run("write", func(t *testing.T) { measureWrites(t, r, binary) })
	t.Run("index", func(t *testing.T) { measureIndex(t, r, binary) })
	t.Run("streams", func(t *testing.T) { measureStreams(t, r, binary) })
	t.Run("transactions", func(t *testing.T) { measureTransactions(t, r, binary) })
}

// start starts the binary on a folder; it ends with the test.
func start(t testing.TB, binary, dir string) target {
	s := harness.Start(t, binary, harness.FreeAddr(t), dir, "--log-level", "warn")
	return target{s.Addr, s.Pid()}
}

// load inserts the generator's documents and returns when they are on disk.
func load(t testing.TB, addr, coll string, n int) {
	t.Helper()
	c := dial(t, addr)
	const batch = 1000
	docs := make([][]byte, 0, batch)
	i := 0
	for d := range loadgen.Generate(1, n) {
		docs = append(docs, append([]byte(nil), d...))
		if i++; len(docs) == batch || i == n {
			c.begin()
			c.field("insert", bsonval.String(coll))
			c.end("documents", docs...)
			c.must(t)
			docs = docs[:0]
		}
	}
}

func createIndex(t testing.TB, addr, coll, field string) {
	t.Helper()
	c := dial(t, addr)
	c.begin()
	c.field("createIndexes", bsonval.String(coll))
	spec := bsonval.NewBuilder().StartDoc("key").Int32(field, 1).End().Str("name", field+"_1").Build()
	c.field("indexes", bsonval.ArrayOf(bsonval.Document(spec)))
	c.end("")
	c.must(t)
}

// findID asks for one of n documents.
func findID(coll string, n int) func(c *client) (int, error) {
	return findBy(coll, func(c *client) int64 { return c.rand.Int64N(int64(n)) })
}

func findBy(coll string, id func(c *client) int64) func(c *client) (int, error) {
	return func(c *client) (int, error) {
		c.begin()
		c.field("find", bsonval.String(coll))
		var filter [32]byte
		c.field("filter", bsonval.Document(idDoc(filter[:0], id(c))))
		c.field("limit", bsonval.Int64(1))
		c.field("singleBatch", bsonval.Bool(true))
		c.end("")
		_, err := c.call()
		return 1, err
	}
}

func idDoc(dst []byte, id int64) bsonval.Doc {
	dst, _ = bsonval.BeginDoc(dst)
	return bsonval.EndDoc(bsonval.AppendElement(dst, "_id", bsonval.Int64(id)), 0)
}

// measureReads compares point reads, scans and groups. The bare server has a
// copy of the data folder.
func measureReads(t *testing.T, r *report, binary string) {
	dir := filepath.Join(t.TempDir(), "data")
	loaded := harness.Start(t, binary, harness.FreeAddr(t), dir, "--log-level", "warn")
	load(t, loaded.Addr, "docs", *scanDocs)
	loaded.Stop(t)
	twin := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	ours := start(t, binary, dir)
	bare := startBare(t, twin)

	find := findID("docs", *scanDocs)
	// With few connections both servers sleep now and then, and what is measured
	// is how fast the machine wakes up; with many they do not.
	const few, many = 16, 64
	teach(t, ours.addr, bare.addr, find)
	warm(t, ours, *scanDocs)
	rest(ours)
	rest(bare)
	r.compare(t, "find by _id, 16 connections", newSide(t, ours, few, find), newSide(t, bare, few, find), 0)
	r.compare(t, "find by _id, 64 connections", newSide(t, ours, many, find), newSide(t, bare, many, find), 0.7)
	r.compare(t, "scan with a filter on one field, docs", newSide(t, ours, 1, scanOurs), newSide(t, bare, 1, scanBare), 0.5)
	r.compare(t, "$group by one field with $sum, docs", newSide(t, ours, 1, groupOurs), newSide(t, bare, 1, groupBare), 0.3)
}

// warm reads every document once, so that what can be cached is.
func warm(t *testing.T, to target, n int) {
	t.Helper()
	id := int64(-1)
	s := newSide(t, to, 1, findBy("docs", func(*client) int64 { id++; return id }))
	for id < int64(n)-1 {
		if _, err := s.op(s.clients[0]); err != nil {
			t.Fatal(err)
		}
	}
}

// teach makes the bare server answer find with a reply that the database gave.
func teach(t *testing.T, addr, bareAddr string, find func(*client) (int, error)) {
	t.Helper()
	c := dial(t, addr)
	if _, err := find(c); err != nil {
		t.Fatal(err)
	}
	reply, err := c.call()
	if err != nil {
		t.Fatal(err)
	}
	canned := bsonval.NewBuilder()
	for it := reply.Iter(); it.Next(); {
		if it.KeyStr() != "ok" {
			canned.Value(it.KeyStr(), it.Value())
		}
	}
	b := dial(t, bareAddr)
	b.begin()
	b.field("learn", bsonval.Int32(1))
	b.field("reply", bsonval.Document(canned.Build()))
	b.end("")
	b.must(t)
}

// low draws the lower bound of a filter that a thousandth of the documents match.
func low(c *client) float64 { return c.rand.Float64() * 99 }

func scanOurs(c *client) (int, error) {
	from := low(c)
	c.begin()
	c.field("find", bsonval.String("docs"))
	c.field("filter", bsonval.Document(bsonval.NewBuilder().StartDoc("score").Double("$gte", from).Double("$lt", from+0.1).Build()))
	c.field("batchSize", bsonval.Int32(10_000))
	c.end("")
	reply, err := c.call()
	if err == nil && reply.LookupPath("cursor", "id").Int64() != 0 {
		err = fmt.Errorf("more than one batch")
	}
	return *scanDocs, err
}

func scanBare(c *client) (int, error) {
	from := low(c)
	c.begin()
	c.field("scan", bsonval.Int32(1))
	c.field("low", bsonval.Double(from))
	c.field("high", bsonval.Double(from+0.1))
	c.end("")
	reply, err := c.call()
	if err == nil && reply.Lookup("docs").Int64() != int64(*scanDocs) {
		err = fmt.Errorf("the copy has %d records", reply.Lookup("docs").Int64())
	}
	return *scanDocs, err
}

func groupOurs(c *client) (int, error) {
	group := bsonval.NewBuilder().StartDoc("$group").Str("_id", "$region").StartDoc("sum").Str("$sum", "$score").Build()
	c.begin()
	c.field("aggregate", bsonval.String("docs"))
	c.field("pipeline", bsonval.ArrayOf(bsonval.Document(group)))
	c.field("cursor", bsonval.Document(bsonval.EmptyDoc))
	c.end("")
	reply, err := c.call()
	if err == nil && reply.LookupPath("cursor", "firstBatch").Doc().Len() != len(loadgen.Regions()) {
		err = fmt.Errorf("wrong groups: %s", bsonval.FormatDoc(reply))
	}
	return *scanDocs, err
}

func groupBare(c *client) (int, error) {
	c.begin()
	c.field("group", bsonval.Int32(1))
	c.end("")
	_, err := c.call()
	return *scanDocs, err
}

// measureWrites compares single durable writes. The bare server writes each
// document as one key.
func measureWrites(t *testing.T, r *report, binary string) {
	ours := start(t, binary, filepath.Join(t.TempDir(), "data"))
	bare := startBare(t, filepath.Join(t.TempDir(), "bare"))
	load(t, ours.addr, "docs", *scanDocs)
	load(t, bare.addr, "docs", *scanDocs)
	rest(ours)
	rest(bare)

	var next atomic.Int64
	next.Store(int64(*scanDocs))
	insert, again := insertOne(&next, false), insertOne(&next, true)
	put := putExisting(*scanDocs)
	for _, n := range []int{16, 64} {
		r.compare(t, fmt.Sprintf("insert of one, %d connections", n), newSide(t, ours, n, insert), newSide(t, bare, n, insert), 0.6)
		r.compare(t, fmt.Sprintf("update by _id, %d connections", n), newSide(t, ours, n, updateOne(*scanDocs)), newSide(t, bare, n, put), 0.6)
	}
	r.compare(t, "retryable insert of one, 64 connections", newSide(t, ours, 64, again), newSide(t, bare, 64, insert), 0)
}

// template is a document of the generator whose _id, the first field, is set
// anew for each use.
func template() []byte {
	for d := range loadgen.Generate(1, 10) {
		if len(d) >= 250 {
			return append([]byte(nil), d...)
		}
	}
	return nil
}

// idOffset is where the value of a leading int64 _id begins.
const idOffset = 4 + 1 + 4

func insertOne(next *atomic.Int64, retryable bool) func(c *client) (int, error) {
	tmpl := template()
	return func(c *client) (int, error) {
		c.begin()
		c.field("insert", bsonval.String("docs"))
		c.field("ordered", bsonval.Bool(true))
		if retryable {
			c.txn++
			c.field("txnNumber", bsonval.Int64(c.txn))
		}
		c.end("documents", tmpl)
		// The document ends the message.
		binary.LittleEndian.PutUint64(c.out[len(c.out)-len(tmpl)+idOffset:], uint64(next.Add(1)))
		_, err := c.call()
		return 1, err
	}
}

// putExisting writes the whole document that is under one of n ids: what an update
// comes to for a server without updates. Both sides rewrite the same documents: one and
// the same for all of them would be compressed to next to nothing.
func putExisting(n int) func(c *client) (int, error) {
	docs := make([][]byte, 0, n)
	for d := range loadgen.Generate(1, n) {
		docs = append(docs, append([]byte(nil), d...))
	}
	return func(c *client) (int, error) {
		c.begin()
		c.field("insert", bsonval.String("docs"))
		c.field("ordered", bsonval.Bool(true))
		c.end("documents", docs[c.rand.IntN(n)])
		_, err := c.call()
		return 1, err
	}
}

func updateOne(n int) func(c *client) (int, error) {
	change := bsonval.NewBuilder().StartDoc("$inc").Int32("updates", 1).End().StartDoc("$set").Str("note", "touched").Build()
	stmt := bsonval.NewBuilder().Doc("q", idDoc(nil, 0)).Doc("u", change).Build()
	// Behind the statement's length, the type and name of q, and the same of _id.
	const at = 4 + 1 + 2 + idOffset
	return func(c *client) (int, error) {
		c.begin()
		c.field("update", bsonval.String("docs"))
		c.field("ordered", bsonval.Bool(true))
		c.end("updates", stmt)
		binary.LittleEndian.PutUint64(c.out[len(c.out)-len(stmt)+at:], c.rand.Uint64N(uint64(n)))
		reply, err := c.call()
		if err == nil && reply.Lookup("nModified").Int64() != 1 {
			err = fmt.Errorf("nothing modified: %s", bsonval.FormatDoc(reply))
		}
		return 1, err
	}
}

// measureIndex compares a find of 20 documents by index in a large and a small
// collection of the same server.
func measureIndex(t *testing.T, r *report, binary string) {
	ours := start(t, binary, filepath.Join(t.TempDir(), "data"))
	addr := ours.addr
	small := *largeDocs / 100
	load(t, addr, "small", small)
	load(t, addr, "large", *largeDocs)
	for _, coll := range []string{"small", "large"} {
		createIndex(t, addr, coll, "customer")
	}
	rest(ours)
	a := newSide(t, ours, 1, find20("large", *largeDocs))
	b := newSide(t, ours, 1, find20("small", small))
	a.run(t, 5**roundTime) // the cache, which has room for all
	x, y, ratio := duel(t, b, a)
	latency := func(rate float64) string { return fmt.Sprintf("%.0f", 1e6/rate) }
	r.add(t, line{
		what: fmt.Sprintf("find of 20 by index, %d to %d docs", *largeDocs, small), ours: latency(y.rate()), bare: latency(x.rate()), unit: "µs",
		cpu: fmt.Sprintf("%.0f / %.0f", y.cpu(), x.cpu()), ratio: ratio, promise: 1.5, atMost: true,
	})
}

func find20(coll string, n int) func(c *client) (int, error) {
	customers := loadgen.Customers(n)
	return func(c *client) (int, error) {
		c.begin()
		c.field("find", bsonval.String(coll))
		var buf [64]byte
		filter, _ := bsonval.BeginDoc(buf[:0])
		filter = bsonval.EndDoc(bsonval.AppendElement(filter, "customer", bsonval.Int64(c.rand.Int64N(int64(customers)))), 0)
		c.field("filter", bsonval.Document(filter))
		c.end("")
		reply, err := c.call()
		if err == nil && reply.LookupPath("cursor", "firstBatch").Doc().Len() != 20 {
			err = fmt.Errorf("not 20 documents: %s", bsonval.FormatDoc(reply))
		}
		return 1, err
	}
}

// measureStart takes the time from the start of the process on an empty folder
// to its first answer, and its memory when it has come to rest.
func measureStart(t *testing.T, r *report, binary string) {
	var starts, sizes []float64
	for range 5 {
		took, size := startOnce(t, binary)
		starts, sizes = append(starts, took.Seconds()*1000), append(sizes, size)
	}
	ms, mb := median(starts), median(sizes)
	r.add(t, line{what: "start on an empty folder until hello is answered", ours: fmt.Sprintf("%.0f", ms), bare: "200", unit: "ms",
		ratio: ms / 200, promise: 1, atMost: true})
	r.add(t, line{what: "memory of the idle process", ours: fmt.Sprintf("%.1f", mb), bare: "80", unit: "MB",
		ratio: mb / 80, promise: 1, atMost: true})
}
