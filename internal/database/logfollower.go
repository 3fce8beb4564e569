package database

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// maxQueued and maxQueuedBytes bound what waits for a follower. One that lets
	// more wait reads it again from the log.
	maxQueued      = 4096
	maxQueuedBytes = 4 << 20

	// maxReadEntries and maxReadBytes bound what a follower reads ahead for itself,
	// maxPassed the entries that it passes over before it looks up.
	maxReadEntries = 1024
	maxReadBytes   = 4 << 20
	maxPassed      = 16 << 10
)

// follower reads the entries of the log that may concern a target, in order and each
// once. It belongs to one reader at a time.
type follower struct {
	hub    *logHub
	target changestream.Target
	own    *changestream.Router[*follower] // for what it reads itself

	// pos is how far the follower is: what concerns it up to there is in ahead or
	// has been handed out. The reader changes it, under hub.mu while the follower is
	// live.
	pos   uint64
	ahead []*logged

	// arrived holds a token when there may be something to read.
	arrived chan struct{}

	// Guarded by hub.mu.
	live   bool
	queue  []*logged
	queued uint64 // time of the entry queued last
	bytes  int    // of the queue
	failed error
}

// newFollower makes a follower of what comes behind a time.
func (h *logHub) newFollower(target changestream.Target, behind uint64) *follower {
	f := &follower{hub: h, target: target, pos: behind, arrived: make(chan struct{}, 1), own: changestream.NewRouter[*follower]()}
	f.own.Add(target, f)
	return f
}

func (f *follower) wake() {
	select {
	case f.arrived <- struct{}{}:
	default:
	}
}

// next returns the next entry, or io.EOF if there is none yet; then
// everything up to f.pos has been handed out, and arrived tells when to ask again.
func (f *follower) next(ctx context.Context) (*logged, error) {
	for {
		if len(f.ahead) > 0 {
			d := f.ahead[0]
			f.ahead = f.ahead[1:]
			return d, nil
		}
		live, err := f.take()
		switch {
		case err != nil:
			return nil, err
		case len(f.ahead) > 0:
			continue
		case live:
			return nil, io.EOF
		}
		done, err := f.read(ctx)
		if err != nil {
			return nil, err
		}
		if done && len(f.ahead) == 0 {
			f.hub.join(f)
		}
	}
}

// take moves what is queued to ahead.
func (f *follower) take() (live bool, err error) {
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if len(f.queue) > 0 {
		f.ahead, f.queue, f.bytes = f.queue, nil, 0
		f.pos = f.queued
	} else if f.live {
		f.pos = max(f.pos, f.hub.pos)
	}
	return f.live, f.failed
}

// read reads ahead from the log itself; done says that there is no more that is
// durable.
func (f *follower) read(ctx context.Context) (done bool, err error) {
	db := f.hub.db
	upTo, _ := db.engine.Durable()
	if upTo <= f.pos {
		return true, nil
	}
	txn := db.engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	if err := f.checkKept(ctx, txn); err != nil {
		return false, err
	}
	it, err := txn.Scan(ctx, db.oplog.table, storage.RecordRange{Min: storage.RecordID(f.pos + 1), Max: storage.RecordID(upTo)})
	if err != nil {
		return false, err
	}
	defer it.Close()
	bytes := 0
	for n := 0; it.Next(); n++ {
		doc := bsonval.Doc(it.Doc())
		entry, err := oplog.Parse(doc)
		if err != nil {
			return false, err
		}
		f.pos = uint64(it.ID())
		if len(f.own.Route(&entry)) > 0 {
			l, err := keep(doc)
			if err != nil {
				return false, err
			}
			f.ahead = append(f.ahead, l)
			bytes += len(doc)
		}
		if len(f.ahead) >= maxReadEntries || bytes >= maxReadBytes || n >= maxPassed {
			return false, ctx.Err()
		}
	}
	if it.Err() == nil {
		f.pos = upTo
	}
	return true, it.Err()
}

// checkKept fails if entries behind f.pos have been removed.
func (f *follower) checkKept(ctx context.Context, txn storage.Txn) error {
	it, err := txn.Scan(ctx, f.hub.db.oplog.table, storage.RecordRange{})
	if err != nil {
		return err
	}
	defer it.Close()
	if it.Next() && uint64(it.ID()) > f.pos+1 {
		return changestream.ErrHistoryLost()
	}
	return it.Err()
}

// Close ends the following.
func (f *follower) Close() { f.hub.leave(f) }
