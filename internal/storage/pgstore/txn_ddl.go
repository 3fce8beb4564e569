package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// CreateTable makes room for a table.
func (tx *txn) CreateTable(t storage.TableID) error {
	return tx.create(func(ctx context.Context) (*object, error) {
		at, name, err := tx.tablePlace(ctx, uint32(t))
		if err != nil {
			return nil, err
		}
		o := tx.s.newTable(uint32(t), at)
		o.label = name
		return o, nil
	})
}

// CreateIndex makes room for an index.
func (tx *txn) CreateIndex(t storage.TableID, x storage.IndexID, unique bool) error {
	return tx.create(func(ctx context.Context) (*object, error) {
		docs := tx.s.nameless(kindTable, uint32(t))
		table, err := tx.s.ids.find(ctx, kindTable, uint32(t))
		if err != nil {
			return nil, err
		}
		if table != nil {
			docs = table.place
		}
		at, name := tx.indexPlace(docs, uint32(t), uint32(x))
		o := tx.s.newIndex(uint32(x), uint32(t), unique, at, docs)
		o.label = name
		return o, nil
	})
}

// DropTable removes a table and its records.
func (tx *txn) DropTable(t storage.TableID) error { return tx.drop(kindTable, uint32(t)) }

// DropIndex removes an index and its entries.
func (tx *txn) DropIndex(x storage.IndexID) error { return tx.drop(kindIndex, uint32(x)) }

func (tx *txn) create(make func(context.Context) (*object, error)) error {
	ctx := context.Background()
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	tx.s.naming.RLock()
	defer tx.s.naming.RUnlock()
	o, err := make(ctx)
	if err != nil {
		return err
	}
	if err := tx.s.ids.add(o, tx); err != nil {
		return err
	}
	tx.write(&op{kind: opCreate, o: o})
	if o.kind == kindIndex || o.place.namespace == tx.s.config.schema {
		return nil
	}
	return tx.flush(ctx) // nobody drops the schema from here on, and none with a table is
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
	if tx.lacks(o) {
		return nil
	}
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
	c.add("SELECT ascii(kind)::int8, id, namespace, relation, EXISTS (SELECT 1 FROM pg_stat_activity a "+
		"WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL AND "+
		"age(a.backend_xmin) >= age((i.dropped % 4294967296)::text::xid))::int::int8 FROM "+n+".ids i WHERE dropped IS NOT NULL "+
		fmt.Sprintf("ORDER BY random() LIMIT %d", sweepSize), func(v [][]byte) {
		if int64Of(v[4]) != 0 {
			waiting = true
			return
		}
		at := place{string(v[2]), string(v[3])}
		gone = append(gone, &object{kind: byte(int64Of(v[0])), id: uint32(int64Of(v[1])), name: at.sql()})
	})
	if err := c.run(ctx); err != nil {
		return false, err
	}
	if len(gone) == 0 {
		if waiting {
			return true, nil
		}
		return false, s.sweepNamespaces(ctx, c)
	}
	c.once("BEGIN")
	c.once("SET LOCAL lock_timeout = '50ms'")
	for _, o := range gone {
		for _, sql := range o.removal(n) {
			c.once(sql)
		}
	}
	ddl := int64(0)
	c.add(s.sql.ddl, func(v [][]byte) { ddl = int64Of(v[0]) })
	c.once("COMMIT")
	if err := c.run(ctx); err != nil {
		if !c.broken {
			c.once("ROLLBACK")
			err = errors.Join(err, c.run(ctx))
		}
		return false, err
	}
	s.syncer.own(ddl)
	return waiting || len(gone) == sweepSize, s.sweepNamespaces(ctx, c)
}
