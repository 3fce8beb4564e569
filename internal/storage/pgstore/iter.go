package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// firstRows and maxRows bound what an iterator fetches at once, first and
	// later; chunkBytes bounds it in bytes, as far as rows are like those before.
	firstRows  = 32
	maxRows    = 2048
	chunkBytes = 1 << 20

	// unknownRows is the first fetch from a table whose rows may be large.
	unknownRows = 8

	// narrowRows is the first fetch behind a condition, where each row may be a long way
	// off, of which perhaps only one is wanted.
	narrowRows = 4

	// hopRows is the least that is fetched behind a gap.
	hopRows = 8
)

// row is an entry or a record of a chunk; its slices lie in the chunk's buffer.
type row struct {
	id             storage.RecordID
	key, bits, doc []byte
	long           bool
}

// iterator walks a portal. It is both kinds of iterator.
type iterator struct {
	tx     *txn
	ctx    context.Context
	o      *object
	sql    string
	args   [][]byte
	rng    storage.IndexRange  // of an index
	span   storage.RecordRange // of a table
	portal string
	more   bool // the portal may have more rows
	rest   bool // there may be more rows, and no portal; see short.go
	loose  bool // it need not show one state
	rows   []row
	at     int // the current row, -1 before the first
	size   uint32
	asked  uint32 // the size of the first chunk since the scan was opened, last behind a gap
	passed int    // rows of the chunks between that one and the current one
	likely int64  // rows wanted, 0 if unknown
	opened int    // tx.writes when it was opened
	err    error
	closed bool
	done   bool
	width  *object // whose width tells the size of rows

	runs  []storage.KeyRun // still to be read, in the order of the scan; see runs.go
	ahead int              // how many are opened at once

	// narrowing is what Narrow has asked for and the next chunk is to have. A condition
	// that ends at until makes the range end there, too; the scan ends at beyond.
	narrowing     *narrowing
	until, beyond []byte
}

// narrowing is a condition for the rest of a scan, or until a key.
type narrowing struct {
	contains storage.Contains
	until    []byte
	likely   int64
}

var (
	_ storage.RecordIterator = (*iterator)(nil)
	_ storage.IndexIterator  = (*iterator)(nil)
	_ storage.Narrower       = (*iterator)(nil)
)

// Scan iterates a table.
func (tx *txn) Scan(ctx context.Context, t storage.TableID, r storage.RecordRange) (storage.RecordIterator, error) {
	if err := tx.enter(ctx); err != nil {
		return nil, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindTable, uint32(t))
	if err != nil {
		return nil, err
	}
	if !ok {
		return &iterator{tx: tx, ctx: ctx, at: -1, done: true}, nil
	}
	it := &iterator{tx: tx, ctx: ctx, o: o, span: r, width: o, likely: r.Likely, loose: r.Loose}
	it.shapeRecords()
	return it, it.open()
}

// shapeRecords writes the statement of a scan of a table.
func (it *iterator) shapeRecords() {
	r := &it.span
	contains, needles := condition(r.Contains, it.width.width.Load())
	it.sql = it.o.scan(scanShape{reverse: r.Reverse, bare: r.Bare, lower: r.Min > 0, upper: r.Max > 0, contains: contains})
	it.args = it.args[:0]
	for _, id := range []storage.RecordID{r.Min, r.Max} {
		if id > 0 {
			it.args = append(it.args, binary.BigEndian.AppendUint64(nil, uint64(id)))
		}
	}
	it.args = append(it.args, needles...)
}

// ScanIndex iterates index entries.
func (tx *txn) ScanIndex(ctx context.Context, x storage.IndexID, r storage.IndexRange) (storage.IndexIterator, error) {
	if err := tx.enter(ctx); err != nil {
		return nil, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindIndex, uint32(x))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, storage.ErrNotFound
	}
	it := &iterator{tx: tx, ctx: ctx, o: o, rng: r, width: o, likely: r.Likely, loose: r.Loose}
	it.rng.Lower, it.rng.Upper, it.rng.After = bytes.Clone(r.Lower), bytes.Clone(r.Upper), bytes.Clone(r.After)
	if r.Fetch != 0 {
		t, ok, err := tx.object(ctx, kindTable, uint32(r.Fetch))
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, storage.ErrNotFound
		}
		it.width = t
	}
	if it.inRuns() {
		return it, it.openRuns()
	}
	it.shape()
	return it, it.open()
}

