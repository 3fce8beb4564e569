package perf

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
// What is written by hand for a write is once the least that would do, and once what comes
// to the same as Archelon's: read the document, change it, and log the change.
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
	for _, storage := range []string{"memory", "pebble", pg.URL()} {
		name, _, _ := strings.Cut(storage, ":")
		s := harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"), "--log-level", "warn", "--storage", storage)
		load(t, s.Addr, "docs", pgDocs)
		p.engines = append(p.engines, engine{name: name, target: target{s.Addr, s.Pid()}})
	}
	p.engines = append(p.engines, engine{name: "library", inside: library(t, pg.URL())})
	p.hand.load(t)
	p.measure()
	t.Log("\n" + p.table.String())
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

// library opens the database that the servers on a PostgreSQL have within the process.
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
	return db.Handler()
}

// pgCompare runs each operation on all sides and collects the table.
type pgCompare struct {
	t       *testing.T
	engines []engine
	hand    *hand
	table   strings.Builder
}

// crowd are clients that work at the same time.
type crowd struct {
	ops []func() (int, error)
	cpu func() time.Duration // of the servers that work for them
}

func (p *pgCompare) measure() {
	fmt.Fprintf(&p.table, "| %-34s | %9s | %9s | %9s | %9s | %9s | %9s | %10s | %10s | %-24s |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
		"what, a second", "memory", "pebble", "postgres", "library", "by hand", "logged", "postgres", "library", "CPU µs: ours (PostgreSQL's), by hand")
	short, long := *roundTime/2, *roundTime
	next := &atomic.Int64{}
	next.Store(pgDocs)
	for _, n := range []int{1, 16} {
		p.compare("find by _id", n, short, findID("docs", pgDocs), p.hand.findID, nil)
		p.compare("range of 20 by _id", n, short, findRange20, p.hand.range20, nil)
		p.compare("update by _id", n, short, updateOne(pgDocs), p.hand.update(), p.hand.updateLogged)
		p.compare("insert of one", n, short, insertOne(next, false), p.hand.insert(next), p.hand.insertLogged(next))
	}
	for _, n := range []int{1, 16} {
		p.compare("$group by one field with $sum, docs", n, long, groupAll, p.hand.group, nil)
		p.bulk(n)
	}
}

// compare lets all sides work in turns. logged is what is written by hand with a log, nil
// for none.
func (p *pgCompare) compare(what string, clients int, d time.Duration, op func(c *client) (int, error), byHand, logged func(c *pgx.Conn) (int, error)) {
	p.t.Helper()
	if !strings.Contains(what, *pgOnly) {
		return
	}
	sides := make([]crowd, 0, len(p.engines)+1)
	for _, e := range p.engines {
		s := crowd{cpu: e.cpu}
		for range clients {
			c := e.dial(p.t)
			s.ops = append(s.ops, func() (int, error) { return op(c) })
		}
		sides = append(sides, s)
	}
	s := crowd{cpu: func() time.Duration { return 0 }}
	for i := range clients {
		c := p.hand.conns[i]
		s.ops = append(s.ops, func() (int, error) { return byHand(c) })
	}
	sides = append(sides, s)
	if logged != nil {
		s := crowd{cpu: s.cpu}
		for _, c := range p.hand.conns[:clients] {
			s.ops = append(s.ops, func() (int, error) { return logged(c) })
		}
		sides = append(sides, s)
	}
	p.rounds(what, clients, sides, func(s crowd) (int, time.Duration) { return s.run(p.t, d) })
}

