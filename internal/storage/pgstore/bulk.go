package pgstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// minBulk is the length of a queue from which on its insertions go as arrays.
	minBulk = 16

	// pushed is how many insertions are pushed at a time, maxPushed how many statements
	// may be on their way: what PostgreSQL has to say about them has to fit into the network's
	// buffers.
	pushed    = 256
	maxPushed = 256
)

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
	body  []byte // behind room for the header
}

// arrayHeader is the size of what is written before the elements.
const arrayHeader = 20

// room makes room for n elements of so many bytes in all.
func (a *array) room(n, size int) {
	a.body = slices.Grow(a.body, arrayHeader+4*n+size)
	if len(a.body) == 0 {
		a.body = a.body[:arrayHeader]
	}
}

func (a *array) add(v []byte) {
	if len(a.body) == 0 {
		a.room(1, len(v))
	}
	a.n++
	if v == nil {
		a.nulls = true
		a.body = binary.BigEndian.AppendUint32(a.body, 1<<32-1)
		return
	}
	a.body = append(binary.BigEndian.AppendUint32(a.body, uint32(len(v))), v...)
}

func (a *array) addInt(v int64) {
	if len(a.body) == 0 {
		a.room(1, 8)
	}
	a.n++
	a.body = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(a.body, 8), uint64(v))
}

// bytes is the parameter. Nothing may be added after it.
func (a *array) bytes() []byte {
	flags := uint32(0)
	if a.nulls {
		flags = 1
	}
	if len(a.body) == 0 {
		a.room(0, 0)
	}
	for i, v := range [...]uint32{1, flags, a.elem, uint32(a.n), 1} { // dimensions, nulls, type, length, first index
		binary.BigEndian.PutUint32(a.body[4*i:], v)
	}
	return a.body
}

// push sends a queue on its way without waiting for what becomes of it: PostgreSQL does it
// while more is being prepared. It does nothing if the queue is of another kind, whose
// outcome is needed.
func (tx *txn) push(ctx context.Context) error {
	if tx.brief || tx.begun && len(tx.c.batch) > maxPushed {
		return nil
	}
	if slices.ContainsFunc(tx.queue, func(w *op) bool { return !w.dropped && !w.isNew() }) && !tx.isSorted(tx.queue) {
		tx.unpushed = len(tx.queue)
		return nil
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	tx.sent = true
	finish, apart := tx.send()
	if apart > 0 {
		if err := tx.run(ctx); err != nil {
			return err
		}
	} else if err := tx.c.push(); err != nil {
		return tx.failed(ctx, err)
	}
	finish()
	return nil
}

// isNew says whether an insertion is of what nobody else has.
func (w *op) isNew() bool {
	return w.kind == opPutUnique || w.fresh && (w.kind == opInsert || w.kind == opPut)
}

// follows says whether an entry of a new record can go in one statement with those of its
// index before it: it is none of them.
func (w *op) follows(list []*op) bool {
	for i := len(list) - 1; i >= 0 && list[i].id >= w.id; i-- {
		if list[i].id > w.id || bytes.Equal(list[i].key, w.key) {
			return false
		}
	}
	return true
}

// sendBulk sends the insertions of a queue table by table and index by index, and
// returns what is left. Records under new ids may go ahead of everything, and keys
// that nobody holds and entries of new records, too, where nothing else is done to the index.
func (tx *txn) sendBulk(queue []*op) (rest []*op) {
	removing, putting := map[*object]bool{}, map[*object]bool{}
	for _, w := range queue {
		switch {
		case w.kind == opRemove:
			removing[w.o] = true
		case w.kind == opPut && !w.fresh:
			putting[w.o] = true
		}
	}
	groups := map[*object][]*op{}
	var order []*object
	for _, w := range queue {
		switch {
		case w.dropped:
		case w.kind == opInsert && w.fresh, w.kind == opPutUnique && !removing[w.o] && !putting[w.o],
			w.kind == opPut && w.fresh && !removing[w.o] && w.follows(groups[w.o]):
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
	size, keySize := 0, 0
	for _, w := range list {
		size, keySize = size+len(w.value), keySize+min(len(w.key), maxKey)
	}
	ids.room(len(list), 8*len(list))
	values.room(len(list), size)
	if o.kind == kindIndex {
		keys.room(len(list), keySize)
		tails.room(len(list), 0)
	}
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
	o     *object
	hope  decision // whether keys are taken to be free
	puts  int      // that asked PostgreSQL
	known bool
	max   []byte
}

// boundAfter is the number of keys that a transaction adds one by one before it
// looks for the largest: those that insert one document never do.
const boundAfter = 2

type decision byte

const (
	undecided decision = iota
	yes
	no
)

// boundOf is what is known of an index.
func (tx *txn) boundOf(x storage.IndexID, o *object) *bound {
	if tx.bounds == nil {
		tx.bounds = map[storage.IndexID]*bound{}
	}
	b := tx.bounds[x]
	if b == nil {
		b = &bound{o: o}
		tx.bounds[x] = b
	}
	return b
}

// presumes says whether a hopeful transaction takes the keys of an index to be
// free: it does unless that was wrong lately.
func (tx *txn) presumes(x storage.IndexID, o *object) bool {
	if !tx.opts.Hopeful {
		return false
	}
	b := tx.boundOf(x, o)
	if b.hope == undecided {
		if b.hope = no; o.trusted() {
			b.hope = yes
		}
	}
	return b.hope == yes
}

// isAbsent says whether LookupAhead has not found a key.
func (tx *txn) isAbsent(x storage.IndexID, key []byte) bool {
	id, looked := tx.ahead.found[entryKey{x, string(key)}]
	return looked && id == 0
}

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
	b := tx.boundOf(x, o)
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
	return tx.curb(ctx)
}
