package pgstore

import (
	"context"

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

// sweep drops the tables that were dropped before the oldest snapshot, in all
// processes.
func (s *Store) sweep(ctx context.Context) {
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return
	}
	defer s.pool.release(c)
	c.end()
	n := s.schema
	var gone []*object
	c.add("SELECT ascii(kind)::int8, id, tbl FROM "+n+".ids i WHERE dropped IS NOT NULL AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a "+
		"WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.backend_xmin IS NOT NULL AND "+
		"age(a.backend_xmin) >= age((i.dropped % 4294967296)::text::xid)) LIMIT 20", func(v [][]byte) {
		gone = append(gone, s.newObject(byte(int64Of(v[0])), uint32(int64Of(v[1])), uint32(int64Of(v[2])), false))
	})
	var size int64
	c.add("SELECT COALESCE(sum(pg_relation_size(c.oid)), 0)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "+
		"WHERE n.nspname = $1 AND c.relkind IN ('r', 'i')", func(v [][]byte) { size = int64Of(v[0]) }, []byte(s.config.schema))
	if c.run(ctx) != nil {
		return
	}
	s.size.Store(size)
	for _, o := range gone {
		c.once("BEGIN")
		c.once("SET LOCAL lock_timeout = '50ms'")
		for _, sql := range o.removal(n) {
			c.once(sql)
		}
		c.add(s.sql.ddl, nil)
		c.once("COMMIT")
		if err := c.run(ctx); err != nil {
			s.log.Debug("a dropped table is still in use", "table", o.name, "error", err)
			if c.broken {
				return
			}
			c.once("ROLLBACK")
			if c.run(ctx) != nil {
				return
			}
			continue
		}
		s.ids.forget(o)
	}
}

// forget removes an object that was swept.
func (ids *idSet) forget(o *object) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	delete(ids.all, objectKey{o.kind, o.id})
}
