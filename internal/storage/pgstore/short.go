package pgstore

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// A scan that reads few rows, with which nothing else has to agree (storage.IndexRange.Loose),
// is mostly all that its transaction does. It has no PostgreSQL transaction: its statement, which ends
// after as many rows as are wanted, and the look at what is expected are a batch of their
// own, and the connection is free after it. If more rows are wanted after all, the scan
// goes on behind the last one with a transaction.

// isShort says whether a scan is to be opened like that. How wide rows are must be known:
// none are left to be fetched later.
func (it *iterator) isShort() bool {
	tx, width := it.tx, it.width.width.Load()
	return it.loose && !tx.begun && tx.opts.ReadOnly && tx.at == nil &&
		it.likely > 0 && it.likely <= maxRows && width > 0 && it.likely*width <= chunkBytes
}

// openShort reads the rows that are wanted. It is not done if their order is not certain yet.
func (it *iterator) openShort() (done bool, err error) {
	tx := it.tx
	c, err := tx.s.pool.acquire(it.ctx)
	if err != nil {
		tx.fail = translate(it.ctx, err)
		return false, tx.fail
	}
	defer tx.s.pool.release(c)
	tx.askExpected()
	it.begin()
	c.end()
	scan := c.start("", it.sql, uint32(it.likely), it.receive, it.args...)
	var l looks
	if tx.s.config.Shared {
		for _, e := range tx.opts.Expect {
			l.add(c, &tx.s.sql, e)
		}
	}
	if err := l.run(it.ctx, c); err != nil {
		return false, tx.failed(it.ctx, err)
	}
	if e := l.wrong(tx.opts.Expect); e != nil {
		tx.fail = &storage.StaleError{Expected: e}
		return false, tx.fail
	}
	if n := len(it.rows); scan.suspended && (n == 0 || it.rows[n-1].long) {
		return false, nil
	}
	it.rest = scan.suspended
	it.arrange()
	return true, nil
}

// fetchRest goes on behind the rows that were wanted.
func (it *iterator) fetchRest() bool {
	if it.err = it.tx.enter(it.ctx); it.err != nil {
		return false
	}
	defer it.tx.s.gate.RUnlock()
	last := &it.rows[len(it.rows)-1]
	it.rest, it.loose, it.likely = false, false, 0
	switch {
	case it.o.kind == kindIndex:
		it.rng.After, it.rng.AfterID = append([]byte(nil), last.key...), last.id
		it.shape()
	case it.span.Reverse && last.id == 1:
		return false
	case it.span.Reverse:
		it.span.Max = last.id - 1
		it.shapeRecords()
	default:
		it.span.Min = last.id + 1
		it.shapeRecords()
	}
	it.err = it.open()
	return it.err == nil
}

// looks are looks at what is expected, each at one thing, that travel in a batch.
type looks struct {
	found map[*storage.Expectation]bool // whether it is so
}

// add queues a look, unless it has been.
func (l *looks) add(c *conn, sql *storeSQL, e *storage.Expectation) {
	if _, ok := l.found[e]; ok {
		return
	}
	if l.found == nil {
		l.found = map[*storage.Expectation]bool{}
	}
	l.found[e] = e.Value == nil
	c.add(sql.getMeta, func(v [][]byte) { l.found[e] = e.Value != nil && string(v[0]) == string(e.Value) }, e.Key)
}

// run runs the batch, and tells those whose expectations have been looked at.
func (l *looks) run(ctx context.Context, c *conn) error {
	begun := time.Now()
	if err := c.run(ctx); err != nil {
		return err
	}
	for e, holds := range l.found {
		if holds {
			e.Meet(begun)
		} else {
			e.Miss()
		}
	}
	return nil
}

// wrong is one of a list of expectations that is not so, nil if there is none.
func (l *looks) wrong(list []*storage.Expectation) *storage.Expectation {
	for _, e := range list {
		if holds, looked := l.found[e]; looked && !holds {
			return e
		}
	}
	return nil
}
