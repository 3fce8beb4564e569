package pgstore

import (
	"errors"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// TestMissing drops with SQL what belongs to the store: whoever wants it is told its name, as often
// as they try, and not to try again.
func TestMissing(t *testing.T) {
	s := open(t, ownDatabase(t, "missing"))
	ctx := t.Context()
	create := func(table storage.TableID, database string) error {
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		err := errors.Join(tx.(storage.Namer).NameTable(table, database, "things"), tx.CreateTable(table))
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		return err
	}
	must(t, errors.Join(create(1, "a"), create(2, "b")))
	namespace, err := s.namespace(ctx, "b")
	must(t, err)
	first, err := s.ids.find(ctx, kindTable, 1)
	must(t, err)
	sql := func(text string) {
		t.Helper()
		c, err := s.pool.acquire(ctx)
		must(t, err)
		defer s.pool.release(c)
		c.once(text)
		must(t, c.run(ctx))
	}
	sql("DROP TABLE " + first.name)
	sql("DROP SCHEMA " + namespace + " CASCADE")

	insert := func(table storage.TableID) error {
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		_, err := tx.Insert(ctx, table, []byte("x"))
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		return err
	}
	read := func(table storage.TableID) error {
		tx := s.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		_, err := tx.Get(ctx, table, 1)
		return err
	}
	for try := range 2 {
		for _, c := range []struct {
			what, name string
			err        error
		}{
			{"insertion into a table that is missing", "things_1", insert(1)},
			{"reading it", "things_1", read(1)},
			{"insertion into a table whose schema is missing", "things_2", insert(2)},
			{"reading it", "things_2", read(2)},
			{"another table in that schema", namespace, create(storage.TableID(3+try), "b")},
		} {
			if e := mongoerr.As(c.err); e == nil || e.Code != mongoerr.DataCorruptionDetected || !strings.Contains(e.Message, c.name) {
				t.Errorf("%s, try %d: %v", c.what, try, c.err)
			}
		}
	}
	must(t, create(5, "c"))

	// What is missing can be dropped, so that there can be another one.
	for _, table := range []storage.TableID{1, 2} {
		drop := func() error {
			tx := s.Begin(storage.TxnOptions{})
			defer tx.Rollback()
			if err := tx.DropTable(table); err != nil {
				return err
			}
			_, err := tx.Commit(ctx)
			return err
		}
		wantErr(t, drop(), storage.ErrWriteConflict)
		must(t, drop())
		wantErr(t, insert(table), storage.ErrNotFound)
	}

	sql("DROP SCHEMA " + s.schema + " CASCADE")
	if e := mongoerr.As(insert(5)); e == nil || e.Code != mongoerr.DataCorruptionDetected || !strings.Contains(e.Message, s.schema) {
		t.Errorf("insertion without the store's own tables: %v", e)
	}
}
