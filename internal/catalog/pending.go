package catalog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// Pending are the collections that a multi-document transaction has created.
// Nobody else knows of them before Commit, which publishes them together with the
// rest of the transaction; if it is rolled back they have never been. They are made
// without keeping anybody from anything: of several who create the same collection
// the first to commit wins.
//
// A Pending belongs to its transaction's owner.
type Pending struct {
	catalog *Catalog
	txn     storage.Txn
	made    []*Collection // in the order of their creation
}

// Pending begins a set of collections that a transaction creates.
func (c *Catalog) Pending(txn storage.Txn) *Pending { return &Pending{catalog: c, txn: txn} }

// Made lists the collections as they have become, in the order of their creation.
func (p *Pending) Made() []*Collection { return p.made }

// Has says whether the transaction has created a collection.
func (p *Pending) Has(coll *Collection) bool { return p.find(coll) >= 0 }

func (p *Pending) find(coll *Collection) int {
	for i, c := range p.made {
		if c.UUID == coll.UUID {
			return i
		}
	}
	return -1
}

// Create makes a collection that does not exist, with its table and indexes.
func (p *Pending) Create(ctx context.Context, coll *Collection) error {
	next, err := p.catalog.reserve(ctx, 1+len(coll.Indexes))
	if err != nil {
		return err
	}
	if err := makeTable(p.txn, coll, next); err != nil {
		return err
	}
	p.made = append(p.made, coll)
	return nil
}

// AddIndexes adds indexes to an empty collection of the transaction's own and
// returns it with them.
func (p *Pending) AddIndexes(ctx context.Context, coll *Collection, added []*Index) (*Collection, error) {
	next, err := p.catalog.reserve(ctx, len(added))
	if err != nil {
		return nil, err
	}
	for _, x := range added {
		if err := allotIndex(p.txn, coll, x, next()); err != nil {
			return nil, err
		}
	}
	more := coll.With(func(c *Collection) { c.Indexes = append(c.Indexes, added...) })
	p.made[p.find(coll)] = more
	return more, nil
}

// Commit writes the collections' entries, calls commit, which has to commit the
// transaction, and publishes them. check is called before with what is published
// now. If somebody else has created one of them meanwhile it fails with
// ErrWriteConflict.
func (p *Pending) Commit(ctx context.Context, check func(*Snapshot) error, commit func() error) error {
	if len(p.made) == 0 {
		return commit()
	}
	p.catalog.change.Lock()
	defer p.catalog.change.Unlock()
	if err := p.catalog.settle(ctx); err != nil {
		return err
	}
	snap := p.catalog.current.Load()
	if err := check(snap); err != nil {
		return err
	}
	for _, coll := range p.made {
		if snap.Collection(coll.DB, coll.Name) != nil {
			return storage.ErrWriteConflict
		}
		coll.stored = encodeCollection(coll)
		if err := p.txn.PutMeta(ctx, collectionKey(coll.DB, coll.Name), coll.stored); err != nil {
			return err
		}
		snap = snap.with(coll.DB, coll.Name, coll)
	}
	version, err := p.catalog.newVersion(ctx, p.txn)
	if err != nil {
		return err
	}
	p.catalog.publish.Lock()
	defer p.catalog.publish.Unlock()
	if err := commit(); err != nil {
		p.catalog.doubt(ctx, err)
		return err
	}
	p.catalog.current.Store(snap.at(version))
	return nil
}

// reserve gives out n ids to a transaction that may commit after later changes, or
// never. That they are given out is written at once, but need not be on disk before
// whatever uses them.
func (c *Catalog) reserve(ctx context.Context, n int) (next func() uint32, err error) {
	c.change.Lock()
	defer c.change.Unlock()
	for attempt := 0; ; attempt++ {
		first, err := c.reserveOnce(ctx, uint32(n))
		if c.shared && errors.Is(err, storage.ErrWriteConflict) {
			if err := pause(ctx, attempt); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("catalog: reserve ids: %w", err)
		}
		return func() uint32 { first++; return first }, nil
	}
}

// reserveOnce returns the id before those that are given out.
func (c *Catalog) reserveOnce(ctx context.Context, n uint32) (first uint32, err error) {
	txn := c.engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	if c.shared {
		if c.nextID, err = readNextID(ctx, txn); err != nil {
			return 0, err
		}
	}
	first = c.nextID
	if err := putNextID(ctx, txn, first+n); err != nil {
		return 0, err
	}
	if _, err := txn.Commit(ctx); err != nil {
		return 0, err
	}
	c.nextID = first + n
	return first, nil
}

func putNextID(ctx context.Context, txn storage.Txn, id uint32) error {
	return txn.PutMeta(ctx, nextIDKey, binary.BigEndian.AppendUint64(nil, uint64(id)))
}
