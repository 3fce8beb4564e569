package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

var (
	_ storage.Shared    = (*Store)(nil)
	_ storage.SharedTxn = (*txn)(nil)
)

// IsShared says whether other processes can have the store open.
func (s *Store) IsShared() bool { return s.config.Shared }

// InShared says whether other processes can have the store open.
func (tx *txn) InShared() bool { return tx.s.config.Shared }

// premises are what a transaction goes by in a shared store. They travel with BEGIN,
// the locks first: a LOCK takes no snapshot, so the snapshot shows what was committed
// by all who had held the tables.
type premises struct {
	held, alone []*object
	asked       bool // sent or about to be
	met         bool // all expectations have been found true
	begun       time.Time
	wrong       *storage.Expectation
}

// findPremises looks the tables up, which may take a round trip of its own.
func (tx *txn) findPremises(ctx context.Context) (premises, error) {
	var p premises
	if !tx.s.config.Shared || tx.at != nil {
		return p, nil
	}
	find := func(t storage.TableID, list *[]*object) error {
		o, err := tx.s.ids.find(ctx, kindTable, uint32(t))
		if err != nil {
			return err
		}
		if o == nil { // dropped and swept
			return tx.s.claims.conflict()
		}
		*list = append(*list, o)
		return nil
	}
	if t := tx.opts.Hold; t != 0 {
		if err := find(t, &p.held); err != nil {
			return p, err
		}
	}
	for _, t := range tx.opts.Alone {
		if err := find(t, &p.alone); err != nil {
			return p, err
		}
	}
	return p, nil
}

// hold is the statement that keeps those out who want a table alone. Every write of the
// table implies it; sent first it comes before the snapshot.
func (o *object) hold() string { return "LOCK TABLE " + o.name + " IN ROW EXCLUSIVE MODE" }

// askExpected asks what the transaction goes by, if its caller wants to be asked when it looks.
func (tx *txn) askExpected() {
	if tx.opts.Expecting != nil {
		tx.opts.Expect = tx.opts.Expecting()
	}
}

// sendPremises queues the locks and the look at what is expected.
func (tx *txn) sendPremises(p premises) {
	c := tx.c
	for _, o := range p.held {
		c.add(o.hold(), nil)
	}
	if len(p.alone) > 0 && tx.opts.ConflictWait > 0 {
		c.once(fmt.Sprintf("SET LOCAL lock_timeout = %d", max(tx.opts.ConflictWait.Milliseconds(), 1)))
	}
	for _, o := range p.alone {
		if !tx.lacks(o) {
			c.once("LOCK TABLE " + o.name + " IN EXCLUSIVE MODE")
		}
	}
	if len(p.alone) > 0 && tx.opts.ConflictWait > 0 {
		c.once("SET LOCAL lock_timeout = '" + lockTimeout + "'")
	}
	if !tx.s.config.Shared || len(tx.opts.Expect) == 0 {
		tx.premises = p
		return
	}
	p.begun = time.Now()
	if tx.finishing && tx.opts.Hopeful {
		tx.premises, tx.late = p, true
		tx.lateOne = tx.s.sendLooks(c, tx.opts.Expect) // before what it writes, which may be one of these
		return
	}
	p.asked = true
	tx.premises = p
	for _, e := range tx.opts.Expect {
		found := c.add(tx.s.sql.getMeta, func(v [][]byte) {
			if e.Value == nil || !bytes.Equal(v[0], e.Value) {
				tx.premises.wrong = e
			}
		}, e.Key)
		if e.Value != nil {
			tx.present = append(tx.present, expected{found, e})
		}
	}
}

// expected is an expectation of a key that exists, with the statement that reads it.
type expected struct {
	item *item
	e    *storage.Expectation
}

// checkPremises tells, once the statements that look have been run, whether what was
// expected is so.
func (tx *txn) checkPremises() error {
	p := &tx.premises
	if !p.asked || p.met {
		return nil
	}
	for _, x := range tx.present {
		if x.item.rows == 0 {
			p.wrong = x.e
		}
	}
	tx.present = nil
	if p.wrong != nil {
		p.wrong.Miss()
		tx.fail = &storage.StaleError{Expected: p.wrong}
		return tx.fail
	}
	p.met = true
	for _, e := range tx.opts.Expect {
		e.Meet(p.begun)
	}
	return nil
}

// settlePremises makes sure before a commit that what is expected has been looked at.
func (tx *txn) settlePremises(ctx context.Context) error {
	if !tx.premises.asked || tx.premises.met {
		return nil
	}
	return tx.run(ctx)
}

// Hold keeps those out who want a table alone, from here to the end of the transaction.
func (tx *txn) Hold(ctx context.Context, t storage.TableID, key []byte) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	if !tx.s.config.Shared {
		return nil
	}
	o, err := tx.s.ids.find(ctx, kindTable, uint32(t))
	if err != nil {
		return err
	}
	if o == nil {
		return tx.s.claims.conflict()
	}
	if tx.s.ids.isCreator(o, tx) {
		return nil
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	tx.nreads = untracked
	tx.c.add(o.hold(), nil)
	unchanged := tx.c.add(tx.s.sql.shareMeta, nil, key)
	if err := tx.run(ctx); err != nil {
		return err
	}
	if unchanged.rows == 0 {
		return tx.s.claims.conflict()
	}
	return nil
}

// isCreator says whether a transaction creates an object.
func (ids *idSet) isCreator(o *object, tx *txn) bool {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	return o.creator == tx.id
}

// isDropper says whether a transaction drops an object.
func (ids *idSet) isDropper(o *object, tx *txn) bool {
	if o == nil {
		return false
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	return o.dropper == tx.id
}

// outdated is the error of a transaction that has been sent to something that is not
// there: whoever sent it has not heard of a drop.
func (tx *txn) outdated() error {
	if !tx.begun {
		tx.askExpected()
	}
	if !tx.s.config.Shared || len(tx.opts.Expect) == 0 {
		return nil
	}
	return &storage.StaleError{Expected: tx.opts.Expect[0]}
}

// isAlone says whether a transaction has a table alone.
func (tx *txn) isAlone(o *object) bool {
	return tx.s.config.Shared && slices.Contains(tx.opts.Alone, storage.TableID(o.id))
}

// orderedID gives out a record id in a table that the transaction has alone: larger
// than all that any process has used.
func (tx *txn) orderedID(ctx context.Context, o *object) (storage.RecordID, error) {
	if tx.ordered.next == tx.ordered.limit || tx.ordered.o != o {
		n := min(max(2*tx.ordered.n, 1), blockSize)
		if err := tx.flush(ctx); err != nil {
			return 0, err
		}
		if err := tx.start(ctx); err != nil {
			return 0, err
		}
		var limit int64
		tx.c.add(tx.s.sql.block, func(v [][]byte) { limit = int64Of(v[0]) }, tx.c.i8(int64(o.id)), tx.c.i8(blockSize+1), tx.c.i8(n))
		if err := tx.run(ctx); err != nil {
			return 0, err
		}
		tx.ordered = orderedIDs{o: o, n: n, next: limit - n, limit: limit}
	}
	tx.ordered.next++
	return storage.RecordID(tx.ordered.next - 1), nil
}

// orderedIDs are record ids that a transaction has taken.
type orderedIDs struct {
	o           *object
	n           int64 // how many were taken last
	next, limit int64
}