// shape writes the statement of an index scan. Bounds that are too long to be
// stored are widened; see beyond.
func (it *iterator) shape() {
	r := &it.rng
	sh := scanShape{reverse: r.Reverse, fetch: r.Fetch != 0}
	it.args = it.args[:0]
	if r.Lower != nil {
		sh.lower = true
		it.args = append(it.args, orEmpty(r.Lower[:min(maxKey, len(r.Lower))]))
	}
	if r.Upper != nil {
		sh.upper = true
		upper := r.Upper
		if len(upper) > maxKey {
			upper = append(bytes.Clone(upper[:maxKey]), bytes.Repeat([]byte{0xff}, 33)...)
		}
		it.args = append(it.args, orEmpty(upper))
	}
	switch {
	case r.After == nil:
	case len(r.After) <= maxKey:
		sh.after = true
		it.args = append(it.args, r.After)
		if !it.o.unique {
			it.args = append(it.args, binary.BigEndian.AppendUint64(nil, uint64(r.AfterID)))
		}
	case !r.Reverse && (r.Lower == nil || bytes.Compare(r.After, r.Lower) > 0):
		if !sh.lower {
			it.args = append([][]byte{nil}, it.args...)
		}
		sh.lower = true
		it.args[0] = r.After[:maxKey]
	case r.Reverse && (r.Upper == nil || bytes.Compare(r.After, r.Upper) < 0):
		if !sh.upper {
			it.args = append(it.args, nil)
		}
		sh.upper = true
		it.args[len(it.args)-1] = append(bytes.Clone(r.After[:maxKey]), bytes.Repeat([]byte{0xff}, 33)...)
	}
	if r.Fetch != 0 {
		var needles [][]byte
		sh.contains, needles = condition(r.Contains, it.width.width.Load())
		it.args = append(it.args, needles...)
	}
	it.sql = it.o.scan(sh)
}

// open starts the portal, behind everything the transaction has written.
func (it *iterator) open() error {
	rows := int64(firstRows)
	if it.likely > 0 && it.width.width.Load() > 0 {
		rows = min(it.likely, maxRows)
	}
	return it.openFor(rows)
}

// prepare makes the transaction ready for what the iterator is about to open.
func (it *iterator) prepare() error {
	tx := it.tx
	if err := tx.start(it.ctx); err != nil {
		return err
	}
	tx.nreads = untracked
	if err := tx.flush(it.ctx); err != nil {
		return err
	}
	it.opened = tx.writes
	return nil
}

// openFor is open for so many rows at first.
func (it *iterator) openFor(rows int64) error {
	if it.isShort() {
		if done, err := it.openShort(); done || err != nil {
			return err
		}
	}
	if err := it.prepare(); err != nil {
		return err
	}
	tx := it.tx
	tx.c.portal++
	it.portal = fmt.Sprintf("p%d", tx.c.portal)
	it.size = it.guess(rows)
	it.asked, it.passed = it.size, 0
	it.begin()
	item := tx.c.start(it.portal, it.sql, it.size, it.receive, it.args...)
	return it.finish(item)
}

// guess is how many rows to fetch.
func (it *iterator) guess(most int64) uint32 {
	if it.span.Bare {
		return uint32(most)
	}
	width := it.width.width.Load()
	if width == 0 {
		return unknownRows
	}
	return uint32(max(1, min(most, chunkBytes/width)))
}

func (it *iterator) begin() {
	it.rows, it.at = it.rows[:0], -1
}

// finish runs the fetch that was queued.
func (it *iterator) finish(item *item) error {
	tx := it.tx
	for {
		if err := tx.run(it.ctx); err != nil {
			return err
		}
		it.more = item.suspended
		// Long keys with a common beginning are stored in the order of their
		// hashes: all of them are needed to put them into order.
		if n := len(it.rows); !it.more || n == 0 || !it.rows[n-1].long {
			break
		}
		item = tx.c.resume(it.portal, it.size, it.receive)
	}
	it.arrange()
	if !it.more {
		tx.c.closePortal(it.portal)
	}
	return nil
}

