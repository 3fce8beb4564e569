package database

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// tail is what a cursor has that stays open at its end and goes on with what comes
// later.
type tail interface {
	// begin is called before a batch takes its snapshot.
	begin(c *Cursor) error
	// alive says whether the cursor stays open at the end.
	alive() bool
	// waits says whether whoever reads the cursor is to wait for more at the end.
	waits() bool
	// arrived returns a channel that can be received from when there may be more
	// than there was when the batch began.
	arrived() <-chan struct{}
}

// goOn gives the cursor a tail.
func (c *Cursor) goOn(t tail) { c.tail, c.killing = t, make(chan struct{}) }

// cappedTail goes on with what is inserted into a capped collection.
type cappedTail struct {
	finder *finder
	coll   *catalog.Collection
	await  bool
	next   <-chan struct{} // closed when something has been committed since the batch began
}

// tailCapped makes a cursor's tail, if the query asks for one and can have it.
func (c *Cursor) tailCapped(f *finder, q *FindQuery, coll *catalog.Collection) error {
	switch {
	case !q.Tailable || coll == nil:
		return nil
	case f.scan.Plan.Near != nil:
		return mongoerr.New(mongoerr.BadValue, "Tailable cursors and geo $near cannot be used together")
	case f.scan.Plan.Text != nil:
		return mongoerr.New(mongoerr.BadValue, "text and tailable cursor not allowed in same query")
	}
	c.goOn(&cappedTail{finder: f, coll: coll, await: q.AwaitData})
	return nil
}

// checkTailable says whether a query may have a tailable cursor on a collection.
func checkTailable(op *Op, ns Namespace, q *FindQuery, coll *catalog.Collection) error {
	switch {
	case !q.Tailable:
		return nil
	case op.Txn != nil:
		return mongoerr.New(mongoerr.InvalidOptions, "It is illegal to open a tailable cursor in a transaction")
	case coll == nil:
		return nil
	case coll.Capped == nil:
		return mongoerr.New(mongoerr.BadValue,
			"error processing query: ns=%s tailable cursor requested on non capped collection", ns)
	case q.Hint != nil && q.Hint.Natural == 0 && !hasHinted(coll, q.Hint):
		return mongoerr.New(mongoerr.BadValue, "error processing query: ns=%s planner returned error :: caused by :: "+
			"hint provided does not correspond to an existing index", ns)
	}
	return nil
}

func hasHinted(coll *catalog.Collection, h *plan.Hint) bool {
	for _, x := range coll.Indexes {
		if h.Name != "" && x.Name == h.Name || h.Name == "" && sameKeyPattern(x.Key, h.Key) {
			return true
		}
	}
	return false
}

// tailHint is the hint of a query with a tailable cursor: only a collection scan
// can go on from its end.
func tailHint(h *plan.Hint) *plan.Hint {
	if h != nil && h.Natural != 0 {
		return h
	}
	return &plan.Hint{Natural: 1}
}

func (t *cappedTail) begin(c *Cursor) error {
	if t.await {
		t.next = t.coll.Guard.Arrivals.Next()
	}
	t.finder.scan.Resume()
	return nil
}

// alive is false for a cursor that has seen nothing, for then there is no place to go
// on from, and for one at its limit.
func (t *cappedTail) alive() bool { return t.finder.left != 0 && t.finder.scan.Positioned() }

func (t *cappedTail) waits() bool              { return t.await }
func (t *cappedTail) arrived() <-chan struct{} { return t.next }

// AwaitsData says that the cursor waits at its end.
func (c *Cursor) AwaitsData() bool { return c.tail != nil && c.tail.waits() }

// Waited is how long the last AwaitBatch has waited.
func (c *Cursor) Waited() time.Duration { return c.waited }

// AwaitBatch is AppendBatch for a cursor that waits: if there is nothing it waits
// up to the given time for documents to be inserted.
func (c *Cursor) AwaitBatch(ctx context.Context, dst []byte, n int, patience time.Duration) (out []byte, count int, more bool, err error) {
	c.waited = 0
	out, count, more, err = c.AppendBatch(ctx, dst, n)
	if err != nil || count > 0 || !more || patience <= 0 || !c.AwaitsData() {
		return out, count, more, err
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	for err == nil && count == 0 && more {
		asleep := time.Now()
		select {
		case <-c.tail.arrived():
			c.waited += time.Since(asleep)
			out, count, more, err = c.AppendBatch(ctx, dst, n)
		case <-over.C:
			c.waited += time.Since(asleep)
			return out, count, more, nil
		case <-c.killing:
			return dst, 0, false, mongoerr.New(mongoerr.CursorKilled, "cursor was killed while it waited")
		case <-ctx.Done():
			return dst, 0, false, clientError(ctx, ctx.Err())
		}
	}
	return out, count, more, err
}
