package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// seriesSize is how many statements are done in one storage transaction, unless these write much.
	seriesSize = 100

	// seriesFailures is after how many errors the statements of a command are done one by one.
	seriesFailures = 3
)

// statements are those of a write command.
type statements struct {
	n int

	// single returns the filter of one that changes at most one document; ok is false for others.
	single func(i int) (filter bsonval.Doc, ok bool)

	// run runs one, adds its outcome to the result, and says whether it had been executed before.
	run func(op *database.Op, i int) (retried bool, err error)
}

// next runs statement i.
func (s *statements) next(op *database.Op, once *once, i int, res *writeResult) error {
	retried, err := s.run(op, i)
	if err == nil && retried {
		res.retried = append(res.retried, once.ids.at(i))
	}
	return err
}

// filters are those of the statements from i on that can be a series.
func (s *statements) filters(i int) []bsonval.Doc {
	var list []bsonval.Doc
	for ; i < s.n && len(list) < seriesSize; i++ {
		f, ok := s.single(i)
		if !ok {
			break
		}
		list = append(list, f)
	}
	return list
}

// series runs statements of a command in one storage transaction each hundred, where that takes less time.
type series struct {
	c        *Call
	op       *database.Op
	once     *once
	failures int
}

// isOff says whether statements are to be run by themselves.
func (s *series) isOff() bool { return s.failures >= seriesFailures || !s.c.Database().IsDistant() }

// some runs statements from i on, and returns how many: 0 if the next one is to be run by itself.
func (s *series) some(ctx context.Context, list *statements, i int, res *writeResult) (ran int, err error) {
	if list.n < 2 || s.isOff() {
		return 0, nil
	}
	before := *res
	next := func(i int) error { return list.next(s.op, s.once, i, res) }
	return s.run(ctx, s.c.Namespace(), list.filters(i), i, next, func() { *res = before })
}

// run runs statements from i on, at most as many as there are filters, with next, and returns how many: 0 if the next one is
// to be run by itself. undo takes back what next has noted.
func (s *series) run(ctx context.Context, ns database.Namespace, filters []bsonval.Doc, i int, next func(i int) error, undo func()) (ran int, err error) {
	if s.op.Txn != nil { // one storage transaction as it is
		if i%seriesSize != 0 || len(filters) < 2 {
			return 0, nil
		}
		return 0, s.c.Database().Foresee(ctx, s.op, ns, filters)
	}
	for len(filters) > 1 {
		failed, ran := -1, 0
		s.once.join(s.op)
		done, err := s.c.Database().Together(ctx, s.op, ns, filters, func() error {
			for ran = 0; ran < len(filters) && (ran == 0 || !s.op.SeriesIsFull()); ran++ {
				s.op.Statement = i + ran
				if err := next(s.op.Statement); err != nil {
					failed = ran
					return err
				}
			}
			return nil
		})
		s.once.leave(s.op, done)
		if done {
			return ran, nil
		}
		undo()
		if err != nil {
			return 0, err
		}
		s.failures++
		filters = filters[:max(failed, 0)] // up to the one that is to tell what is wrong
	}
	return 0, nil
}

// join makes the statements to come a series.
func (o *once) join(op *database.Op) {
	if o.r == nil {
		return
	}
	o.r.Discard()
	op.Retryable = o.retryable(o.ids.at)
	op.BeforeCommit = func(ctx context.Context, txn storage.Txn) error {
		if err := o.c.failTransactional(); err != nil {
			return err
		}
		return o.r.Store(ctx, txn)
	}
	if o.c.Commands.shared {
		op.Expect = o.r.Expect
	}
}

// leave ends a series. done says whether it has taken effect.
func (o *once) leave(op *database.Op, done bool) {
	if o.r == nil {
		return
	}
	op.BeforeCommit, op.Retryable, op.Expect = nil, nil, nil
	if done {
		o.r.Commit()
	} else {
		o.r.Discard()
	}
}
