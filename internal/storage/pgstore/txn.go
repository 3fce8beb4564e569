package pgstore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	beginReadOnly = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	beginWrite    = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	beginGroup    = "BEGIN ISOLATION LEVEL READ COMMITTED"

	// maxQueued and maxQueuedBytes bound what a transaction writes before it is
	// sent.
	maxQueued      = 1024
	maxQueuedBytes = 1 << 20

	// maxTracked is how many point reads a transaction remembers in order to move
	// its snapshot forward; see slide.
	maxTracked = 4

	// untracked as the number of tracked reads means that there were others.
	untracked = -1

	// slideTries bounds how often a claim moves the snapshot before it gives up.
	slideTries = 3
)

// txn is a transaction.
type txn struct {
	s       *Store
	id      uint64
	opts    storage.TxnOptions
	done    bool
	unknown bool  // whether it has committed is not known
	fail    error // the PostgreSQL transaction is aborted; what calls return from now on

	c       *conn  // nil before the first statement
	begun   bool   // BEGIN is queued or sent
	sent    bool   // … and sent
	held    bool   // seq is registered with the claim table
	seq     uint64 // of the snapshot, or unseen
	at      *retained
	pos     storage.Position // of the snapshot, if known
	ddl     int64            // the number of its change of the catalogue, 0 if there is none
	lacking []*object        // what it changes and PostgreSQL has not got; see missing.go
	lastPos uint64           // of the commit, as its statement returns it
	planned uint64           // what that is without others

	claims  []uint64
	touched []*object // that it writes
	drops   []*object // that it drops

	log      []*op // what was written, for RollbackTo
	queue    []*op // what was not sent yet
	queued   int   // bytes of it
	unpushed int   // the length of the queue when it was last found to be nothing to push
	writes   int   // counts all writes, for iterators
	saved    bool  // there may be a RollbackTo
	appends  []*appended
	cuts     []cutoff
	labels   map[objectKey]label
	renames  []rename

	records map[recordKey]presence
	keys    map[entryKey]*holding
	meta    map[string]*metaValue
	bounds  map[storage.IndexID]*bound

	reads  [maxTracked]pointRead
	nreads int

	brief     bool // see brief.go
	base      baseRecord
	finishing bool                 // it begins only to commit
	late      bool                 // what is expected is looked at on the way to the commit, without waiting for the answer
	lateOne   *storage.Expectation // … with the commit's place; nil for several
	unchecked bool                 // it has queued unique keys without asking whether they are free
	written   int                  // records, if it is brief

	ahead    ahead
	premises premises
	present  []expected
	ordered  orderedIDs

	stash   recordKey // the record that stashed is, if hasStash
	stashed []byte
	hasDoc  bool
}

var _ storage.Txn = (*txn)(nil)

type recordKey struct {
	t  storage.TableID
	id storage.RecordID
}

type entryKey struct {
	x   storage.IndexID
	key string
}

// presence is what a transaction knows of a record that it has claimed.
type presence struct {
	state recordState
	doc   *op // the queued write that holds its contents, or nil
}

type recordState byte

const (
	unknown recordState = iota
	present
	absent
)

// holding is what a transaction knows of a unique key that it has claimed.
type holding struct {
	known  bool
	holder storage.RecordID // 0: nobody
}

type metaValue struct {
	known, exists bool
	value         []byte
}

// pointRead is a read that can be repeated on a newer snapshot.
type pointRead struct {
	hash   uint64  // of its claim
	o      *object // see point
	arg    []byte
	digest uint64 // of the answer
}

// Begin starts a transaction.
func (s *Store) Begin(opts storage.TxnOptions) storage.Txn {
	s.openTxns.Add(1)
	tx := &txn{s: s, id: s.nextTxn.Add(1), opts: opts, seq: unseen}
	tx.brief = opts.Brief && !opts.ReadOnly && opts.At == nil && len(opts.Alone) == 0
	return tx
}

// enter begins an operation; the caller leaves with gate.RUnlock.
func (tx *txn) enter(ctx context.Context) error {
	if !tx.s.enter() {
		return storage.ErrClosed
	}
	err := ctx.Err()
	switch {
	case tx.done:
		err = storage.ErrClosed
	case tx.fail != nil:
		err = tx.fail
	case err == nil && tx.opts.At != nil && !tx.held:
		err = tx.holdRetained()
	}
	if err != nil {
		tx.s.gate.RUnlock()
	}
	return err
}

// enterWrite is enter for an operation that writes.
func (tx *txn) enterWrite(ctx context.Context) error {
	if err := tx.enter(ctx); err != nil {
		return err
	}
	if tx.opts.ReadOnly {
		tx.s.gate.RUnlock()
		return storage.ErrReadOnly
	}
	return nil
}

