package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// CreateTable makes room for a table.
func (tx *txn) CreateTable(t storage.TableID) error {
	return tx.create(tx.s.newObject(kindTable, uint32(t), 0, false))
}

// CreateIndex makes room for an index.
func (tx *txn) CreateIndex(t storage.TableID, x storage.IndexID, unique bool) error {
	return tx.create(tx.s.newObject(kindIndex, uint32(x), uint32(t), unique))
}

// DropTable removes a table and its records.
func (tx *txn) DropTable(t storage.TableID) error { return tx.drop(kindTable, uint32(t)) }

// DropIndex removes an index and its entries.
func (tx *txn) DropIndex(x storage.IndexID) error { return tx.drop(kindIndex, uint32(x)) }

func (tx *txn) create(o *object) error {
	if err := tx.enterWrite(context.Background()); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	if err := tx.s.ids.add(o, tx); err != nil {
		return err
	}
	tx.write(&op{kind: opCreate, o: o})
	return nil
}

func (tx *txn) drop(kind byte, id uint32) error {
	ctx := context.Background()
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kind, id)
	if err != nil {
		return err
	}
	if err := tx.s.ids.drop(o, tx); err != nil {
		return tx.s.claims.conflict()
	}
	tx.drops = append(tx.drops, o)
	tx.note(&op{kind: opDrop, o: o})
	// Keep the writers of other processes out.
	if err := tx.flush(ctx); err != nil {
		return err
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	tx.c.once("LOCK TABLE " + o.name + " IN EXCLUSIVE MODE NOWAIT")
	return tx.run(ctx)
}

// sweepSize is how many tables are dropped at once: each takes a few locks in
// PostgreSQL, of which there is room for 64 for each connection.
const sweepSize = 50

// sweep drops some of the tables that were dropped before the oldest snapshot, in all
// processes.
func (s *Store) sweep(ctx context.Context) {
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return
	}
	defer s.pool.release(c)
	more, err := s.sweepSome(ctx, c)
	if err != nil {
		s.log.Debug("dropped tables are still in use", "error", err)
	}
	if more || err != nil {
		s.dropped.Store(true)
	}
}

func (s *Store) sweepSome(ctx context.Context, c *conn) (more bool, err error) {
	c.end()
	n := s.schema
	c.add(s.sql.forgetOld, nil)
	var gone []*object
	waiting := false
	c.add("SELECT ascii(kind)::int8, id, tbl, EXISTS (SELECT 1 FROM pg_stat_activity a "+
		"WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL AND "+
		"age(a.backend_xmin) >= age((i.dropped % 4294967296)::text::xid))::int::int8 FROM "+n+".ids i WHERE dropped IS NOT NULL "+
		fmt.Sprintf("ORDER BY random() LIMIT %d", sweepSize), func(v [][]byte) {
		if int64Of(v[3]) != 0 {
			waiting = true
			return
		}
		gone = append(gone, s.newObject(byte(int64Of(v[0])), uint32(int64Of(v[1])), uint32(int64Of(v[2])), false))
	})
	if err := c.run(ctx); err != nil {
		return false, err
	}
	if len(gone) == 0 {
		return waiting, nil
	}
	c.once("BEGIN")
	c.once("SET LOCAL lock_timeout = '50ms'")
	for _, o := range gone {
		for _, sql := range o.removal(n) {
			c.once(sql)
		}
	}
	c.add(s.sql.ddl, nil)
	c.once("COMMIT")
	if err := c.run(ctx); err != nil {
		if !c.broken {
			c.once("ROLLBACK")
			err = errors.Join(err, c.run(ctx))
		}
		return false, err
	}
	return waiting || len(gone) == sweepSize, nil
}
