package copier

import (
	"context"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// snapshotFor is how long ranges are begun as of one time: a server keeps each such state for some minutes.
const snapshotFor = 30 * time.Second

// snapshot is the time as of which ranges are read.
type snapshot struct {
	mu    sync.Mutex // guards the fields below
	at    uint64
	taken time.Time
}

// get is the time to read as of, 0 if it is to be a new one, not before the time at which a collection got its name.
func (s *snapshot) get(named uint64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.taken) > snapshotFor || s.at < named {
		return 0
	}
	return s.at
}

func (s *snapshot) set(at uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.taken = at, time.Now()
}

// pinnable tells collections of which ranges are read as of one time. In those with a collation a document's range cannot be told
// from its _id here, and servers do not read capped ones so.
func (c *collection) pinnable() bool { return !c.natural && c.options.Lookup("collation").IsMissing() }

// openSnapshot begins to read a range as of one time, and writes that down before anything is copied.
func (r *run) openSnapshot(ctx context.Context, t *task, from namespace) (*cursor, error) {
	t.c.mu.Lock()
	named := t.c.named
	t.c.mu.Unlock()
	b := bsonval.NewBuilder().Str("level", "snapshot")
	at := r.snapshot.get(named)
	if at != 0 {
		b.Value("atClusterTime", bsonval.TimestampBits(at))
	} else {
		now, err := r.src.now(ctx)
		if err != nil {
			return nil, err
		}
		b.Value("afterClusterTime", bsonval.TimestampBits(now))
	}
	cur, err := r.src.query(ctx, from.db, findRange(from.coll, t.r, r.cfg.Batch, b.Build()), r.cfg.Batch)
	if err != nil {
		r.snapshot.set(0)
		return nil, err
	}
	if at == 0 {
		at = cur.at
		r.snapshot.set(at)
	}
	t.c.mu.Lock()
	t.r.at = at
	t.c.mu.Unlock()
	return cur, r.st.save(ctx, t.c.rangeDocument(t.r))
}

// rest makes the part of a range that has not been copied yet a range of its own, as it is read as of another time. What
// is on the target of it is removed.
func (r *run) rest(ctx context.Context, c *collection, s *span) (*span, error) {
	open := &span{min: s.min, max: s.max, last: s.last}
	var deletes []Doc
	err := eachOf(ctx, r.dst, c.place(), open, r.cfg.Batch, func(d Doc) {
		id := d.Lookup("_id")
		if !bsonval.Identical(id, s.last) && (!s.after || !bsonval.Equal(id, s.min)) {
			deletes = append(deletes, removal(id))
		}
	})
	if err != nil {
		return nil, err
	}
	err = r.parallel(ctx, deletes, false, func(ctx context.Context, part []Doc) error {
		failed, err := r.dst.send(ctx, c.place(), "delete", "deletes", part, false, false)
		if err == nil && len(failed) > 0 {
			err = refusedDelete(c.place(), failed[0])
		}
		return err
	})
	if err != nil || s.last.IsMissing() {
		return s, err
	}
	c.mu.Lock()
	rest := &span{min: s.last, after: true, max: s.max}
	for _, x := range c.ranges {
		rest.n = max(rest.n, x.n+1)
	}
	s.max, s.done = s.last, true
	c.ranges = append(c.ranges, rest)
	c.mu.Unlock()
	// In this order: what the first says is known by the second, should that be missing.
	return rest, r.st.save(ctx, c.rangeDocument(rest), c.rangeDocument(s))
}

// arrange puts the ranges in order and ends those of which another has taken the rest.
func (c *collection) arrange() {
	slices.SortFunc(c.ranges, func(a, b *span) int {
		switch {
		case a.min.IsMissing() || b.min.IsMissing():
			return presence(a.min) - presence(b.min)
		case !bsonval.Equal(a.min, b.min):
			return bsonval.Compare(a.min, b.min)
		case a.after == b.after:
			return a.n - b.n
		case a.after:
			return 1
		}
		return -1
	})
	for i, s := range c.ranges[:max(len(c.ranges)-1, 0)] {
		if next := c.ranges[i+1]; !s.done && next.after {
			s.max, s.last, s.done = next.min, next.min, true
		}
	}
}

func presence(v bsonval.Value) int {
	if v.IsMissing() {
		return 0
	}
	return 1
}

// copiedAt is the time as of which a document was copied; 0: it was read at no single time, or is newer than the copy.
func (c *collection) copiedAt(id bsonval.Value) uint64 {
	if !c.pinnable() || len(c.ranges) == 0 {
		return 0
	}
	i := sort.Search(len(c.ranges), func(i int) bool {
		s := c.ranges[i]
		if s.min.IsMissing() {
			return false
		}
		order := bsonval.Compare(s.min, id)
		return order > 0 || order == 0 && s.after
	})
	return c.ranges[max(i-1, 0)].at
}
