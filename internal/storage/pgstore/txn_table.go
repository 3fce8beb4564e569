package pgstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// object returns a table or index to read; readable is false if the transaction
// does not see its contents.
func (tx *txn) object(ctx context.Context, kind byte, id uint32) (o *object, readable bool, err error) {
	if o, err = tx.s.ids.find(ctx, kind, id); err != nil {
		return nil, false, tx.fails(err)
	}
	readable = tx.s.ids.readable(o, tx)
	if !readable {
		err = tx.outdated()
	}
	return o, readable, err
}

// use returns a table or index to write.
func (tx *txn) use(ctx context.Context, kind byte, id uint32) (*object, error) {
	o, err := tx.s.ids.find(ctx, kind, id)
	if err != nil {
		return nil, tx.fails(err)
	}
	if err := tx.s.ids.use(o, tx); err != nil {
		if err == storage.ErrWriteConflict {
			return nil, tx.s.claims.conflict()
		}
		if stale := tx.outdated(); stale != nil && !tx.s.ids.isDropper(o, tx) {
			err = stale
		}
		return nil, err
	}
	return o, nil
}

// Get returns a record.
func (tx *txn) Get(ctx context.Context, t storage.TableID, id storage.RecordID) ([]byte, error) {
	if err := tx.enter(ctx); err != nil {
		return nil, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindTable, uint32(t))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, storage.ErrNotFound
	}
	return tx.get(ctx, o, recordKey{t, id})
}

func (tx *txn) get(ctx context.Context, o *object, k recordKey) ([]byte, error) {
	own, known := tx.records[k]
	switch {
	case known && own.state == absent:
		return nil, storage.ErrNotFound
	case known && own.doc != nil:
		return own.doc.value, nil
	case tx.hasDoc && tx.stash == k:
		tx.trackRecord(o, k, tx.stashed)
		return tx.stashed, nil
	case known && own.state == unknown:
		if err := tx.flush(ctx); err != nil {
			return nil, err
		}
	case !known:
		if doc, err := tx.foreseen(ctx, o, k); doc != nil || err != nil {
			return doc, err
		}
	}
	if err := tx.approach(ctx, k); err != nil {
		return nil, err
	}
	row, err := tx.point(ctx, o, k.arg())
	if err != nil {
		return nil, err
	}
	var doc []byte
	if row != nil {
		doc = row[0]
	}
	if !known {
		tx.trackRecord(o, k, doc)
	}
	if doc == nil {
		return nil, storage.ErrNotFound
	}
	return doc, nil
}

// arg is a record's id as an argument.
func (k recordKey) arg() []byte { return binary.BigEndian.AppendUint64(nil, uint64(k.id)) }

func (tx *txn) trackRecord(o *object, k recordKey, doc []byte) {
	if tx.opts.ReadOnly || tx.nreads == untracked || tx.writes > 0 {
		return
	}
	if _, claimed := tx.records[k]; claimed {
		return
	}
	r := pointRead{hash: tx.s.claims.hashRecord(k.t, k.id), o: o, arg: k.arg()}
	if doc != nil {
		r.digest = tx.digest(doc)
	}
	tx.track(r)
}

// keep remembers the record that was read last.
func (tx *txn) keep(k recordKey, doc []byte) {
	tx.stash, tx.stashed, tx.hasDoc = k, doc, true
}

// know notes the state of a claimed record.
func (tx *txn) know(k recordKey, state recordState, doc *op) {
	if tx.records == nil {
		tx.records = map[recordKey]presence{}
	}
	tx.records[k] = presence{state, doc}
}

