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
	// Reloaded, if set, is called with the definitions before and after another process
	// has changed them. It is set before the catalog is used.
	Reloaded func(ctx context.Context, before, after *Snapshot) error

	engine  storage.Engine
	shared  bool // other processes may change the definitions
	current atomic.Pointer[Snapshot]

	change sync.Mutex // serialises Change; guards nextID
	// publish is held from the commit of a change until current shows it. It comes after change.
	publish sync.RWMutex
	nextID  uint32

	doubtful atomic.Bool // see doubt
}

var nextIDKey = []byte("N")

// Open reads the catalog from an engine.
func Open(ctx context.Context, engine storage.Engine) (*Catalog, error) {
	c := &Catalog{engine: engine, shared: storage.IsShared(engine)}
	if c.shared {
		if err := c.makeVersion(ctx); err != nil {
			return nil, err
		}
	}
	txn := engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	var err error
	if c.nextID, err = readNextID(ctx, txn); err != nil {
		return nil, err
	}
	snap, err := c.load(ctx, txn, &Snapshot{})
	if err != nil {
		return nil, err
	}
	c.current.Store(snap)
	return c, nil
}

// readNextID reads the largest id given out.
func readNextID(ctx context.Context, txn storage.Txn) (uint32, error) {
	v, err := txn.GetMeta(ctx, nextIDKey)
	switch {
	case err == nil && len(v) == 8:
		return uint32(binary.BigEndian.Uint64(v)), nil
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return 0, fmt.Errorf("catalog: read ids: %w", err)
	}
	return 0, nil
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
// writer writes the mark again, since this transaction may yet fail. losses are those of the transaction's
// options: marks that were stored before may be lost.
func MarkMultikey(ctx context.Context, txn storage.Txn, x *Index, mask uint32, losses uint64) (written bool, err error) {
	if x.stored.has(mask, losses) {
		return false, nil
	}
	x.multikey.Or(mask)
	if err := touch(ctx, txn); err != nil { // other processes must know before they see the document
		return true, err
	}
	return true, txn.PutMeta(ctx, multikeyKey(x), binary.BigEndian.AppendUint32(nil, x.multikey.Load()))
}

// StoredMultikey notes that a mark made by MarkMultikey has been committed.
func StoredMultikey(x *Index, mask uint32, losses uint64) { x.stored.add(mask, losses) }

// Change is one change of the catalog under way.
type Change struct {
	// Txn is the transaction in which everything happens.
	Txn storage.Txn

	catalog *Catalog
	base    *Snapshot // that the change began with
	snap    *Snapshot
	guards  []*Guard
	busy    *Guard // that Hold could not get
	undo    uint32 // nextID before
	after   []func()

	alone  []*Collection // held against other processes
	wanted []*Collection // … to be held so when the change begins again
	owned  *Collection   // that nobody else knows
}

// conflicts is how often a change is tried in a store that is not shared: PostgreSQL may still be busy with one whose connection was cut.
const conflicts = 50

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
	var alone []*Collection
	for attempt := 0; ; attempt++ {
		ch := &Change{catalog: c, alone: alone}
		err := ch.run(ctx, fn)
		switch busy := ch.busy; {
		case busy != nil:
			busy.announce()
			announced = append(announced, busy)
			if err := busy.drain(ctx); err != nil {
				return err
			}
		case ch.wanted != nil:
			alone = append(alone, ch.wanted...)
		case isOvertaken(err) && (c.shared || attempt < conflicts):
			if err := c.catchUp(ctx, ch.base, attempt); err != nil {
				return err
			}
			if c.current.Load() != ch.base {
				alone = nil
			}
		default:
			return err
		}
	}
}

// run is one attempt. After it, ch.busy is the guard that fn could not hold, and
// ch.wanted are the collections that are to be held before the next attempt.
func (ch *Change) run(ctx context.Context, fn func(*Change) error) error {
	c := ch.catalog
	c.change.Lock()
	defer c.change.Unlock()
	if err := c.settle(ctx); err != nil {
		return err
	}
	ch.base = c.current.Load()
	ch.snap, ch.undo = ch.base, c.nextID
	ch.Txn = c.engine.Begin(ch.options())
	defer ch.release()
	if err := ch.begin(ctx); err != nil {
		return err
	}
	if err := fn(ch); err != nil {
		c.nextID = ch.undo
		return err
	}
	if ch.snap == ch.base {
		return nil
	}
	if c.nextID != ch.undo {
		if err := putNextID(ctx, ch.Txn, c.nextID); err != nil {
			return err
		}
	}
	if err := ch.publish(ctx); err != nil {
		return err
	}
	for _, f := range ch.after {
		f()
	}
	return nil
}

// publish commits the change and makes it known.
func (ch *Change) publish(ctx context.Context) error {
	c := ch.catalog
	version, err := c.newVersion(ctx, ch.Txn)
	if err != nil {
		return err
	}
	c.publish.Lock()
	defer c.publish.Unlock()
	// A change that began must not be torn by a client that goes away.
	if _, err := ch.Txn.Commit(context.WithoutCancel(ctx)); err != nil {
		c.doubt(ctx, err)
		return fmt.Errorf("catalog: commit: %w", err)
	}
	c.current.Store(ch.snap.at(version))
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
	if coll.Guard == nil {
		return nil
	}
	if !ch.catalog.shared {
		return ch.hold(coll)
	}
	return ch.HoldAll([]*Collection{coll})
}

// hold keeps writers of this process out of a collection.
func (ch *Change) hold(coll *Collection) error {
	if slices.Contains(ch.guards, coll.Guard) {
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
	if err := nameTable(txn, coll); err != nil {
		return err
	}
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
	x.multikey, x.stored = new(atomic.Uint32), new(storedMark)
	x.Uses = new(atomic.Int64)
	x.SinceMS = time.Now().UnixMilli()
	if err := nameIndex(txn, x); err != nil {
		return err
	}
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
	coll.stored = encodeCollection(coll)
	if err := ch.Txn.PutMeta(ctx, collectionKey(coll.DB, coll.Name), coll.stored); err != nil {
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
	if err := nameTable(ch.Txn, moved); err != nil {
		return nil, err
	}
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
