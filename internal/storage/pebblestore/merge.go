package pebblestore

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/archelon-db/archelon/internal/storage"
)

// checkEvery is how many steps an iterator takes between two looks at its context
// and at Close.
const checkEvery = 256

// mergeIter walks the stored keys between two bounds in one direction, as its
// transaction saw them when it was opened. If the transaction had written nothing
// there, it is Pebble's iterator with nothing in between.
type mergeIter struct {
	tx      *txn
	ctx     context.Context
	base    *pebble.Iterator
	reverse bool
	started bool
	simple  bool // walking forward on base alone, with no own writes and no end yet
	onBase  bool // the current entry is base's
	onOwn   bool // the current entry is (also) own's, which hides base's
	baseOK  bool // base is positioned; read in the merging case only
	budget  int  // steps until the next look around

	ow           *writeSet // nil if there is nothing to merge
	own          int32     // node of ow, 0 at the end
	ownOp        int32     // its visible op
	limit        int32     // number of the transaction's ops at open
	lower, upper []byte

	err    error
	isOpen bool
}

// open starts an iterator over [lower, upper), positioned before the first key in
// scan direction. It keeps the slices.
func (m *mergeIter) open(ctx context.Context, tx *txn, lower, upper []byte, reverse bool) error {
	g, err := tx.enter(ctx)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	tx.nreads = untracked
	if err := tx.takeView(); err != nil {
		return err
	}
	m.tx, m.ctx, m.reverse = tx, ctx, reverse
	m.lower, m.upper = lower, upper
	m.base, err = tx.view.snap.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	if w := tx.w; w != nil {
		m.limit = int32(len(w.ops))
		if n := w.find(lower); n != 0 && bytes.Compare(w.keyOf(n), upper) < 0 {
			m.ow = w
		}
	}
	m.isOpen = true
	tx.iters++
	tx.s.iters.Add(1)
	return nil
}

// close releases the iterator and returns the error it stopped at.
func (m *mergeIter) close() error {
	if m.isOpen {
		m.isOpen = false
		if err := m.base.Close(); m.err == nil {
			m.err = err
		}
		m.tx.iters--
		m.tx.s.iters.Add(-1)
	}
	return m.err
}

// alive says whether the iterator may go on; it looks around only now and then.
func (m *mergeIter) alive() bool {
	if m.err != nil || !m.isOpen {
		return false
	}
	m.budget--
	if m.budget > 0 {
		return true
	}
	m.budget = checkEvery
	if m.tx.s.closing.Load() {
		m.err = storage.ErrClosed
	} else {
		m.err = m.ctx.Err()
	}
	return m.err == nil
}

// next moves to the first or next key.
func (m *mergeIter) next() bool {
	if !m.alive() {
		return false
	}
	if m.ow != nil {
		return m.nextMerged()
	}
	var ok bool
	switch {
	case !m.started && !m.reverse:
		m.started, m.simple = true, true
		ok = m.base.First()
	case !m.started:
		m.started = true
		ok = m.base.Last()
	case !m.reverse:
		ok = m.base.Next()
	default:
		ok = m.base.Prev()
	}
	if !ok {
		return m.ended()
	}
	m.onBase = true
	return true
}

// ended notes that base has come to its end, or stopped at an error.
func (m *mergeIter) ended() bool {
	m.onBase, m.simple = false, false
	m.err = m.base.Error()
	return false
}

// nextMerged is next with own writes in the range.
func (m *mergeIter) nextMerged() bool {
	if !m.started {
		m.started = true
		if m.reverse {
			m.baseOK = m.base.Last()
			m.own = m.ow.seekLT(m.upper)
		} else {
			m.baseOK = m.base.First()
			m.own = m.ow.find(m.lower)
		}
		m.skipHidden()
		return m.settle()
	}
	if m.onBase {
		m.stepBase()
	}
	if m.onOwn {
		m.stepOwn()
	}
	return m.settle()
}

func (m *mergeIter) stepBase() {
	if m.reverse {
		m.baseOK = m.base.Prev()
	} else {
		m.baseOK = m.base.Next()
	}
}

func (m *mergeIter) stepOwn() {
	if m.reverse {
		m.own = m.ow.prev(m.own)
	} else {
		m.own = m.ow.next(m.own)
	}
	m.skipHidden()
}

// skipHidden moves own on to a node inside the bounds that had a write when the
// iterator was opened.
func (m *mergeIter) skipHidden() {
	for m.own != 0 {
		key := m.ow.keyOf(m.own)
		if m.reverse && bytes.Compare(key, m.lower) < 0 || !m.reverse && bytes.Compare(key, m.upper) >= 0 {
			m.own = 0
			return
		}
		if m.ownOp = m.ow.visible(m.own, m.limit); m.ownOp >= 0 {
			return
		}
		if m.reverse {
			m.own = m.ow.prev(m.own)
		} else {
			m.own = m.ow.next(m.own)
		}
	}
}

// settle decides which side the current key comes from, and steps over keys that
// the transaction has deleted.
func (m *mergeIter) settle() bool {
	for {
		m.onBase, m.onOwn = m.baseOK, m.own != 0
		if m.onBase && m.onOwn {
			c := bytes.Compare(m.base.Key(), m.ow.keyOf(m.own))
			if m.reverse {
				c = -c
			}
			m.onBase, m.onOwn = c <= 0, c >= 0
		}
		if !m.onOwn {
			if !m.onBase {
				m.err = m.base.Error()
			}
			return m.onBase
		}
		if m.ow.ops[m.ownOp].kind == opSet {
			return true
		}
		if m.onBase {
			m.stepBase()
		}
		m.stepOwn()
	}
}

// seek moves to the first key ≥ the given one, or backwards to the last one < it.
// The caller sees to it that this is ahead.
func (m *mergeIter) seek(key []byte) bool {
	if !m.alive() {
		return false
	}
	m.started, m.simple = true, m.ow == nil && !m.reverse
	if m.reverse {
		m.baseOK = m.base.SeekLT(key)
	} else {
		m.baseOK = m.base.SeekGE(key)
	}
	if m.ow == nil {
		if m.onBase = m.baseOK; !m.onBase {
			return m.ended()
		}
		return true
	}
	if m.reverse {
		m.own = m.ow.seekLT(minKey(key, m.upper))
	} else {
		m.own = m.ow.find(maxKey(key, m.lower))
	}
	m.skipHidden()
	return m.settle()
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}

// valid says whether the iterator stands on a key.
func (m *mergeIter) valid() bool { return m.onBase || m.onOwn }

func (m *mergeIter) key() []byte {
	if m.onOwn {
		return m.ow.keyOf(m.own)
	}
	return m.base.Key()
}

// value returns the current value; not ok is an error that ends the iteration.
func (m *mergeIter) value() ([]byte, bool) {
	if m.onOwn {
		return m.ow.valueOf(m.ownOp), true
	}
	v, err := m.base.ValueAndErr()
	if err != nil {
		m.err = err
		return nil, false
	}
	return v, true
}
