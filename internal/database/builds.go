package database

import (
	"context"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
)

// builds are the indexes that this process builds. An index that is not ready, says that this process builds it, and is none
// of them is what an attempt has left that could not even take it back: with an engine that is another server, which may have
// been down, and may have committed what was said to have failed.
type builds struct {
	ended chan struct{} // holds a token when there may be such indexes

	mu      sync.Mutex              // guards running
	running map[storage.IndexID]int // how many builds have an id: one whose commit has failed may leave it to the next
}

func (b *builds) init() {
	b.ended, b.running = make(chan struct{}, 1), map[storage.IndexID]int{}
}

func (b *builds) begin(indexes []*catalog.Index) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, x := range indexes {
		b.running[x.ID]++
	}
}

// end notes that indexes are not built any more, be they ready or not.
func (b *builds) end(indexes []*catalog.Index) {
	if len(indexes) == 0 {
		return
	}
	b.mu.Lock()
	for _, x := range indexes {
		if b.running[x.ID]--; b.running[x.ID] == 0 {
			delete(b.running, x.ID)
		}
	}
	b.mu.Unlock()
	select {
	case b.ended <- struct{}{}:
	default:
	}
}

func (b *builds) has(x *catalog.Index) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.running[x.ID] > 0
}

// isAbandoned says whether an index is left of a build of this process that has failed.
func (d *DB) isAbandoned(x *catalog.Index) bool {
	return x.Builder == d.members.id() && !d.builds.has(x)
}

// abandonPause lies between two attempts to drop what builds have left.
const abandonPause = time.Second

// abandonLoop drops what builds that have failed have left, until ctx ends.
func (d *DB) abandonLoop(ctx context.Context) {
	for {
		select {
		case <-d.builds.ended:
		case <-ctx.Done():
			return
		}
		for err := d.dropAbandoned(ctx); err != nil && ctx.Err() == nil; err = d.dropAbandoned(ctx) {
			d.log.Debug("what is left of an index build is not dropped", "error", err)
			pause := time.NewTimer(abandonPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
	}
}

// settlePause lies between two looks whether definitions are in doubt.
const settlePause = 100 * time.Millisecond

// settleLoop finds out which definitions there are, after a change of them of which nobody knows whether it has happened.
func (d *DB) settleLoop(ctx context.Context) {
	tick := time.NewTicker(settlePause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := d.catalog.Settle(ctx); err != nil && ctx.Err() == nil {
			d.log.Debug("definitions not read", "error", err)
		}
	}
}

// dropAbandoned drops such indexes, if there are some.
func (d *DB) dropAbandoned(ctx context.Context) error {
	if err := d.catalog.Settle(ctx); err != nil { // there may be one that nobody knows of yet
		return err
	}
	if err := d.catalog.Refresh(ctx, d.catalog.Snapshot()); err != nil {
		return err
	}
	if !hasUnfinished(d.catalog.Snapshot(), d.isAbandoned) {
		return nil
	}
	return d.dropUnfinishedIndexes(ctx, d.isAbandoned)
}