// Insert appends a record.
func (tx *txn) Insert(ctx context.Context, t storage.TableID, doc []byte) (storage.RecordID, error) {
	if err := tx.enterWrite(ctx); err != nil {
		return 0, err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kindTable, uint32(t))
	if err != nil {
		return 0, err
	}
	if err := tx.onlyWrite(ctx); err != nil {
		return 0, err
	}
	var id storage.RecordID
	if tx.isAlone(o) {
		id, err = tx.orderedID(ctx, o)
	} else if id, err = tx.s.nextID(ctx, o); err != nil {
		err = tx.fails(err)
	}
	if err != nil {
		return 0, err
	}
	if err := tx.relieve(ctx); err != nil {
		return 0, err
	}
	w := tx.write(&op{kind: opInsert, o: o, id: id, fresh: true, value: bytes.Clone(orEmpty(doc))})
	k := recordKey{t, id}
	tx.know(k, present, w)
	// Nobody knows the id yet: the claim is for those who guess it.
	if err := tx.claim(ctx, tx.s.claims.hashRecord(t, id)); err != nil {
		return 0, err
	}
	return id, nil
}

// orEmpty keeps PostgreSQL from taking no bytes for a null.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// nextID gives out a record id.
func (s *Store) nextID(ctx context.Context, o *object) (storage.RecordID, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	losses := s.Losses()
	if o.next == o.limit || o.losses != losses {
		switch {
		case o.block == 0:
			o.block = blockSize
		case time.Since(o.fetched) < blockTime:
			o.block = min(2*o.block, maxBlock)
		}
		err := s.syncer.aside(ctx, func(ctx context.Context, c *conn) error {
			var limit int64
			c.once("BEGIN")
			c.once("SET LOCAL synchronous_commit = 'off'") // it is durable with what uses it
			c.add(s.sql.block, func(v [][]byte) { limit = int64Of(v[0]) }, c.i8(int64(o.id)), c.i8(blockSize+1), c.i8(o.block))
			c.once("COMMIT")
			if err := c.run(ctx); err != nil {
				return rollback(ctx, c, err)
			}
			o.next, o.limit = limit-o.block, limit
			return nil
		})
		if err != nil {
			return 0, err
		}
		o.fetched, o.losses = time.Now(), losses
	}
	o.next++
	return storage.RecordID(o.next - 1), nil
}

// Update replaces a record.
func (tx *txn) Update(ctx context.Context, t storage.TableID, id storage.RecordID, doc []byte) error {
	return tx.change(ctx, t, id, &op{kind: opUpdate, id: id, value: bytes.Clone(orEmpty(doc))})
}

// Delete removes a record.
func (tx *txn) Delete(ctx context.Context, t storage.TableID, id storage.RecordID) error {
	return tx.change(ctx, t, id, &op{kind: opDelete, id: id})
}

func (tx *txn) change(ctx context.Context, t storage.TableID, id storage.RecordID, w *op) error {
	k := recordKey{t, id}
	o, err := tx.claimRecord(ctx, k)
	if err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	if err := tx.onlyWrite(ctx); err != nil {
		return err
	}
	if w.o = o; tx.saved {
		old, err := tx.get(ctx, o, k)
		if err != nil {
			return err
		}
		w.old, w.hadOld = bytes.Clone(old), true
	}
	if tx.brief {
		w.seen = tx.base.doc
	}
	tx.write(w)
	if w.kind == opDelete {
		tx.know(k, absent, nil)
	} else {
		tx.know(k, present, w)
	}
	return tx.relieve(ctx)
}

// Lock claims a record for writing.
func (tx *txn) Lock(ctx context.Context, t storage.TableID, id storage.RecordID) error {
	_, err := tx.claimRecord(ctx, recordKey{t, id})
	if err != nil {
		return err
	}
	tx.s.gate.RUnlock()
	return nil
}

// claimRecord claims a record that exists. If it succeeds the caller leaves the
// gate.
func (tx *txn) claimRecord(ctx context.Context, k recordKey) (*object, error) {
	if err := tx.enterWrite(ctx); err != nil {
		return nil, err
	}
	o, err := tx.use(ctx, kindTable, uint32(k.t))
	if err == nil {
		err = tx.lockRecord(ctx, o, k)
	}
	if err != nil {
		tx.s.gate.RUnlock()
		return nil, err
	}
	return o, nil
}

