package pgstore

import (
	"bytes"
	"context"
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/storage"
)

// minBulk is the length of a queue from which on its insertions go as arrays.
const minBulk = 16

// The object ids of PostgreSQL's types.
const (
	oidBytea = 17
	oidInt8  = 20
)

// array is an array parameter in the binary format.
type array struct {
	elem  uint32
	n     int
	nulls bool
	body  []byte
}

func (a *array) add(v []byte) {
	a.n++
	if v == nil {
		a.nulls = true
		a.body = binary.BigEndian.AppendUint32(a.body, 1<<32-1)
		return
	}
	a.body = append(binary.BigEndian.AppendUint32(a.body, uint32(len(v))), v...)
}

func (a *array) addInt(v int64) {
	a.n++
	a.body = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(a.body, 8), uint64(v))
}

func (a *array) bytes() []byte {
	flags := uint32(0)
	if a.nulls {
		flags = 1
	}
	out := make([]byte, 0, 20+len(a.body))
	for _, v := range []uint32{1, flags, a.elem, uint32(a.n), 1} { // dimensions, nulls, type, length, first index
		out = binary.BigEndian.AppendUint32(out, v)
	}
	return append(out, a.body...)
}

// sendBulk sends the insertions of a queue table by table and index by index, and
// returns what is left. Records under new ids may go ahead of everything, and keys
// that nobody holds, too, where nothing is removed from the index.
func (tx *txn) sendBulk(queue []*op) (rest []*op) {
	removing := map[*object]bool{}
	for _, w := range queue {
		if w.kind == opRemove || w.kind == opPut {
			removing[w.o] = true
		}
	}
	groups := map[*object][]*op{}
	var order []*object
	for _, w := range queue {
		switch {
		case w.dropped:
		case w.kind == opInsert && w.fresh, w.kind == opPutUnique && !removing[w.o]:
			if groups[w.o] == nil {
				order = append(order, w.o)
			}
			groups[w.o] = append(groups[w.o], w)
		default:
			rest = append(rest, w)
		}
	}
	created := rest[:0:0]
	for _, w := range rest {
		if w.kind == opCreate {
			created = append(created, w)
		}
	}
	for _, w := range created {
		tx.sendOne(w)
	}
	for _, o := range order {
		tx.sendGroup(o, groups[o])
	}
	if len(created) == 0 {
		return rest
	}
	left := rest[:0:0]
	for _, w := range rest {
		if w.kind != opCreate {
			left = append(left, w)
		}
	}
	return left
}

func (tx *txn) sendGroup(o *object, list []*op) {
	ids, keys := array{elem: oidInt8}, array{elem: oidBytea}
	values, tails := array{elem: oidBytea}, array{elem: oidBytea}
	for _, w := range list {
		ids.addInt(int64(w.id))
		values.add(w.value)
		if o.kind == kindIndex {
			key, tail := splitKey(w.key)
			keys.add(key)
			tails.add(tail)
		}
	}
	if o.kind == kindTable {
		tx.c.add(o.sql.insertMany, nil, ids.bytes(), values.bytes())
		return
	}
	tx.c.add(o.sql.putMany, nil, keys.bytes(), ids.bytes(), values.bytes(), tails.bytes())
}

// bound is what a transaction knows of the largest key of a unique index. Keys
// above it are held by nobody, as far as the snapshot shows.
type bound struct {
	puts  int // that asked PostgreSQL
	known bool
	max   []byte
}

// boundAfter is the number of keys that a transaction adds one by one before it
// looks for the largest: those that insert one document never do.
const boundAfter = 2

// free says whether a key is above all those of its index that the transaction
// does not know by itself.
func (tx *txn) free(x storage.IndexID, key []byte) bool {
	b := tx.bounds[x]
	if b == nil || !b.known {
		return false
	}
	stored, _ := splitKey(key)
	return bytes.Compare(stored, b.max) > 0
}

// askBound queues the question for the largest key when it pays.
func (tx *txn) askBound(x storage.IndexID, o *object) {
	if tx.bounds == nil {
		tx.bounds = map[storage.IndexID]*bound{}
	}
	b := tx.bounds[x]
	if b == nil {
		b = &bound{}
		tx.bounds[x] = b
	}
	if b.puts++; b.puts != boundAfter {
		return
	}
	tx.c.add(o.sql.maxKey, func(v [][]byte) { b.known, b.max = true, bytes.Clone(v[0]) })
}

// putFree adds an entry under a key that nobody holds.
func (tx *txn) putFree(ctx context.Context, h *holding, w *op) error {
	w.kind = opPutUnique
	tx.write(w)
	h.known, h.holder = true, w.id
	return tx.relieve(ctx)
}
