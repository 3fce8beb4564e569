package pebblestore

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// lockShards is the number of independently locked parts of the lock table.
const lockShards = 128

// noView is the value of oldest when no transaction has a view.
const noView = math.MaxUint64

// lockTable knows which records, unique keys and meta keys are claimed by open
// transactions, and which were written by commits that some view does not show.
// Keys are hashes of stored keys: two keys with the same hash conflict where they
// need not, which is harmless and next to never happens.
//
// An entry is kept while a transaction owns it, and after that commit until no
// view is older than it. With no concurrent transactions the table is empty.
type lockTable struct {
	seed      maphash.Seed
	oldest    *atomic.Uint64 // the oldest view's position, or noView
	conflicts atomic.Int64
	shards    [lockShards]lockShard
}

// lockEntry has no pointers, so that a large table costs the collector nothing.
type lockEntry struct {
	owner uint64 // the id of the open transaction that claimed it; 0 for none
	last  uint64 // position of the last commit known to have written it; 0 for none
}

type lockShard struct {
	mu      sync.Mutex // guards all below; nothing blocks under it
	entries map[uint64]lockEntry
	retired []retiredLock // entries to delete, in order of position, from next on
	next    int
	peak    int // the largest len(entries) since the map was made
	waiting []*lockWaiter
	cache   recordCache
}

type retiredLock struct {
	hash uint64
	last uint64
}

// lockWaiter is a transaction that sleeps until a claim is given back.
type lockWaiter struct {
	hash uint64
	wake chan struct{} // capacity 1
}

// newLockTable makes a lock table whose record cache takes at most cacheBytes.
func newLockTable(oldest *atomic.Uint64, cacheBytes int64) *lockTable {
	lt := &lockTable{seed: maphash.MakeSeed(), oldest: oldest}
	for i := range lt.shards {
		lt.shards[i].entries = make(map[uint64]lockEntry)
		lt.shards[i].cache.limit = int(cacheBytes / lockShards)
	}
	return lt
}

func (lt *lockTable) hash(key []byte) uint64 { return maphash.Bytes(lt.seed, key) }

func (lt *lockTable) shard(hash uint64) *lockShard { return &lt.shards[hash%lockShards] }

// claimResult says how a claim went.
type claimResult uint8

const (
	claimNew   claimResult = iota // claimed now
	claimMine                     // claimed before by the same transaction
	claimTaken                    // another open transaction has it
	claimStale                    // free, but written after the claimer's view
)

// claim tries to claim a hash for a transaction whose view shows everything up to
// seen (noView if it has none yet).
func (lt *lockTable) claim(hash, owner, seen uint64) claimResult {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.claim(hash, owner, seen, lt.oldest.Load())
}

func (sh *lockShard) claim(hash, owner, seen, oldest uint64) claimResult {
	sh.retire(oldest)
	e := sh.entries[hash]
	switch {
	case e.owner == owner:
		return claimMine
	case e.owner != 0:
		return claimTaken
	case e.last > seen:
		return claimStale
	}
	e.owner = owner
	sh.entries[hash] = e
	if s := sh.cache.find(hash); s != nil {
		s.owner = owner
	}
	sh.peak = max(sh.peak, len(sh.entries))
	return claimNew
}

// claimWait is claim for a transaction that may sleep until the claim is free or
// the time is over.
func (lt *lockTable) claimWait(ctx context.Context, hash, owner, seen uint64, wait time.Duration) claimResult {
	sh := lt.shard(hash)
	var timer *time.Timer
	for {
		sh.mu.Lock()
		r := sh.claim(hash, owner, seen, lt.oldest.Load())
		if r != claimTaken {
			if r == claimStale {
				sh.wakeOne(hash) // we were woken perhaps, and do not own it: pass it on
			}
			sh.mu.Unlock()
			return r
		}
		w := &lockWaiter{hash: hash, wake: make(chan struct{}, 1)}
		sh.waiting = append(sh.waiting, w)
		sh.mu.Unlock()

		if timer == nil {
			timer = time.NewTimer(wait)
			defer timer.Stop()
		}
		select {
		case <-w.wake:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		sh.mu.Lock()
		if !sh.forget(w) {
			// Woken in the same moment: take the chance, or pass it on.
			r = sh.claim(hash, owner, seen, lt.oldest.Load())
			if r == claimStale {
				sh.wakeOne(hash)
			}
		}
		sh.mu.Unlock()
		return r
	}
}

// unchanged says that a key was not written by any commit after seen and is not
// claimed by another open transaction. The caller holds a view at seen.
func (lt *lockTable) unchanged(hash, owner, seen uint64) bool {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.entries[hash]
	return e.last <= seen && (e.owner == 0 || e.owner == owner)
}

// release gives a claim back. pos is the position of the commit that wrote the
// key, or 0 if the transaction was rolled back.
func (lt *lockTable) release(hash, pos uint64) {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.release(hash, pos, lt.oldest.Load())
}

func (sh *lockShard) release(hash, pos, oldest uint64) {
	if s := sh.cache.find(hash); s != nil {
		sh.cache.clear(s)
	}
	e := sh.entries[hash]
	e.owner = 0
	e.last = max(e.last, pos)
	if e.last <= oldest {
		delete(sh.entries, hash)
	} else {
		sh.entries[hash] = e
		sh.retired = append(sh.retired, retiredLock{hash, e.last})
	}
	sh.retire(oldest)
	sh.wakeOne(hash)
}

// retire deletes entries that no view needs any more.
func (sh *lockShard) retire(oldest uint64) {
	if sh.next == len(sh.retired) {
		return
	}
	for sh.next < len(sh.retired) && sh.retired[sh.next].last <= oldest {
		r := sh.retired[sh.next]
		sh.next++
		if e := sh.entries[r.hash]; e.owner == 0 && e.last <= r.last {
			delete(sh.entries, r.hash)
		}
	}
	if sh.next < len(sh.retired) {
		return
	}
	sh.next = 0
	if cap(sh.retired) > 1024 {
		sh.retired = nil
	} else {
		sh.retired = sh.retired[:0]
	}
	if len(sh.entries) == 0 && sh.peak > 1024 {
		sh.entries, sh.peak = make(map[uint64]lockEntry), 0
	}
}

// wakeOne wakes the first transaction that waits for the hash. Whoever is woken
// claims, or wakes the next one.
func (sh *lockShard) wakeOne(hash uint64) {
	for i, w := range sh.waiting {
		if w.hash == hash {
			sh.waiting = append(sh.waiting[:i], sh.waiting[i+1:]...)
			w.wake <- struct{}{}
			return
		}
	}
}

// forget takes a waiter off the list; false if it has been woken already.
func (sh *lockShard) forget(w *lockWaiter) bool {
	for i, x := range sh.waiting {
		if x == w {
			sh.waiting = append(sh.waiting[:i], sh.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// conflict counts and returns ErrWriteConflict.
func (lt *lockTable) conflict() error {
	lt.conflicts.Add(1)
	return storage.ErrWriteConflict
}
