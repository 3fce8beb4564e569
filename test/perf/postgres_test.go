package perf

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// pgOnly picks rows of TestPostgres.
var pgOnly = flag.String("perf.only", "", "only the operations of TestPostgres whose name contains this")

// pgDocs is the size of the collection that the engines are compared on.
const pgDocs = 100_000

// TestPostgres compares the engines, each behind the real binary, and the library over
// PostgreSQL, with what somebody would write by hand for PostgreSQL alone: prepared
// statements over the same documents, sent from the clients themselves. The library is in
// the clients' process, too: between it and PostgreSQL there is one network, as by hand.
// Between the binary's clients and PostgreSQL there are two, as through a relay, which is a
// process that copies bytes.
//
// What is written by hand has up to three forms (hand_test.go, hand_same_test.go): the least
// that would do; what comes to the same as Archelon's, a change and an entry in a log
// ("logged"); and the statements that Archelon sends for one client ("same").
//
// The binary and the library have a store each: neither shares it with another process.
func TestPostgres(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure; takes some minutes")
	}
	pg, err := pgharness.Start(map[string]string{"max_connections": "200", "shared_buffers": "512MB", "max_wal_size": "4GB"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pg.Close() })
	p := &pgCompare{t: t, hand: newHand(t, pg.URL())}
	binary := harness.Build(t)
	for _, e := range []struct{ name, storage string }{{byMemory, "memory"}, {byPebble, "pebble"}, {byPostgres, pg.URL()}} {
		s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"), "--log-level", "warn", "--storage", e.storage)
		load(t, s.Addr, "docs", pgDocs)
		p.engines = append(p.engines, engine{name: e.name, target: target{s.Addr, s.Pid()}})
	}
	p.engines = append(p.engines, engine{name: byLibrary, inside: library(t, pg.URL()+"&schema=library")})
	p.measure()
	p.hand.checkSame(t)
	t.Log(p.table.String())
}

// engine is a server, or a library within the process.
type engine struct {
	name   string
	target target
	inside server.Handler
}

// dial is a new client.
func (e *engine) dial(t testing.TB) *client {
	if e.inside != nil {
		return newInside(e.inside)
	}
	return dial(t, e.target.addr)
}

// cpu is the processor time of the server, 0 for the library.
func (e *engine) cpu() time.Duration {
	if e.inside != nil {
		return 0
	}
	return processorTime(e.target.pid)
}

