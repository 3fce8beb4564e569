package pgstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/storage"
)

// maxIdentifier is the longest name in PostgreSQL, in bytes.
const maxIdentifier = 63

// place is where a table or an index lies in PostgreSQL. It never changes.
type place struct {
	namespace string // the schema
	relation  string
}

func (p place) sql() string { return quoted(p.namespace) + "." + quoted(p.relation) }

// nameless is the place of what has no name: in the store's own schema.
func (s *Store) nameless(kind byte, id uint32) place {
	return place{s.config.schema, fmt.Sprintf("%c%d", kind, id)}
}

// label is what a transaction was told of a table or index that it creates.
type label struct {
	database   string
	collection string
	index      string
}

// tableName is the name of the table of a collection: readable, and unique because
// it ends in the id.
func tableName(collection string, id uint32) string {
	return shorten(collection, fmt.Sprintf("_%d", id))
}

// indexName is the name of the table of an index. No table of a collection is called
// so, because behind the last underscore there are digits alone in those.
func indexName(collection string, table uint32, index string, id uint32) string {
	of, end := fmt.Sprintf("_%d_", table), fmt.Sprintf("_x%d", id)
	room := maxIdentifier - len(of) - len(end)
	collection = cut(collection, max(room/2, room-len(index)))
	return shorten(collection+of+index, end)
}

