package pgstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// blockSize is how many record ids a process takes at once, at first; maxBlock is
// what that grows to while a block lasts less than blockTime.
const (
	blockSize = 256
	maxBlock  = 1 << 13
	blockTime = time.Second
)

// object is a table or an index as this process knows it.
type object struct {
	kind   byte
	id     uint32
	table  uint32 // of an index
	unique bool
	place  place
	name   string // the place in SQL
	docs   string // of an index: the name of its table
	label  label  // of one that is being created

	// Guarded by idSet.mu.
	creator uint64 // the transaction that creates it, until it commits
	dropper uint64 // the transaction that drops it, until it commits
	dropped uint64 // the number of the commit that dropped it
	users   int    // open transactions that have written it

	mu         sync.Mutex // guards the block of record ids; held while one is fetched
	next       int64
	limit      int64
	block      int64 // the size of the next block
	fetched    time.Time
	losses     uint64       // Store.Losses before the block was fetched: in another life of the server it may be another process's
	width      atomic.Int64 // bytes of a row, a moving average; 0 if unknown
	statements sync.Map     // of scans, by their shape
	doubt      atomic.Int32 // how many brief transactions are not to hope for the best
	gone       atomic.Bool  // PostgreSQL has not got it, as the last attempt to change it has found
	sql        objectSQL
}

// objectSQL are the statements on an object that need no further text.
type objectSQL struct {
	get, getIf, getAny, lookupIf, lookupAny, lock, exists, insert, update, remove, truncate, appendLog, appendMany, commitLog, commitLogIf string
	put, putOld, putUnique, removeEntry, lookup, holder                                                                                    string
	insertMany, putNew, putMany, maxKey                                                                                                    string
	updateMany, updateSeen, removeMany, setMany, dropMany                                                                                  string // see group.go
	lockMany, lookupMany, updateAll, removeAll                                                                                             string // see ahead.go
}

type objectKey struct {
	kind byte
	id   uint32
}

// idSet are the tables and indexes that exist.
type idSet struct {
	store *Store

	mu  sync.Mutex
	all map[objectKey]*object
}

// newTable is a table that lies at a place.
func (s *Store) newTable(id uint32, at place) *object {
	o := &object{kind: kindTable, id: id, place: at, name: at.sql()}
	n := o.name
	o.sql = objectSQL{
		get:         "SELECT doc FROM " + n + " WHERE rid = $1",
		getIf:       "SELECT doc, " + s.sql.valueOf + " FROM " + n + " WHERE rid = $1",
		getAny:      "SELECT rid, doc FROM " + n + " WHERE rid = ANY($1::int8[])",
		lock:        "SELECT doc FROM " + n + " WHERE rid = $1 FOR UPDATE SKIP LOCKED",
		exists:      "SELECT 1::int8 FROM " + n + " WHERE rid = $1",
		insert:      "INSERT INTO " + n + " (rid, doc) VALUES ($1, $2)",
		insertMany:  "INSERT INTO " + n + " (rid, doc) SELECT * FROM unnest($1::int8[], $2::bytea[])",
		update:      "UPDATE " + n + " SET doc = $2 WHERE rid = $1",
		remove:      "DELETE FROM " + n + " WHERE rid = $1",
		lockMany:    "SELECT rid, doc FROM " + n + " WHERE rid = ANY($1::int8[]) FOR UPDATE SKIP LOCKED",
		updateAll:   "UPDATE " + n + " t SET doc = v.doc FROM unnest($1::int8[], $2::bytea[]) AS v(rid, doc) WHERE t.rid = v.rid",
		removeAll:   "DELETE FROM " + n + " WHERE rid = ANY($1::int8[])",
		truncate:    "DELETE FROM " + n + " WHERE rid < $1",
		appendLog:   s.appendSQL(n),
		appendMany:  s.appendManySQL(n),
		commitLog:   s.commitSQL(n, s.sql.place, 3),
		commitLogIf: s.commitSQL(n, s.sql.placeIf, 5),
		updateMany: countedSQL("UPDATE " + n + " t SET doc = v.doc FROM unnest($2::int8[], $3::bytea[], $4::bytea[]) AS v(rid, old, doc) " +
			"WHERE t.rid = v.rid AND t.doc = v.old"),
		updateSeen: "WITH w AS (UPDATE " + n + " SET doc = $3 WHERE rid = $1 AND doc = $2 RETURNING 1) SELECT 1 / count(*) FROM w",
		removeMany: countedSQL("DELETE FROM " + n + " t USING unnest($2::int8[], $3::bytea[]) AS v(rid, old) WHERE t.rid = v.rid AND t.doc = v.old"),
	}
	return o
}