// receive takes over a row. Each row has a buffer of its own, so that a chunk is
// freed when its last row is.
func (it *iterator) receive(v [][]byte) {
	total := 0
	for _, b := range v {
		total += len(b)
	}
	if !it.span.Bare {
		it.learn(int64(total))
	}
	if it.o.kind == kindTable {
		it.rows = append(it.rows, row{id: storage.RecordID(int64Of(v[0])), doc: append(make([]byte, 0, len(v[1])), v[1]...)})
		return
	}
	buf := make([]byte, 0, total)
	r := row{id: storage.RecordID(int64Of(v[0])), long: v[3] != nil}
	buf = fullKey(buf, v[1], v[3])
	r.key = buf[:len(buf):len(buf)]
	buf = append(buf, v[2]...)
	r.bits = buf[len(r.key):len(buf):len(buf)]
	if len(v) > 4 && v[4] != nil {
		at := len(buf)
		buf = append(buf, v[4]...)
		r.doc = buf[at:len(buf):len(buf)]
	}
	if it.inside(&r) {
		it.rows = append(it.rows, r)
	}
}

// learn keeps the average width of rows.
func (it *iterator) learn(n int64) {
	w := &it.width.width
	old := w.Load()
	if old == 0 {
		old = n
	}
	w.Store(max(1, old+(n-old)/8))
}

// inside checks the bounds that the statement could not.
func (it *iterator) inside(r *row) bool {
	g := &it.rng
	if g.After != nil {
		c := cmp.Or(bytes.Compare(r.key, g.After), cmp.Compare(r.id, g.AfterID))
		if g.Reverse {
			c = -c
		}
		if c <= 0 {
			return false
		}
	}
	if len(g.Lower) > maxKey && bytes.Compare(r.key, g.Lower) < 0 {
		return false
	}
	return len(g.Upper) <= maxKey || bytes.Compare(r.key, g.Upper) < 0
}

// arrange puts long keys into their order.
func (it *iterator) arrange() {
	if !slices.ContainsFunc(it.rows, func(r row) bool { return r.long }) {
		return
	}
	slices.SortStableFunc(it.rows, func(a, b row) int {
		c := cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
		if it.rng.Reverse {
			return -c
		}
		return c
	})
}

// Next moves to the next row.
func (it *iterator) Next() bool {
	if it.err != nil || it.closed || it.done {
		return false
	}
	for it.at+1 >= len(it.rows) {
		switch {
		case it.more:
			if !it.fetch() {
				return false
			}
		case it.rest:
			if !it.fetchRest() {
				return false
			}
		case it.until != nil:
			if !it.fetchBeyond() {
				return false
			}
		case len(it.runs) > 0:
			if !it.fetchRuns() {
				return false
			}
		default:
			it.done = true
			return false
		}
	}
	it.at++
	if it.at&127 == 0 || it.tx.done {
		return it.alive()
	}
	return true
}

// alive checks the context and the store now and then.
func (it *iterator) alive() bool {
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	it.tx.s.gate.RUnlock()
	return true
}

// fetch gets the next chunk.
func (it *iterator) fetch() bool {
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	defer it.tx.s.gate.RUnlock()
	if it.narrowing != nil && len(it.rows) > 0 && !it.rows[len(it.rows)-1].long {
		n := it.narrowing
		it.narrowing = nil
		if it.opened == it.tx.writes && (n.until == nil || !it.reached(n.until)) {
			return it.fetchNarrow(n)
		}
	}
	it.size = max(it.guess(min(maxRows, 4*int64(it.size))), 1)
	it.passed += len(it.rows)
	it.begin()
	it.err = it.finish(it.tx.c.resume(it.portal, it.size, it.receive))
	return it.err == nil
}

// Narrow sets the condition of the statement that fetches the next chunk. One that
// ends somewhere needs another statement from there on, which in a transaction that
// writes would show what has been written meanwhile.
func (it *iterator) Narrow(c storage.Contains, until []byte, likely int64) {
	if it.rng.Fetch == 0 || it.until != nil || until != nil && (!it.tx.opts.ReadOnly || len(until) > maxKey) {
		return
	}
	if likely <= 0 {
		likely = narrowRows
	}
	it.narrowing = &narrowing{c, bytes.Clone(until), likely}
}

