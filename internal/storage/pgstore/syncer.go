package pgstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// syncer makes commits durable, in rounds that serve all who wait, and follows
// the commits of other processes. It has a connection of its own; whoever is in a
// round has it for himself.
type syncer struct {
	s      *Store
	rounds atomic.Int64
	stale  atomic.Bool // the catalogue is to be loaded again

	suspicions atomic.Uint64 // how often another connection was cut, or made: this one may be cut, too

	losses atomic.Uint64 // 1, and one for each connection that was cut; grows before there is another

	standbys atomic.Bool // commits wait for standbys, too

	commitNow string // makes a commit wait for the disk; set by the first connection
	syncNow   string // a commit of nothing that does

	mu        sync.Mutex
	c         *conn         // nil while there is none
	gen       uint64        // counts connections: a crash of the server ends one
	cleared   uint64        // the suspicions before the connection was last known to be there
	busy      bool          // somebody is in a round
	done      chan struct{} // closed when that round is over
	committed uint64        // the newest commit known
	durable   uint64
	grown     chan struct{} // closed when durable grows; nil if nobody asked

	ddl   int64              // the version of the catalogue that is known; owned by the round
	owned map[int64]struct{} // versions after it that this process has made; guarded by mu
}

func (y *syncer) init(s *Store) {
	y.s = s
	y.losses.Store(1)
}

// open makes the first connection and the schema. It does not wait for standbys, which may be missing.
func (y *syncer) open(ctx context.Context) error {
	return y.round(ctx, func(c *conn) error {
		if err := y.look(ctx, c); err != nil || y.standbys.Load() {
			return err
		}
		return y.catchUp(c)
	})
}

// connect makes the connection; the caller is in a round.
func (y *syncer) connect(ctx context.Context) (*conn, error) {
	pg, err := connect(ctx, y.s.config.sync)
	if err != nil {
		return nil, translate(ctx, err)
	}
	c := newConn(pg)
	if v := pg.ParameterStatus("server_version"); isTooOld(v) {
		c.close()
		return nil, fmt.Errorf("PostgreSQL %d or newer is needed, and this server is version %s", oldest, v)
	}
	y.s.ascii.Store(pg.ParameterStatus("server_encoding") != "UTF8")
	c.once("SET synchronous_commit = 'local'") // so that there is a connection while standbys are missing
	if err = c.run(ctx); err == nil {
		err = y.hold(ctx, c)
	}
	if err == nil {
		err = y.s.prepareSchema(ctx, c)
	}
	if err == nil {
		err = y.s.prepareConn(ctx, c)
	}
	if err == nil {
		// Rows of connections that are gone.
		n := y.s.schema
		c.once("DELETE FROM " + n + ".commits WHERE pos < (SELECT max(pos) FROM " + n + ".commits) AND slot NOT IN (SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL)")
		err = c.run(ctx)
	}
	if err == nil {
		err = y.pushClock(ctx, c)
	}
	if err == nil && y.gen > 0 { // what was lost with the connection before may include definitions
		err = y.s.ids.load(ctx, c)
	}
	if err == nil {
		c.once("RESET synchronous_commit")
		err = c.run(ctx)
	}
	if err == nil && y.commitNow == "" {
		err = y.choose(ctx, c)
	}
	if err == nil {
		c.once("SET lock_timeout = '" + groupPatience + "'")
		err = c.run(ctx)
	}
	if err != nil {
		c.close()
		return nil, translate(ctx, err)
	}
	y.s.log.Info("connected to PostgreSQL", "server", pg.Conn().RemoteAddr().String(), "version", pg.ParameterStatus("server_version"),
		"database", y.s.config.sync.Database, "schema", y.s.config.schema)
	return c, nil
}

// oldest is the oldest version of PostgreSQL that has all that is used.
const oldest = 13

// isTooOld says whether a server's version ("12.4 (Debian 12.4-1)", "18beta1") is older. What is none is tried.
func isTooOld(version string) bool {
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(version)
	}
	major, err := strconv.Atoi(version[:end])
	return err == nil && major < oldest
}

