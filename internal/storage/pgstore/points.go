package pgstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// maxAskers is how many connections look for single records at a time. While they are at
// it, questions gather, and travel together.
const maxAskers = 2

// maxTogether is how many questions one statement answers.
const maxTogether = 64

// question looks for one row, in no transaction of its own.
type question struct {
	o      *object
	arg    []byte                 // the record's id, or the key of the unique index
	expect []*storage.Expectation // looked at together with the row, or after it

	row   [][]byte // the answer, nil if there is none
	wrong *storage.Expectation
	err   error         // of PostgreSQL
	turn  chan struct{} // sent to once: when the question was answered, or is to lead
	state questionState // guarded by points.mu until it is answered
}

type questionState byte

const (
	asked questionState = iota
	leading
	taken // by a leader
	answered
)

// errTogether is the error of a question that failed with others, perhaps because of
// them.
var errTogether = errors.New("to be asked again, alone")

// points asks PostgreSQL for single rows. Who comes when all askers are busy waits, and
// one of those who wait then asks for all of them.
type points struct {
	s *Store

	mu      sync.Mutex // guards the rest
	waiting []*question
	askers  int
}

// ask answers a question.
func (p *points) ask(ctx context.Context, q *question) error {
	err := p.askTogether(ctx, q)
	if err != errTogether {
		return err
	}
	q.err, q.row, q.wrong = nil, nil, nil
	p.answer(ctx, []*question{q})
	return q.err
}

func (p *points) askTogether(ctx context.Context, q *question) error {
	p.mu.Lock()
	if p.waiting = append(p.waiting, q); p.askers < maxAskers {
		p.askers++
		q.state = leading
		p.mu.Unlock()
		return p.lead(ctx, q)
	}
	q.turn = make(chan struct{}, 1)
	q.arg = bytes.Clone(q.arg) // who gives up leaves the question to the one who leads
	p.mu.Unlock()
	select {
	case <-q.turn:
	case <-ctx.Done():
		p.leave(q)
		return ctx.Err()
	}
	p.mu.Lock()
	state := q.state
	p.mu.Unlock()
	if state == leading {
		return p.lead(ctx, q)
	}
	return q.err
}

// lead asks for all who wait, q among them, and lets another one lead after that.
func (p *points) lead(ctx context.Context, q *question) error {
	p.mu.Lock()
	var batch, rest []*question
	for _, m := range p.waiting {
		if m == q || m.state == asked {
			m.state = taken
			batch = append(batch, m)
		} else { // it is going to lead itself
			rest = append(rest, m)
		}
	}
	p.waiting = rest
	p.mu.Unlock()
	p.answer(ctx, batch)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range batch {
		m.state = answered
		if m != q {
			m.turn <- struct{}{}
		}
	}
	p.pass()
	return q.err
}

// pass lets the first one who waits lead, if there is one.
func (p *points) pass() {
	i := slices.IndexFunc(p.waiting, func(q *question) bool { return q.state == asked })
	if i < 0 {
		p.askers--
		return
	}
	p.waiting[i].state = leading
	p.waiting[i].turn <- struct{}{}
}

// leave takes a question back whose asker has given up.
func (p *points) leave(q *question) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, q); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	}
	if q.state == leading {
		p.pass()
	}
}

// answer asks PostgreSQL. If that fails, all questions have failed: those that were not
// alone with errTogether.
func (p *points) answer(ctx context.Context, batch []*question) {
	err := p.send(ctx, batch)
	if err == nil {
		return
	}
	if len(batch) > 1 {
		err = errTogether
	}
	for _, q := range batch {
		q.err = err
	}
}

func (p *points) send(ctx context.Context, batch []*question) error {
	c, err := p.s.pool.acquire(ctx)
	if err != nil {
		return err
	}
	defer p.s.pool.release(c)
	c.end()
	if q := batch[0]; len(batch) == 1 && len(q.expect) == 1 && q.expect[0].Value != nil {
		begun := time.Now()
		c.add(q.o.pointIf(), q.receive, q.arg, q.expect[0].Key)
		if err := c.run(ctx); err != nil {
			return err
		}
		if q.isAsExpected(begun) {
			return nil
		}
		q.row = nil // if there was no row, nothing was seen of what is expected
	}
	queue(c, batch)
	var l looks
	for _, q := range batch {
		for _, e := range q.expect {
			l.add(c, &p.s.sql, e)
		}
	}
	if err := l.run(ctx, c); err != nil {
		return err
	}
	for _, q := range batch {
		q.wrong = l.wrong(q.expect)
	}
	return nil
}

