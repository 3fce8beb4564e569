package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// Brief transactions are committed in groups: while one group is under way, the next one
// gathers. A group is one PostgreSQL transaction that
//
//   - writes what its members write, table by table as arrays, records first; an update or
//     a removal that does not find each record as it was read divides by zero,
//   - takes the members' places in the order of commits, with their log records; that divides
//     by zero if what they expect is not so.
//
// It is of isolation level read committed: each statement sees what was committed before
// it. So who has had a table alone (storage.TxnOptions.Alone) is waited for by the first
// statement that writes it, and what he has done is seen by the look at what is expected,
// which comes last. If a group fails, each member is tried by itself, and those that fail
// again are told.
//
// A group whose members want to be durable is a round of the syncer, which waits for the
// disk in the same batch: so the next group has time to gather, and the fewer groups the
// less work there is. As long as nobody else commits it waits in its place in the order
// (crowd.go).

const (
	// maxGroup and maxGroupBytes bound a group; maxMember and maxMemberBytes what may
	// join one.
	maxGroup       = 256
	maxGroupBytes  = 4 << 20
	maxMember      = 64
	maxMemberBytes = 64 << 10

	// minAlike is how many writes go as arrays: one statement with arrays costs PostgreSQL as
	// much as some without.
	minAlike = 4

	// groupPatience bounds the waits of a group for other processes' locks: all brief
	// transactions of this process wait meanwhile.
	groupPatience = "50ms"
)

// member is a brief transaction that commits.
type member struct {
	tx   *txn
	turn chan struct{} // sent to when it is done, or is to lead

	done bool // guarded by grouper.mu
	pos  uint64
	err  error
	lost bool // the outcome is unknown

	awaits bool   // it is not durable yet when it is done
	gen    uint64 // the syncer's connection at that time
}

// wake tells a member to look at how things are.
func (m *member) wake() {
	select {
	case m.turn <- struct{}{}:
	default:
	}
}

// countedSQL divides by zero unless a statement affects as many rows as its first
// argument says.
func countedSQL(sql string) string {
	return "WITH w AS (" + sql + " RETURNING 1) SELECT 1 / (count(*) = $1::int8)::int FROM w"
}

// fitsGroup says whether a brief transaction may join a group, in which the writes of a kind are one: none is of the same
// meta key as another.
func (tx *txn) fitsGroup() bool {
	if len(tx.queue)+len(tx.appends) > maxMember || len(tx.drops)+len(tx.cuts)+len(tx.renames) > 0 {
		return false
	}
	size := tx.queued
	for _, a := range tx.appends {
		size += len(a.doc)
	}
	for i, w := range tx.queue {
		if w.kind == opCreate || w.isMeta() && slices.ContainsFunc(tx.queue[:i], func(before *op) bool {
			return before.isMeta() && bytes.Equal(before.key, w.key)
		}) {
			return false
		}
	}
	return size <= maxMemberBytes
}

// isMeta says whether a write is of a meta key.
func (w *op) isMeta() bool { return w.kind == opPutMeta || w.kind == opDropMeta }

// grouper lets one group commit at a time.
type grouper struct {
	mu      sync.Mutex // guards the rest
	waiting []*member
	busy    bool
}

// commitTogether commits a brief transaction.
func (tx *txn) commitTogether(ctx context.Context) (storage.Position, error) {
	tx.askExpected()
	m := &member{tx: tx, turn: make(chan struct{}, 1)}
	tx.s.join(m)
	switch {
	case m.lost:
		tx.fail = m.err
		tx.end(1)
		return 0, m.err
	case m.err != nil:
		tx.disappointed(stateOf(m.err))
		_ = tx.failed(ctx, m.err)
		return 0, tx.fail
	}
	tx.lastPos = m.pos
	tx.end(m.pos)
	if m.awaits {
		if err := tx.s.syncer.wait(context.WithoutCancel(ctx), m.pos, m.gen); err != nil {
			return 0, err
		}
	}
	return storage.Position(m.pos), nil
}

// disappointed notes where hoping for the best was in vain.
func (tx *txn) disappointed(state string) {
	if state == "" {
		return
	}
	for _, w := range tx.queue {
		switch {
		case state == stateUniqueViolation && w.kind == opPutUnique:
			w.o.disappoint()
		case state != stateUniqueViolation && w.seen != nil:
			w.o.disappoint()
		}
	}
}