// rounds lets sides run in turns and adds a row to the table: the engines, what is written
// by hand, and perhaps what is with a log. The ratios are the medians of the rounds' ratios of
// PostgreSQL's engine, behind the binary and as a library, to what is written by hand.
func (p *pgCompare) rounds(what string, clients int, sides []crowd, run func(crowd) (int, time.Duration)) {
	p.t.Helper()
	hand, last := len(p.engines), len(sides)-1
	ours, lib := hand-2, hand-1
	rates, cpu, server := make([][]float64, len(sides)), make([][]float64, len(sides)), make([][]float64, len(sides))
	for round := range 4 {
		for i, s := range sides {
			ownBefore, pgBefore := s.cpu(), p.hand.cpu()
			n, took := run(s)
			if round == 0 {
				continue // warm up
			}
			each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(max(n, 1)) }
			rates[i] = append(rates[i], float64(n)/took.Seconds())
			cpu[i], server[i] = append(cpu[i], each(s.cpu()-ownBefore)), append(server[i], each(p.hand.cpu()-pgBefore))
		}
	}
	fmt.Fprintf(&p.table, "| %-34s |", fmt.Sprintf("%s, %d", what, clients))
	for i := range sides {
		fmt.Fprintf(&p.table, " %9s |", count(median(rates[i])))
	}
	if last == hand {
		fmt.Fprintf(&p.table, " %9s |", "")
	}
	ratio := func(a, b int) string {
		var all []float64
		for i := range rates[a] {
			all = append(all, rates[a][i]/rates[b][i])
		}
		return fmt.Sprintf("%.2f", median(all))
	}
	for _, side := range []int{ours, lib} {
		text := ratio(side, hand)
		if last != hand {
			text += ", " + ratio(side, last)
		}
		fmt.Fprintf(&p.table, " %10s |", text)
	}
	line := fmt.Sprintf("%.1f (%.1f), %.1f", median(cpu[ours])+median(server[ours]), median(server[ours]), median(server[hand]))
	fmt.Fprintf(&p.table, " %-24s |\n", line)
}

// run lets the clients work for a while.
func (s crowd) run(t *testing.T, d time.Duration) (total int, took time.Duration) {
	t.Helper()
	counts, errs := make([]int, len(s.ops)), make([]error, len(s.ops))
	start := time.Now()
	var wg sync.WaitGroup
	for i, op := range s.ops {
		wg.Go(func() {
			for time.Since(start) < d && errs[i] == nil {
				n, err := op()
				counts[i], errs[i] = counts[i]+n, err
			}
		})
	}
	wg.Wait()
	took = time.Since(start)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, n := range counts {
		total += n
	}
	return total, took
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
	names := 0
	var sides []crowd
	for _, e := range p.engines {
		sides = append(sides, crowd{cpu: e.cpu})
	}
	sides = append(sides, crowd{cpu: func() time.Duration { return 0 }})
	turn := 0
	p.rounds("bulk insert of 100,000, docs", clients, sides, func(crowd) (int, time.Duration) {
		side := turn % len(sides)
		turn++
		names++
		name := fmt.Sprintf("bulk%d_%d", clients, names)
		if side == len(p.engines) {
			p.hand.create(p.t, name)
			return share(func(i, from int) error { return p.hand.copy(p.hand.conns[i], name, docs[from:from+batch]) })
		}
		conns := make([]*client, clients)
		for i := range conns {
			conns[i] = p.engines[side].dial(p.t)
		}
		return share(func(i, from int) error {
			c := conns[i]
			c.begin()
			c.field("insert", bsonval.String(name))
			c.end("documents", docs[from:from+batch]...)
			_, err := c.call()
			return err
		})
	})
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

// hand is what is written by hand: a table of documents by number.
type hand struct {
	conns      []*pgx.Conn
	postmaster int
	random     atomic.Int64
}

func newHand(t *testing.T, url string) *hand {
	h := &hand{}
	for range 16 {
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close(context.Background()) })
		h.conns = append(h.conns, c)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.conns[0].PgConn().PID()))
	if err == nil {
		_, rest, _ := strings.Cut(string(b), ") ")
		h.postmaster, _ = strconv.Atoi(strings.Fields(rest)[1]) // 0 shows no processor time
	}
	return h
}

// cpu is the processor time of all processes of PostgreSQL.
func (h *hand) cpu() (sum time.Duration) {
	entries, err := os.ReadDir("/proc")
	if err != nil || h.postmaster == 0 {
		return 0
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		if _, rest, _ := strings.Cut(string(b), ") "); strings.HasPrefix(rest[1:], " "+strconv.Itoa(h.postmaster)+" ") {
			sum += processorTime(pid)
		}
	}
	return sum
}

func (h *hand) create(t *testing.T, table string) {
	t.Helper()
	if _, err := h.conns[0].Exec(t.Context(), "CREATE TABLE "+table+" (id int8 PRIMARY KEY, doc bytea NOT NULL)"); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) load(t *testing.T) {
	h.create(t, "docs")
	if _, err := h.conns[0].Exec(t.Context(), "CREATE TABLE log (at bigserial PRIMARY KEY, entry bytea NOT NULL)"); err != nil {
		t.Fatal(err)
	}
	var docs [][]byte
	for d := range loadgen.Generate(1, pgDocs) {
		docs = append(docs, append([]byte(nil), d...))
	}
	if err := h.copy(h.conns[0], "docs", docs); err != nil {
		t.Fatal(err)
	}
	if _, err := h.conns[0].Exec(t.Context(), "ANALYZE docs"); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) copy(c *pgx.Conn, table string, docs [][]byte) error {
	_, err := c.CopyFrom(context.Background(), pgx.Identifier{table}, []string{"id", "doc"}, pgx.CopyFromSlice(len(docs), func(i int) ([]any, error) {
		return []any{bsonval.Doc(docs[i]).Lookup("_id").Int64(), docs[i]}, nil
	}))
	return err
}

