package database

import (
	"context"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

// hubPause is the least time between two readings of the log by the hub: the
// entries that came meanwhile are read together.
const hubPause = time.Millisecond

// logHub reads the log for all who follow it: once, as soon as entries are durable,
// and hands each entry to those whom it concerns. It reads only while somebody
// follows the log live. Followers who are behind read for themselves until they have
// caught up.
type logHub struct {
	db     *DB
	wanted chan struct{} // holds a token when reading is to begin

	mu      sync.Mutex // guards all below, and what followers say it guards
	reading bool
	pos     uint64 // every entry up to here has been handed out, while reading
	live    map[*follower]struct{}
	router  *changestream.Router[*follower] // of those that are live
}

func newLogHub(db *DB) *logHub {
	return &logHub{db: db, wanted: make(chan struct{}, 1), live: map[*follower]struct{}{}, router: changestream.NewRouter[*follower]()}
}

// join makes a follower live if it has read all that the hub has handed out.
func (h *logHub) join(f *follower) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.reading {
		h.reading, h.pos = true, f.pos
		h.wanted <- struct{}{}
	}
	if f.pos < h.pos {
		return false
	}
	f.live = true
	h.live[f] = struct{}{}
	h.router.Add(f.target, f)
	return true
}

// leave makes a follower read for itself.
func (h *logHub) leave(f *follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(f)
}

// drop is leave for a caller that holds the lock.
func (h *logHub) drop(f *follower) {
	f.queue, f.bytes = nil, 0
	if !f.live {
		return
	}
	f.live = false
	delete(h.live, f)
	h.router.Remove(f.target, f)
}

// run reads the log whenever somebody follows it, until ctx ends.
func (h *logHub) run(ctx context.Context) {
	for {
		select {
		case <-h.wanted:
		case <-ctx.Done():
			return
		}
		if err := h.follow(ctx); err != nil && ctx.Err() == nil {
			h.db.log.Error("change streams stop: the oplog cannot be read", "error", err)
			h.fail(err)
		}
	}
}

// follow reads the log as it grows, as long as anybody follows it.
func (h *logHub) follow(ctx context.Context) error {
	pause := time.NewTimer(hubPause)
	defer pause.Stop()
	for {
		upTo, grown := h.db.engine.Durable()
		pos, reading := h.state()
		switch {
		case !reading:
			return nil
		case upTo <= pos:
			select {
			case <-grown:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if err := h.read(ctx, pos, upTo); err != nil {
			return err
		}
		pause.Reset(hubPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// state says how far reading is, and ends it if nobody follows any more.
func (h *logHub) state() (pos uint64, reading bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading = len(h.live) > 0
	return h.pos, h.reading
}

// fail tells all followers that the log cannot be read.
func (h *logHub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reading = false
	for f := range h.live {
		f.failed = err
		f.wake()
		h.drop(f)
	}
}

// letGo makes all followers read for themselves, for what the hub was to read next has
// been cut off; they find out whether they miss it.
func (h *logHub) letGo() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for f := range h.live {
		h.drop(f)
		f.wake()
	}
}

// readAtOnce is how many entries the hub reads before it publishes how far it is.
const readAtOnce = 512

// read hands out the entries in (from, to].
func (h *logHub) read(ctx context.Context, from, to uint64) error {
	txn := h.db.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	if h.db.oplog.trim.cutTo.Load() > from {
		h.letGo()
		return nil
	}
	if h.db.shared { // another process may have cut off what comes next
		oldest, err := endOf(ctx, txn, h.db.oplog.table, false)
		if err != nil {
			return err
		}
		if uint64(oldest) > from+1 {
			h.letGo()
			return nil
		}
	}
	it, err := txn.Scan(ctx, h.db.oplog.table, storage.RecordRange{Min: storage.RecordID(from + 1), Max: storage.RecordID(to)})
	if err != nil {
		return err
	}
	defer it.Close()
	for more := true; more; {
		if more, err = h.readSome(ctx, it, to); err != nil {
			return err
		}
	}
	return nil
}

// readSome hands out some entries and says whether there are more.
func (h *logHub) readSome(ctx context.Context, it storage.RecordIterator, to uint64) (more bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	for range readAtOnce {
		if !it.Next() {
			if err := it.Err(); err != nil {
				return false, err // a follower that asks before it is told must not take the rest for read
			}
			h.pos = to
			return false, nil
		}
		if err := h.handOut(it.Doc(), uint64(it.ID())); err != nil {
			return false, err
		}
		h.pos = uint64(it.ID())
	}
	return true, nil
}

// handOut queues an entry with those whom it concerns.
func (h *logHub) handOut(doc bsonval.Doc, ts uint64) error {
	entry, err := oplog.Parse(doc)
	if err != nil {
		return err
	}
	var kept *logged // a copy, made for the first who wants it
	for _, f := range h.router.Route(&entry) {
		if ts <= f.pos || !f.live {
			continue // it has read the entry itself, or is too slow
		}
		if kept == nil {
			if kept, err = keep(doc); err != nil {
				return err
			}
		}
		h.queue(f, kept, ts)
	}
	return nil
}

// queue adds an entry to a follower's queue; one that is too slow has to read for
// itself.
func (h *logHub) queue(f *follower, l *logged, ts uint64) {
	if len(f.queue) >= maxQueued || f.bytes+len(l.doc) > maxQueuedBytes && len(f.queue) > 0 {
		h.drop(f)
		f.wake()
		return
	}
	f.queue = append(f.queue, l)
	f.bytes += len(l.doc)
	f.queued = ts
	f.wake()
}
