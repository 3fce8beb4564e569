package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// Commit makes the writes visible and durable.
func (tx *txn) Commit(ctx context.Context) (storage.Position, error) {
	if err := tx.enter(ctx); err != nil {
		return 0, err
	}
	defer tx.s.gate.RUnlock()
	if tx.writes == 0 || tx.opts.ReadOnly {
		return tx.commitReading(ctx)
	}
	if tx.brief && tx.fitsGroup() {
		return tx.commitTogether(ctx)
	}
	if tx.brief {
		if err := tx.settle(ctx); err != nil {
			return 0, err
		}
	}
	wait := !tx.opts.NoSync
	// Alone, a commit waits for the disk itself; with others it waits together
	// with them.
	direct := tx.s.committing.Add(1) == 1 && wait && tx.s.isCalm()
	defer tx.s.committing.Add(-1)
	gen, err := uint64(0), error(nil)
	if wait && !direct {
		if gen, err = tx.s.syncer.generation(context.WithoutCancel(ctx)); err != nil {
			return 0, err
		}
	}
	pos, err := tx.commitWrites(ctx, direct)
	if err != nil {
		return 0, err
	}
	switch {
	case direct:
		tx.s.syncer.syncedElsewhere(pos)
	case wait:
		if err := tx.s.syncer.wait(context.WithoutCancel(ctx), pos, gen); err != nil {
			return 0, err
		}
	}
	return storage.Position(pos), nil
}

func (tx *txn) commitReading(ctx context.Context) (storage.Position, error) {
	pos := storage.Position(tx.s.syncer.newest())
	if tx.begun {
		var err error
		if pos, err = tx.position(ctx); err != nil {
			return 0, err
		}
	}
	tx.end(0)
	return pos, nil
}

// commitWrites sends everything that is left together with COMMIT.
func (tx *txn) commitWrites(ctx context.Context, direct bool) (uint64, error) {
	tx.finishing = true
	if err := tx.start(ctx); err != nil {
		return 0, err
	}
	if tx.isBehind() {
		tx.fail = storage.ErrWriteConflict
		return 0, tx.s.claims.conflict()
	}
	if err := tx.settlePremises(ctx); err != nil {
		return 0, err
	}
	if len(tx.queue) > maxQueued/8 { // not while others wait for the lock
		if err := tx.flush(ctx); err != nil {
			return 0, err
		}
	}
	finish, _ := tx.send()
	c := tx.c
	if direct {
		c.add(tx.s.syncer.commitNow, nil)
	}
	tx.sendCommit()
	c.add("COMMIT", nil)
	tx.sent = true
	tx.s.unnoted.Add(1)
	defer tx.s.unnoted.Add(-1)
	// From here on the outcome is decided by PostgreSQL alone.
	err := c.run(context.WithoutCancel(ctx))
	var cut *cutError
	if errors.As(err, &cut) || err != nil && c.broken {
		tx.fail = unknownOutcome(err)
		err = tx.fail
		tx.unknown = true
		tx.end(1)
		tx.s.fence(c.pg.PID())
		tx.s.syncer.stale.Store(true)
		return 0, err
	}
	if err != nil {
		c.broken = c.broken || stateOf(err) == stateNoLogarithm
		return 0, tx.failed(ctx, err)
	}
	finish()
	if tx.late {
		for _, e := range tx.opts.Expect {
			e.Meet(tx.premises.begun)
		}
	}
	last := tx.lastPos
	tx.s.placed(tx.planned, last)
	tx.s.syncer.note(last)
	tx.s.commits.Add(1)
	if tx.ddl != 0 {
		tx.s.syncer.own(tx.ddl)
	}
	if len(tx.drops) > 0 {
		tx.s.dropped.Store(true)
	}
	tx.end(last)
	return last, nil
}

// sendCommit queues what gives the commit its place in the order.
func (tx *txn) sendCommit() {
	c, s := tx.c, tx.s
	for _, o := range tx.drops {
		if !tx.lacks(o) {
			c.once(fmt.Sprintf("CREATE TRIGGER dropped BEFORE INSERT OR UPDATE OR DELETE ON %s FOR EACH STATEMENT EXECUTE FUNCTION %s.dropped()", o.name, s.schema))
		}
		c.once(fmt.Sprintf("UPDATE %s.ids SET dropped = pg_current_xact_id()::text::int8 WHERE kind = '%c' AND id = %d", s.schema, o.kind, o.id))
	}
	tx.sendRenames()
	if len(tx.drops) > 0 || tx.creates() {
		c.add(s.sql.ddl, func(v [][]byte) { tx.ddl = int64Of(v[0]) })
	}
	for _, t := range tx.cuts {
		c.add(t.o.sql.truncate, nil, c.i8(int64(t.before)))
	}
	tx.sendPlace(tx.lateOne)
}

// placed notes the place in the order that a commit has got.
func (s *Store) placed(planned, got uint64) {
	s.crowd.note(planned, got)
	if err := s.clock.Advance(got); err != nil {
		s.log.Warn("the store's clock is ahead", "error", err)
	}
}

// sendPlace queues what draws the times of a commit, in its order, and writes its log
// records; it divides by zero unless a meta key has the value expected, if there is one
// that is. It returns the number of the times.
func (tx *txn) sendPlace(e *storage.Expectation) int {
	c, s := tx.c, tx.s
	times := 0
	for _, a := range tx.appends {
		if !a.stamp.Same {
			times++
		}
	}
	times = max(times, 1)
	tx.planned = s.clock.Next(times) + uint64(times) - 1
	c.add(s.sql.lockCommit, nil)
	last := c.i8(int64(tx.planned))
	placed := func(v [][]byte) { tx.lastPos = uint64(int64Of(v[0])) }
	slot := c.i8(int64(c.pg.PID()))
	switch {
	case tx.at == nil && len(tx.appends) == 1:
		tx.sendPlaced(last, slot, e, placed)
		return times
	case e != nil:
		c.add(s.sql.commitIf, placed, c.i8(int64(times)), last, slot, e.Key, e.Value)
	case tx.at == nil:
		c.add(s.sql.commit, placed, c.i8(int64(times)), last, slot)
	default:
		// The snapshot may be older than the connection's last commit, and with it
		// than the connection's row.
		c.add(s.sql.commitOld, placed, c.i8(int64(times)), last)
	}
	tx.sendAppends(times)
	return times
}

func (tx *txn) creates() bool {
	for _, o := range tx.touched {
		if o.creator == tx.id {
			return true
		}
	}
	return false
}
