package pebblestore

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// idRange is a table or an index: the keys under one id.
type idRange struct {
	kind   byte // prefixTable or prefixIndex
	unique bool // indexes only
	id     uint32
	table  uint32 // indexes only: the table it belongs to

	// users counts the open transactions that have written under the id; -1 while
	// one that drops it is open.
	users atomic.Int64

	// dropped is the position of the commit that dropped it; 0 if none has.
	dropped atomic.Uint64

	// isLog is set once the table has been written as a log; its records are not
	// looked up in the record cache from then on.
	isLog atomic.Bool

	idMu    sync.Mutex   // guards reading the last id at first use
	idKnown atomic.Bool  // tables only: lastID is valid
	lastID  atomic.Int64 // tables only: the last record id given out

	newKeys newKeys // unique indexes only
}

// use marks a range as written by one more transaction. seen is the position of
// the transaction's view, or noView.
func (r *idRange) use(seen uint64) error {
	for {
		n := r.users.Load()
		if n < 0 {
			return storage.ErrWriteConflict
		}
		if r.users.CompareAndSwap(n, n+1) {
			break
		}
	}
	if at := r.dropped.Load(); at != 0 {
		r.users.Add(-1)
		if at > seen {
			return storage.ErrWriteConflict
		}
		return storage.ErrNotFound
	}
	return nil
}

// claimDrop takes a range for dropping, if no other transaction writes under it.
// mine is 1 if the dropping transaction does, else 0.
func (r *idRange) claimDrop(mine int64) bool { return r.users.CompareAndSwap(mine, -1) }

// prefix and end bound the keys of the range.
func (r *idRange) prefix() []byte { return appendIDPrefix(nil, r.kind, r.id) }
func (r *idRange) end() []byte    { return appendIDEnd(nil, r.kind, r.id) }

// descriptor is the value of the range's created key.
func (r *idRange) descriptor() []byte {
	if r.kind == prefixTable {
		return nil
	}
	var flags byte
	if r.unique {
		flags |= flagUnique
	}
	return binary.BigEndian.AppendUint32([]byte{flags}, r.table)
}

// nextID gives out the next record id of a table.
func (r *idRange) nextID(db *pebble.DB) (storage.RecordID, error) {
	if !r.idKnown.Load() {
		if err := r.recoverLastID(db); err != nil {
			return 0, err
		}
	}
	return storage.RecordID(r.lastID.Add(1)), nil
}

// recoverLastID reads the last record id of a table from its newest state. All
// ids given out before are there, because this happens before the first.
func (r *idRange) recoverLastID(db *pebble.DB) error {
	r.idMu.Lock()
	defer r.idMu.Unlock()
	if r.idKnown.Load() {
		return nil
	}
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: r.prefix(), UpperBound: r.end()})
	if err != nil {
		return err
	}
	defer it.Close()
	if it.Last() {
		if len(it.Key()) != recordKeyLen {
			return fmt.Errorf("record key %x: %w", it.Key(), ErrDamaged)
		}
		r.lastID.Store(int64(ridOf(it.Key()[idPrefixLen:])))
	}
	if err := it.Error(); err != nil {
		return err
	}
	r.idKnown.Store(true)
	return nil
}

// rangeSet knows all tables and indexes, those being created by open transactions
// included. Dropped ones stay until no view shows them.
type rangeSet struct {
	mu      sync.RWMutex // guards all below
	tables  map[uint32]*idRange
	indexes map[uint32]*idRange
	dropped []*idRange
	logs    []*idRange // those written as log tables since open; replaced, not changed

	// lastDrop is the position of the last commit that dropped something.
	lastDrop atomic.Uint64
}

func (rs *rangeSet) of(kind byte) map[uint32]*idRange {
	if kind == prefixTable {
		return rs.tables
	}
	return rs.indexes
}

// get returns a range, or nil.
func (rs *rangeSet) get(kind byte, id uint32) *idRange {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.of(kind)[id]
}

// add registers a range that a transaction creates. It also forgets dropped ones
// that no view shows any more.
func (rs *rangeSet) add(r *idRange, oldest uint64) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.prune(oldest)
	m := rs.of(r.kind)
	if m[r.id] != nil {
		return fmt.Errorf("storage: id %d of kind %c is in use", r.id, r.kind)
	}
	m[r.id] = r
	return nil
}

// addLog notes that a table is a log table.
func (rs *rangeSet) addLog(r *idRange) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if !slices.Contains(rs.logs, r) {
		rs.logs = append(slices.Clone(rs.logs), r)
	}
}

// allLogs returns the log tables that were written since open.
func (rs *rangeSet) allLogs() []*idRange {
	rs.mu.RLock()
	defer rs.mu.RUnlock()
	return rs.logs
}

// remove forgets a range whose creation was rolled back.
func (rs *rangeSet) remove(r *idRange) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	delete(rs.of(r.kind), r.id)
	rs.logs = slices.DeleteFunc(slices.Clone(rs.logs), func(x *idRange) bool { return x == r })
}

// drop marks a range as dropped by the commit at pos. It is called before the
// commit becomes visible.
func (rs *rangeSet) drop(r *idRange, pos uint64) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.dropped.Store(pos)
	rs.lastDrop.Store(pos)
	rs.dropped = append(rs.dropped, r)
}

func (rs *rangeSet) prune(oldest uint64) {
	if len(rs.dropped) == 0 {
		return
	}
	rs.logs = slices.DeleteFunc(slices.Clone(rs.logs), func(r *idRange) bool { return r.dropped.Load() != 0 })
	keep := rs.dropped[:0]
	for _, r := range rs.dropped {
		if r.dropped.Load() <= oldest {
			delete(rs.of(r.kind), r.id)
		} else {
			keep = append(keep, r)
		}
	}
	clear(rs.dropped[len(keep):])
	rs.dropped = keep
}

// load reads all tables and indexes at open.
func (rs *rangeSet) load(db *pebble.DB) error {
	rs.tables = make(map[uint32]*idRange)
	rs.indexes = make(map[uint32]*idRange)
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{prefixCreated}, UpperBound: []byte{prefixCreated + 1}})
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		r, err := parseCreated(it.Key(), it.Value())
		if err != nil {
			return err
		}
		rs.of(r.kind)[r.id] = r
	}
	return it.Error()
}

// parseCreated reads a created key and its descriptor.
func parseCreated(key, value []byte) (*idRange, error) {
	if len(key) == 6 {
		r := &idRange{kind: key[1], id: binary.BigEndian.Uint32(key[2:])}
		switch {
		case r.kind == prefixTable && len(value) == 0:
			return r, nil
		case r.kind == prefixIndex && len(value) == 5:
			r.unique = value[0]&flagUnique != 0
			r.table = binary.BigEndian.Uint32(value[1:])
			return r, nil
		}
	}
	return nil, fmt.Errorf("created key %x with value %x: %w", key, value, ErrDamaged)
}
