package database

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// The processes that share a store know each other by rows that each writes about
// itself every second:
//
//	"M" process(8) → beat (8 bytes big endian), entries logged (8), their bytes (8)
//
// A row that has not changed for memberTimeout, by the clock of whoever looks, is that
// of a process that is gone. The process with the smallest number leads: it does what
// one has to do for all. Two may lead for a moment; what they do then meets in
// conflicts.

const (
	memberInterval = time.Second
	memberTimeout  = 10 * time.Second
	memberPrefix   = "M"
)

// members are the processes that share the store.
type members struct {
	leads  atomic.Bool
	others atomic.Int32 // how many other processes there are
	beaten atomic.Int64 // when this process's row was written last, in nanoseconds

	mu     sync.Mutex // held by beat; guards the rest
	self   [8]byte
	beat   uint64
	known  map[[8]byte]*member
	tidied time.Time // when the remains of others were looked for
}

// member is another process.
type member struct {
	row     []byte
	changed time.Time
	logged  tally
}

func (m *members) init() {
	m.known = map[[8]byte]*member{}
	rand.Read(m.self[:])
}

func (m *members) key(id [8]byte) []byte { return append([]byte(memberPrefix), id[:]...) }

// leads says whether this process does what only one should.
func (d *DB) leads() bool { return !d.shared || d.members.leads.Load() }

// join makes this process one of those that share the store.
func (d *DB) join(ctx context.Context) error {
	for {
		err := d.beat(ctx)
		if !errors.Is(err, storage.ErrWriteConflict) {
			return err
		}
	}
}

// memberLoop tells the others that this process is there, and looks after what they
// leave behind, until ctx ends.
func (d *DB) memberLoop(ctx context.Context) {
	tick := time.NewTicker(memberInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := d.beat(ctx)
		if err == nil && d.leads() && d.members.mayTidy() {
			err = d.tidyUp(ctx)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, storage.ErrWriteConflict) {
			d.log.Warn("the other processes of the store are not known", "error", err)
		}
	}
}

// beat writes this process's row and reads those of the others.
func (d *DB) beat(ctx context.Context) error {
	m := &d.members
	m.mu.Lock()
	defer m.mu.Unlock()
	txn := d.engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	now := time.Now()
	if m.silent() { // then the others may have been cut off, too
		for _, other := range m.known {
			other.changed = now
		}
	}
	seen, present := map[[8]byte]bool{}, m.beat == 0
	err := txn.ScanMeta(ctx, []byte(memberPrefix), func(key, row []byte) bool {
		if len(key) != 9 || len(row) != 24 {
			return true
		}
		id := [8]byte(key[1:])
		if id == m.self {
			present = true
			return true
		}
		seen[id] = true
		d.heard(id, row, now)
		return true
	})
	if err != nil {
		return err
	}
	if !present {
		// Others have taken it for gone and added up its rows.
		d.log.Warn("this process was silent for so long that the others took it for gone")
		rand.Read(m.self[:])
		d.tallies.begin(m.self)
	}
	least := true
	for id, other := range m.known {
		switch {
		case !seen[id]:
			delete(m.known, id)
			m.tidied = time.Time{}
		case now.Sub(other.changed) > memberTimeout:
			d.log.Info("a process that shared the store is gone")
			if err := txn.DeleteMeta(ctx, m.key(id)); err != nil {
				return err
			}
		case bytes.Compare(id[:], m.self[:]) < 0:
			least = false
		}
	}
	m.beat++
	row := binary.BigEndian.AppendUint64(nil, m.beat)
	if d.oplog != nil {
		row = append(row, d.oplog.logged().encode()...)
	} else {
		row = append(row, tally{}.encode()...)
	}
	if err := txn.PutMeta(ctx, m.key(m.self), row); err != nil {
		return err
	}
	if _, err := txn.Commit(ctx); err != nil {
		return err
	}
	m.leads.Store(least)
	m.others.Store(int32(len(m.known)))
	m.beaten.Store(now.UnixNano())
	return nil
}

// hasOthers says whether other processes share the store.
func (m *members) hasOthers() bool { return m.others.Load() > 0 }

// silent says whether this process has not been heard of for so long that others may
// soon take it for gone. Its clock has gone on if it was stopped.
func (m *members) silent() bool {
	return time.Now().UnixNano()-m.beaten.Load() > int64(memberTimeout/2)
}

// rejoin writes this process's row at once.
func (d *DB) rejoin() {
	ctx, cancel := context.WithTimeout(context.Background(), memberTimeout/2)
	defer cancel()
	if err := d.beat(ctx); err != nil {
		d.log.Debug("this process has not been heard of by others", "error", err)
	}
}

// heard takes note of another process's row.
func (d *DB) heard(id [8]byte, row []byte, now time.Time) {
	logged := decodeTally(row[8:])
	other := d.members.known[id]
	if other == nil {
		other = &member{logged: logged}
		d.members.known[id] = other
	}
	if !bytes.Equal(other.row, row) {
		other.row, other.changed = slices.Clone(row), now
	}
	if d.oplog != nil {
		d.oplog.loggedElsewhere(tally{logged.count - other.logged.count, logged.bytes - other.logged.bytes})
	}
	other.logged = logged
}

// mayTidy says whether it is time to look for what others have left behind: when one has
// gone, and now and then.
func (m *members) mayTidy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if time.Since(m.tidied) < memberTimeout {
		return false
	}
	m.tidied = time.Now()
	return true
}

// isGone says whether a process is not among those that share the store.
func (m *members) isGone(id [8]byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return id != m.self && m.known[id] == nil
}

// id is this process's number.
func (m *members) id() [8]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.self
}

// tidyUp removes what processes that are gone have left unfinished.
func (d *DB) tidyUp(ctx context.Context) error {
	if err := d.foldCounts(ctx, d.members.isGone); err != nil {
		return err
	}
	isCut := func(x *catalog.Index) bool { return d.members.isGone(x.Builder) }
	if !hasUnfinished(d.catalog.Snapshot(), isCut) {
		return nil
	}
	return d.dropUnfinishedIndexes(ctx, isCut)
}

// hasUnfinished says whether there are indexes that are not ready and whose build is cut.
func hasUnfinished(snap *catalog.Snapshot, isCut func(*catalog.Index) bool) bool {
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			if slices.ContainsFunc(coll.Indexes, func(x *catalog.Index) bool { return !x.Ready && isCut(x) }) {
				return true
			}
		}
	}
	return false
}

// depart takes this process out of the books.
func (d *DB) depart(ctx context.Context) error {
	self := d.members.id()
	if err := d.foldCounts(ctx, func(id [8]byte) bool { return id == self }); err != nil && !errors.Is(err, storage.ErrWriteConflict) {
		return err
	}
	txn := d.engine.Begin(storage.TxnOptions{NoSync: true}) // standbys may be missing
	defer txn.Rollback()
	if err := txn.DeleteMeta(ctx, d.members.key(self)); err != nil {
		return err
	}
	_, err := txn.Commit(ctx)
	return err
}
