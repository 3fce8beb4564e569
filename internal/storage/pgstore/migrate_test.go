package pgstore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// restored is the address of a database with the store of format 1 in testdata.
func restored(t *testing.T, name string) string {
	t.Helper()
	url := ownDatabase(t, name)
	dump, err := os.ReadFile("testdata/format1.sql")
	must(t, err)
	_, err = server.SQL(url, string(dump))
	must(t, err)
	return url[:strings.Index(url, "&schema=")]
}

// oldNames are names for some of its tables.
func oldNames(scan storage.MetaScan) ([]storage.Name, error) {
	collections := 0
	err := scan([]byte("C"), func(key, _ []byte) bool {
		collections++
		return len(key) > 0
	})
	if collections < 10 {
		return nil, fmt.Errorf("%d collections, %w", collections, err)
	}
	return []storage.Name{
		{Table: 3, Database: "shop", Collection: "orders"}, {Table: 3, Index: 4, Database: "shop", Collection: "orders", IndexName: "_id_"},
	}, err
}

// TestMigration has several processes open a store of format 1 at once.
func TestMigration(t *testing.T) {
	url := restored(t, "migrated")
	stores := make([]*Store, 4)
	var wg sync.WaitGroup
	for i := range stores {
		wg.Go(func() {
			var err error
			if stores[i], err = Open(t.Context(), Config{URL: url, Shared: true, Names: oldNames}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range stores {
		if s == nil {
			t.FailNow()
		}
		defer s.Close()
		if n := rows(t, s, 3); n != 11 {
			t.Errorf("%d records", n)
		}
		if n := rows(t, s, 13); n != 3 {
			t.Errorf("%d records in a table without a name", n)
		}
	}
	const places = "SELECT namespace || '.' || relation FROM $.ids WHERE id IN (3, 4, 13) ORDER BY id"
	if got, want := ask(t, stores[0], places), "archelon_shop.orders_3\narchelon_shop.orders_3__id__x4\narchelon.t13"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// rows counts a table's records.
func rows(t *testing.T, s *Store, table storage.TableID) (n int) {
	t.Helper()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.Scan(t.Context(), table, storage.RecordRange{})
	must(t, err)
	defer it.Close()
	for it.Next() {
		n++
	}
	must(t, it.Err())
	return n
}

// TestOldProcessStillThere refuses to move the tables of a process that has not ended.
func TestOldProcessStillThere(t *testing.T) {
	url := restored(t, "occupied")
	old, err := Open(t.Context(), Config{URL: url + "&schema=elsewhere"})
	must(t, err)
	defer old.Close()
	c, err := old.pool.acquire(t.Context())
	must(t, err)
	_, err = c.query(t.Context(), "SELECT pg_try_advisory_lock(hashtext('archelon'), hashtext('archelon'))::int::int8")
	must(t, err)
	for _, shared := range []bool{true, false} {
		_, err = Open(t.Context(), Config{URL: url, Shared: shared, AcquireTimeout: 1})
		wantErr(t, err, ErrInUse)
	}
	c.broken = true
	old.pool.release(c)
	s, err := Open(t.Context(), Config{URL: url, Names: oldNames})
	must(t, err)
	must(t, s.Close())
}

// TestMigrationInParts moves more tables than fit into a transaction.
func TestMigrationInParts(t *testing.T) {
	const tables = migrateSize + 50
	url := freshURL(t)
	s, err := Open(t.Context(), Config{URL: url})
	must(t, err)
	tx := s.Begin(storage.TxnOptions{})
	var names []storage.Name
	for i := range tables {
		must(t, tx.CreateTable(storage.TableID(i+1)))
		names = append(names, storage.Name{Table: storage.TableID(i + 1), Database: fmt.Sprint("parts", i%3), Collection: "c"})
	}
	commit(t, tx)
	id := insertOne(t, s, "kept")
	must(t, s.Close())
	_, err = server.SQL(url, s.here("UPDATE $.ids SET namespace = NULL, relation = NULL"))
	must(t, err)

	failing := errors.New("names are not to be had")
	_, err = Open(t.Context(), Config{URL: url, Names: func(storage.MetaScan) ([]storage.Name, error) { return nil, failing }})
	wantErr(t, err, failing)
	s, err = Open(t.Context(), Config{URL: url, Names: func(storage.MetaScan) ([]storage.Name, error) { return names, nil }})
	must(t, err)
	defer s.Close()
	if got := ask(t, s, "SELECT count(*)::text FROM $.catalogue WHERE relation = 'c_' || id"); got != fmt.Sprint(tables) {
		t.Errorf("%s of %d tables were moved", got, tables)
	}
	if got := read(t, s, id); got != "kept" {
		t.Errorf("read %q", got)
	}
}

func TestNewerFormat(t *testing.T) {
	url := freshURL(t)
	s, err := Open(t.Context(), Config{URL: url})
	must(t, err)
	must(t, s.Close())
	_, err = server.SQL(url, s.here(fmt.Sprintf("UPDATE $.format SET version = %d", formatVersion+1)))
	must(t, err)
	_, err = Open(t.Context(), Config{URL: url})
	wantErr(t, err, ErrNewerFormat)
}

// TestFence lets a commit come late whose outcome has been looked for: it must fail.
func TestFence(t *testing.T) {
	s := open(t, freshURL(t))
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	id := insertOne(t, s, "before")
	late := s.Begin(storage.TxnOptions{})
	defer late.Rollback()
	must(t, late.Update(t.Context(), 1, id, []byte("late")))
	s.fence(late.(*txn).c.pg.PID())
	_, err := late.Commit(t.Context())
	wantErr(t, err, storage.ErrWriteConflict)
	if got := read(t, s, id); got != "before" {
		t.Errorf("read %q", got)
	}
}