// fetchNarrow opens the scan again behind the last row, with a condition; nothing
// was written since it was opened, so it shows the same.
func (it *iterator) fetchNarrow(n *narrowing) bool {
	r, last := &it.rng, &it.rows[len(it.rows)-1]
	r.After, r.AfterID, r.Contains = bytes.Clone(last.key), last.id, n.contains
	switch {
	case n.until == nil:
	case !r.Reverse && (r.Upper == nil || bytes.Compare(n.until, r.Upper) < 0):
		it.until, it.beyond, r.Upper = n.until, r.Upper, n.until
	case r.Reverse && bytes.Compare(n.until, r.Lower) > 0:
		it.until, it.beyond, r.Lower = n.until, r.Lower, n.until
	}
	it.likely, it.runs = n.likely, nil
	it.tx.c.closePortal(it.portal)
	it.shape()
	it.err = it.open()
	return it.err == nil
}

// fetchBeyond goes on where the condition has ended, without it.
func (it *iterator) fetchBeyond() bool {
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	defer it.tx.s.gate.RUnlock()
	it.widen()
	it.shape()
	it.err = it.open()
	return it.err == nil
}

// widen makes the range what it was before the condition, without what lies behind.
func (it *iterator) widen() {
	r := &it.rng
	if r.Reverse {
		r.Lower, r.Upper = it.beyond, it.until
	} else {
		r.Lower, r.Upper = it.until, it.beyond
	}
	r.After, r.AfterID, r.Contains = nil, 0, nil
	it.until, it.beyond, it.likely = nil, nil, 0
}

// SeekGE moves to the first entry with key ≥ the given one, or ≤ if the scan is
// reversed.
func (it *iterator) SeekGE(key []byte) bool {
	used := int64(it.passed + it.at + 1)
	for it.at+1 < len(it.rows) || !it.more {
		if !it.Next() {
			return false
		}
		if it.reached(key) {
			return true
		}
	}
	if it.err != nil || it.closed || it.done {
		return false
	}
	if it.opened == it.tx.writes && len(key) <= maxKey && !it.jump(key, used) {
		return false
	}
	for it.Next() {
		if it.reached(key) {
			return true
		}
	}
	return false
}

func (it *iterator) reached(key []byte) bool {
	c := bytes.Compare(it.rows[it.at].key, key)
	if it.rng.Reverse {
		c = -c
	}
	return c >= 0
}

// hop is how many rows to fetch behind a gap if so many of those before it were used: more
// than that. A single long or short run does not change it by much.
func (it *iterator) hop(used int64) int64 {
	asked := int64(it.asked)
	rows := max(hopRows, min(max(2*used, asked/2), 4*asked, maxRows))
	if it.likely > 0 {
		rows = min(rows, it.likely)
	}
	return rows
}

// jump opens the scan again further on, if the key is further on than the row that
// it stands on, the last of its chunk; nothing was written since it was opened, so it
// shows the same. Used is how many rows since then have not been passed over.
func (it *iterator) jump(key []byte, used int64) bool {
	if len(it.rows) == 0 || it.reached(key) {
		return true
	}
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	defer it.tx.s.gate.RUnlock()
	r := &it.rng
	widened := it.until != nil && (bytes.Compare(key, it.until) >= 0) != r.Reverse
	if widened {
		it.widen()
	}
	switch {
	case !r.Reverse && bytes.Compare(key, r.Lower) > 0:
		r.Lower = bytes.Clone(key)
	case r.Reverse && (r.Upper == nil || bytes.Compare(key, r.Upper) < 0):
		r.Upper = append(bytes.Clone(key), 0xff) // keys are prefix-free
	case widened:
	default:
		return true
	}
	it.runs = nil
	it.tx.c.closePortal(it.portal)
	it.shape()
	it.err = it.openFor(it.hop(used))
	return it.err == nil
}

func (it *iterator) ID() storage.RecordID { return it.rows[it.at].id }
func (it *iterator) Doc() []byte          { return it.rows[it.at].doc }
func (it *iterator) Key() []byte          { return it.rows[it.at].key }
func (it *iterator) TypeBits() []byte     { return it.rows[it.at].bits }
func (it *iterator) Err() error           { return it.err }

// Close ends the iterator.
func (it *iterator) Close() error {
	if it.closed {
		return it.err
	}
	it.closed = true
	if it.more && !it.tx.done && it.tx.fail == nil && it.tx.c != nil && it.tx.s.enter() {
		it.tx.c.closePortal(it.portal)
		it.tx.s.gate.RUnlock()
	}
	return it.err
}