// newIndex is an index that lies at a place, of the table that lies at another.
func (s *Store) newIndex(id, table uint32, unique bool, at, docs place) *object {
	o := &object{kind: kindIndex, id: id, table: table, unique: unique, place: at, name: at.sql(), docs: docs.sql()}
	n := o.name
	conflict := "(key, rid)"
	if unique {
		conflict = "(key)"
	}
	put := "INSERT INTO " + n + " AS x (key, rid, bits, tail) VALUES ($1, $2, $3, $4) ON CONFLICT " + conflict + " DO UPDATE SET bits = excluded.bits WHERE x.rid = excluded.rid"
	many := "SELECT * FROM unnest($1::bytea[], $2::int8[], $3::bytea[], $4::bytea[])"
	o.sql = objectSQL{
		setMany:     "INSERT INTO " + n + " AS x (key, rid, bits, tail) " + many + " ON CONFLICT " + conflict + " DO UPDATE SET bits = excluded.bits WHERE x.rid = excluded.rid",
		dropMany:    "DELETE FROM " + n + " x USING unnest($1::bytea[], $2::int8[]) AS v(key, rid) WHERE x.key = v.key AND x.rid = v.rid",
		put:         put,
		putOld:      put + " RETURNING (SELECT o.bits FROM " + n + " o WHERE o.key = $1 AND o.rid = $2)",
		putUnique:   "INSERT INTO " + n + " (key, rid, bits, tail) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING",
		putNew:      "INSERT INTO " + n + " (key, rid, bits, tail) VALUES ($1, $2, $3, $4)",
		putMany:     "INSERT INTO " + n + " (key, rid, bits, tail) " + many,
		maxKey:      "SELECT key FROM " + n + " ORDER BY key DESC LIMIT 1",
		removeEntry: "DELETE FROM " + n + " WHERE key = $1 AND rid = $2 RETURNING bits",
		lookup:      "SELECT x.rid, t.doc FROM " + n + " x LEFT JOIN " + o.docs + " t ON t.rid = x.rid WHERE x.key = $1",
		lookupIf:    "SELECT x.rid, t.doc, " + s.sql.valueOf + " FROM " + n + " x LEFT JOIN " + o.docs + " t ON t.rid = x.rid WHERE x.key = $1",
		lookupAny:   "SELECT x.key, x.rid, t.doc FROM " + n + " x LEFT JOIN " + o.docs + " t ON t.rid = x.rid WHERE x.key = ANY($1::bytea[])",
		lookupMany:  "SELECT v.n, x.rid FROM unnest($1::int8[], $2::bytea[]) AS v(n, key) JOIN " + n + " x ON x.key = v.key",
		holder:      "SELECT rid FROM " + n + " WHERE key = $1 FOR UPDATE SKIP LOCKED",
	}
	return o
}

// creation queues the DDL that makes an object.
func (o *object) creation(s *Store, c *conn) {
	columns := "rid int8 PRIMARY KEY, doc bytea NOT NULL"
	if o.kind == kindIndex {
		key := "key, rid"
		if o.unique {
			key = "key"
		}
		columns = "key bytea NOT NULL, rid int8 NOT NULL, bits bytea NOT NULL, tail bytea, PRIMARY KEY (" + key + ")"
	}
	c.once("CREATE TABLE " + o.name + " (" + columns + ")")
	c.once(fmt.Sprintf("INSERT INTO %s.ids (kind, id, tbl, uniq, namespace, relation, database, collection, index_name) "+
		"VALUES ('%c', %d, %d, %t, $1, $2, $3, $4, $5)", s.schema, o.kind, o.id, o.table, o.unique),
		[]byte(o.place.namespace), []byte(o.place.relation), orNull(o.label.database), orNull(o.label.collection), orNull(o.label.index))
}

// orNull is a text argument, null if it is empty.
func orNull(text string) []byte {
	if text == "" {
		return nil
	}
	return []byte(text)
}

