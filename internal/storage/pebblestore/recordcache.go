package pebblestore

import "github.com/archelon-db/archelon/internal/storage"

// The record cache keeps records that were read or written lately outside
// Pebble, so that a point read costs one hash and one lock instead of a walk
// through the tree. Its slots are part of the lock table's shards and share
// their locks, which is what keeps them true:
//
//  1. A slot (key, value, pos) says that value is the newest committed one, and
//     that every view from pos on sees it.
//  2. It is filled by a reader whose view is at pos only if the lock table knows of
//     no claim and no commit after pos. The reader's view is still in use then,
//     so the table would know.
//  3. A claim takes the slot away from all but the claimer. Whatever the claimer
//     commits becomes visible later than that, so no view ever sees a value
//     older than its own state.
//  4. When the claim is given back after a commit, the slot holds the value that was
//     committed, or nothing; after a rollback, nothing.
//
// Views older than pos read from Pebble. Dropped tables are not looked up here.

const (
	// cachedShare is the part of the block cache's size that the record cache
	// may take in addition.
	cachedShare = 4

	// maxCachedRecord is the largest record kept, in bytes.
	maxCachedRecord = 8 << 10

	// cachedRecordSize is the assumed size of a record, for the number of slots.
	cachedRecordSize = 512

	maxCacheSlots = 4096 // of a shard

	// cacheWays is how many neighbouring slots a hash may be in, a power of two. With two
	// of them a hundredth of the records of a cache that is a fifth full had no room, and
	// reading those cost more than all others together.
	cacheWays = 4
)

// cacheSlot holds one record. The zero slot is empty.
type cacheSlot struct {
	value []byte // never written to, so readers may hold on to it
	hash  uint64
	pos   uint64
	owner uint64 // the transaction that has claimed the record; 0 for none
	key   [recordKeyLen]byte
}

// recordCache is the part of a shard. It belongs to the shard's lock.
type recordCache struct {
	slots []cacheSlot // made when the first record comes
	bytes int         // of the values
	limit int
	hand  int // where the search for something to drop goes on
}

// set is the neighbouring slots that a hash may be in.
func (c *recordCache) set(hash uint64) []cacheSlot {
	at := hash / lockShards % uint64(len(c.slots)) &^ (cacheWays - 1)
	return c.slots[at : at+cacheWays]
}

// find returns the slot that holds a hash, or nil.
func (c *recordCache) find(hash uint64) *cacheSlot {
	if c.slots == nil {
		return nil
	}
	set := c.set(hash)
	for i := range set {
		if s := &set[i]; s.hash == hash && s.value != nil {
			return s
		}
	}
	return nil
}

// room returns the slot for a hash: its own, an empty one, or one of the set.
func (c *recordCache) room(hash uint64) *cacheSlot {
	if s := c.find(hash); s != nil {
		return s
	}
	set := c.set(hash)
	for i := range set {
		if set[i].value == nil {
			return &set[i]
		}
	}
	return &set[hash>>32%cacheWays]
}

func (c *recordCache) clear(s *cacheSlot) {
	c.bytes -= len(s.value)
	*s = cacheSlot{}
}

// put fills the slot of a key with a copy of a value.
func (c *recordCache) put(hash uint64, key, value []byte, pos uint64) {
	if len(value) > maxCachedRecord || len(value) > c.limit {
		return
	}
	if c.slots == nil {
		n := 16
		for n < maxCacheSlots && n*cachedRecordSize < c.limit {
			n *= 2
		}
		c.slots = make([]cacheSlot, n)
	}
	s := c.room(hash)
	c.clear(s)
	for c.bytes+len(value) > c.limit {
		c.clear(&c.slots[c.hand])
		c.hand = (c.hand + 1) % len(c.slots)
	}
	*s = cacheSlot{value: append(make([]byte, 0, len(value)), value...), hash: hash, pos: pos}
	copy(s.key[:], key)
	c.bytes += len(value)
}

// cached returns a record that a transaction may read: its view is at seen, or it
// has claimed the record. The value stays valid for good.
func (lt *lockTable) cached(hash uint64, key []byte, reader, seen uint64) []byte {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.cache.find(hash)
	if s == nil || string(s.key[:]) != string(key) {
		return nil
	}
	if s.owner == reader || s.owner == 0 && s.pos <= seen {
		return s.value
	}
	return nil
}

// Peek returns a record's newest committed version if the record cache has it.
func (s *Store) Peek(t storage.TableID, id storage.RecordID) []byte {
	if r := s.ranges.get(prefixTable, uint32(t)); r == nil || r.dropped.Load() != 0 || r.isLog.Load() || s.closing.Load() {
		return nil
	}
	var buf [recordKeyLen]byte
	key := appendRecordKey(buf[:0], t, id)
	// What nobody has claimed is the newest, wherever a view may be.
	return s.locks.cached(s.locks.hash(key), key, 0, 0)
}

// keep offers a record that a transaction has read in its view at seen.
func (lt *lockTable) keep(hash uint64, key, value []byte, seen uint64) {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.entries[hash]; e.owner == 0 && e.last <= seen {
		sh.cache.put(hash, key, value, seen)
	}
}

// releaseWritten is release for a record that the commit at pos has set to value.
func (lt *lockTable) releaseWritten(hash, pos uint64, key, value []byte) {
	sh := lt.shard(hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.release(hash, pos, lt.oldest.Load())
	sh.cache.put(hash, key, value, pos)
}
