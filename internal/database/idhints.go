package database

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// hintBits makes room for half a million _ids, in 4 MB that are touched only
	// as far as used.
	hintBits = 19

	// hintWays is how many neighbouring slots an _id may be in, a power of two: half a
	// cache line.
	hintWays = 4

	// A slot holds a tag of the key's hash above the number of the record.
	hintRecordBits = 40
	maxHintRecord  = 1<<hintRecordBits - 1
)

// idHints remembers which records the _ids asked for lately belong to, so that
// most look-ups by _id read the record at once instead of the index first.
//
// Nothing ever has to be invalidated, because a hint is only believed when the
// record is there and has the _id: an _id never changes, and the number of a
// record is never used again.
type idHints struct {
	seed  maphash.Seed
	slots []atomic.Uint64
}

func (h *idHints) init() {
	h.seed = maphash.MakeSeed()
	h.slots = make([]atomic.Uint64, 1<<hintBits)
}

// idHint is the place of one _id: one of neighbouring slots.
type idHint struct {
	slots []atomic.Uint64
	tag   uint64
}

// of finds the place of a key of a table's _id index.
func (h *idHints) of(t storage.TableID, key []byte) idHint {
	const spread = 0x9e3779b97f4a7c15
	hash := maphash.Bytes(h.seed, key) ^ uint64(t)*spread
	at := hash % (1 << hintBits) &^ (hintWays - 1)
	return idHint{h.slots[at : at+hintWays], hash >> hintRecordBits << hintRecordBits}
}

// record is the record to try, 0 for none.
func (h idHint) record() storage.RecordID {
	for i := range h.slots {
		if v := h.slots[i].Load(); v&^maxHintRecord == h.tag && v != 0 {
			return storage.RecordID(v & maxHintRecord)
		}
	}
	return 0
}

// remember notes the record, in the place of an older note if there is no room.
func (h idHint) remember(id storage.RecordID) {
	if id > maxHintRecord {
		return
	}
	victim := &h.slots[h.tag>>hintRecordBits%hintWays]
	for i := range h.slots {
		switch v := h.slots[i].Load(); {
		case v&^maxHintRecord == h.tag:
			h.slots[i].Store(h.tag | uint64(id))
			return
		case v == 0:
			victim = &h.slots[i]
		}
	}
	victim.Store(h.tag | uint64(id))
}

// suggest is remember for a record that nobody has asked for yet: it does not take
// the place of another one.
func (h idHint) suggest(id storage.RecordID) {
	if id > maxHintRecord {
		return
	}
	for i := range h.slots {
		if h.slots[i].CompareAndSwap(0, h.tag|uint64(id)) {
			return
		}
	}
}

// hasID says whether a document's _id equals a value.
func hasID(doc []byte, id bsonval.Value) bool {
	return bsonval.Equal(bsonval.Doc(doc).Lookup("_id"), id)
}