// namespaceName is the name of the schema of a database: try 0 is the plain one, for
// when nobody else has it.
func (s *Store) namespaceName(database string, try int) string {
	name := s.config.schema + "_" + database
	if try == 0 && len(name) <= maxIdentifier {
		return name
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%s/%d", s.id, database, try))
	return shorten(name, "_"+hex.EncodeToString(sum[:4]))
}

// shorten appends an end to a name of which it leaves as much as there is room for.
func shorten(name, end string) string { return cut(name, maxIdentifier-len(end)) + end }

// cut returns the beginning of a text, of at most n bytes and whole characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// legal makes a text one that the PostgreSQL database can store: one in another
// encoding than UTF-8 gets the other characters as their numbers.
func (s *Store) legal(text string) string {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	if !s.ascii.Load() {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\u{%X}`, r)
		}
	}
	return b.String()
}

// rename is a table's new name, which the catalogue gets at Commit.
type rename struct {
	table uint32
	label
}

// NameTable notes a collection's name, for CreateTable and for the catalogue. A table
// that exists keeps its own name in PostgreSQL.
func (tx *txn) NameTable(t storage.TableID, database, collection string) error {
	if err := tx.enterWrite(context.Background()); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	name := label{database: tx.s.legal(database), collection: tx.s.legal(collection)}
	tx.label(objectKey{kindTable, uint32(t)}, name)
	tx.renames = append(tx.renames, rename{uint32(t), name})
	tx.note(&op{kind: opName})
	return nil
}

// NameIndex notes an index's name for CreateIndex.
func (tx *txn) NameIndex(x storage.IndexID, name string) error {
	if err := tx.enterWrite(context.Background()); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	tx.label(objectKey{kindIndex, uint32(x)}, label{index: tx.s.legal(name)})
	return nil
}

func (tx *txn) label(key objectKey, l label) {
	if tx.labels == nil {
		tx.labels = map[objectKey]label{}
	}
	tx.labels[key] = l
}

// sendRenames queues the new names of tables that the transaction has not made.
func (tx *txn) sendRenames() {
	for _, r := range tx.renames {
		if !tx.made(kindTable, r.table) {
			tx.c.add(tx.s.sql.rename, nil, tx.c.i8(int64(r.table)), []byte(r.database), []byte(r.collection))
		}
	}
}

// made says whether the transaction creates a table or index.
func (tx *txn) made(kind byte, id uint32) bool {
	for _, o := range tx.touched {
		if o.creator == tx.id && o.kind == kind && o.id == id {
			return true
		}
	}
	return false
}

// tablePlace is where a table will lie that the transaction creates.
func (tx *txn) tablePlace(ctx context.Context, id uint32) (place, label, error) {
	name, ok := tx.labels[objectKey{kindTable, id}]
	if !ok {
		return tx.s.nameless(kindTable, id), name, nil
	}
	namespace, err := tx.s.namespace(ctx, name.database)
	return place{namespace, tableName(name.collection, id)}, name, err
}

// indexPlace is where an index will lie that the transaction creates: beside its
// table.
func (tx *txn) indexPlace(t place, table, id uint32) (place, label) {
	name, ok := tx.labels[objectKey{kindIndex, id}]
	if !ok {
		return tx.s.nameless(kindIndex, id), name
	}
	collection := strings.TrimSuffix(t.relation, fmt.Sprintf("_%d", table))
	return place{t.namespace, indexName(collection, table, name.index, id)}, name
}

// namespaceTries bounds how often a schema is asked for that others make, too.
const namespaceTries = 10

// namespace returns the schema of a database, which is made if there is none: at once,
// so that of the transactions that create a database's first collections none waits
// for the others.
func (s *Store) namespace(ctx context.Context, database string) (string, error) {
	if known, ok := s.namespaces.Load(database); ok {
		return known.(string), nil
	}
	var name string
	err := s.syncer.ask(ctx, func(ctx context.Context, c *conn) (err error) {
		for range namespaceTries {
			c.once("BEGIN")
			if name, err = s.makeNamespace(ctx, c, database); err == nil {
				c.once("COMMIT")
				err = c.run(ctx)
			}
			if err == nil {
				return nil
			}
			taken := stateOf(err) == stateDuplicateSchema || stateOf(err) == stateUniqueViolation
			if err = rollback(ctx, c, err); !taken {
				return err
			}
		}
		return err
	})
	if err == nil {
		s.namespaces.Store(database, name)
	}
	return name, err
}

// makeNamespace returns the schema of a database, which it makes if there is none. The
// transaction is the caller's.
func (s *Store) makeNamespace(ctx context.Context, c *conn, database string) (string, error) {
	name := ""
	c.add(s.sql.namespace, func(v [][]byte) { name = string(v[0]) }, []byte(database))
	if err := c.run(ctx); err != nil || name != "" {
		return name, err
	}
	v, err := c.query(ctx, "SELECT has_database_privilege(current_database(), 'CREATE')::int::int8")
	if err != nil {
		return "", err
	}
	if v[0] != 0 {
		if name, err = s.freeNamespace(ctx, c, database); err != nil {
			return "", err
		}
		c.once("CREATE SCHEMA " + quoted(name))
		comment := "database " + database + " of the store in schema " + s.config.schema
		c.once("COMMENT ON SCHEMA " + quoted(name) + " IS '" + strings.ReplaceAll(comment, "'", "''") + "'")
	} else {
		name = s.config.schema
		s.log.Warn("the user may not create schemas: a database goes into the store's own", "database", database)
	}
	c.add(s.sql.addNamespace, nil, []byte(database), []byte(name))
	return name, c.run(ctx)
}

// freeNamespace is a name that no schema has.
func (s *Store) freeNamespace(ctx context.Context, c *conn, database string) (string, error) {
	for try := 0; ; try++ {
		name := s.namespaceName(database, try)
		v, err := c.query(ctx, "SELECT count(*) FROM pg_namespace WHERE nspname = $1", []byte(name))
		if err != nil || v[0] == 0 {
			return name, err
		}
	}
}

// rollback ends a transaction that failed with err, which it returns.
func rollback(ctx context.Context, c *conn, err error) error {
	if c.broken {
		return err
	}
	c.once("ROLLBACK")
	if again := c.run(ctx); again != nil {
		return fmt.Errorf("%w; then %w", err, again)
	}
	return err
}

// sweepNamespaces drops the schemas of databases that have no collections. One in
// which somebody else has put something stays.
func (s *Store) sweepNamespaces(ctx context.Context, c *conn) error {
	type pair struct{ database, name string }
	var empty []pair
	c.add(s.sql.emptyNamespaces, func(v [][]byte) { empty = append(empty, pair{string(v[0]), string(v[1])}) })
	if err := c.run(ctx); err != nil {
		return err
	}
	for _, p := range empty {
		if err := s.dropNamespace(ctx, c, p.database, p.name); err != nil {
			return err
		}
	}
	return nil
}

// dropNamespace drops the schema of a database if nothing is in it any more.
func (s *Store) dropNamespace(ctx context.Context, c *conn, database, name string) error {
	if !s.naming.TryLock() {
		return nil // somebody is about to use one
	}
	defer s.naming.Unlock()
	s.namespaces.Delete(database)
	c.once("BEGIN")
	c.once("SET LOCAL lock_timeout = '50ms'")
	c.add(s.sql.dropNamespace, nil, []byte(database))
	if name != s.config.schema {
		c.once("DROP SCHEMA IF EXISTS " + quoted(name) + " RESTRICT")
	}
	c.once("COMMIT")
	if err := c.run(ctx); err != nil {
		if err := rollback(ctx, c, err); c.broken {
			return err
		}
		s.log.Debug("a schema is still in use", "schema", name, "error", err)
	}
	return nil
}
