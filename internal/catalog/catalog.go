package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
)

// Catalog is the store's catalog. All methods are safe for concurrent use.
type Catalog struct {
	engine  storage.Engine
	current atomic.Pointer[Snapshot]

	change sync.Mutex // serialises Change; guards nextID
	// publish is held from the commit of a change until current shows it. It comes after change.
	publish sync.RWMutex
	nextID  uint32
}

var nextIDKey = []byte("N")

// Open reads the catalog from an engine.
func Open(ctx context.Context, engine storage.Engine) (*Catalog, error) {
	c := &Catalog{engine: engine}
	txn := engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	v, err := txn.GetMeta(ctx, nextIDKey)
	switch {
	case err == nil && len(v) == 8:
		c.nextID = uint32(binary.BigEndian.Uint64(v))
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return nil, fmt.Errorf("catalog: read ids: %w", err)
	}
	snap, err := load(ctx, txn)
	if err != nil {
		return nil, err
	}
	c.current.Store(snap)
	return c, nil
}

func load(ctx context.Context, txn storage.Txn) (*Snapshot, error) {
	snap := &Snapshot{dbs: map[string]map[string]*Collection{}}
	var bad error
	err := txn.ScanMeta(ctx, []byte("C"), func(key, value []byte) bool {
		var coll *Collection
		if coll, bad = decodeCollection(key, value); bad != nil {
			return false
		}
		if snap.dbs[coll.DB] == nil {
			snap.dbs[coll.DB] = map[string]*Collection{}
		}
		snap.dbs[coll.DB][coll.Name] = coll
		return true
	})
	if err = errors.Join(bad, err); err != nil {
		return nil, fmt.Errorf("catalog: read collections: %w", err)
	}
	for _, colls := range snap.dbs {
		for _, coll := range colls {
			for _, x := range coll.Indexes {
				if err := loadMultikey(ctx, txn, x); err != nil {
					return nil, err
				}
			}
		}
	}
	return snap, nil
}

func loadMultikey(ctx context.Context, txn storage.Txn, x *Index) error {
	v, err := txn.GetMeta(ctx, multikeyKey(x))
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("catalog: read multikey mark: %w", err)
	}
	if len(v) != 4 {
		return fmt.Errorf("catalog: damaged multikey mark of index %d", x.ID)
	}
	x.multikey.Store(binary.BigEndian.Uint32(v))
	x.stored.Store(binary.BigEndian.Uint32(v))
	return nil
}

func multikeyKey(x *Index) []byte {
	return binary.BigEndian.AppendUint32([]byte("X"), uint32(x.ID))
}

// Snapshot returns the catalog as it is now.
func (c *Catalog) Snapshot() *Snapshot { return c.current.Load() }

// Collection returns a collection or view as it is now, or nil.
func (c *Catalog) Collection(db, name string) *Collection {
	return c.current.Load().Collection(db, name)
}

// MarkMultikey notes, inside the writer's transaction, that a document has
// arrays under the index's fields in mask. The mark is visible at once: a
// reader that takes its snapshot before it looks at the mark never sees a
// document whose mark it misses. It reports whether the mark is written by this transaction;
// then the writer calls StoredMultikey after its commit, and until then every
// writer writes the mark again, since this transaction may yet fail.
func MarkMultikey(ctx context.Context, txn storage.Txn, x *Index, mask uint32) (written bool, err error) {
	if x.stored.Load()|mask == x.stored.Load() {
		return false, nil
	}
	x.multikey.Or(mask)
	return true, txn.PutMeta(ctx, multikeyKey(x), binary.BigEndian.AppendUint32(nil, x.multikey.Load()))
}

// StoredMultikey notes that a mark made by MarkMultikey has been committed.
func StoredMultikey(x *Index, mask uint32) { x.stored.Or(mask) }

// Change is one change of the catalog under way.
type Change struct {
	// Txn is the transaction in which everything happens.
	Txn storage.Txn

	catalog *Catalog
	snap    *Snapshot
	guards  []*Guard
	busy    *Guard // that Hold could not get
	undo    uint32 // nextID before
	after   []func()
}

// errBusy says that a transaction holds a collection that a change needs.
var errBusy = errors.New("catalog: collection is held by a transaction")

// Change runs fn alone among changes and publishes what it did if it returns
// nil. fn must not call Change again. If a transaction holds a collection that
// fn needs, Change waits for its end, letting other changes go first, and runs
// fn again from the start.
func (c *Catalog) Change(ctx context.Context, fn func(*Change) error) error {
	var announced []*Guard
	defer func() {
		for _, g := range announced {
			g.withdraw()
		}
	}()
	for {
		busy, err := c.changeOnce(ctx, fn)
		if busy == nil {
			return err
		}
		busy.announce()
		announced = append(announced, busy)
		if err := busy.drain(ctx); err != nil {
			return err
		}
	}
}

// changeOnce returns the guard that fn could not hold, nil if there is none.
func (c *Catalog) changeOnce(ctx context.Context, fn func(*Change) error) (busy *Guard, err error) {
	c.change.Lock()
	defer c.change.Unlock()
	ch := &Change{
		Txn: c.engine.Begin(storage.TxnOptions{}), catalog: c, snap: c.current.Load(), undo: c.nextID,
	}
	defer ch.release()
	if err := fn(ch); err != nil {
		c.nextID = ch.undo
		return ch.busy, err
	}
	if ch.snap == c.current.Load() {
		return nil, nil
	}
	if c.nextID != ch.undo {
		if err := putNextID(ctx, ch.Txn, c.nextID); err != nil {
			return nil, err
		}
	}
	if err := ch.publish(ctx); err != nil {
		return nil, err
	}
	for _, f := range ch.after {
		f()
	}
	return nil, nil
}

