package database

import (
	"errors"
	"testing"

	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/storage"
)

// cutIterator fails before its first record.
type cutIterator struct {
	storage.RecordIterator
	err error
}

func (it cutIterator) Next() bool { return false }
func (it cutIterator) Err() error { return it.err }

// TestHubFails has the hub fail to read the log: what it has not read it does not pass over, also for a follower that asks before it
// is told.
func TestHubFails(t *testing.T) {
	h := newLogHub(nil)
	h.reading, h.pos = true, 3
	f := h.newFollower(changestream.Target{}, 3)
	f.live = true
	cut := errors.New("cut")
	if _, err := h.readSome(t.Context(), cutIterator{err: cut}, 9); !errors.Is(err, cut) {
		t.Errorf("got %v", err)
	}
	if _, err := f.take(); err != nil || f.pos != 3 {
		t.Errorf("the follower is at %d, %v", f.pos, err)
	}
	if _, err := h.readSome(t.Context(), cutIterator{}, 9); err != nil || h.pos != 9 {
		t.Errorf("the hub is at %d, %v", h.pos, err)
	}
}