// join commits a member with others, and returns when it is done.
func (s *Store) join(m *member) {
	g := &s.grouper
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, m)
	for !m.done {
		if g.busy {
			g.mu.Unlock()
			<-m.turn
			g.mu.Lock()
			continue
		}
		g.busy = true
		batch := g.gather()
		g.mu.Unlock()
		s.runGroup(batch)
		g.mu.Lock()
		g.busy = false
		for _, m := range batch {
			m.done = true
			m.wake()
		}
		if len(g.waiting) > 0 {
			g.waiting[0].wake()
		}
	}
}

// gather takes the members of the next group.
func (g *grouper) gather() []*member {
	n, size := 0, 0
	for n < min(len(g.waiting), maxGroup) && (n == 0 || size < maxGroupBytes) {
		size += g.waiting[n].tx.queued
		n++
	}
	batch := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	return batch
}

// runGroup commits a group, or those of its members that can be, durably if one of them
// wants that.
func (s *Store) runGroup(batch []*member) {
	s.unnoted.Add(1)
	defer s.unnoted.Add(-1)
	var slot uint32
	commit := func(c *conn, disk diskWait) error {
		slot = c.pg.PID()
		return s.commitGroup(c, batch, disk)
	}
	ctx := context.Background()
	var err error
	durably := slices.ContainsFunc(batch, func(m *member) bool { return !m.tx.opts.NoSync })
	gen := uint64(0)
	if durably {
		gen, err = s.syncer.generation(ctx) // not on a connection that is known to be cut
	}
	switch {
	case err != nil:
	case durably && !s.syncer.standbys.Load():
		disk := inPlace
		if s.committing.Load() > 0 || !s.isCalm() {
			disk = afterwards
		}
		err = s.syncer.round(ctx, func(c *conn) error { return commit(c, disk) })
	default: // for standbys each waits by itself: they can be missing for long, and not all members want them
		for _, m := range batch {
			m.gen, m.awaits = gen, !m.tx.opts.NoSync
		}
		var c *conn
		if c, err = s.pool.acquire(ctx); err == nil {
			c.end()
			err = commit(c, never)
			s.pool.release(c)
		}
	}
	lost := false
	for _, m := range batch {
		if m.err == nil && m.pos == 0 {
			m.err = err
		}
		lost = lost || m.lost
	}
	if lost {
		s.fence(slot)
	}
}

// commitGroup commits a group. The error returned ends the connection.
func (s *Store) commitGroup(c *conn, batch []*member, disk diskWait) error {
	if slices.ContainsFunc(batch, (*member).refuseBehind) {
		if batch = slices.DeleteFunc(slices.Clone(batch), (*member).refuseBehind); len(batch) == 0 {
			return nil
		}
	}
	err := s.tryGroup(c, batch, disk)
	if err == nil || !isRefusal(c, err) {
		return err
	}
	if len(batch) == 1 || stateOf(err) == stateLockNotAvailable { // do not keep the others waiting any longer
		for _, m := range batch {
			m.err = err
		}
		return nil
	}
	for i := range batch {
		err := s.tryGroup(c, batch[i:i+1], never)
		if err != nil && !isRefusal(c, err) {
			loseAll(batch[:i], err)
			return err
		}
		batch[i].err = err
	}
	if disk == never {
		return nil
	}
	if err := s.syncer.flush(c); err != nil {
		loseAll(batch, err)
		return err
	}
	return nil
}

// refuseBehind fails a member that goes by what may have been lost while it was waiting.
func (m *member) refuseBehind() bool {
	if m.tx.isBehind() {
		m.err = storage.ErrWriteConflict
	}
	return m.err != nil
}

// isRefusal says whether an error leaves the connection in order.
func isRefusal(c *conn, err error) bool {
	var cut *cutError
	return !errors.As(err, &cut) && !c.broken
}

// loseAll notes that nobody knows what became of members that were not refused.
func loseAll(batch []*member, err error) {
	for _, m := range batch {
		if m.err == nil {
			m.err, m.lost = unknownOutcome(err), true
		}
	}
}

// diskWait is when a group waits for the disk.
type diskWait byte

const (
	never      diskWait = iota
	inPlace             // with the commit, in its place in the order
	afterwards          // when it is committed, outside of the order
)

