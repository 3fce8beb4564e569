package catalog

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// In a shared store the definitions have a version, a random number under a meta key
// that each change sets anew. Whoever begins a transaction expects the version that it
// has planned with.

var versionKey = []byte("V")

// aloneWait is how long a change waits at a time for the writers of other processes.
// New ones wait behind it meanwhile.
const aloneWait = 200 * time.Millisecond

// makeVersion gives the definitions a version if they have none.
func (c *Catalog) makeVersion(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		txn := c.engine.Begin(storage.TxnOptions{})
		_, err := txn.GetMeta(ctx, versionKey)
		if errors.Is(err, storage.ErrNotFound) {
			if err = touch(ctx, txn); err == nil {
				_, err = txn.Commit(ctx)
			}
		}
		txn.Rollback()
		if !errors.Is(err, storage.ErrWriteConflict) {
			return err
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// touch gives the definitions a new version, in a shared store.
func touch(ctx context.Context, txn storage.Txn) error {
	if !storage.IsSharedTxn(txn) {
		return nil
	}
	return txn.PutMeta(ctx, versionKey, randomVersion())
}

// Touch tells the other processes of a shared store to read what they keep of it in
// memory again, collections or other settings.
func (c *Catalog) Touch(ctx context.Context, txn storage.Txn) error { return touch(ctx, txn) }

func randomVersion() []byte {
	var v [16]byte
	crand.Read(v[:])
	return v[:]
}

// newVersion sets a new version in a transaction; nil if the store is not shared.
func (c *Catalog) newVersion(ctx context.Context, txn storage.Txn) (*storage.Expectation, error) {
	if !c.shared {
		return nil, nil
	}
	v := &storage.Expectation{Key: versionKey, Value: randomVersion()}
	v.Meet(time.Now())
	return v, txn.PutMeta(ctx, versionKey, v.Value)
}

// IsStale says whether an error means that the definitions have been changed by
// another process.
func IsStale(err error) bool {
	var stale *storage.StaleError
	return errors.As(err, &stale) && bytes.Equal(stale.Expected.Key, versionKey)
}

// isOvertaken says whether a change has met one of another process, or its writers.
func isOvertaken(err error) bool {
	return IsStale(err) || errors.Is(err, storage.ErrWriteConflict)
}

// Refresh reads the definitions again if they are others than those of a snapshot.
// Those that nothing has happened to stay the same values.
func (c *Catalog) Refresh(ctx context.Context, known *Snapshot) error {
	if !c.shared || c.current.Load() != known {
		return nil
	}
	c.publish.Lock()
	defer c.publish.Unlock()
	if c.current.Load() != known {
		return nil
	}
	began := time.Now()
	txn := c.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	v, err := txn.GetMeta(ctx, versionKey)
	if err != nil {
		return fmt.Errorf("catalog: read version: %w", err)
	}
	if bytes.Equal(v, known.version[0].Value) {
		known.version[0].Meet(began)
		return nil
	}
	snap, err := c.load(ctx, txn, known)
	if err != nil {
		return err
	}
	if c.Reloaded != nil {
		if err := c.Reloaded(ctx, known, snap); err != nil {
			return err
		}
	}
	c.current.Store(snap)
	return nil
}

// catchUp prepares another attempt of a change that met one of another process.
func (c *Catalog) catchUp(ctx context.Context, base *Snapshot, attempt int) error {
	if err := c.Refresh(ctx, base); err != nil {
		return err
	}
	return pause(ctx, attempt)
}

// pause waits a random while that grows with the attempts, at most 50 ms.
func pause(ctx context.Context, attempt int) error {
	t := time.NewTimer(rand.N(min(time.Duration(attempt+1)*2*time.Millisecond, 50*time.Millisecond)))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// options are those of the change's transaction.
func (ch *Change) options() storage.TxnOptions {
	o := storage.TxnOptions{Expect: ch.base.version}
	if len(ch.alone) > 0 {
		o.ConflictWait = aloneWait
		for _, coll := range ch.alone {
			o.Alone = append(o.Alone, coll.Table)
		}
		slices.Sort(o.Alone) // so that two changes do not wait for each other
	}
	return o
}

// begin makes sure that a change in a shared store begins with what is stored: it holds
// what it has to, and nobody has changed the definitions since.
func (ch *Change) begin(ctx context.Context) error {
	if !ch.catalog.shared {
		return nil
	}
	for _, coll := range ch.alone {
		if err := ch.hold(coll); err != nil {
			return err
		}
	}
	id, err := readNextID(ctx, ch.Txn)
	if err == nil {
		ch.catalog.nextID, ch.undo = id, id
	}
	return err
}

// errWanted makes a change begin again with more collections held.
var errWanted = errors.New("catalog: collections are to be held before the snapshot")

// HoldAll is Hold for several collections. In a shared store collections are held
// against other processes before the change's transaction takes its snapshot, which is
// why the change has to begin again for them.
func (ch *Change) HoldAll(colls []*Collection) error {
	if !ch.catalog.shared {
		for _, coll := range colls {
			if err := ch.Hold(coll); err != nil {
				return err
			}
		}
		return nil
	}
	for _, coll := range colls {
		if coll.Guard != nil && (coll == ch.owned || coll.Log) {
			if err := ch.hold(coll); err != nil {
				return err
			}
			continue
		}
		same := func(c *Collection) bool { return c.Table == coll.Table }
		if coll.Guard != nil && !ch.fresh(coll) && !slices.ContainsFunc(ch.alone, same) {
			ch.wanted = append(ch.wanted, coll)
		}
	}
	if len(ch.wanted) > 0 {
		return errWanted
	}
	return nil
}

// Own says that nobody but the change's caller knows a collection: to Hold it is not to
// keep other processes out, and the change need not begin again for it.
func (ch *Change) Own(coll *Collection) { ch.owned = coll }

// fresh says whether the change has created a collection itself.
func (ch *Change) fresh(coll *Collection) bool { return uint32(coll.Table) > ch.undo }

// load reads the definitions. Collections and indexes that are in old, too, keep what
// belongs to them in this process, and those that are the same are the same values.
func (c *Catalog) load(ctx context.Context, txn storage.Txn, old *Snapshot) (*Snapshot, error) {
	snap := &Snapshot{dbs: map[string]map[string]*Collection{}}
	began, losses := time.Now(), storage.Losses(c.engine)
	if c.shared {
		v, err := txn.GetMeta(ctx, versionKey)
		if err != nil {
			return nil, fmt.Errorf("catalog: read version: %w", err)
		}
		e := &storage.Expectation{Key: versionKey, Value: bytes.Clone(v)}
		e.Meet(began)
		snap.at(e)
	}
	var bad error
	var changed []*Collection
	err := txn.ScanMeta(ctx, []byte("C"), func(key, value []byte) bool {
		db, name, _ := bytes.Cut(key[1:], []byte{0})
		coll := old.dbs[string(db)][string(name)]
		if coll == nil || !bytes.Equal(coll.stored, value) {
			if coll, bad = decodeCollection(key, value); bad != nil {
				return false
			}
			changed = append(changed, coll)
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
	inherit(old, changed)
	return snap, loadMultikey(ctx, txn, snap, losses)
}

// inherit gives new versions of collections what belongs to all versions.
func inherit(old *Snapshot, changed []*Collection) {
	if len(changed) == 0 || len(old.dbs) == 0 {
		return
	}
	before := map[UUID]*Collection{}
	for _, colls := range old.dbs {
		for _, coll := range colls {
			before[coll.UUID] = coll
		}
	}
	for _, coll := range changed {
		was := before[coll.UUID]
		if was == nil || coll.IsView() {
			continue
		}
		coll.Guard = was.Guard
		for _, x := range coll.Indexes {
			for _, y := range was.Indexes {
				if x.ID == y.ID {
					x.multikey, x.stored, x.Uses, x.SinceMS = y.multikey, y.stored, y.Uses, y.SinceMS
				}
			}
		}
	}
}

// loadMultikey reads which indexes have arrays.
func loadMultikey(ctx context.Context, txn storage.Txn, snap *Snapshot, losses uint64) error {
	marks := map[storage.IndexID]uint32{}
	var bad error
	err := txn.ScanMeta(ctx, []byte("X"), func(key, value []byte) bool {
		if len(key) != 5 || len(value) != 4 {
			bad = fmt.Errorf("catalog: damaged multikey mark %x", key)
			return false
		}
		marks[storage.IndexID(binary.BigEndian.Uint32(key[1:]))] = binary.BigEndian.Uint32(value)
		return true
	})
	if err = errors.Join(bad, err); err != nil || len(marks) == 0 {
		return err
	}
	for _, colls := range snap.dbs {
		for _, coll := range colls {
			for _, x := range coll.Indexes {
				x.multikey.Or(marks[x.ID])
				x.stored.add(marks[x.ID], losses)
			}
		}
	}
	return nil
}
