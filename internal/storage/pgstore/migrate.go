package pgstore

import (
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// migrateSize is how many tables are moved in one transaction: PostgreSQL has room
// for some thousand locks.
const migrateSize = 400

// namesTables are what format 2 adds to format 1. $ stands for the schema.
var namesTables = []string{
	"COMMENT ON TABLE $.ids IS 'kind t: a table of records; kind x: an index of table tbl; dropped: the transaction that dropped it'",
	"CREATE TABLE $.databases (database text PRIMARY KEY, namespace text NOT NULL)",
	"COMMENT ON TABLE $.databases IS 'the schema of each database'",
	`CREATE VIEW $.catalogue AS SELECT t.database, t.collection, o.index_name, o.namespace AS schema, o.relation,
		o.uniq AS is_unique, o.id FROM $.ids o JOIN $.ids t ON t.kind = 't' AND t.id = CASE o.kind WHEN 't' THEN o.id ELSE o.tbl END
		WHERE o.dropped IS NULL`,
	"COMMENT ON VIEW $.catalogue IS 'where collections and their indexes (index_name is set) lie'",
}

// namesColumns are the columns that format 2 adds to ids.
const namesColumns = "ADD COLUMN namespace text, ADD COLUMN relation text, ADD COLUMN database text, ADD COLUMN collection text, ADD COLUMN index_name text"

// migrate brings a store of an older format to this program's. Processes that start
// at the same time wait for each other at the row of format, and each goes on where
// the one before has stopped. A store of ordinary size is moved in one transaction.
func (s *Store) migrate(ctx context.Context, c *conn) error {
	for {
		left, err := s.migrateSome(ctx, c)
		if err != nil {
			return fmt.Errorf("bring the store to format %d: %w", formatVersion, rollback(ctx, c, err))
		}
		if left == 0 {
			return nil
		}
		s.log.Info("the store is brought to a newer format", "tables_left", left)
	}
}

// migrateSome is one transaction of the migration. It returns how many tables are
// left for the next; the caller rolls back what failed.
func (s *Store) migrateSome(ctx context.Context, c *conn) (left int64, err error) {
	version := int64(0)
	c.once("BEGIN")
	c.add("SELECT version FROM "+s.schema+".format FOR UPDATE", func(v [][]byte) { version = int64Of(v[0]) })
	if err := c.run(ctx); err != nil {
		return 0, err
	}
	if version == 1 {
		if err := s.addNames(ctx, c); err != nil {
			return 0, err
		}
	}
	if err := s.moveTables(ctx, c); err != nil {
		return 0, err
	}
	v, err := c.query(ctx, "SELECT count(*) FROM "+s.schema+".ids WHERE namespace IS NULL")
	if err != nil {
		return 0, err
	}
	c.once("COMMIT")
	return v[0], c.run(ctx)
}

// addNames makes the tables of format 2. No program of format 1 is there, which would look
// for tables where they were: those hold the store alone, see [syncer.hold].
func (s *Store) addNames(ctx context.Context, c *conn) error {
	c.once("ALTER TABLE " + s.schema + ".ids " + namesColumns)
	for _, sql := range namesTables {
		c.once(s.here(sql))
	}
	c.once(fmt.Sprintf("UPDATE %s.format SET version = 2", s.schema))
	return c.run(ctx)
}

// moveTables gives some of the tables and indexes that have no place yet the one of
// their name.
func (s *Store) moveTables(ctx context.Context, c *conn) error {
	type unplaced struct {
		key     objectKey
		dropped bool
	}
	var list []unplaced
	c.add(fmt.Sprintf("SELECT ascii(kind)::int8, id, (dropped IS NOT NULL)::int::int8 FROM %s.ids WHERE namespace IS NULL ORDER BY id LIMIT %d",
		s.schema, migrateSize), func(v [][]byte) {
		list = append(list, unplaced{objectKey{byte(int64Of(v[0])), uint32(int64Of(v[1]))}, int64Of(v[2]) != 0})
	})
	if err := c.run(ctx); err != nil {
		return err
	}
	names, err := s.storedNames(ctx, c)
	if err != nil {
		return err
	}
	namespaces := map[string]string{}
	for _, u := range list {
		name, ok := names[u.key]
		if !ok || u.dropped {
			p := s.nameless(u.key.kind, u.key.id)
			c.add(s.sql.setPlace, nil, []byte{u.key.kind}, c.i8(int64(u.key.id)), []byte(p.namespace), []byte(p.relation), nil, nil, nil)
			continue
		}
		if _, ok := namespaces[name.Database]; !ok {
			if namespaces[name.Database], err = s.makeNamespace(ctx, c, name.Database); err != nil {
				return err
			}
		}
		s.moveTable(c, u.key, name, namespaces[name.Database])
	}
	return c.run(ctx)
}

// moveTable queues the statements that move a table or index to its place.
func (s *Store) moveTable(c *conn, key objectKey, name storage.Name, namespace string) {
	from, to := s.nameless(key.kind, key.id), place{namespace, tableName(name.Collection, key.id)}
	args := [][]byte{{key.kind}, c.i8(int64(key.id)), []byte(namespace), nil, []byte(name.Database), []byte(name.Collection), nil}
	if key.kind == kindIndex {
		to.relation = indexName(name.Collection, uint32(name.Table), name.IndexName, key.id)
		args[4], args[5], args[6] = nil, nil, []byte(name.IndexName)
	}
	args[3] = []byte(to.relation)
	if namespace != from.namespace {
		c.once("ALTER TABLE " + from.sql() + " SET SCHEMA " + quoted(namespace))
	}
	c.once("ALTER TABLE " + place{namespace, from.relation}.sql() + " RENAME TO " + quoted(to.relation))
	c.add(s.sql.setPlace, nil, args...)
}

// storedNames asks the owner of the meta keys what the tables are called.
func (s *Store) storedNames(ctx context.Context, c *conn) (map[objectKey]storage.Name, error) {
	if s.config.Names == nil {
		return nil, nil
	}
	names, err := s.config.Names(func(prefix []byte, fn func(key, value []byte) bool) error {
		return eachPair(s.queueMetaScan(c, prefix), func() error { return c.run(ctx) }, fn)
	})
	if err != nil {
		return nil, err
	}
	out := make(map[objectKey]storage.Name, len(names))
	for _, n := range names {
		n.Database, n.Collection, n.IndexName = s.legal(n.Database), s.legal(n.Collection), s.legal(n.IndexName)
		key := objectKey{kindTable, uint32(n.Table)}
		if n.Index != 0 {
			key = objectKey{kindIndex, uint32(n.Index)}
		}
		out[key] = n
	}
	return out, nil
}
