package database

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// DeleteStatement is one element of a delete command.
type DeleteStatement struct {
	Filter    bsonval.Doc
	Multi     bool
	Hint      *plan.Hint
	Collation *collation.Spec
	Let       bsonval.Doc
}

// Delete runs one delete statement and returns how many documents it deleted.
func (d *DB) Delete(ctx context.Context, op *Op, ns Namespace, s *DeleteStatement) (n int64, err error) {
	defer op.assumeNothing()
	for {
		n, err = d.deleteCompiled(ctx, op, ns, s)
		if !errors.Is(err, errOtherCollation) {
			d.count(op, &d.Metrics.Deleted, n)
			return n, err
		}
	}
}

func (d *DB) deleteCompiled(ctx context.Context, op *Op, ns Namespace, s *DeleteStatement) (int64, error) {
	coll, err := d.assume(ctx, op, ns, s.Collation)
	if err != nil {
		return 0, err
	}
	c, err := op.compilation(coll, s.Collation, s.Let)
	if err != nil {
		return 0, err
	}
	if s.Multi {
		return d.deleteMany(ctx, op, ns, s, c)
	}
	return d.deleteFirst(ctx, op, ns, s, c)
}

func (d *DB) deleteFirst(ctx context.Context, op *Op, ns Namespace, s *DeleteStatement, c *compilation) (n int64, err error) {
	exists, err := d.existing(ctx, op, ns, false, func(w *writer) error {
		n = 0
		sel, err := w.selection(c, s.Filter, nil, s.Hint)
		if err != nil {
			return err
		}
		t, ok, err := w.first(ctx, sel)
		op.Outcome.Deleted = 0
		if !ok || err != nil {
			return err
		}
		n, op.Outcome.Deleted = 1, 1
		return w.remove(ctx, t.id, t.doc)
	})
	if err != nil || !exists {
		n = 0
	}
	return n, err
}

func (d *DB) deleteMany(ctx context.Context, op *Op, ns Namespace, s *DeleteStatement, c *compilation) (total int64, err error) {
	m, err := c.filter(s.Filter, 0)
	if err != nil {
		return 0, err
	}
	ids, err := d.all(ctx, op, ns, c, m, s.Hint)
	if err != nil {
		return 0, clientError(ctx, err)
	}
	var n int64 // of a batch
	var ec *expr.Context
	err = d.inBatches(ctx, op, ns, ids, func(w *writer, begin bool, id storage.RecordID) error {
		if begin {
			n, ec = 0, c.context()
		}
		t, ok, err := w.again(ctx, id, m, ec)
		if !ok || err != nil {
			return err
		}
		n++
		return w.remove(ctx, t.id, t.doc)
	}, func() { total += n })
	return total, err
}
