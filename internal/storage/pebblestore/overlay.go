package pebblestore

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/storage"
)

// overlayHeight is the most levels of an overlay's skip list: with one node in
// four on the next level, enough for sixteen million keys.
const overlayHeight = 12

// opKind says what a write did.
type opKind uint8

const (
	opSet opKind = iota
	opDelete
	opCreate // of a table or index; the op's value is an index into ranges
	opDrop
	opAppend   // to a log table; the op's value is an index into logs
	opTruncate // of a log table, likewise
)

// overlayOp is one write. The ops of one key are chained, newest first.
type overlayOp struct {
	value    uint64 // offset of the value in buf; for ops without a key an index
	valueLen uint32
	node     int32 // the key; 0 for ops without one
	prev     int32 // the op of the same key before this one, or -1
	kind     opKind
	fresh    bool // first write of a key that did not exist in any view
}

// overlayNode is a key in the skip list. Node 0 is the head, before all keys, and
// stands for "none" in links.
type overlayNode struct {
	key    uint64 // offset in buf
	keyLen uint32
	top    int32 // newest op, or -1 if all were rolled back
	back   int32 // the node before this one on the lowest level
	next   [overlayHeight]int32
}

// overlay holds a transaction's writes in key order. A write never changes an
// earlier one: rolling back to a savepoint cuts the list of ops, and a reader
// that remembers the number of ops sees the writes up to then and no others.
// Slices into buf stay valid until the overlay is reset.
type overlay struct {
	buf    []byte
	ops    []overlayOp
	nodes  []overlayNode
	ranges []*idRange // what opCreate and opDrop are about
	logs   []logWrite // what opAppend and opTruncate are about

	// tail is the table with the last log record, whose id is the position of the
	// commit; 0 if there is none, or if something else of logs is removed as well.
	tail storage.TableID

	height int
	random uint32
	path   [overlayHeight]int32 // scratch of find
	bytes  int                  // keys and values written, for sizing the batch
}

// Overlays larger than this are not kept for the next transaction.
const (
	overlayKeepBytes = 256 << 10
	overlayKeepNodes = 1024
)

func newOverlay() *overlay {
	o := &overlay{}
	o.reset()
	return o
}

// reset empties the overlay for another transaction.
func (o *overlay) reset() {
	if cap(o.buf) > overlayKeepBytes {
		o.buf = nil
	}
	if cap(o.nodes) > overlayKeepNodes {
		o.nodes, o.ops, o.logs = nil, nil, nil
	}
	clear(o.ranges)
	o.buf, o.ops, o.ranges, o.logs = o.buf[:0], o.ops[:0], o.ranges[:0], o.logs[:0]
	o.nodes = append(o.nodes[:0], overlayNode{top: -1})
	o.height = 1
	o.random = 0x9e3779b9
	o.bytes = 0
}

func (o *overlay) keyOf(n int32) []byte {
	x := &o.nodes[n]
	return o.buf[x.key : x.key+uint64(x.keyLen) : x.key+uint64(x.keyLen)]
}

func (o *overlay) valueOf(op int32) []byte {
	x := &o.ops[op]
	return o.buf[x.value : x.value+uint64(x.valueLen) : x.value+uint64(x.valueLen)]
}

// find returns the first node with a key ≥ key, 0 if there is none, and leaves in
// path the nodes before it on each level.
func (o *overlay) find(key []byte) int32 {
	n := int32(0)
	for level := o.height - 1; level >= 0; level-- {
		for {
			next := o.nodes[n].next[level]
			if next == 0 || bytes.Compare(o.keyOf(next), key) >= 0 {
				break
			}
			n = next
		}
		o.path[level] = n
	}
	return o.nodes[n].next[0]
}

// seekLT returns the last node with a key < key, 0 if there is none.
func (o *overlay) seekLT(key []byte) int32 {
	o.find(key)
	return o.path[0]
}

func (o *overlay) next(n int32) int32 { return o.nodes[n].next[0] }
func (o *overlay) prev(n int32) int32 { return o.nodes[n].back }

// visible returns the newest op of a node among the first limit ops, or -1.
func (o *overlay) visible(n int32, limit int32) int32 {
	op := o.nodes[n].top
	for op >= limit {
		op = o.ops[op].prev
	}
	return op
}

// lookup returns the newest op of a key, or -1.
func (o *overlay) lookup(key []byte) int32 {
	return o.lookupAt(key, int32(len(o.ops)))
}

func (o *overlay) lookupAt(key []byte, limit int32) int32 {
	if len(o.nodes) == 1 {
		return -1
	}
	n := o.find(key)
	if n == 0 || !bytes.Equal(o.keyOf(n), key) {
		return -1
	}
	return o.visible(n, limit)
}

// write adds an op for a key.
func (o *overlay) write(kind opKind, key, value []byte, fresh bool) {
	n := o.node(key)
	off := uint64(len(o.buf))
	o.buf = append(o.buf, value...)
	x := &o.nodes[n]
	o.ops = append(o.ops, overlayOp{
		value: off, valueLen: uint32(len(value)), node: n, prev: x.top, kind: kind,
		fresh: fresh || (x.top >= 0 && o.ops[x.top].fresh),
	})
	x.top = int32(len(o.ops) - 1)
	o.bytes += len(key) + len(value)
}

// writeRange adds a creation or a drop.
func (o *overlay) writeRange(kind opKind, r *idRange) {
	o.ranges = append(o.ranges, r)
	o.ops = append(o.ops, overlayOp{kind: kind, value: uint64(len(o.ranges) - 1), prev: -1})
}

// node returns the node of a key, a new one if need be.
func (o *overlay) node(key []byte) int32 {
	n := o.find(key)
	if n != 0 && bytes.Equal(o.keyOf(n), key) {
		return n
	}
	off := uint64(len(o.buf))
	o.buf = append(o.buf, key...)
	x := overlayNode{key: off, keyLen: uint32(len(key)), top: -1, back: o.path[0]}
	height := o.randomHeight()
	for o.height < height {
		o.path[o.height] = 0
		o.height++
	}
	id := int32(len(o.nodes))
	for level := range height {
		x.next[level] = o.nodes[o.path[level]].next[level]
		o.nodes[o.path[level]].next[level] = id
	}
	o.nodes = append(o.nodes, x)
	if n != 0 {
		o.nodes[n].back = id
	}
	return id
}

// randomHeight draws a level from a fixed sequence: balance needs no secret.
func (o *overlay) randomHeight() int {
	r := o.random
	r ^= r << 13
	r ^= r >> 17
	r ^= r << 5
	o.random = r
	h := 1
	for h < overlayHeight && r&3 == 0 {
		h++
		r >>= 2
	}
	return h
}

// cut undoes the ops from mark on, newest first. undo is told about creations and
// drops.
func (o *overlay) cut(mark int, undo func(kind opKind, r *idRange)) {
	for i := len(o.ops) - 1; i >= mark; i-- {
		op := &o.ops[i]
		switch op.kind {
		case opSet, opDelete:
			o.nodes[op.node].top = op.prev
		case opAppend, opTruncate:
			o.logs = o.logs[:op.value]
		default:
			undo(op.kind, o.ranges[op.value])
			o.ranges = o.ranges[:op.value]
		}
	}
	o.ops = o.ops[:mark]
}
