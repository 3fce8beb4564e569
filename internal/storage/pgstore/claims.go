package pgstore

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// unseen is the sequence number of a transaction without a snapshot: nothing can
// have happened since.
const unseen = math.MaxUint64

// claimTable knows what the open transactions of this process have claimed, and
// which claims were committed while older snapshots are open. Its numbers count
// this process's commits; PostgreSQL has the last word.
type claimTable struct {
	seed maphash.Seed
	stop <-chan struct{} // the store is closing

	mu        sync.Mutex // guards the rest
	entries   map[uint64]*claim
	seq       uint64                  // commits of this process
	snapshots map[uint64]*snapshotsAt // open snapshots by the seq they were taken at
	oldest    uint64                  // the smallest key of snapshots, or unseen
	retired   []retiredClaim          // in the order of last
	conflicts int64
}

type claim struct {
	owner uint64        // transaction, 0 for none
	last  uint64        // seq of the last commit that had claimed it
	freed chan struct{} // closed when the owner is done; nil if nobody waits
}

type retiredClaim struct {
	hash, last uint64
}

type snapshotsAt struct {
	n        int
	position storage.Position // what was committed then, for Stats
}

func newClaimTable(stop <-chan struct{}) *claimTable {
	return &claimTable{seed: maphash.MakeSeed(), stop: stop, entries: map[uint64]*claim{}, snapshots: map[uint64]*snapshotsAt{}, oldest: unseen}
}

// The kinds of what can be claimed.
const (
	kindTable = 't'
	kindIndex = 'x'
	kindMeta  = 'm'
)

func (ct *claimTable) hash(kind byte, id uint32, key []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(ct.seed)
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], id)
	h.Write(head[:])
	h.Write(key)
	return h.Sum64()
}

func (ct *claimTable) hashRecord(t storage.TableID, id storage.RecordID) uint64 {
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(id))
	return ct.hash(kindTable, uint32(t), key[:])
}

// open registers a snapshot that is about to be taken.
func (ct *claimTable) open(position storage.Position) uint64 {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.hold(ct.seq, position)
	return ct.seq
}

// openAt registers another user of a snapshot.
func (ct *claimTable) openAt(seq uint64, position storage.Position) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.hold(seq, position)
}

func (ct *claimTable) hold(seq uint64, position storage.Position) {
	s := ct.snapshots[seq]
	if s == nil {
		s = &snapshotsAt{position: position}
		ct.snapshots[seq] = s
	}
	s.n++
	ct.oldest = min(ct.oldest, seq)
}

// close forgets a snapshot.
func (ct *claimTable) close(seq uint64) {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	s := ct.snapshots[seq]
	if s.n--; s.n > 0 {
		return
	}
	delete(ct.snapshots, seq)
	if seq != ct.oldest {
		return
	}
	ct.oldest = unseen
	for at := range ct.snapshots {
		ct.oldest = min(ct.oldest, at)
	}
	ct.retire()
}

// oldestPosition is that of the oldest open snapshot, or newest.
func (ct *claimTable) oldestPosition(newest storage.Position) storage.Position {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	if s := ct.snapshots[ct.oldest]; s != nil {
		return min(s.position, newest)
	}
	return newest
}

// oldestSeq is the number of the oldest open snapshot, unseen if there is none.
func (ct *claimTable) oldestSeq() uint64 {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	return ct.oldest
}

type claimResult int

const (
	claimNew claimResult = iota
	claimMine
	claimTaken
	claimStale
)

// claim takes a claim for a transaction that has seen everything up to seq.
func (ct *claimTable) claim(hash, owner, seen uint64) claimResult {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	r, _ := ct.try(hash, owner, seen, false)
	return r
}

func (ct *claimTable) try(hash, owner, seen uint64, wait bool) (claimResult, <-chan struct{}) {
	e := ct.entries[hash]
	switch {
	case e == nil:
		e = &claim{}
		ct.entries[hash] = e
	case e.owner == owner:
		return claimMine, nil
	case e.owner != 0:
		if wait && e.freed == nil {
			e.freed = make(chan struct{})
		}
		return claimTaken, e.freed
	case seen != unseen && e.last > seen:
		return claimStale, nil
	}
	e.owner = owner
	return claimNew, nil
}

// claimWait is claim for a transaction that may sleep until the claim is free.
func (ct *claimTable) claimWait(ctx context.Context, hash, owner, seen uint64, wait time.Duration) claimResult {
	var timer *time.Timer
	for {
		ct.mu.Lock()
		r, freed := ct.try(hash, owner, seen, true)
		ct.mu.Unlock()
		if r != claimTaken {
			return r
		}
		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		}
		select {
		case <-freed:
		case <-timer.C:
			return claimTaken
		case <-ctx.Done():
			return claimTaken
		case <-ct.stop:
			return claimTaken
		}
	}
}

// unchanged says that nobody has claimed something since a snapshot but owner.
func (ct *claimTable) unchanged(hash, owner, seen uint64) bool {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	e := ct.entries[hash]
	return e == nil || e.last <= seen && (e.owner == 0 || e.owner == owner)
}

// finish gives claims back. It returns the commit's number, or 0 for a
// transaction that was rolled back.
func (ct *claimTable) finish(claims []uint64, committed bool) uint64 {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	seq := uint64(0)
	if committed {
		ct.seq++
		seq = ct.seq
	}
	for _, h := range claims {
		e := ct.entries[h]
		e.owner = 0
		e.last = max(e.last, seq)
		if e.freed != nil {
			close(e.freed)
			e.freed = nil
		}
		if e.last <= ct.oldest {
			delete(ct.entries, h)
		} else {
			ct.retired = append(ct.retired, retiredClaim{h, e.last})
		}
	}
	ct.retire()
	return seq
}

// retire deletes the entries that no snapshot needs any more.
func (ct *claimTable) retire() {
	n := 0
	for n < len(ct.retired) && ct.retired[n].last <= ct.oldest {
		r := ct.retired[n]
		if e := ct.entries[r.hash]; e != nil && e.owner == 0 && e.last <= r.last {
			delete(ct.entries, r.hash)
		}
		n++
	}
	if ct.retired = ct.retired[n:]; len(ct.retired) == 0 {
		ct.retired = nil
	}
}

// conflict counts and returns ErrWriteConflict.
func (ct *claimTable) conflict() error {
	ct.mu.Lock()
	defer ct.mu.Unlock()
	ct.conflicts++
	return storage.ErrWriteConflict
}