// removal is the DDL that takes it away.
func (o *object) removal(schema string) []string {
	out := []string{"DROP TABLE IF EXISTS " + o.name}
	if o.kind == kindTable {
		out = append(out, fmt.Sprintf("DELETE FROM %s.blocks WHERE id = %d", schema, o.id))
	}
	return append(out, fmt.Sprintf("DELETE FROM %s.ids WHERE kind = '%c' AND id = %d", schema, o.kind, o.id))
}

// find returns an object, asking the catalogue for one that is not known.
func (ids *idSet) find(ctx context.Context, kind byte, id uint32) (*object, error) {
	ids.mu.Lock()
	o := ids.all[objectKey{kind, id}]
	ids.mu.Unlock()
	if o != nil || !ids.store.config.Shared && !ids.store.syncer.stale.Load() {
		return o, nil
	}
	if err := ids.store.syncer.reload(ctx); err != nil {
		return nil, err
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	return ids.all[objectKey{kind, id}], nil
}

// load reads the catalogue through a connection.
func (ids *idSet) load(ctx context.Context, c *conn) error {
	s := ids.store
	found := map[objectKey]*object{}
	// What is committed from here on may not be in the answer.
	ids.mu.Lock()
	known, dropped := make(map[objectKey]*object, len(ids.all)), map[objectKey]*object{}
	for key, o := range ids.all {
		if o.creator == 0 {
			known[key] = o
		}
		if o.dropped != 0 {
			dropped[key] = o
		}
	}
	ids.mu.Unlock()
	places := map[uint32]place{}
	c.add(s.sql.objects, func(v [][]byte) {
		key := objectKey{byte(int64Of(v[0])), uint32(int64Of(v[1]))}
		at := place{string(v[4]), string(v[5])}
		if key.kind == kindTable {
			places[key.id] = at
			found[key] = s.newTable(key.id, at)
		} else {
			table := uint32(int64Of(v[2]))
			found[key] = s.newIndex(key.id, table, int64Of(v[3]) != 0, at, s.tableAt(places, table))
		}
	})
	if err := c.run(ctx); err != nil {
		return err
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	seq := uint64(0)
	for key, o := range ids.all {
		if dropped[key] == o && found[key] != nil {
			continue // what has dropped it is lost
		}
		if known[key] != o || o.dropper != 0 || o.dropped != 0 || o.isLike(found[key]) {
			delete(found, key)
			continue
		}
		// Dropped by another process: older snapshots still see it. If there is another object with its id,
		// it was created in a commit that PostgreSQL has lost.
		if seq == 0 {
			seq = s.claims.finish(nil, true)
		}
		o.dropped = seq
	}
	for key, o := range found {
		ids.all[key] = o
	}
	return nil
}

// tableAt is where an index's table lies: at one of the places, or where one without a
// name would.
func (s *Store) tableAt(places map[uint32]place, table uint32) place {
	if at, ok := places[table]; ok {
		return at
	}
	return s.nameless(kindTable, table)
}

// isLike says whether an object is where another one is, if there is one.
func (o *object) isLike(other *object) bool {
	return other != nil && o.place == other.place && o.docs == other.docs && o.unique == other.unique
}

// tidy forgets what was dropped before the oldest snapshot.
func (ids *idSet) tidy(oldest uint64) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	for key, o := range ids.all {
		if o.dropped != 0 && o.dropped <= oldest && o.users == 0 {
			delete(ids.all, key)
		}
	}
}

// readable says whether a transaction sees an object's contents.
func (ids *idSet) readable(o *object, tx *txn) bool {
	if o == nil {
		return false
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	switch {
	case o.creator != 0 && o.creator != tx.id:
		return false
	case o.dropper == tx.id:
		return false
	}
	return o.dropped == 0 || tx.seq < o.dropped
}

// use counts a transaction as one that writes an object.
func (ids *idSet) use(o *object, tx *txn) error {
	if o == nil {
		return storage.ErrNotFound
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	switch {
	case o.dropper == tx.id || o.creator != 0 && o.creator != tx.id:
		return storage.ErrNotFound
	case o.dropper != 0:
		return storage.ErrWriteConflict
	case o.dropped != 0 && tx.seq < o.dropped:
		return storage.ErrWriteConflict
	case o.dropped != 0:
		return storage.ErrNotFound
	}
	for _, t := range tx.touched {
		if t == o {
			return nil
		}
	}
	o.users++
	tx.touched = append(tx.touched, o)
	return nil
}

// drop marks an object as being dropped by its only user.
func (ids *idSet) drop(o *object, tx *txn) error {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if o.users > 1 {
		return storage.ErrWriteConflict
	}
	o.dropper = tx.id
	return nil
}

func (ids *idSet) undrop(o *object) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	o.dropper = 0
}

// add makes room for an object that a transaction creates.
func (ids *idSet) add(o *object, tx *txn) error {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	key := objectKey{o.kind, o.id}
	old := ids.all[key]
	switch {
	case old == nil || old.dropped != 0: // no id comes again, unless the commit that created its object was lost
	case ids.store.config.Shared:
		return ids.store.claims.conflict() // another process was faster
	default:
		return fmt.Errorf("storage: id %c%d exists already", o.kind, o.id)
	}
	o.creator, o.users = tx.id, 1
	if o.next == 0 { // the first block belongs to who creates the table
		o.next, o.limit, o.fetched, o.losses = 1, 1+blockSize, time.Now(), ids.store.Losses()
	}
	ids.all[key] = o
	tx.touched = append(tx.touched, o)
	return nil
}

// remove forgets an object whose creation is undone.
func (ids *idSet) remove(o *object, tx *txn) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.all[objectKey{o.kind, o.id}] == o {
		delete(ids.all, objectKey{o.kind, o.id})
	}
	for i, t := range tx.touched {
		if t == o {
			tx.touched = append(tx.touched[:i], tx.touched[i+1:]...)
			break
		}
	}
}

// end takes a transaction out of the books; seq is the number of its commit, 0 if
// it was rolled back.
func (ids *idSet) end(tx *txn, seq uint64) {
	if len(tx.touched) == 0 && len(tx.drops) == 0 {
		return
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	for _, o := range tx.touched {
		o.users--
		if o.creator == tx.id {
			o.creator = 0
			if seq == 0 {
				delete(ids.all, objectKey{o.kind, o.id})
			}
		}
	}
	for _, o := range tx.drops {
		o.dropper = 0
		if seq != 0 {
			o.dropped = seq
		}
	}
}

// scanShape is what the text of a scan's statement depends on.
type scanShape struct {
	reverse, fetch      bool
	bare                bool // no records, only their ids
	lower, upper, after bool
	contains            string // see condition
}

// scan is the statement of a scan; its arguments are the bounds in the order
// lower, upper, after, after's id, and what condition gives.
func (o *object) scan(sh scanShape) string {
	if sql, ok := o.statements.Load(sh); ok {
		return sql.(string)
	}
	var b strings.Builder
	var where []string
	n := 0
	arg := func(format string) {
		n++
		where = append(where, fmt.Sprintf(format, n))
	}
	dir, beyond := "", ">"
	if sh.reverse {
		dir, beyond = " DESC", "<"
	}
	if o.kind == kindTable {
		if sh.bare {
			b.WriteString("SELECT x.rid, ''::bytea FROM " + o.name + " x")
		} else {
			b.WriteString(o.records(sh.contains))
		}
		if sh.lower {
			arg("x.rid >= $%d")
		}
		if sh.upper {
			arg("x.rid <= $%d")
		}
	} else {
		b.WriteString(o.entries(sh.fetch, sh.contains))
		if sh.lower {
			arg("x.key >= $%d")
		}
		if sh.upper {
			arg("x.key < $%d")
		}
		if sh.after && o.unique {
			arg("x.key " + beyond + "= $%d")
		} else if sh.after {
			n += 2
			where = append(where, fmt.Sprintf("(x.key, x.rid) %s ($%d, $%d)", beyond, n-1, n))
		}
	}
	switch {
	case sh.contains == "":
	case o.kind == kindTable:
		where = append(where, holds("x.doc", sh.contains, n))
	default: // an entry without a record is the reader's to report
		where = append(where, "(t.rid IS NULL OR "+holds("t.doc", sh.contains, n)+")")
	}
	if len(where) > 0 {
		b.WriteString(" WHERE " + strings.Join(where, " AND "))
	}
	switch {
	case o.kind == kindTable:
		b.WriteString(" ORDER BY x.rid" + dir)
	case o.unique:
		b.WriteString(" ORDER BY x.key" + dir)
	default:
		b.WriteString(" ORDER BY x.key" + dir + ", x.rid" + dir)
	}
	sql := b.String()
	o.statements.Store(sh, sql)
	return sql
}