// tryGroup commits a group in one batch.
func (s *Store) tryGroup(c *conn, batch []*member, disk diskWait) error {
	g := &txn{s: s, c: c, seq: unseen}
	begun := time.Now()
	c.add(beginGroup, nil)
	if disk != inPlace { // which is how the syncer's connection is set up
		c.add("SELECT set_config('lock_timeout', '"+groupPatience+"', true), set_config('synchronous_commit', 'off', true)", nil)
	}
	var queue []*op
	var expect []*storage.Expectation
	for _, m := range batch {
		for _, w := range m.tx.queue {
			if !w.dropped {
				queue = append(queue, w)
			}
		}
		expect = append(expect, m.tx.conditions()...)
		g.appends = append(g.appends, m.tx.appends...)
	}
	g.sendTogether(queue)
	times := g.sendPlace(s.sendLooks(c, expect))
	commit := c.add("COMMIT", nil)
	if disk == afterwards {
		c.add(s.syncer.syncNow, nil)
	}
	err := c.run(context.Background())
	switch {
	case err == nil:
	case commit.done || !isRefusal(c, err):
		c.broken = true
		loseAll(batch, err)
		return err
	default:
		c.add("ROLLBACK", nil)
		c.broken = c.run(context.Background()) != nil || stateOf(err) == stateNoLogarithm
		return err
	}
	for _, m := range batch {
		for _, e := range m.tx.opts.Expect {
			e.Meet(begun)
		}
	}
	s.placed(g.planned, g.lastPos)
	s.groupCommitted(batch, g.lastPos, times)
	if disk != never {
		s.syncer.synced(g.lastPos)
	}
	return nil
}

// groupCommitted notes that a group is visible, and gives its members their positions:
// those of the last of their log records.
func (s *Store) groupCommitted(batch []*member, last uint64, times int) {
	s.syncer.note(last)
	s.commits.Add(int64(len(batch)))
	at := last - uint64(times)
	for _, m := range batch {
		m.pos = last
		for _, a := range m.tx.appends {
			if !a.stamp.Same {
				at++
				m.pos = at
			}
		}
	}
}

// conditions makes what a brief transaction expects of the meta keys that it writes conditions
// of these writes: a look that comes after them would see them. What else it expects is
// returned.
func (tx *txn) conditions() (others []*storage.Expectation) {
	if !tx.s.config.Shared {
		return nil
	}
	for _, e := range tx.opts.Expect {
		i := slices.IndexFunc(tx.queue, func(w *op) bool { return w.kind == opPutMeta && !w.dropped && bytes.Equal(w.key, e.Key) })
		if i < 0 {
			others = append(others, e)
		} else {
			tx.queue[i].onlyIf = e
		}
	}
	return others
}

// sendLooks queues the look at what is expected, unless it is only one thing, which is
// returned.
func (s *Store) sendLooks(c *conn, list []*storage.Expectation) *storage.Expectation {
	if !s.config.Shared {
		return nil
	}
	var present, missing []*storage.Expectation
	for _, e := range list {
		switch {
		case e.Value == nil:
			missing = append(missing, e)
		case !slices.Contains(present, e):
			present = append(present, e)
		}
	}
	switch {
	case len(present)+len(missing) == 0:
		return nil
	case len(present) == 1 && len(missing) == 0:
		return present[0]
	}
	keys, values, none := array{elem: oidBytea}, array{elem: oidBytea}, array{elem: oidBytea}
	for _, e := range present {
		keys.add(e.Key)
		values.add(e.Value)
	}
	for _, e := range missing {
		none.add(e.Key)
	}
	c.add(s.sql.expectAll, nil, keys.bytes(), values.bytes(), c.i8(int64(len(present))), none.bytes())
	return nil
}

// condition is what a write of a meta key depends on.
func (w *op) condition() metaCondition {
	switch {
	case w.onlyIf == nil:
		return always
	case w.onlyIf.Value == nil:
		return ifMissing
	}
	return ifSame
}

type metaCondition byte

const (
	always    metaCondition = iota
	ifSame                  // as it was read
	ifMissing               // there is no such key
)

// groupOrder is the order in which kinds of writes are sent: what is removed from an index
// goes first.
var groupOrder = [...]opKind{opInsert, opUpdate, opDelete, opRemove, opPutUnique, opPut, opPutMeta, opDropMeta}

