package pebblestore

import (
	"bytes"
	"context"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// indexIter walks an index.
type indexIter struct {
	m      mergeIter
	r      *idRange
	fetch  storage.TableID
	after  []byte // where to continue, stored form of After; nil once begun
	afterK []byte // After as the caller gave it
	afterI storage.RecordID

	key  []byte // of the current entry, inside the stored key
	id   storage.RecordID
	bits []byte

	doc    []byte // valid if docDone
	done   bool   // doc of the current entry has been fetched
	closer io.Closer

	near   int              // how many fetches in a row were just ahead of the one before
	last   storage.RecordID // the last record fetched
	nearby *pebble.Iterator // serves such fetches; nil until worth it

	seekBuf []byte
	recKey  [recordKeyLen]byte
}

// An index in (almost) insertion order fetches records that lie side by side, for
// which stepping an iterator is several times cheaper than a lookup. It is opened
// after nearRun fetches in a row that are at most nearGap ahead of each other.
const (
	nearRun = 8
	nearGap = 32
)

var _ storage.IndexIterator = (*indexIter)(nil)

// ScanIndex iterates index entries in key order.
func (tx *txn) ScanIndex(ctx context.Context, x storage.IndexID, r storage.IndexRange) (storage.IndexIterator, error) {
	xr := tx.s.ranges.get(prefixIndex, uint32(x))
	if xr == nil {
		return nil, storage.ErrNotFound
	}
	it := &indexIter{r: xr, fetch: r.Fetch}
	buf := make([]byte, 0, 2*idPrefixLen+len(r.Lower)+len(r.Upper))
	buf = append(appendIDPrefix(buf, prefixIndex, xr.id), r.Lower...)
	lower := buf[:len(buf):len(buf)]
	if r.Upper == nil {
		buf = appendIDEnd(buf, prefixIndex, xr.id)
	} else {
		buf = append(appendIDPrefix(buf, prefixIndex, xr.id), r.Upper...)
	}
	upper := buf[len(lower):]
	if tx.hasDropped(prefixIndex, xr.id) || bytes.Compare(lower, upper) > 0 {
		upper = lower
	}
	if r.After != nil {
		it.afterK, it.afterI = append([]byte(nil), r.After...), r.AfterID
		it.after = it.afterSeek(r.Reverse)
	}
	if err := it.m.open(ctx, tx, lower, upper, r.Reverse); err != nil {
		return nil, err
	}
	return it, nil
}

// afterSeek is the stored key to seek to for continuing behind (afterK, afterI).
// In a unique index it is the key itself, whose record is then compared: the key
// may belong to another record by now.
func (it *indexIter) afterSeek(reverse bool) []byte {
	k := append(appendIDPrefix(nil, prefixIndex, it.r.id), it.afterK...)
	switch {
	case !it.r.unique && reverse: // seek finds the last one < (key, id)
		return appendRID(k, it.afterI)
	case !it.r.unique: // seek finds the first one ≥ (key, id+1)
		return appendRID(k, it.afterI+1)
	case reverse:
		return append(k, 0)
	}
	return k
}

// Next moves to the first or next entry.
func (it *indexIter) Next() bool {
	it.drop()
	var ok bool
	if it.after != nil {
		ok = it.m.seek(it.after)
		it.after = nil
	} else {
		ok = it.m.next()
	}
	return it.load(ok)
}

// load reads the current entry. With a unique index it steps over the entry that
// the scan is to continue behind.
func (it *indexIter) load(ok bool) bool {
	for ; ok; ok = it.m.next() {
		if !it.parse() {
			return false
		}
		if it.r.unique && it.afterK != nil && bytes.Equal(it.key, it.afterK) {
			if it.m.reverse && it.id >= it.afterI || !it.m.reverse && it.id <= it.afterI {
				continue
			}
		}
		return true
	}
	it.key, it.bits, it.id = nil, nil, 0
	return false
}

// parse takes the stored entry apart.
func (it *indexIter) parse() bool {
	k := it.m.key()
	if it.r.unique {
		v, ok := it.m.value()
		if !ok {
			return false
		}
		if len(v) < ridLen {
			it.m.err = errEntry(k, v)
			return false
		}
		it.key, it.id, it.bits = k[idPrefixLen:], ridOf(v), v[ridLen:]
		return true
	}
	if len(k) < idPrefixLen+ridLen {
		it.m.err = errEntry(k, nil)
		return false
	}
	n := len(k) - ridLen
	it.key, it.id, it.bits = k[idPrefixLen:n], ridOf(k[n:]), nil
	return true
}

// SeekGE moves to the first entry at or behind a key that is ahead.
func (it *indexIter) SeekGE(key []byte) bool {
	it.drop()
	if it.m.started && !it.m.valid() {
		return false
	}
	if it.m.started && !it.before(key) {
		return it.Next()
	}
	k := append(appendIDPrefix(it.seekBuf[:0], prefixIndex, it.r.id), key...)
	if it.m.reverse {
		// The last entry of this key: what is behind all its record ids.
		if it.r.unique {
			k = append(k, 0)
		} else {
			k = append(k, 0xff)
		}
	}
	it.seekBuf = k
	if it.after != nil {
		if c := bytes.Compare(k, it.after); it.m.reverse && c > 0 || !it.m.reverse && c < 0 {
			return it.Next()
		}
		it.after = nil
	}
	// A key that is only a prefix of keys may land among the entries before it.
	ok := it.load(it.m.seek(k))
	for ok && it.before(key) {
		ok = it.Next()
	}
	return ok
}

// before says whether the current entry is before a key in scan direction.
func (it *indexIter) before(key []byte) bool {
	c := bytes.Compare(it.key, key)
	return it.m.reverse && c > 0 || !it.m.reverse && c < 0
}

// Key is the current entry's key.
func (it *indexIter) Key() []byte { return it.key }

// ID is the current entry's record.
func (it *indexIter) ID() storage.RecordID { return it.id }

// TypeBits are the current entry's type bits.
func (it *indexIter) TypeBits() []byte {
	if !it.r.unique && it.bits == nil && it.m.valid() {
		it.bits, _ = it.m.value()
	}
	return it.bits
}

// Doc is the current entry's record, fetched when first asked for.
func (it *indexIter) Doc() []byte {
	if it.fetch == 0 || it.id == 0 || it.done {
		return it.doc
	}
	it.done = true
	key := appendRecordKey(it.recKey[:0], it.fetch, it.id)
	if w := it.m.tx.w; w != nil {
		if op := w.lookupAt(key, it.m.limit); op >= 0 {
			if w.ops[op].kind == opSet {
				it.doc = w.valueOf(op)
			}
			return it.doc
		}
	}
	var err error
	if it.id > it.last && it.id-it.last <= nearGap {
		it.near++
	} else {
		it.near = 0
	}
	it.last = it.id
	if it.near >= nearRun {
		it.doc, err = it.fetchNear(key)
	} else {
		it.doc, it.closer, err = found(it.m.tx.view.snap.Get(key))
	}
	if err != nil && err != storage.ErrNotFound {
		it.m.err = err
	}
	return it.doc
}

// fetchNear returns a record that is a little ahead of the last one.
func (it *indexIter) fetchNear(key []byte) ([]byte, error) {
	if it.nearby == nil {
		var err error
		it.nearby, err = it.m.tx.view.snap.NewIter(&pebble.IterOptions{
			LowerBound: appendIDPrefix(nil, prefixTable, uint32(it.fetch)),
			UpperBound: appendIDEnd(nil, prefixTable, uint32(it.fetch)),
		})
		if err != nil {
			return nil, err
		}
	}
	if !it.nearby.SeekGE(key) {
		return nil, it.nearby.Error()
	}
	if !bytes.Equal(it.nearby.Key(), key) {
		return nil, nil
	}
	return it.nearby.ValueAndErr()
}

// drop forgets the current entry's record.
func (it *indexIter) drop() {
	if it.closer != nil {
		it.closer.Close()
		it.closer = nil
	}
	it.doc, it.done = nil, false
}

// Err tells why Next returned false.
func (it *indexIter) Err() error { return it.m.err }

// Close releases the iterator.
func (it *indexIter) Close() error {
	it.drop()
	if it.nearby != nil {
		err := it.nearby.Close()
		it.nearby = nil
		if it.m.err == nil {
			it.m.err = err
		}
	}
	return it.m.close()
}
