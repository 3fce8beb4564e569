package perf

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
)

// The form "same" sends the statements that the engine on PostgreSQL sends for a single
// client, in as many round trips, over tables like the engine's: what is left is what
// Archelon does besides. Where the engine knows the number of the record that an _id
// belongs to, as it does for documents that it has written or read lately, it does not ask
// the index of _ids, and nor does this.
//
// With many clients it is not what the engine does: that lets them travel together, while
// here one after the other waits for the disk, in the order of commits.

// sameTables makes the tables: those of the engine, for one collection.
var sameTables = []string{
	"CREATE SCHEMA same",
	"CREATE TABLE same.docs (rid int8 PRIMARY KEY, doc bytea NOT NULL)",
	"CREATE TABLE same.docs_id (key bytea NOT NULL, rid int8 NOT NULL, bits bytea NOT NULL, tail bytea, PRIMARY KEY (key))",
	"CREATE TABLE same.oplog (rid int8 PRIMARY KEY, doc bytea NOT NULL)",
	"CREATE TABLE same.meta (key bytea PRIMARY KEY, value bytea NOT NULL)",
	"CREATE TABLE same.commits (slot int8 PRIMARY KEY, pos int8 NOT NULL) WITH (fillfactor = 20)",
	"CREATE TABLE same.committing (unused int)",
	"CREATE SEQUENCE same.clock",
	"CREATE FUNCTION same.le8(int8) RETURNS bytea LANGUAGE sql IMMUTABLE AS 'SELECT substring(int8send($1) from 8 for 1) || " +
		"substring(int8send($1) from 7 for 1) || substring(int8send($1) from 6 for 1) || substring(int8send($1) from 5 for 1) || " +
		"substring(int8send($1) from 4 for 1) || substring(int8send($1) from 3 for 1) || substring(int8send($1) from 2 for 1) || " +
		"substring(int8send($1) from 1 for 1)'",
}

const (
	sameRead   = "SELECT doc, (SELECT value FROM same.meta WHERE key = $2) FROM same.docs WHERE rid = $1"
	sameBegin  = "BEGIN ISOLATION LEVEL READ COMMITTED"
	samePut    = "INSERT INTO same.docs (rid, doc) VALUES ($1, $2)"
	samePutKey = "INSERT INTO same.docs_id (key, rid, bits, tail) VALUES ($1, $2, $3, $4)"
	sameCount  = "INSERT INTO same.meta AS m (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
	sameChange = "WITH w AS (UPDATE same.docs SET doc = $3 WHERE rid = $1 AND doc = $2 RETURNING 1) SELECT 1 / count(*) FROM w"
	sameLock   = "LOCK TABLE same.committing IN EXCLUSIVE MODE"
	samePlace  = "WITH p AS (UPDATE same.commits SET pos = setval('same.clock', GREATEST((SELECT last_value FROM same.clock) + $1::int8, $2::int8)) " +
		"WHERE slot = $3 / (SELECT count(*) FROM same.meta WHERE key = $4 AND value = $5) RETURNING pos), " +
		"c AS (SELECT COALESCE(max(pos), ln(count(*)::float8)::int8) AS pos FROM p) " +
		"INSERT INTO same.oplog (rid, doc) SELECT id, CASE WHEN prev <= 0 THEN d ELSE overlay(d PLACING same.le8(id - 1) FROM prev::int4 + 1) END " +
		"FROM (SELECT id, prev, CASE WHEN at < 0 THEN doc ELSE overlay(doc PLACING same.le8(id - back) FROM at::int4 + 1) END AS d " +
		"FROM (SELECT c.pos AS id, r.* FROM c, (SELECT $6::bytea AS doc, $7::int8 AS at, $8::int8 AS back, $9::int8 AS prev) r) v) w RETURNING rid"
	sameCommit = "COMMIT"
)

var (
	// sameVersion is the key of what every statement checks, the version of the catalogue,
	// and sameValue its value.
	sameVersion = []byte("V")
	sameValue   = []byte("sixteen bytes of")

	// sameUUID stands for the collection's.
	sameUUID = []byte("sixteen for uuid")

	// sameSettings are those of the engine's connections, but that a commit waits for the
	// disk.
	sameSettings = map[string]string{
		"client_encoding": "UTF8", "lock_timeout": "1000ms", "jit": "off", "plan_cache_mode": "force_generic_plan",
		"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_sort": "off",
		"enable_material": "off", "max_parallel_workers_per_gather": "0", "idle_in_transaction_session_timeout": "0",
	}
)