// publish commits the change and makes it known.
func (ch *Change) publish(ctx context.Context) error {
	c := ch.catalog
	c.publish.Lock()
	defer c.publish.Unlock()
	// A change that began must not be torn by a client that goes away.
	if _, err := ch.Txn.Commit(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("catalog: commit: %w", err)
	}
	c.current.Store(ch.snap)
	return nil
}

// AfterCommit has f called when the change has been published, with the change lock
// held.
func (ch *Change) AfterCommit(f func()) { ch.after = append(ch.after, f) }

func (ch *Change) release() {
	ch.Txn.Rollback()
	for _, g := range ch.guards {
		g.Readmit()
	}
}

// Snapshot is the catalog with the changes so far.
func (ch *Change) Snapshot() *Snapshot { return ch.snap }

// Collection returns a collection as the change has it, or nil.
func (ch *Change) Collection(db, name string) *Collection { return ch.snap.Collection(db, name) }

// Hold waits for the collection's writers and keeps others out until the change
// ends. It fails if a transaction holds the collection; fn returns that error and
// is run again later.
func (ch *Change) Hold(coll *Collection) error {
	if coll.Guard == nil || slices.Contains(ch.guards, coll.Guard) {
		return nil
	}
	coll.Guard.announce()
	if !coll.Guard.free() {
		coll.Guard.withdraw()
		ch.busy = coll.Guard
		return errBusy
	}
	coll.Guard.Lock()
	ch.guards = append(ch.guards, coll.Guard)
	return nil
}

// NewID gives out an id for a table or an index.
func (ch *Change) NewID() uint32 {
	ch.catalog.nextID++
	return ch.catalog.nextID
}

// Create adds a collection or view: it makes its table and its indexes. The
// collection's UUID, Table and Guard and its indexes' ids are filled in where they are zero.
func (ch *Change) Create(ctx context.Context, coll *Collection) error {
	if err := makeTable(ch.Txn, coll, ch.NewID); err != nil {
		return err
	}
	return ch.Put(ctx, coll)
}

// makeTable makes room for a new collection or view and fills in what it lacks.
func makeTable(txn storage.Txn, coll *Collection, newID func() uint32) error {
	if coll.UUID == (UUID{}) {
		coll.UUID = NewUUID()
	}
	if coll.IsView() {
		return nil
	}
	coll.Guard = &Guard{}
	coll.Table = storage.TableID(newID())
	if err := txn.CreateTable(coll.Table); err != nil {
		return err
	}
	for _, x := range coll.Indexes {
		if err := allotIndex(txn, coll, x, newID()); err != nil {
			return err
		}
	}
	return nil
}

func allotIndex(txn storage.Txn, coll *Collection, x *Index, id uint32) error {
	x.ID = storage.IndexID(id)
	x.multikey, x.stored = new(atomic.Uint32), new(atomic.Uint32)
	x.Uses = new(atomic.Int64)
	x.SinceMS = time.Now().UnixMilli()
	return txn.CreateIndex(coll.Table, x.ID, x.Unique)
}

// CreateIndex makes room for an index of coll, giving it an id. The caller adds
// it to a copy of the collection and calls Put.
func (ch *Change) CreateIndex(coll *Collection, x *Index) error {
	return allotIndex(ch.Txn, coll, x, ch.NewID())
}

// DropIndex removes an index's entries and mark.
func (ch *Change) DropIndex(ctx context.Context, x *Index) error {
	if err := ch.Txn.DeleteMeta(ctx, multikeyKey(x)); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return ch.Txn.DropIndex(x.ID)
}

// Put stores a new or changed collection under its name.
func (ch *Change) Put(ctx context.Context, coll *Collection) error {
	if err := ch.Txn.PutMeta(ctx, collectionKey(coll.DB, coll.Name), encodeCollection(coll)); err != nil {
		return err
	}
	ch.snap = ch.snap.with(coll.DB, coll.Name, coll)
	return nil
}

// Drop removes a collection with its table and indexes.
func (ch *Change) Drop(ctx context.Context, coll *Collection) error {
	if err := ch.Hold(coll); err != nil {
		return err
	}
	if !coll.IsView() {
		for _, x := range coll.Indexes {
			if err := ch.DropIndex(ctx, x); err != nil {
				return err
			}
		}
		if err := ch.Txn.DropTable(coll.Table); err != nil {
			return err
		}
	}
	return ch.remove(ctx, coll)
}

func (ch *Change) remove(ctx context.Context, coll *Collection) error {
	if err := ch.Txn.DeleteMeta(ctx, collectionKey(coll.DB, coll.Name)); err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	ch.snap = ch.snap.with(coll.DB, coll.Name, nil)
	return nil
}

// Rename moves a collection to another name, which must be free.
func (ch *Change) Rename(ctx context.Context, coll *Collection, db, name string) (*Collection, error) {
	if err := ch.Hold(coll); err != nil {
		return nil, err
	}
	if err := ch.remove(ctx, coll); err != nil {
		return nil, err
	}
	moved := coll.With(func(c *Collection) { c.DB, c.Name = db, name })
	return moved, ch.Put(ctx, moved)
}

func collectionKey(db, name string) []byte {
	return append(append(append([]byte("C"), db...), 0), name...)
}

// docOf is a document or array of the stored options, or nil.
func docOf(v bsonval.Value) bsonval.Doc {
	if v.Type() == bsonval.TypeDocument || v.Type() == bsonval.TypeArray {
		return v.Doc()
	}
	return nil
}