func (tx *txn) lockRecord(ctx context.Context, o *object, k recordKey) error {
	switch own := tx.records[k]; own.state {
	case present:
		return nil
	case absent:
		return storage.ErrNotFound
	}
	if doc, err := tx.foreseen(ctx, o, k); doc != nil || err != nil {
		return err
	}
	if err := tx.claim(ctx, tx.s.claims.hashRecord(k.t, k.id)); err != nil {
		return err
	}
	if held, err := tx.keepBase(ctx, o, k); held || err != nil {
		return err
	}
	if err := tx.flush(ctx); err != nil {
		return err
	}
	deadline := time.Now().Add(tx.opts.ConflictWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 16*time.Millisecond) {
		found, taken, err := tx.lockRow(ctx, o, k)
		switch {
		case err != nil:
			return err
		case found:
			tx.know(k, present, nil)
			return nil
		case !taken:
			return storage.ErrNotFound
		case !tx.canSlide() || len(tx.claims) > 1 || time.Now().Add(pause).After(deadline):
			return tx.s.claims.conflict()
		}
		// Another process has it: its end will need a newer snapshot.
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-tx.s.closing:
			timer.Stop()
			return storage.ErrClosed
		}
		if err := tx.slide(ctx); err != nil {
			return err
		}
	}
}

// lockRow locks a record in PostgreSQL and stashes it. taken says that it exists
// and another process has it.
func (tx *txn) lockRow(ctx context.Context, o *object, k recordKey) (found, taken bool, err error) {
	if err := tx.start(ctx); err != nil {
		return false, false, err
	}
	var doc []byte
	tx.c.add(o.sql.lock, func(v [][]byte) { doc = append([]byte{}, v[0]...) }, tx.c.i8(int64(k.id)))
	if err := tx.run(ctx); err != nil {
		return false, false, err
	}
	if doc != nil {
		tx.keep(k, doc)
		return true, false, nil
	}
	n := tx.c.add(o.sql.exists, nil, tx.c.i8(int64(k.id)))
	if err := tx.run(ctx); err != nil {
		return false, false, err
	}
	return false, n.rows > 0, nil
}

// appended is a record for a log table.
type appended struct {
	o     *object
	doc   []byte
	stamp storage.LogStamp
}

func (a *appended) setWall(ms int64) {
	if a.stamp.Wall >= 0 {
		binary.LittleEndian.PutUint64(a.doc[a.stamp.Wall:], uint64(ms))
	}
}

// cutoff is a truncation of a log table.
type cutoff struct {
	o      *object
	before storage.RecordID
}

// Append queues a record for a log table.
func (tx *txn) Append(ctx context.Context, t storage.TableID, doc []byte, stamp storage.LogStamp) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kindTable, uint32(t))
	if err != nil {
		return err
	}
	for _, at := range []int{stamp.Time, stamp.Wall} {
		if at < -1 || at > len(doc)-8 && at >= 0 {
			return fmt.Errorf("storage: a stamp at %d does not fit into a record of %d bytes", at, len(doc))
		}
	}
	if stamp.Prev < 0 || stamp.Prev > 0 && stamp.Prev > len(doc)-8 {
		return fmt.Errorf("storage: a stamp at %d does not fit into a record of %d bytes", stamp.Prev, len(doc))
	}
	if stamp.Same && len(tx.appends) == 0 {
		return fmt.Errorf("storage: no record was appended before one of the same time")
	}
	tx.appends = append(tx.appends, &appended{o, bytes.Clone(orEmpty(doc)), stamp})
	tx.note(&op{kind: opAppend, o: o})
	return nil
}

// Truncate removes a log table's records with ids below before.
func (tx *txn) Truncate(ctx context.Context, t storage.TableID, before storage.RecordID) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	o, err := tx.use(ctx, kindTable, uint32(t))
	if err != nil {
		return err
	}
	tx.cuts = append(tx.cuts, cutoff{o, before})
	tx.note(&op{kind: opTruncate, o: o})
	return nil
}