// sendTogether sends the writes of a group. Those of different members meet nowhere: they
// have claimed what they write.
func (tx *txn) sendTogether(queue []*op) {
	for _, kind := range groupOrder {
		var list []*op
		for _, w := range queue {
			if w.kind == kind {
				list = append(list, w)
			}
		}
		// In one order in all processes, so that they do not wait for each other in a circle.
		slices.SortStableFunc(list, func(a, b *op) int {
			switch {
			case a.o != b.o:
				return cmp.Compare(a.o.id, b.o.id)
			case a.condition() != b.condition():
				return cmp.Compare(a.condition(), b.condition())
			}
			return cmp.Or(bytes.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
		})
		for len(list) > 0 {
			n := 1
			for n < len(list) && list[n].o == list[0].o && list[n].condition() == list[0].condition() {
				n++
			}
			tx.sendAlike(list[:n])
			list = list[n:]
		}
	}
}

// sendAlike sends writes of one kind to one table or index.
func (tx *txn) sendAlike(list []*op) {
	w := list[0]
	switch {
	case w.seen != nil:
		tx.sendSeen(list)
	case w.onlyIf != nil:
		tx.sendMetaIf(list)
	case len(list) < minAlike || w.kind == opDropMeta:
		for _, w := range list {
			tx.sendOne(w)
		}
	case w.kind == opInsert || w.kind == opPutUnique:
		tx.sendGroup(w.o, list)
	case w.kind == opUpdate || w.kind == opDelete:
		tx.sendRecords(list)
	default:
		tx.sendKeys(list)
	}
}

// sendSeen sends updates or removals of records that are as they were read.
func (tx *txn) sendSeen(list []*op) {
	if len(list) < minAlike && list[0].kind == opUpdate {
		for _, w := range list {
			tx.c.add(w.o.sql.updateSeen, nil, tx.c.i8(int64(w.id)), w.seen, w.value)
		}
		return
	}
	ids, old, docs := array{elem: oidInt8}, array{elem: oidBytea}, array{elem: oidBytea}
	for _, w := range list {
		ids.addInt(int64(w.id))
		old.add(w.seen)
		docs.add(w.value)
	}
	o, n := list[0].o, tx.c.i8(int64(len(list)))
	if list[0].kind == opDelete {
		tx.c.add(o.sql.removeMany, nil, n, ids.bytes(), old.bytes())
		return
	}
	tx.c.add(o.sql.updateMany, nil, n, ids.bytes(), old.bytes(), docs.bytes())
}

// sendMetaIf sends writes of meta keys that have the values expected, or are not there.
func (tx *txn) sendMetaIf(list []*op) {
	keys, old, values := array{elem: oidBytea}, array{elem: oidBytea}, array{elem: oidBytea}
	for _, w := range list {
		keys.add(w.key)
		old.add(w.onlyIf.Value)
		values.add(w.value)
	}
	n := tx.c.i8(int64(len(list)))
	if list[0].condition() == ifMissing {
		tx.c.add(tx.s.sql.newMeta, nil, n, keys.bytes(), values.bytes())
		return
	}
	tx.c.add(tx.s.sql.changeMeta, nil, n, keys.bytes(), old.bytes(), values.bytes())
}

// sendKeys sends changes of an index, or of meta keys.
func (tx *txn) sendKeys(list []*op) {
	keys, ids := array{elem: oidBytea}, array{elem: oidInt8}
	values, tails := array{elem: oidBytea}, array{elem: oidBytea}
	for _, w := range list {
		key, tail := w.key, []byte(nil)
		if w.o != nil {
			key, tail = splitKey(w.key)
		}
		keys.add(key)
		ids.addInt(int64(w.id))
		values.add(w.value)
		tails.add(tail)
	}
	switch list[0].kind {
	case opRemove:
		tx.c.add(list[0].o.sql.dropMany, nil, keys.bytes(), ids.bytes())
	case opPut:
		tx.c.add(list[0].o.sql.setMany, nil, keys.bytes(), ids.bytes(), values.bytes(), tails.bytes())
	default:
		tx.c.add(tx.s.sql.putMetaMany, nil, keys.bytes(), values.bytes())
	}
}