func (tx *txn) holdRetained() error {
	r, ok := tx.opts.At.(*retained)
	if !ok || r.s != tx.s {
		return errors.New("storage: the retained state is another engine's")
	}
	if !r.use() {
		return storage.ErrClosed
	}
	tx.at, tx.held, tx.seq = r, true, r.state.seq
	tx.pos = storage.Position(r.state.position)
	return nil
}

// start takes a connection and queues BEGIN, unless that is done.
func (tx *txn) start(ctx context.Context) error {
	if tx.begun {
		return nil
	}
	if tx.brief {
		return tx.settle(ctx)
	}
	premises, err := tx.findPremises(ctx)
	if err != nil {
		return err
	}
	tx.askExpected()
	if tx.c == nil {
		c, err := tx.s.pool.acquire(ctx)
		if err != nil {
			tx.fail = translate(ctx, err)
			return tx.fail
		}
		tx.c = c
	}
	if !tx.held {
		tx.seq = tx.s.claims.open(storage.Position(tx.s.syncer.newest()))
		tx.held = true
	}
	tx.begun = true
	tx.c.end()
	switch {
	case tx.opts.Single && tx.opts.ReadOnly && tx.at == nil:
		// Each batch is a transaction by itself.
	case tx.opts.ReadOnly:
		tx.c.add(beginReadOnly, nil)
	default:
		tx.c.add(beginWrite, nil)
	}
	if tx.at != nil {
		tx.c.once("SET TRANSACTION SNAPSHOT '" + tx.at.state.name + "'")
	}
	tx.sendPremises(premises)
	return nil
}

// run sends what is queued on the connection. An error ends the PostgreSQL
// transaction.
func (tx *txn) run(ctx context.Context) error {
	tx.sent = true
	err := tx.c.run(ctx)
	if err == nil {
		return tx.checkPremises()
	}
	return tx.failed(ctx, err)
}

// fails notes that something that the transaction needs and another connection gets could not be had: that is no fault
// of the operation, without which the transaction would go on.
func (tx *txn) fails(err error) error {
	tx.fail = err
	return err
}

// failed notes that the PostgreSQL transaction is over.
func (tx *txn) failed(ctx context.Context, err error) error {
	switch state := stateOf(err); {
	case state == stateUniqueViolation:
		for _, b := range tx.bounds {
			if b.hope == yes {
				b.o.disappoint()
			}
		}
	case state == stateDropped, state == stateUndefinedTable:
		tx.s.syncer.stale.Store(true)
	case state == stateNoSchema:
		tx.s.namespaces.Clear()
	case tx.at != nil && (state == stateInvalidSnapshot || state == stateUndefinedObject):
		// Who reads again is told that it is not there any more, unless the present state does.
		err = mongoerr.New(mongoerr.HostUnreachable, "the connection to PostgreSQL that kept the snapshot was lost: %v", err)
	}
	if isMissing(err) && tx.findGone(ctx) {
		err = storage.ErrWriteConflict // the next attempt does without them
	} else if isMissing(err) {
		err = tx.s.missing(ctx, err)
	}
	err = translate(ctx, err)
	tx.fail = err
	if errors.Is(err, storage.ErrWriteConflict) {
		return tx.s.claims.conflict()
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		tx.fail = fmt.Errorf("storage: the transaction was interrupted: %w", err)
	}
	return err
}

// claim takes something for writing. With a snapshot that is too old for it, it
// tries to move the snapshot.
func (tx *txn) claim(ctx context.Context, hash uint64) error {
	ct := tx.s.claims
	for try := 0; ; try++ {
		var r claimResult
		if tx.opts.ConflictWait > 0 && len(tx.claims) == 0 {
			r = ct.claimWait(ctx, hash, tx.id, tx.seq, tx.opts.ConflictWait)
		} else {
			r = ct.claim(hash, tx.id, tx.seq)
		}
		switch {
		case r == claimNew:
			tx.claims = append(tx.claims, hash)
			return nil
		case r == claimMine:
			return nil
		case r == claimStale && try < slideTries && tx.canSlide():
			if err := tx.slide(ctx); err != nil {
				return err
			}
			continue
		}
		return ct.conflict()
	}
}

// canSlide says whether the transaction might as well have begun now, as far as
// this process knows.
func (tx *txn) canSlide() bool {
	if tx.nreads == untracked || tx.at != nil || tx.writes > 0 || tx.pos != 0 {
		return false
	}
	for _, r := range tx.reads[:tx.nreads] {
		if !tx.s.claims.unchanged(r.hash, tx.id, tx.seq) {
			return false
		}
	}
	return true
}