// queue queues the statements that find what is asked: one for questions about the same table
// or index. It may change the order of the batch.
func queue(c *conn, batch []*question) {
	for len(batch) > 0 {
		n := 1
		for i := 1; i < len(batch) && n < maxTogether; i++ {
			if batch[i].o == batch[0].o {
				batch[n], batch[i] = batch[i], batch[n]
				n++
			}
		}
		if n == 1 {
			c.add(batch[0].o.point(), batch[0].receive, batch[0].arg)
		} else {
			queueTogether(c, batch[:n])
		}
		batch = batch[n:]
	}
}

// queueTogether queues the statement for several questions about the same table or index.
func queueTogether(c *conn, batch []*question) {
	o := batch[0].o
	sql, keys := o.sql.getAny, array{elem: oidInt8}
	if o.kind == kindIndex {
		sql, keys = o.sql.lookupAny, array{elem: oidBytea}
	}
	for _, q := range batch {
		keys.add(q.arg)
	}
	c.add(sql, func(v [][]byte) {
		for _, q := range batch {
			if bytes.Equal(q.arg, v[0]) {
				q.receive(v[1:])
			}
		}
	}, keys.bytes())
}

func (q *question) receive(v [][]byte) {
	q.row = make([][]byte, len(v))
	for i := range v {
		q.row[i] = bytes.Clone(v[i])
	}
}

// isAsExpected says whether sqlIf has found a row, and the one value expected with it.
func (q *question) isAsExpected(begun time.Time) bool {
	n := len(q.row) - 1
	if n < 0 || !bytes.Equal(q.row[n], q.expect[0].Value) {
		return false
	}
	q.row = q.row[:n]
	q.expect[0].Meet(begun)
	return true
}

// pointwise says whether a transaction's reads of single records need no snapshot.
func (tx *txn) pointwise() bool {
	return tx.brief || tx.opts.Single && tx.opts.ReadOnly && tx.at == nil
}

// point returns the row of a table's record, or of an index's entry and its record, nil if
// there is none.
func (tx *txn) point(ctx context.Context, o *object, arg []byte) (row [][]byte, err error) {
	if len(tx.queue) > 0 && tx.s.ids.isCreator(o, tx) { // PostgreSQL has not heard of it yet
		if err := tx.flush(ctx); err != nil {
			return nil, err
		}
	}
	if tx.pointwise() {
		return tx.ask(ctx, o, arg)
	}
	if err := tx.start(ctx); err != nil {
		return nil, err
	}
	q := question{}
	tx.c.add(o.point(), q.receive, arg)
	err = tx.run(ctx)
	return q.row, err
}

// point is the statement that reads a record by its id, or by its key in a unique index.
func (o *object) point() string {
	if o.kind == kindTable {
		return o.sql.get
	}
	return o.sql.lookup
}

// pointIf is point with one more argument and column: a meta key and its value.
func (o *object) pointIf() string {
	if o.kind == kindTable {
		return o.sql.getIf
	}
	return o.sql.lookupIf
}

// ask is point outside of a PostgreSQL transaction.
func (tx *txn) ask(ctx context.Context, o *object, arg []byte) ([][]byte, error) {
	q := &question{o: o, arg: arg}
	if tx.s.config.Shared {
		tx.askExpected()
		q.expect = tx.opts.Expect
	}
	if tx.brief && !tx.held { // what is committed from here on may not be in the answer
		tx.seq = tx.s.claims.open(storage.Position(tx.s.syncer.newest()))
		tx.held = true
	}
	if err := tx.s.points.ask(ctx, q); err != nil {
		return nil, tx.failed(ctx, err)
	}
	if q.wrong != nil {
		tx.fail = &storage.StaleError{Expected: q.wrong}
		return nil, tx.fail
	}
	return q.row, nil
}
