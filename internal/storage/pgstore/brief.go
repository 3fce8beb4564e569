package pgstore

import (
	"bytes"
	"context"

	"github.com/archelon-db/archelon/internal/storage"
)

// A brief transaction (storage.TxnOptions.Brief) reads one record and writes it. It has no
// PostgreSQL transaction of its own: it asks for the record as finds do, together with
// others (points.go), and its writes go with those of others (group.go), which is where
// everything is checked: that the definitions are those that it goes by, that the record
// is as it was read, that its unique keys are free. If something is not so it fails with
// ErrWriteConflict, and its caller runs it again as an ordinary one, which finds out what
// is the matter.
//
// A transaction that turns out to do more becomes an ordinary one on the way (settle).

const (
	// maxBase is the size of the largest record that is sent along to be compared.
	maxBase = 16 << 10

	// disappointment is how many brief transactions on an object become ordinary ones
	// at once after one has failed there.
	disappointment = 16
)

// baseRecord is the record that a brief transaction changes, as it was read.
type baseRecord struct {
	k   recordKey // zero for none
	doc []byte
}

// disappoint notes that it did not do to hope for the best on an object.
func (o *object) disappoint() { o.doubt.Store(disappointment) }

// hopes says whether a transaction writes an object without having looked.
func (tx *txn) hopes(o *object) bool {
	return tx.brief && o.trusted()
}

// trusted says whether nobody has been disappointed lately.
func (o *object) trusted() bool {
	for {
		n := o.doubt.Load()
		if n == 0 {
			return true
		}
		if o.doubt.CompareAndSwap(n, n-1) {
			return false
		}
	}
}

// approach makes a brief transaction that reads a second record an ordinary one: what it
// has read must have been there at one time.
func (tx *txn) approach(ctx context.Context, k recordKey) error {
	if !tx.brief || tx.isFirst() || tx.base.doc != nil && tx.base.k == k {
		return nil
	}
	return tx.start(ctx)
}

// isFirst says whether a transaction has done nothing yet that its next read has to fit to.
func (tx *txn) isFirst() bool { return tx.nreads == 0 && tx.base.doc == nil && tx.writes == 0 }

// onlyWrite makes a brief transaction that writes a second record an ordinary one.
func (tx *txn) onlyWrite(ctx context.Context) error {
	if !tx.brief {
		return nil
	}
	if tx.written++; tx.written > 1 {
		return tx.start(ctx)
	}
	return nil
}

// keepBase reads the record that a brief transaction has claimed, if it is one that is
// compared when it commits.
func (tx *txn) keepBase(ctx context.Context, o *object, k recordKey) (held bool, err error) {
	if !tx.hopes(o) || tx.base.doc != nil {
		return false, nil // flush or lockRow makes it ordinary
	}
	doc := tx.stashed
	if !tx.hasDoc || tx.stash != k {
		row, err := tx.ask(ctx, o, k.arg())
		if err != nil {
			return false, err
		}
		if row == nil && tx.nreads > 0 { // there was one a moment ago
			return false, tx.s.claims.conflict()
		}
		if row == nil {
			return false, storage.ErrNotFound
		}
		doc = row[0]
	}
	tx.keep(k, doc)
	if len(doc) > maxBase {
		return false, nil
	}
	tx.base = baseRecord{k, doc}
	tx.know(k, present, nil)
	return true, nil
}

// askAgain is slide for a brief transaction.
func (tx *txn) askAgain(ctx context.Context) error {
	if !tx.held {
		return nil
	}
	tx.s.claims.close(tx.seq)
	tx.held, tx.hasDoc = false, false
	for _, r := range tx.reads[:tx.nreads] {
		row, err := tx.ask(ctx, r.o, r.arg)
		if err != nil {
			return err
		}
		digest := uint64(0)
		if row != nil {
			digest = tx.digest(row[0])
		}
		if digest != r.digest {
			tx.fail = storage.ErrWriteConflict
			return tx.s.claims.conflict()
		}
		if r.o.kind == kindIndex {
			tx.found(r.o, row)
		}
	}
	return nil
}

// settle makes a brief transaction an ordinary one, if what it has read is still so.
func (tx *txn) settle(ctx context.Context) error {
	tx.brief = false
	if tx.unchecked || tx.nreads == untracked {
		tx.fail = storage.ErrWriteConflict
		return tx.s.claims.conflict()
	}
	if tx.held {
		tx.s.claims.close(tx.seq)
		tx.held, tx.seq = false, unseen
	}
	tx.hasDoc = false
	if err := tx.start(ctx); err != nil {
		return err
	}
	if tx.base.doc != nil {
		o, err := tx.s.ids.find(ctx, kindTable, uint32(tx.base.k.t))
		if err != nil {
			return err
		}
		same := false
		if o != nil {
			tx.c.add(o.sql.lock, func(v [][]byte) { same = bytes.Equal(v[0], tx.base.doc) }, tx.base.k.arg())
		}
		if err := tx.readAgain(ctx); err != nil {
			return err
		}
		if !same {
			tx.fail = storage.ErrWriteConflict
			return tx.s.claims.conflict()
		}
		tx.keep(tx.base.k, tx.base.doc)
		return nil
	}
	if tx.nreads > 0 {
		return tx.readAgain(ctx)
	}
	return nil
}
