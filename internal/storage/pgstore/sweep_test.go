package pgstore

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestSweep drops a table under an old reader: it goes for good when the reader
// is done, and not before.
func TestSweep(t *testing.T) {
	s := open(t, ownDatabase(t, "sweep"))
	ctx := t.Context()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateTable(2)))
	commit(t, tx)
	id := insertOne(t, s, "kept")
	old := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer old.Rollback()
	old.Snapshot()
	tx = s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.DropTable(1), tx.DropIndex(1)))
	commit(t, tx)
	if n := tables(t, s); n != 3 {
		t.Fatalf("%d tables", n)
	}
	s.sweep(ctx)
	if n := tables(t, s); n != 3 {
		t.Fatalf("%d tables are left while a snapshot sees 3", n)
	}
	if doc, err := old.Get(ctx, 1, id); err != nil || string(doc) != "kept" {
		t.Fatalf("%q, %v", doc, err)
	}
	old.Rollback()
	for deadline := time.Now().Add(20 * time.Second); tables(t, s) != 1; {
		if time.Now().After(deadline) {
			t.Fatalf("%d tables are left", tables(t, s))
		}
		<-time.After(50 * time.Millisecond)
	}
}

// ownDatabase is the address of a store in a PostgreSQL database of its own, where nobody
// else, be it the server's own vacuum after other tests, has a snapshot.
func ownDatabase(t *testing.T, name string) string {
	t.Helper()
	url := freshURL(t)
	s := open(t, url)
	c, err := s.pool.acquire(t.Context())
	must(t, err)
	defer s.pool.release(c)
	c.end()
	c.once("CREATE DATABASE " + name)
	must(t, c.run(t.Context()))
	name, _, _ = strings.Cut(name, " ") // the rest are options
	return strings.Replace(url, "/postgres?", "/"+name+"?", 1)
}

// tables is the number of tables and indexes that exist in PostgreSQL.
func tables(t *testing.T, s *Store) int64 {
	t.Helper()
	c, err := s.pool.acquire(t.Context())
	must(t, err)
	defer s.pool.release(c)
	c.end()
	v, err := c.query(t.Context(), "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 "+
		"AND c.relkind = 'r' AND c.relname ~ '^[tx][0-9]+$'", []byte(s.config.schema))
	must(t, err)
	return v[0]
}