// slide begins the PostgreSQL transaction again, and checks with PostgreSQL that
// everything it has read is as it was.
func (tx *txn) slide(ctx context.Context) error {
	if tx.brief {
		return tx.askAgain(ctx)
	}
	if !tx.begun {
		return nil
	}
	if tx.sent {
		tx.c.add("ROLLBACK", nil)
	}
	tx.s.claims.close(tx.seq)
	tx.begun, tx.held, tx.hasDoc = false, false, false
	if err := tx.start(ctx); err != nil {
		return err
	}
	return tx.readAgain(ctx)
}

// readAgain checks that everything that was read is in the PostgreSQL transaction as it
// was.
func (tx *txn) readAgain(ctx context.Context) error {
	var digests [maxTracked]uint64
	for i, r := range tx.reads[:tx.nreads] {
		tx.c.add(r.o.point(), func(v [][]byte) { digests[i] = tx.digest(v[0]) }, r.arg)
	}
	if err := tx.run(ctx); err != nil {
		return err
	}
	for i, r := range tx.reads[:tx.nreads] {
		if digests[i] != r.digest {
			tx.fail = storage.ErrWriteConflict
			return tx.s.claims.conflict()
		}
	}
	return nil
}

func (tx *txn) digest(v []byte) uint64 { return maphash.Bytes(tx.s.claims.seed, v) | 1 }

// track remembers a point read. digest is 0 for one that found nothing.
func (tx *txn) track(r pointRead) {
	switch {
	case tx.opts.ReadOnly || tx.nreads == untracked:
	case tx.nreads == maxTracked:
		tx.nreads = untracked
	default:
		tx.reads[tx.nreads] = r
		tx.nreads++
	}
}

// Snapshot is the position this transaction reads at.
func (tx *txn) Snapshot() storage.Position {
	ctx := context.Background()
	if tx.enter(ctx) != nil {
		return 0
	}
	defer tx.s.gate.RUnlock()
	pos, err := tx.position(ctx)
	if err != nil {
		return 0
	}
	return pos
}

// position asks for the snapshot's position.
func (tx *txn) position(ctx context.Context) (storage.Position, error) {
	if tx.pos != 0 && tx.begun {
		return tx.pos, nil
	}
	if err := tx.start(ctx); err != nil {
		return 0, err
	}
	var pos int64
	tx.c.add(tx.s.sql.position, func(v [][]byte) { pos = int64Of(v[0]) })
	if err := tx.run(ctx); err != nil {
		return 0, err
	}
	tx.pos = storage.Position(pos)
	if tx.at == nil && pos > 0 {
		tx.s.syncer.note(uint64(pos))
	}
	return tx.pos, nil
}

// Rollback forgets the writes.
func (tx *txn) Rollback() {
	tx.s.gate.RLock()
	defer tx.s.gate.RUnlock()
	if !tx.done {
		tx.end(0)
	}
}

// end gives back everything the transaction holds. pos is the position of its
// commit, or 0.
func (tx *txn) end(pos uint64) {
	tx.done = true
	if c := tx.c; c != nil {
		tx.endConn(c, pos)
		tx.c = nil
	}
	seq := uint64(0)
	if pos != 0 || len(tx.claims) > 0 {
		seq = tx.s.claims.finish(tx.claims, pos != 0)
	}
	if tx.unknown {
		seq = 0 // what it creates and drops is looked up again
	}
	tx.s.ids.end(tx, seq)
	if tx.held {
		tx.s.claims.close(tx.seq)
		if tx.at != nil {
			tx.at.unuse()
		}
		tx.held = false
	}
	tx.log, tx.queue, tx.appends, tx.records, tx.keys, tx.meta, tx.stashed, tx.bounds = nil, nil, nil, nil, nil, nil, nil, nil
	tx.ahead = ahead{}
	tx.s.openTxns.Add(-1)
}

func (tx *txn) endConn(c *conn, pos uint64) {
	if tx.begun && !tx.sent {
		c.broken = true // its buffer holds half of a batch
	}
	if tx.sent && pos == 0 && !c.broken && (c.status != 'I' || len(c.batch) > 0) {
		if tx.opts.ReadOnly || tx.writes == 0 && len(tx.claims) == 0 {
			c.ending = true // goes with the next transaction's BEGIN
		} else {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			c.add("ROLLBACK", nil)
			if err := c.run(ctx); err != nil {
				c.broken = true
			}
			cancel()
		}
	}
	tx.s.pool.release(c)
}