// pushClock makes sure that nobody is going to get a time again that was known here: a crash
// takes the newest ones back, and commits, with which streams of this process are through.
// Who has got one since has committed when it returns.
func (y *syncer) pushClock(ctx context.Context, c *conn) error {
	newest := y.newest()
	if newest == 0 {
		return nil
	}
	c.once("BEGIN")
	c.add(y.s.sql.lockCommit, nil)
	c.add(y.s.sql.pushClock, nil, c.i8(int64(newest)))
	c.once("COMMIT")
	return c.run(ctx)
}

// choose finds out how a commit is made to wait for the disk: as the server is configured.
// What is committed for that only is an entry in the journal where PostgreSQL has a
// function for it.
func (y *syncer) choose(ctx context.Context, c *conn) error {
	c.add("SELECT current_setting('synchronous_commit'), to_regprocedure('pg_logical_emit_message(boolean,text,text)')::text", func(v [][]byte) {
		mode := string(v[0])
		y.commitNow = "SET LOCAL synchronous_commit = '" + mode + "'"
		if v[1] != nil {
			y.syncNow = "SELECT pg_logical_emit_message(true, 'archelon', '')::text"
		} else {
			y.syncNow = "UPDATE " + y.s.schema + ".commits SET pos = pos WHERE slot = pg_backend_pid()"
		}
	})
	return c.run(ctx)
}

// hold keeps other processes out as long as the connection lives, those that want the
// store alone if it is shared. It gives a process that has just ended a moment to let
// go. Where there are no such locks nobody is kept out of a shared store.
func (y *syncer) hold(ctx context.Context, c *conn) error {
	lock := "pg_try_advisory_lock"
	if y.s.config.Shared {
		lock = "pg_try_advisory_lock_shared"
	}
	for deadline := time.Now().Add(y.s.config.AcquireTimeout); ; {
		v, err := c.query(ctx, "SELECT "+lock+"(hashtext('archelon'), hashtext($1))::int::int8", []byte(y.s.config.schema))
		if y.s.config.Shared && (stateOf(err) == stateUndefinedFunction || stateOf(err) == stateUnsupported) {
			return nil
		}
		if err != nil || v[0] != 0 {
			return err
		}
		retry := time.NewTimer(dialPause)
		select {
		case <-retry.C:
		case <-y.s.closing:
			retry.Stop()
			return storage.ErrClosed
		case <-ctx.Done():
			retry.Stop()
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			if y.s.config.Shared {
				return fmt.Errorf("%w, which has it alone: end it, or start it again without shared=false and --standalone", ErrInUse)
			}
			return fmt.Errorf("%w, and this one wants it alone: end that, or start both without shared=false and --standalone", ErrInUse)
		}
	}
}

// round runs fn with the connection, after any other round.
func (y *syncer) round(ctx context.Context, fn func(*conn) error) error {
	if err := y.take(ctx); err != nil {
		return err
	}
	return y.lead(ctx, fn)
}

// ask is a round for a client, who may give up before it: in it that would cut the
// connection, and fail the commits of others.
func (y *syncer) ask(ctx context.Context, fn func(context.Context, *conn) error) error {
	if err := y.take(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), y.s.config.AcquireTimeout)
	defer cancel()
	return y.lead(ctx, func(c *conn) error { return fn(ctx, c) })
}

// standbyPatience is how long a round that may wait for standbys is waited for.
const standbyPatience = time.Second