// draw is a number below n; a multiplication spreads them.
func (h *hand) draw(n int) int64 {
	return int64(uint64(h.random.Add(1)) * 0x9E3779B97F4A7C15 >> 16 % uint64(n))
}

func (h *hand) findID(c *pgx.Conn) (int, error) {
	var doc []byte
	return 1, c.QueryRow(context.Background(), "SELECT doc FROM docs WHERE id = $1", h.draw(pgDocs)).Scan(&doc)
}

func (h *hand) range20(c *pgx.Conn) (int, error) {
	rows, err := c.Query(context.Background(), "SELECT doc FROM docs WHERE id >= $1 ORDER BY id LIMIT 20", h.draw(pgDocs-20))
	if err != nil {
		return 0, err
	}
	docs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err == nil && len(docs) != 20 {
		err = fmt.Errorf("%d documents", len(docs))
	}
	return 1, err
}

// update writes a whole document, which the client has: what an update comes to
// without operators.
func (h *hand) update() func(c *pgx.Conn) (int, error) {
	tmpl := template()
	return func(c *pgx.Conn) (int, error) {
		doc, id := append([]byte(nil), tmpl...), h.draw(pgDocs)
		binary.LittleEndian.PutUint64(doc[idOffset:], uint64(id))
		_, err := c.Exec(context.Background(), "UPDATE docs SET doc = $2 WHERE id = $1", id, doc)
		return 1, err
	}
}

// updateLogged reads a document and writes it together with a record of the change: a
// transaction in two batches.
func (h *hand) updateLogged(c *pgx.Conn) (int, error) {
	ctx, id := context.Background(), h.draw(pgDocs)
	read := &pgx.Batch{}
	read.Queue("BEGIN")
	var doc []byte
	read.Queue("SELECT doc FROM docs WHERE id = $1 FOR UPDATE", id).QueryRow(func(row pgx.Row) error { return row.Scan(&doc) })
	if err := c.SendBatch(ctx, read).Close(); err != nil {
		return 0, err
	}
	write := &pgx.Batch{}
	write.Queue("UPDATE docs SET doc = $2 WHERE id = $1", id, doc)
	write.Queue("INSERT INTO log (entry) VALUES ($1)", doc)
	write.Queue("COMMIT")
	return 1, c.SendBatch(ctx, write).Close()
}

// insertLogged inserts a document together with a record of that, in one batch, which is a
// transaction.
func (h *hand) insertLogged(next *atomic.Int64) func(c *pgx.Conn) (int, error) {
	tmpl := template()
	return func(c *pgx.Conn) (int, error) {
		id := next.Add(1)
		doc := append([]byte(nil), tmpl...)
		binary.LittleEndian.PutUint64(doc[idOffset:], uint64(id))
		b := &pgx.Batch{}
		b.Queue("INSERT INTO docs (id, doc) VALUES ($1, $2)", id, doc)
		b.Queue("INSERT INTO log (entry) VALUES ($1)", doc)
		return 1, c.SendBatch(context.Background(), b).Close()
	}
}

func (h *hand) insert(next *atomic.Int64) func(c *pgx.Conn) (int, error) {
	tmpl := template()
	return func(c *pgx.Conn) (int, error) {
		id := next.Add(1)
		doc := append([]byte(nil), tmpl...)
		binary.LittleEndian.PutUint64(doc[idOffset:], uint64(id))
		_, err := c.Exec(context.Background(), "INSERT INTO docs (id, doc) VALUES ($1, $2)", id, doc)
		return 1, err
	}
}

// group sums the scores by region.
func (h *hand) group(c *pgx.Conn) (int, error) {
	rows, err := c.Query(context.Background(), "SELECT doc FROM docs")
	if err != nil {
		return 0, err
	}
	sums := map[string]float64{}
	for rows.Next() {
		d := bsonval.Doc(rows.RawValues()[0])
		sums[d.Lookup("region").Str()] += d.Lookup("score").Double()
	}
	return pgDocs, rows.Err()
}
