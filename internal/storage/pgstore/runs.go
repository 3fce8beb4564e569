package pgstore

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/archelon-db/archelon/internal/storage"
)

// A scan of several short runs of an index ({$in: …}) opens a number of them in one round trip, each
// with the statement of a range. As soon as one of them has more rows than were asked for,
// it goes on with that one, and opens those behind it again later.

// maxRuns is how many runs are opened at once.
const maxRuns = 128

// inRuns says whether a scan is to read runs, and makes it ready for that. In a transaction that
// writes, those that are opened later would show what has been written meanwhile.
func (it *iterator) inRuns() bool {
	r := &it.rng
	if len(r.Runs) < 2 || !it.tx.opts.ReadOnly || r.Fetch != 0 && it.width.width.Load() == 0 {
		return false
	}
	if slices.ContainsFunc(r.Runs, func(run storage.KeyRun) bool {
		return run.Lower == nil || run.Upper == nil || max(len(run.Lower), len(run.Upper)) > maxKey
	}) {
		return false
	}
	for _, run := range r.Runs {
		switch {
		case r.After == nil:
		case !r.Reverse && bytes.Compare(run.Upper, r.After) <= 0, r.Reverse && bytes.Compare(r.After, run.Lower) < 0:
			continue // behind the scan
		}
		it.runs = append(it.runs, run)
	}
	if r.Reverse {
		slices.Reverse(it.runs)
	}
	it.ahead = firstRows
	if it.likely > 0 {
		it.ahead = int(min(it.likely, firstRows))
	}
	return len(it.runs) > 0
}

// openRuns opens the next runs.
func (it *iterator) openRuns() error {
	if err := it.prepare(); err != nil {
		return err
	}
	tx := it.tx
	runs := it.runs[:min(it.ahead, len(it.runs))]
	rows := max(firstRows, int64(it.size)) // which has grown if runs were long
	if it.likely > 0 {
		rows = min(rows, it.likely)
	}
	if len(runs) > 1 {
		rows = min(rows, firstRows, max(1, chunkBytes/max(1, it.width.width.Load())/int64(len(runs))))
	}
	it.size = it.guess(rows)
	it.asked, it.passed = it.size, 0
	it.begin()
	items, ends, portals := make([]*item, len(runs)), make([]int, len(runs)), make([]string, len(runs))
	whole := it.rng
	for i, run := range runs {
		it.rng.Lower, it.rng.Upper, it.rng.After = run.Lower, run.Upper, nil
		if a := whole.After; a != nil && bytes.Compare(run.Lower, a) <= 0 && bytes.Compare(a, run.Upper) < 0 {
			it.rng.After = a
		}
		it.args = nil
		it.shape()
		tx.c.portal++
		portals[i] = fmt.Sprintf("p%d", tx.c.portal)
		items[i] = tx.c.start(portals[i], it.sql, it.size, func(v [][]byte) {
			it.receive(v)
			ends[i] = len(it.rows)
		}, it.args...)
	}
	it.rng = whole
	if err := tx.run(it.ctx); err != nil {
		return err
	}
	long := slices.IndexFunc(items, func(x *item) bool { return x.suspended })
	for i := range portals {
		if i != long {
			tx.c.closePortal(portals[i]) // from here on items are of others
		}
	}
	it.more = long >= 0
	if !it.more {
		it.runs, it.ahead = it.runs[len(runs):], min(4*it.ahead, maxRuns)
		it.arrange()
		return nil
	}
	it.runs, it.ahead = it.runs[long+1:], max(1, long)
	it.rows = it.rows[:slices.Max(ends[:long+1])]
	it.portal = portals[long]
	if n := len(it.rows); n > 0 && it.rows[n-1].long {
		return it.finish(tx.c.resume(it.portal, it.size, it.receive))
	}
	it.arrange()
	return nil
}

// fetchRuns opens the next runs behind those that have been read.
func (it *iterator) fetchRuns() bool {
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	defer it.tx.s.gate.RUnlock()
	it.err = it.openRuns()
	return it.err == nil
}