const (
	// sameTries bounds how often something is tried that others are in the way of.
	sameTries = 10

	pgerrDivision = "22012" // division_by_zero
	pgerrLock     = "55P03" // lock_not_available
)

// sameConn is a client's connection. As a process of Archelon's does, it counts the
// documents and bytes it has inserted in a row of its own.
type sameConn struct {
	pg          *pgx.Conn
	slot        int64 // in commits
	countKey    []byte
	docs, bytes uint64
	batch       pgx.Batch
}

// loadSame makes and fills the tables and connects the clients.
func (h *hand) loadSame(t *testing.T, config *pgx.ConnConfig, relay string, docs [][]byte) {
	t.Helper()
	c := h.conns[0]
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := c.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range sameTables {
		exec(sql)
	}
	exec("INSERT INTO same.meta VALUES ($1, $2)", sameVersion, sameValue)
	fill := func(table string, columns []string, row func(id int64, doc []byte) []any) {
		t.Helper()
		rows := pgx.CopyFromSlice(len(docs), func(i int) ([]any, error) { return row(bsonval.Doc(docs[i]).Lookup("_id").Int64(), docs[i]), nil })
		if _, err := c.CopyFrom(t.Context(), pgx.Identifier{"same", table}, columns, rows); err != nil {
			t.Fatal(err)
		}
		exec("ANALYZE same." + table)
	}
	fill("docs", []string{"rid", "doc"}, func(id int64, doc []byte) []any { return []any{sameRecord(id), doc} })
	fill("docs_id", []string{"key", "rid", "bits"}, func(id int64, _ []byte) []any { return []any{sameKey(id), sameRecord(id), []byte{1}} })
	config = config.Copy()
	for k, v := range sameSettings {
		config.RuntimeParams[k] = v
	}
	for range h.conns {
		h.sameConns = append(h.sameConns, h.connectSame(t, config, ""))
		h.sameRelayed = append(h.sameRelayed, h.connectSame(t, config, relay))
	}
}

func (h *hand) connectSame(t *testing.T, config *pgx.ConnConfig, relay string) *sameConn {
	t.Helper()
	c := &sameConn{pg: connect(t, config, relay)}
	c.slot = int64(c.pg.PgConn().PID())
	c.countKey = binary.BigEndian.AppendUint32([]byte("Sthe collection, a process "), uint32(c.slot))
	if _, err := c.pg.Exec(t.Context(), "INSERT INTO same.commits VALUES ($1, 0)", c.slot); err != nil {
		t.Fatal(err)
	}
	return c
}

// sameRecord is the number of the record of an _id.
func sameRecord(id int64) int64 { return id + 1 }

// sameKey is the key of an _id in the index.
func sameKey(id int64) []byte { return keystring.Append(nil, bsonval.Int64(id), false, nil) }

// sameFind reads a document together with the version of the catalogue.
func (h *hand) sameFind(c *sameConn) (int, error) {
	_, err := c.read(h.draw(pgDocs))
	return 1, err
}

func (c *sameConn) read(id int64) (doc []byte, err error) {
	var version []byte
	if err := c.pg.QueryRow(context.Background(), sameRead, sameRecord(id), sameVersion).Scan(&doc, &version); err != nil {
		return nil, err
	}
	if string(version) != string(sameValue) {
		return nil, errors.New("the catalogue has changed")
	}
	return doc, nil
}

// sameInsert inserts a document, in one round trip.
func (h *hand) sameInsert(next *atomic.Int64) func(*sameConn) (int, error) {
	tmpl := template()
	return func(c *sameConn) (int, error) {
		id := next.Add(1)
		doc := append([]byte(nil), tmpl...)
		binary.LittleEndian.PutUint64(doc[idOffset:], uint64(id))
		c.docs, c.bytes = c.docs+1, c.bytes+uint64(len(doc))
		return 1, c.try(func() error {
			b := c.begin()
			b.Queue(samePut, sameRecord(id), doc)
			b.Queue(samePutKey, sameKey(id), sameRecord(id), []byte{1}, nil)
			b.Queue(sameCount, c.countKey, binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.docs), c.bytes))
			return c.commit(sameEntry("i", doc, id))
		})
	}
}