// library opens a database within the process and loads it.
func library(t *testing.T, url string) server.Handler {
	t.Helper()
	db, err := archelon.Open(archelon.Config{Listen: []string{"127.0.0.1:0"}, Storage: url})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- db.Serve(context.Background()) }()
	t.Cleanup(func() {
		if err := errors.Join(db.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	load(t, strings.Trim(strings.TrimPrefix(db.URI(), "mongodb://"), "/"), "docs", pgDocs)
	return db.Handler()
}

// pgCompare runs each operation on all sides and collects the table.
type pgCompare struct {
	t       *testing.T
	engines []engine
	hand    *hand
	table   pgTable
}

func (p *pgCompare) measure() {
	short, long := *roundTime/2, *roundTime
	next := &atomic.Int64{}
	next.Store(pgDocs)
	h := p.hand
	for _, n := range []int{1, 16} {
		p.compare("find by _id", n, short, findID("docs", pgDocs), byHand{least: h.findID, same: h.sameFind, relayed: true})
		p.compare("range of 20 by _id", n, short, findRange20, byHand{least: h.range20, relayed: true})
		p.compare("update by _id", n, short, updateOne(pgDocs), byHand{least: h.update(), logged: h.updateLogged, same: h.sameUpdate, relayed: true})
		p.compare("insert of one", n, short, insertOne(next, false),
			byHand{least: h.insert(next), logged: h.insertLogged(next), same: h.sameInsert(next), relayed: true})
		p.compare("retryable insert of one", n, short, insertOne(next, true), byHand{least: h.insert(next), logged: h.insertLogged(next)})
	}
	for _, n := range []int{1, 16} {
		p.compare("$group by one field with $sum, docs", n, long, groupAll, byHand{least: h.group})
		p.bulk(n)
	}
}

// compare lets all sides work in turns.
func (p *pgCompare) compare(what string, clients int, d time.Duration, op func(c *client) (int, error), forms byHand) {
	p.t.Helper()
	if !strings.Contains(what, *pgOnly) {
		return
	}
	var sides []crowd
	for _, e := range p.engines {
		conns := make([]*client, clients)
		for i := range conns {
			conns[i] = e.dial(p.t)
		}
		s := newCrowd(e.name, conns, op)
		s.cpu = e.cpu
		sides = append(sides, s)
	}
	sides = append(sides, p.hand.crowds(clients, forms)...)
	p.table.add(fmt.Sprintf("%s, %d", what, clients),
		alternate(sides, func(s *crowd) (int, time.Duration) { return s.run(p.t, d) }, p.hand.cpu))
}

// bulk inserts pgDocs documents into a new collection, in batches of a thousand
// that the clients share.
func (p *pgCompare) bulk(clients int) {
	p.t.Helper()
	if !strings.Contains("bulk insert", *pgOnly) {
		return
	}
	const batch = 1000
	var docs [][]byte
	for d := range loadgen.Generate(2, pgDocs) {
		docs = append(docs, append([]byte(nil), d...))
	}
	share := func(do func(i int, from int) error) (int, time.Duration) {
		var wg sync.WaitGroup
		var next atomic.Int64
		errs := make([]error, clients)
		start := time.Now()
		for i := range clients {
			wg.Go(func() {
				for from := int(next.Add(batch)) - batch; from < len(docs) && errs[i] == nil; from = int(next.Add(batch)) - batch {
					errs[i] = do(i, from)
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			p.t.Fatal(err)
		}
		return len(docs), time.Since(start)
	}
	tables := 0
	name := func() string { // of a new collection
		tables++
		return fmt.Sprintf("bulk%d_%d", clients, tables)
	}
	works := map[string]func() (int, time.Duration){byLeast: func() (int, time.Duration) {
		table := name()
		p.hand.create(p.t, table)
		return share(func(i, from int) error { return p.hand.copy(p.hand.conns[i], table, docs[from:from+batch]) })
	}}
	sides := []crowd{}
	for _, e := range p.engines {
		works[e.name] = func() (int, time.Duration) {
			coll := name()
			conns := make([]*client, clients)
			for i := range conns {
				conns[i] = e.dial(p.t)
			}
			return share(func(i, from int) error {
				c := conns[i]
				c.begin()
				c.field("insert", bsonval.String(coll))
				c.end("documents", docs[from:from+batch]...)
				_, err := c.call()
				return err
			})
		}
		sides = append(sides, crowd{name: e.name, cpu: e.cpu})
	}
	sides = append(sides, crowd{name: byLeast})
	p.table.add(fmt.Sprintf("bulk insert of 100,000, docs, %d", clients),
		alternate(sides, func(s *crowd) (int, time.Duration) { return works[s.name]() }, p.hand.cpu))
}

func findRange20(c *client) (int, error) {
	c.begin()
	c.field("find", bsonval.String("docs"))
	c.field("filter", bsonval.Document(bsonval.NewBuilder().StartDoc("_id").Int64("$gte", c.rand.Int64N(pgDocs-20)).Build()))
	c.field("sort", bsonval.Document(bsonval.NewBuilder().Int32("_id", 1).Build()))
	c.field("limit", bsonval.Int64(20))
	c.field("singleBatch", bsonval.Bool(true))
	c.end("")
	reply, err := c.call()
	if err == nil && reply.LookupPath("cursor", "firstBatch").Doc().Len() != 20 {
		err = fmt.Errorf("not 20 documents: %s", bsonval.FormatDoc(reply))
	}
	return 1, err
}

// groupAll is groupOurs for a collection to which documents are being added.
func groupAll(c *client) (int, error) {
	_, err := groupOurs(c)
	return pgDocs, err
}
