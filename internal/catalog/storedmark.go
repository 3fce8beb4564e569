package catalog

import "sync/atomic"

// storedMark is a multikey mark that is known to be stored: the mask below the number of losses of the engine
// ([storage.Revivable]) until which it is.
type storedMark struct{ v atomic.Uint64 }

const storedMaskBits = 32

// has says whether a mask is stored, for who goes by a number of losses.
func (s *storedMark) has(mask uint32, losses uint64) bool {
	v := s.v.Load()
	return v>>storedMaskBits == losses && uint32(v)|mask == uint32(v)
}

// add notes that a mask has been stored.
func (s *storedMark) add(mask uint32, losses uint64) {
	for {
		v := s.v.Load()
		now := losses<<storedMaskBits | uint64(mask)
		switch at := v >> storedMaskBits; {
		case at > losses:
			return
		case at == losses:
			now |= v
		}
		if s.v.CompareAndSwap(v, now) {
			return
		}
	}
}