// sameUpdate reads a document and writes it changed, in two round trips.
func (h *hand) sameUpdate(c *sameConn) (int, error) {
	id := h.draw(pgDocs)
	return 1, c.try(func() error {
		old, err := c.read(id)
		if err != nil {
			return err
		}
		c.begin().Queue(sameChange, sameRecord(id), old, touched(old))
		return c.commit(sameEntry("u", touch, id))
	})
}

// try does something again if another client has changed the record meanwhile, which
// divides by zero, or was in the way for too long.
func (c *sameConn) try(fn func() error) (err error) {
	for range sameTries {
		var refused *pgconn.PgError
		if err = fn(); !errors.As(err, &refused) || refused.Code != pgerrDivision && refused.Code != pgerrLock {
			return err
		}
		if _, err := c.pg.Exec(context.Background(), "ROLLBACK"); err != nil {
			return err
		}
	}
	return err
}

func (c *sameConn) begin() *pgx.Batch {
	c.batch = pgx.Batch{QueuedQueries: c.batch.QueuedQueries[:0]}
	c.batch.Queue(sameBegin)
	return &c.batch
}

// commit gives what is queued its place in the order of commits, with an entry in the log,
// and sends it.
func (c *sameConn) commit(entry []byte) error {
	// Behind the time in an entry there are t, v and wall.
	at := len(entry) - len("\x00") - (1 + len("wall\x00") + 8) - 2*(1+len("t\x00")+8) - 8
	c.batch.Queue(sameLock)
	c.batch.Queue(samePlace, 1, time.Now().Unix()<<32, c.slot, sameVersion, sameValue, entry, at, 0, 0)
	c.batch.Queue(sameCommit)
	return c.pg.SendBatch(context.Background(), &c.batch).Close()
}

// sameEntry is an entry of the log. The statement that inserts it sets its time.
func sameEntry(op string, o bsonval.Doc, id int64) []byte {
	return bsonval.NewBuilder().Str("op", op).Str("ns", dbName+".docs").Value("ui", bsonval.Binary(4, sameUUID)).Doc("o", o).
		Doc("o2", idDoc(nil, id)).Value("ts", bsonval.Timestamp(0, 0)).Int64("t", 1).Int64("v", 2).Date("wall", time.Now().UnixMilli()).Build()
}

// checkSame checks that the tables hold what the clients have written.
func (h *hand) checkSame(t *testing.T) {
	t.Helper()
	var want, records, entries uint64
	for _, c := range slices.Concat(h.sameConns, h.sameRelayed) {
		want += c.docs
	}
	want += pgDocs
	c, ctx := h.conns[0], t.Context()
	if err := c.QueryRow(ctx, "SELECT (SELECT count(*) FROM same.docs), (SELECT count(*) FROM same.docs_id)").Scan(&records, &entries); err != nil {
		t.Fatal(err)
	}
	if records != want || entries != want {
		t.Errorf("same: %d records and %d entries of the index, not %d", records, entries, want)
	}
	rows, err := c.Query(ctx, "SELECT rid, doc FROM same.oplog")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var rid int64
		var entry []byte
		if err := rows.Scan(&rid, &entry); err != nil {
			t.Fatal(err)
		}
		if ts := bsonval.Doc(entry).Lookup("ts"); !bsonval.Equal(ts, bsonval.TimestampBits(uint64(rid))) {
			t.Fatalf("same: the entry %d of the log has the time %s", rid, bsonval.Format(ts))
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// touch is what updateOne asks for, as an entry of the log has it.
var touch = bsonval.NewBuilder().Int32("$v", 2).StartDoc("diff").StartDoc("u").Str("note", "touched").Int32("updates", 1).End().End().Build()

// touched is a document as updateOne leaves it: the count of the updates is its last field.
func touched(old bsonval.Doc) []byte {
	last := len(old) - 1
	if n := old.Lookup("updates"); !n.IsMissing() {
		doc := old.Clone()
		binary.LittleEndian.PutUint32(doc[last-4:], uint32(n.Int32()+1))
		return doc
	}
	doc := append(make([]byte, 0, len(old)+40), old[:last]...)
	doc = bsonval.AppendElement(doc, "note", bsonval.String("touched"))
	doc = bsonval.AppendElement(doc, "updates", bsonval.Int32(1))
	return bsonval.EndDoc(doc, 0)
}