// aside is ask for what the next write needs: while the syncer waits for standbys it has another connection.
func (y *syncer) aside(ctx context.Context, fn func(context.Context, *conn) error) error {
	if !y.standbys.Load() {
		return y.ask(ctx, fn)
	}
	within, cancel := context.WithTimeout(ctx, standbyPatience)
	err := y.take(within)
	cancel()
	within, cancel = context.WithTimeout(context.WithoutCancel(ctx), y.s.config.AcquireTimeout)
	defer cancel()
	if err == nil {
		return y.lead(within, func(c *conn) error { return fn(within, c) })
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c, err := y.s.pool.acquire(ctx)
	if err != nil {
		return translate(ctx, err)
	}
	defer y.s.pool.release(c)
	c.end()
	return translate(ctx, fn(within, c))
}

// take waits until nobody is in a round, and begins one.
func (y *syncer) take(ctx context.Context) error {
	for {
		y.mu.Lock()
		if !y.busy {
			y.busy, y.done = true, make(chan struct{})
			y.mu.Unlock()
			return nil
		}
		done := y.done
		y.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// lead is a round of whoever has set busy.
func (y *syncer) lead(ctx context.Context, fn func(*conn) error) error {
	c, err, suspicions := y.c, error(nil), y.suspicions.Load()
	if c != nil && y.cleared != suspicions && !c.alive() {
		c.close()
		c = nil
		y.mu.Lock()
		y.c = nil
		y.gen++
		y.losses.Add(1)
		y.mu.Unlock()
	}
	if c == nil {
		c, err = y.connect(ctx)
	}
	if err == nil {
		y.mu.Lock()
		y.cleared = suspicions
		y.mu.Unlock()
		err = fn(c)
	}
	if c != nil && c.lost {
		y.s.pool.suspect()
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	switch {
	case c != nil && c.broken:
		c.close()
		y.c = nil
		y.gen++
		y.losses.Add(1)
	case c != nil:
		if y.c == nil {
			y.gen++
		}
		y.c = c
	}
	y.busy = false
	close(y.done)
	return translate(ctx, err)
}

// roundPatience is after how long a round shows that its connection is not cut: its statement would have failed.
const roundPatience = 200 * time.Millisecond

// generation is the number of the connection, which is made if there is none.
// What was committed in one generation and synced in the same has survived.
func (y *syncer) generation(ctx context.Context) (uint64, error) {
	y.mu.Lock()
	gen, sure, busy, done := y.gen, y.isSure(), y.busy && y.c != nil, y.done
	y.mu.Unlock()
	if sure {
		return gen, nil
	}
	if busy { // waiting for standbys, perhaps
		timer := time.NewTimer(roundPatience)
		defer timer.Stop()
		select {
		case <-done:
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-timer.C:
			y.mu.Lock()
			gen, there := y.gen, y.c != nil
			y.mu.Unlock()
			if there {
				return gen, nil
			}
		}
	}
	within, cancel := context.WithTimeout(ctx, y.s.config.AcquireTimeout)
	defer cancel()
	switch err := y.round(within, func(*conn) error { return nil }); { // which asks whether the connection is still there
	case err != nil && within.Err() != nil && ctx.Err() == nil:
		return 0, mongoerr.New(mongoerr.HostUnreachable, "the connection to PostgreSQL cannot be checked: %v", err)
	case err != nil:
		return 0, err
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.gen, nil
}

// isSure says whether nothing speaks against the connection being there. The lock mu is held.
func (y *syncer) isSure() bool { return y.c != nil && y.cleared == y.suspicions.Load() }

// syncedElsewhere notes that a commit is durable which has waited for the disk on another connection, and with it what was committed before.
func (y *syncer) syncedElsewhere(pos uint64) {
	y.mu.Lock()
	sure := y.isSure()
	y.mu.Unlock()
	if sure { // else the other connection may be one of a server that has lost what was before
		y.synced(pos)
	}
}

// newest is the time of the newest commit known.
func (y *syncer) newest() uint64 {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.committed
}

// note tells of a commit that is visible.
func (y *syncer) note(pos uint64) {
	y.s.clock.SetApplied(pos)
	y.mu.Lock()
	defer y.mu.Unlock()
	y.committed = max(y.committed, pos)
}

// wait returns when everything up to pos is durable, or ctx has ended. gen is the generation
// in which it was committed.
func (y *syncer) wait(ctx context.Context, pos, gen uint64) error {
	for {
		y.mu.Lock()
		switch {
		case y.gen != gen || y.c == nil: // what is durable since may leave it out
			y.mu.Unlock()
			return mongoerr.New(mongoerr.HostUnreachable, "the connection to PostgreSQL was lost while a commit was waiting for the disk")
		case y.durable >= pos:
			y.mu.Unlock()
			return nil
		case y.busy:
			done := y.done
			y.mu.Unlock()
			select {
			case <-done:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		y.busy, y.done = true, make(chan struct{})
		y.mu.Unlock()
		if ctx.Done() == nil {
			if err := y.lead(context.Background(), y.flush); err != nil {
				return err
			}
			continue
		}
		led := make(chan error, 1)
		go func() { led <- y.lead(context.Background(), y.flush) }() // goes on for others; close waits for it
		select {
		case err := <-led:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flush makes everything that is committed now durable.
func (y *syncer) flush(c *conn) error {
	target := y.newest()
	c.add(y.syncNow, nil)
	if err := c.run(context.Background()); err != nil {
		return err
	}
	if c.notice != "" { // somebody has canceled the wait for standbys
		return mongoerr.New(mongoerr.HostUnreachable, "PostgreSQL does not wait until commits are durable: %s", c.notice)
	}
	y.synced(target)
	return nil
}

// synced notes that everything up to pos is durable.
func (y *syncer) synced(pos uint64) {
	y.rounds.Add(1)
	y.mu.Lock()
	defer y.mu.Unlock()
	if pos <= y.durable {
		return
	}
	y.durable = pos
	if y.grown != nil {
		close(y.grown)
		y.grown = nil
	}
}

// watch is Engine.Durable.
func (y *syncer) watch() (uint64, <-chan struct{}) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.grown == nil {
		y.grown = make(chan struct{})
	}
	return y.durable, y.grown
}

// poll looks for commits of other processes, and makes them and those of our own
// that did not wait durable.
func (y *syncer) poll(ctx context.Context) error {
	return y.round(ctx, func(c *conn) error {
		if err := y.look(ctx, c); err != nil {
			return err
		}
		return y.catchUp(c)
	})
}

// look looks for what other processes have done.
func (y *syncer) look(ctx context.Context, c *conn) error {
	n := y.s.schema
	v, err := c.query(ctx, "SELECT COALESCE(max(pos), 0), (SELECT last_value + is_called::int FROM "+n+".ddl), "+
		"(COALESCE(current_setting('synchronous_standby_names', true), '?') <> '')::int::int8 FROM "+n+".commits")
	if err != nil {
		return err
	}
	y.standbys.Store(v[2] != 0)
	if y.stale.Swap(false) || y.ddl == 0 || y.foreign(v[1]) {
		if err := y.s.ids.load(ctx, c); err != nil {
			y.stale.Store(true)
			return err
		}
	}
	y.ddl = v[1]
	if pos := uint64(v[0]); pos > 0 {
		y.note(pos)
	}
	return nil
}

// catchUp makes durable what is not.
func (y *syncer) catchUp(c *conn) error {
	y.mu.Lock()
	behind := y.durable < y.committed
	y.mu.Unlock()
	if behind {
		return y.flush(c)
	}
	return nil
}

// own notes a change of the catalogue that this process has committed, by the number it
// drew from the sequence ddl: it need not be read back.
func (y *syncer) own(drawn int64) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.owned == nil {
		y.owned = map[int64]struct{}{}
	}
	y.owned[drawn+1] = struct{}{}
}

// foreign says whether another process may have changed the catalogue between the
// version that is known and a newer one, and forgets what this process did until then.
func (y *syncer) foreign(version int64) bool {
	y.mu.Lock()
	defer y.mu.Unlock()
	known := 0
	for v := range y.owned {
		if v <= version {
			if v > y.ddl {
				known++
			}
			delete(y.owned, v)
		}
	}
	return y.s.config.Shared && int64(known) != version-y.ddl
}

// reload reads the catalogue again.
func (y *syncer) reload(ctx context.Context) error {
	return y.ask(ctx, y.s.ids.load)
}

// cut ends a round that waits for what may never come.
func (y *syncer) cut() {
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.c != nil {
		y.c.pg.Conn().Close()
	}
}

func (y *syncer) close() {
	_ = y.round(context.Background(), func(*conn) error { return nil }) // only to come after a round that is under way
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.c != nil {
		y.c.close()
		y.c = nil
		y.gen++
	}
}

// unknownOutcome is the error of a commit whose connection was lost on the way.
func unknownOutcome(err error) error {
	return mongoerr.New(mongoerr.HostUnreachable, "the connection to PostgreSQL was lost while committing, the outcome is unknown: %v", err)
}
