package pebblestore

import (
	"bytes"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// newKeys knows of many a new key of a unique index that it is new, so that an
// insert need not search all levels of the tree for a key that is not there. It
// serves keys that roughly increase, as _id mostly do: a key that is larger than
// floor, and not among those put since floor was chosen, cannot be in the index.
//
// The keys since are remembered as bits in two generations. When the younger one is
// full, the older is forgotten and floor rises to the largest key of its time.
type newKeys struct {
	mu    sync.Mutex // guards all below; held while the last key is read at first use
	known bool       // floor is valid

	floor []byte // keys up to this one may be there; empty for none
	mid   []byte // the largest key when the younger generation began
	max   []byte // the largest key

	young, old *keyBits // nil if they are empty
	count      int      // keys in young
}

const (
	// keysInBits is how many keys fit into a generation, and with that how many may
	// come between two that are out of order.
	keysInBits = 8192

	// keyBitsLen is the size of a generation in bits, a power of two: 16 for each
	// key, of which two are set. One new key in seventy looks like an old one.
	keyBitsLen = keysInBits * 16
)

type keyBits [keyBitsLen / 64]uint64

func (b *keyBits) has(hash uint64) bool {
	if b == nil {
		return false
	}
	i, j := hash%keyBitsLen, hash>>32%keyBitsLen
	return b[i/64]&(1<<(i%64)) != 0 && b[j/64]&(1<<(j%64)) != 0
}

func (b *keyBits) set(hash uint64) {
	i, j := hash%keyBitsLen, hash>>32%keyBitsLen
	b[i/64] |= 1 << (i % 64)
	b[j/64] |= 1 << (j % 64)
}

// add is told of a key, stored form and hash, that is about to be put into the
// index r. It returns true if neither the index nor any transaction has it.
// Every put must be told, and before it the key must be claimed.
func (k *newKeys) add(db *pebble.DB, r *idRange, key []byte, hash uint64) (isNew bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.known {
		if err := k.readLast(db, r); err != nil {
			return false, err
		}
	}
	if bytes.Compare(key, k.floor) <= 0 {
		return false, nil
	}
	if bytes.Compare(key, k.max) > 0 {
		k.max = append(k.max[:0], key...)
	}
	if k.young.has(hash) {
		return false, nil
	}
	isNew = !k.old.has(hash)
	if k.count == keysInBits {
		k.nextGeneration()
	}
	if k.young == nil {
		k.young = new(keyBits)
	}
	k.young.set(hash)
	k.count++
	return isNew, nil
}

// nextGeneration forgets the older generation. Its keys are at most mid; max may be
// the key that is being added, which is no harm.
func (k *newKeys) nextGeneration() {
	k.floor = append(k.floor[:0], k.mid...)
	k.mid = append(k.mid[:0], k.max...)
	k.young, k.old = k.old, k.young
	k.count = 0
	if k.young != nil {
		clear(k.young[:])
	}
}

// readLast reads the last key of an index from its newest state. Nothing has been
// put since the store was opened.
func (k *newKeys) readLast(db *pebble.DB, r *idRange) error {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: r.prefix(), UpperBound: r.end()})
	if err != nil {
		return err
	}
	defer it.Close()
	if it.Last() {
		k.floor = append(k.floor, it.Key()...)
		k.mid = append(k.mid, it.Key()...)
		k.max = append(k.max, it.Key()...)
	}
	k.known = it.Error() == nil
	return it.Error()
}
