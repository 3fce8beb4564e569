package perf

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/loadgen"
)

// hand is what is written by hand: a table of documents by number. Each client has a
// connection of its own, and another one through the relay.
type hand struct {
	conns, relayed         []*pgx.Conn
	sameConns, sameRelayed []*sameConn

	postmaster int
	random     atomic.Int64
}

// byHand are the forms of an operation that are written by hand: nil if there is none.
type byHand struct {
	least, logged func(*pgx.Conn) (int, error)
	same          func(*sameConn) (int, error)
	relayed       bool // the first and the last one through the relay, too
}

// crowds are the clients of all forms.
func (h *hand) crowds(clients int, f byHand) []crowd {
	sides := []crowd{newCrowd(byLeast, h.conns[:clients], f.least)}
	if f.logged != nil {
		sides = append(sides, newCrowd(byLogged, h.conns[:clients], f.logged))
	}
	if f.same != nil {
		sides = append(sides, newCrowd(bySame, h.sameConns[:clients], f.same))
	}
	if f.relayed {
		sides = append(sides, newCrowd(relayedLeast, h.relayed[:clients], f.least))
	}
	if f.relayed && f.same != nil {
		sides = append(sides, newCrowd(relayedSame, h.sameRelayed[:clients], f.same))
	}
	return sides
}

// newHand connects the clients and loads their tables.
func newHand(t *testing.T, url string) *hand {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	relay := startSelf(t, relayEnv, net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))).addr
	h := &hand{}
	for range 16 {
		h.conns = append(h.conns, connect(t, config, ""))
		h.relayed = append(h.relayed, connect(t, config, relay))
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.conns[0].PgConn().PID()))
	if err == nil {
		_, rest, _ := strings.Cut(string(b), ") ")
		h.postmaster, _ = strconv.Atoi(strings.Fields(rest)[1]) // 0 shows no processor time
	}
	var docs [][]byte
	for d := range loadgen.Generate(1, pgDocs) {
		docs = append(docs, append([]byte(nil), d...))
	}
	h.load(t, docs)
	h.loadSame(t, config, relay, docs)
	return h
}

// connect makes a connection, through a relay if one is named.
func connect(t *testing.T, config *pgx.ConnConfig, relay string) *pgx.Conn {
	t.Helper()
	if relay != "" {
		host, port, err := net.SplitHostPort(relay)
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		config = config.Copy()
		config.Host, config.Port = host, uint16(n)
	}
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
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

func (h *hand) load(t *testing.T, docs [][]byte) {
	t.Helper()
	h.create(t, "docs")
	if _, err := h.conns[0].Exec(t.Context(), "CREATE TABLE log (at bigserial PRIMARY KEY, entry bytea NOT NULL)"); err != nil {
		t.Fatal(err)
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
