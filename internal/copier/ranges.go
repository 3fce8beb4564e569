package copier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"golang.org/x/sync/errgroup"
)

// task is a range to copy.
type task struct {
	c *collection
	r *span
}

// copyAll copies all ranges that are not done.
func (r *run) copyAll(ctx context.Context) error {
	group, cutting := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	for _, c := range r.st.all() {
		if !c.split {
			group.Go(func() error { return r.split(cutting, c) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	tasks := r.tasks()
	r.rep.begin("copying", r.st.all())
	group, copying := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	for _, t := range tasks {
		group.Go(func() error {
			if copying.Err() != nil {
				return copying.Err()
			}
			return r.copyRange(copying, &t)
		})
	}
	return group.Wait()
}

// split finds the ranges of a collection and writes them down.
func (r *run) split(ctx context.Context, c *collection) error {
	ranges := []*span{{}}
	if !c.natural {
		var err error
		if ranges, err = cut(ctx, r.src, c.source(), c.bytes); err != nil && !gone(err) {
			return err
		}
		if err != nil {
			ranges = []*span{{}} // it has another name, or none: copying finds out
		}
	}
	docs := make([]Doc, 0, len(ranges)+1)
	for _, s := range ranges {
		docs = append(docs, c.rangeDocument(s))
	}
	c.mu.Lock()
	c.ranges, c.split = ranges, true
	c.mu.Unlock()
	return r.st.save(ctx, append(docs, c.document())...)
}

// tasks are the ranges to copy: those of different collections in turn, so that all servers' parts are busy.
func (r *run) tasks() []task {
	var out []task
	all := r.st.all()
	for i, more := 0, true; more; i++ {
		more = false
		for _, c := range all {
			if i < len(c.ranges) {
				more = true
				if !c.ranges[i].done {
					out = append(out, task{c, c.ranges[i]})
				}
			}
		}
	}
	return out
}

// copyRange copies a range to its end, going on after each failure that a renamed or restarted source explains.
func (r *run) copyRange(ctx context.Context, t *task) error {
	since := time.Now()
	for {
		before := r.rep.copiedDocuments()
		err := r.copyOnce(ctx, t)
		if err == nil {
			t.r.done = true
			return r.st.save(ctx, t.c.rangeDocument(t.r))
		}
		if r.rep.copiedDocuments() > before {
			since = time.Now()
		}
		if ctx.Err() != nil || !interrupted(err) || time.Since(since) > patience {
			return fmt.Errorf("copy %s: %w", t.c.source(), err)
		}
		if !sleep(ctx, 100*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// errMoved says that a collection is not any more where it was read.
var errMoved = errors.New("collection has been renamed or dropped")

// interrupted tells failures of a read after which it is begun again where it stopped.
func interrupted(err error) bool {
	if errors.Is(err, errMoved) || passing(err) || gone(err) {
		return true
	}
	switch egress.CodeOf(err) {
	case mongoerr.SnapshotTooOld, mongoerr.SnapshotUnavailable, mongoerr.CursorNotFound, mongoerr.QueryPlanKilled, mongoerr.CappedPositionLost, mongoerr.OperationFailed, mongoerr.CursorKilled,
		mongoerr.Interrupted:
		return true
	}
	return false
}

// copyOnce reads from where the range stands until its end or a failure.
func (r *run) copyOnce(ctx context.Context, t *task) error {
	from, there, err := current(ctx, r.src, t.c)
	if err != nil {
		return err
	}
	if !there {
		return nil // dropped: the event follows
	}
	if from != t.c.source() {
		at, err := r.src.now(ctx)
		if err != nil {
			return err
		}
		t.c.mu.Lock()
		t.c.from, t.c.named = from, at
		t.c.mu.Unlock()
	}
	cur, err := r.openRange(ctx, t, from)
	if err != nil {
		return err
	}
	defer cur.close(ctx)
	return r.copyBatches(ctx, t, cur, from)
}

// openRange begins to read a range or, if a part of it has been copied, the rest.
func (r *run) openRange(ctx context.Context, t *task, from namespace) (*cursor, error) {
	var concern Doc
	if r.streams {
		concern = majority
	}
	switch {
	case t.c.natural:
		if err := r.beginNatural(ctx, t); err != nil {
			return nil, err
		}
		return r.src.query(ctx, from.db, findNatural(from.coll, r.cfg.Batch, concern), r.cfg.Batch)
	case r.streams && t.c.pinnable():
		if t.r.at != 0 {
			rest, err := r.rest(ctx, t.c, t.r)
			if err != nil {
				return nil, err
			}
			t.r = rest
		}
		return r.openSnapshot(ctx, t, from)
	}
	return r.src.query(ctx, from.db, findRange(from.coll, t.r, r.cfg.Batch, concern), r.cfg.Batch)
}

// beginNatural empties the target's collection: there is no going on in the middle of natural order.
func (r *run) beginNatural(ctx context.Context, t *task) error {
	if t.r.docs > 0 || r.resumed {
		if err := r.drop(ctx, t.c.to); err != nil {
			return err
		}
		if err := r.create(ctx, t.c); err != nil {
			return err
		}
		r.rep.copied(-t.r.docs, 0)
		t.r.docs = 0
	}
	return nil
}

func (r *run) copyBatches(ctx context.Context, t *task, cur *cursor, from namespace) error {
	saved := time.Now()
	for {
		docs, err := cur.next(ctx)
		if err != nil {
			return err
		}
		// What was read is of the collection if it is in its place still.
		if now, there, err := current(ctx, r.src, t.c); err != nil {
			return err
		} else if !there || now != from {
			return errMoved
		}
		if docs == nil {
			return nil
		}
		if len(docs) == 0 {
			continue
		}
		if err := r.store(ctx, t, docs); err != nil {
			return err
		}
		if time.Since(saved) >= savingEvery {
			saved = time.Now()
			if err := r.st.save(ctx, t.c.rangeDocument(t.r)); err != nil {
				return err
			}
		}
	}
}

// store writes a batch to the target.
func (r *run) store(ctx context.Context, t *task, docs []Doc) error {
	size := 0
	for _, d := range docs {
		size += len(d)
	}
	last := docs[len(docs)-1].Lookup("_id").Clone()
	if first := docs[0].Lookup("_id"); bsonval.Identical(first, t.r.last) || t.r.after && bsonval.Equal(first, t.r.min) {
		docs = docs[1:] // the bound is the last document that was copied
	}
	err := chunks(docs, maxBatch, func(part []Doc) error { return r.dst.insert(ctx, t.c.to, part, t.c.natural) })
	if err != nil {
		return err
	}
	t.r.last = last
	t.r.docs += int64(len(docs))
	r.rep.copied(int64(len(docs)), int64(size))
	return nil
}
