package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/test/pgharness"
)

// openTwo opens a store twice, as two processes do, with a table and an index.
func openTwo(t *testing.T) (a, b *Store) {
	t.Helper()
	url := freshURL(t)
	for _, s := range []**Store{&a, &b} {
		var err error
		*s, err = Open(t.Context(), Config{URL: url, Shared: true})
		must(t, err)
		t.Cleanup(func() { (*s).Close() })
	}
	tx := a.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true), tx.CreateTable(2)))
	commit(t, tx)
	return a, b
}

func commit(t testing.TB, tx storage.Txn) {
	t.Helper()
	_, err := tx.Commit(context.Background())
	must(t, err)
}

func insertOne(t testing.TB, s *Store, doc string) storage.RecordID {
	t.Helper()
	tx := s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	id, err := tx.Insert(context.Background(), 1, []byte(doc))
	must(t, err)
	commit(t, tx)
	return id
}

func read(t testing.TB, s *Store, id storage.RecordID) string {
	t.Helper()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	doc, err := tx.Get(context.Background(), 1, id)
	if errors.Is(err, storage.ErrNotFound) {
		return "-"
	}
	must(t, err)
	return string(doc)
}

func wantErr(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func TestTwoProcesses(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	id := insertOne(t, a, "one")
	if got := read(t, b, id); got != "one" {
		t.Fatalf("the other process reads %q", got)
	}
	if other := insertOne(t, b, "two"); other <= id {
		t.Fatalf("record id %d after %d", other, id)
	}

	t.Run("Locked", func(t *testing.T) {
		w := a.Begin(storage.TxnOptions{})
		must(t, w.Update(ctx, 1, id, []byte("by a")))
		must(t, w.PutEntry(ctx, 1, []byte("k\x04"), id, nil))
		tx := b.Begin(storage.TxnOptions{})
		wantErr(t, tx.Lock(ctx, 1, id), storage.ErrWriteConflict)
		if doc, err := tx.Get(ctx, 1, id); err != nil || string(doc) != "one" {
			t.Fatalf("after a conflict: %q, %v", doc, err)
		}
		tx.Rollback()
		tx = b.Begin(storage.TxnOptions{})
		wantErr(t, tx.PutEntry(ctx, 1, []byte("k\x04"), 77, nil), storage.ErrWriteConflict)
		tx.Rollback()
		done := make(chan error)
		go func() {
			tx := b.Begin(storage.TxnOptions{ConflictWait: 10 * time.Second})
			err := tx.Lock(ctx, 1, id)
			if err == nil {
				var doc []byte
				if doc, err = tx.Get(ctx, 1, id); string(doc) != "by a" {
					err = fmt.Errorf("read %q, %w", doc, err)
				}
			}
			tx.Rollback() // what comes next needs the record
			done <- err
		}()
		select {
		case err := <-done:
			t.Fatalf("did not wait: %v", err)
		case <-time.After(30 * time.Millisecond):
		}
		commit(t, w)
		must(t, <-done)
	})

	t.Run("Stale", func(t *testing.T) {
		tx := b.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		_, err := tx.Get(ctx, 1, id)
		must(t, err)
		tx.Snapshot()
		w := a.Begin(storage.TxnOptions{})
		must(t, w.Update(ctx, 1, id, []byte("newer")))
		commit(t, w)
		wantErr(t, tx.Update(ctx, 1, id, []byte("lost")), storage.ErrWriteConflict)
	})

	t.Run("Counters", func(t *testing.T) {
		id := insertOne(t, a, "0")
		const rounds = 40
		var wg sync.WaitGroup
		for w := range 4 {
			s := []*Store{a, b}[w%2]
			wg.Go(func() {
				for range rounds {
					for {
						tx := s.Begin(storage.TxnOptions{ConflictWait: time.Second})
						err := increment(ctx, tx, id)
						if err == nil {
							_, err = tx.Commit(ctx)
						}
						tx.Rollback()
						if err == nil {
							break
						}
						if !errors.Is(err, storage.ErrWriteConflict) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		wg.Wait()
		if got := read(t, a, id); got != fmt.Sprint(4*rounds) {
			t.Fatalf("%s of %d increments", got, 4*rounds)
		}
	})

	t.Run("Log", func(t *testing.T) { followLog(t, a, b) })

	t.Run("Drop", func(t *testing.T) {
		w := b.Begin(storage.TxnOptions{})
		must(t, w.Lock(ctx, 1, id))
		d := a.Begin(storage.TxnOptions{})
		wantErr(t, d.DropTable(1), storage.ErrWriteConflict)
		d.Rollback()
		w.Rollback()
		d = a.Begin(storage.TxnOptions{})
		must(t, d.DropTable(1))
		commit(t, d)
		deadline := time.Now().Add(10 * time.Second)
		for {
			tx := b.Begin(storage.TxnOptions{})
			_, err := tx.Insert(ctx, 1, []byte("late"))
			if err == nil {
				_, err = tx.Commit(ctx)
			}
			tx.Rollback()
			if errors.Is(err, storage.ErrNotFound) {
				break
			}
			if !errors.Is(err, storage.ErrWriteConflict) || time.Now().After(deadline) {
				t.Fatalf("insertion into a dropped table: %v", err)
			}
		}
	})
}

func increment(ctx context.Context, tx storage.Txn, id storage.RecordID) error {
	if err := tx.Lock(ctx, 1, id); err != nil {
		return err
	}
	doc, err := tx.Get(ctx, 1, id)
	if err != nil {
		return err
	}
	n := 0
	fmt.Sscan(string(doc), &n)
	return tx.Update(ctx, 1, id, fmt.Append(nil, n+1))
}

// TestWriteOnRetained commits on a state that is older than everything its
// connection has committed.
func TestWriteOnRetained(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: freshURL(t) + "&pool_max_conns=2"})
	must(t, err)
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	r, err := s.Retain()
	must(t, err)
	defer r.Release()
	ids := []storage.RecordID{insertOne(t, s, "a"), insertOne(t, s, "b")}
	for _, id := range ids {
		tx := s.Begin(storage.TxnOptions{At: r})
		if _, err := tx.Get(t.Context(), 1, id); !errors.Is(err, storage.ErrNotFound) {
			t.Fatalf("the retained state has what came later: %v", err)
		}
		if _, err := tx.Insert(t.Context(), 1, []byte("late")); err != nil {
			t.Fatal(err)
		}
		before := s.Stats().LastCommitted
		pos, err := tx.Commit(t.Context())
		must(t, err)
		if pos <= before {
			t.Fatalf("position %d after %d", pos, before)
		}
		s.sweep(t.Context())
	}
	tx = s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	if got := tx.Snapshot(); got != s.Stats().LastCommitted {
		t.Fatalf("a snapshot at %d, the last commit at %d", got, s.Stats().LastCommitted)
	}
}

// TestRetainedLeaveRoom retains states until no more are given out: writes go on.
func TestRetainedLeaveRoom(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: freshURL(t) + "&pool_max_conns=6"})
	must(t, err)
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	for n := 0; ; n++ {
		insertOne(t, s, "x")
		r, err := s.Retain()
		if err == nil {
			defer r.Release()
			continue
		}
		var me *mongoerr.Error
		if n != 3 || !errors.As(err, &me) || me.Code != mongoerr.IngressRequestRateLimitExceeded {
			t.Fatalf("after %d: %v", n, err)
		}
		break
	}
	insertOne(t, s, "y")
}

// followLog lets both processes append, and a reader in one of them follow by
// what Durable says: it misses nothing, and learns of the other's records soon.
func followLog(t *testing.T, a, b *Store) {
	const rounds = 60
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 4 {
		s := []*Store{a, b}[w%2]
		wg.Go(func() {
			for i := range rounds {
				tx := s.Begin(storage.TxnOptions{NoSync: i%5 == 0})
				for range 1 + i%2 {
					if err := tx.Append(ctx, 2, make([]byte, 16), storage.LogStamp{Time: 0, Wall: 8}); err != nil {
						t.Error(err)
					}
				}
				if _, err := tx.Commit(ctx); err != nil {
					t.Error(err)
				}
				tx.Rollback()
			}
		})
	}
	total := 4 * rounds * 3 / 2
	last, seen := storage.RecordID(0), 0
	for deadline := time.Now().Add(30 * time.Second); seen < total; {
		upTo, grown := b.Durable()
		if upTo <= uint64(last) {
			select {
			case <-grown:
				continue
			case <-time.After(time.Until(deadline)):
				t.Fatalf("%d records of %d", seen, total)
			}
		}
		tx := b.Begin(storage.TxnOptions{ReadOnly: true})
		it, err := tx.Scan(ctx, 2, storage.RecordRange{Min: last + 1, Max: storage.RecordID(upTo)})
		must(t, err)
		for it.Next() {
			seen++
			last = it.ID()
		}
		must(t, it.Close())
		tx.Rollback()
		last = max(last, storage.RecordID(upTo))
	}
	wg.Wait()
	start := time.Now()
	_, grown := b.Durable()
	tx := a.Begin(storage.TxnOptions{})
	must(t, tx.Append(ctx, 2, make([]byte, 16), storage.LogStamp{Time: 0, Wall: 8}))
	commit(t, tx)
	<-grown
	t.Logf("a record of the other process was noticed after %v", time.Since(start))
}

func TestPoolExhaustion(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: freshURL(t) + "&pool_max_conns=2", AcquireTimeout: 50 * time.Millisecond})
	must(t, err)
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	var open []storage.Txn
	for range 2 {
		tx := s.Begin(storage.TxnOptions{})
		tx.Snapshot()
		open = append(open, tx)
	}
	late := s.Begin(storage.TxnOptions{})
	defer late.Rollback()
	_, err = late.Scan(t.Context(), 1, storage.RecordRange{})
	var me *mongoerr.Error
	if !errors.As(err, &me) || me.Code != mongoerr.IngressRequestRateLimitExceeded || len(me.Labels) != 2 {
		t.Fatalf("got %v", err)
	}
	open[0].Rollback()
	insertOne(t, s, "x")
	open[1].Rollback()
}

// TestServerCrash kills PostgreSQL again and again under load: errors are ones to
// try again after, the store recovers by itself, and what was acknowledged is there.
func TestServerCrash(t *testing.T) {
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	pg, err := pgharness.Start(nil)
	must(t, err)
	defer pg.Close()
	s, err := Open(t.Context(), Config{URL: pg.URL(), AcquireTimeout: 20 * time.Second})
	must(t, err)
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	commit(t, tx)

	l := load(t, s, 6)
	for range 3 {
		<-time.After(150 * time.Millisecond) // PostgreSQL gives no other sign
		pg.Kill()
		must(t, pg.Run())
	}
	<-time.After(300 * time.Millisecond) // PostgreSQL gives no other sign
	l.check(t, s)
}

// TestFailover kills a primary whose commits wait for a standby, promotes the
// standby and goes on there: no acknowledged write is lost.
func TestFailover(t *testing.T) {
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	primary, err := pgharness.Start(map[string]string{"synchronous_standby_names": "*", "synchronous_commit": "local"})
	must(t, err)
	defer primary.Close()
	standby, err := primary.Standby()
	must(t, err)
	defer standby.Close()
	url := fmt.Sprintf("postgres://archelon@%s,%s/postgres?sslmode=disable&synchronous_commit=on", primary.Address(), standby.Address())
	s, err := Open(t.Context(), Config{URL: url, AcquireTimeout: 20 * time.Second})
	must(t, err)
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.CreateTable(1), tx.CreateIndex(1, 1, true)))
	commit(t, tx)

	l := load(t, s, 6)
	<-time.After(300 * time.Millisecond) // PostgreSQL gives no other sign
	primary.Kill()
	start, before := time.Now(), l.count()
	must(t, standby.Promote())
	for l.count() < before+10 {
		if time.Since(start) > 10*time.Second {
			t.Fatal("writes did not resume within 10 s")
		}
		<-time.After(time.Millisecond)
	}
	t.Logf("writes went on %v after the primary was killed", time.Since(start))
	l.check(t, s)
}

// loader inserts from several goroutines and remembers what was acknowledged.
type loader struct {
	stop chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	acked map[string]storage.RecordID
}

func load(t *testing.T, s *Store, workers int) *loader {
	l := &loader{stop: make(chan struct{}), acked: map[string]storage.RecordID{}}
	for w := range workers {
		l.wg.Go(func() { l.run(t, s, w) })
	}
	return l
}

func (l *loader) run(t *testing.T, s *Store, w int) {
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		key := fmt.Sprintf("%d/%d\x04", w, i)
		id, err := insertKeyed(t.Context(), s, key, w%2 == 0)
		var me *mongoerr.Error
		switch {
		case err == nil:
			l.mu.Lock()
			l.acked[key] = id
			l.mu.Unlock()
		case errors.As(err, &me) && (me.Code == mongoerr.HostUnreachable || me.Code == mongoerr.NotWritablePrimary):
		case errors.Is(err, storage.ErrWriteConflict): // with a record id of before the crash, which has been given out again
		default:
			t.Errorf("insert: %v", err)
			return
		}
	}
}

func (l *loader) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// check ends the load and looks for everything that was acknowledged.
func (l *loader) check(t *testing.T, s *Store) {
	t.Helper()
	close(l.stop)
	l.wg.Wait()
	read := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer read.Rollback()
	for key, id := range l.acked {
		got, err := read.LookupUnique(t.Context(), 1, []byte(key))
		if err != nil || got != id {
			t.Fatalf("%q: record %d, %v; acknowledged was %d", key, got, err, id)
		}
		doc, err := read.Get(t.Context(), 1, id)
		if err != nil || string(doc) != key {
			t.Fatalf("%q: %q, %v", key, doc, err)
		}
	}
	t.Logf("%d acknowledged inserts", len(l.acked))
	if len(l.acked) == 0 {
		t.Fatal("nothing was written")
	}
}

func insertKeyed(ctx context.Context, s *Store, key string, brief bool) (storage.RecordID, error) {
	tx := s.Begin(storage.TxnOptions{Brief: brief})
	defer tx.Rollback()
	id, err := tx.Insert(ctx, 1, []byte(key))
	if err != nil {
		return 0, err
	}
	if err := tx.PutEntry(ctx, 1, []byte(key), id, nil); err != nil {
		return 0, err
	}
	_, err = tx.Commit(ctx)
	return id, err
}

func TestOpenErrors(t *testing.T) {
	url := freshURL(t)
	s := open(t, url)
	ctx := t.Context()
	for _, shared := range []bool{true, false} {
		_, err := Open(ctx, Config{URL: url, Shared: shared, AcquireTimeout: 200 * time.Millisecond})
		wantErr(t, err, ErrInUse)
		if !strings.Contains(err.Error(), "shared=false") {
			t.Errorf("shared %t: %v does not say what to do", shared, err)
		}
	}
	c, err := s.pool.acquire(ctx)
	must(t, err)
	c.once("UPDATE " + s.schema + ".format SET version = 99")
	must(t, c.run(ctx))
	s.pool.release(c)
	must(t, s.Close())
	_, err = Open(ctx, Config{URL: url})
	wantErr(t, err, ErrNewerFormat)

	for _, bad := range []string{"mysql://x", "postgres://x/y?pool_max_conns=1", "postgres://x/y?schema=" + fmt.Sprintf("%060d", 1), "postgres://x:port/"} {
		if _, err := Open(ctx, Config{URL: bad}); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestCanceledStatement(t *testing.T) {
	s := open(t, freshURL(t))
	c, err := s.pool.acquire(t.Context())
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	c.once("SELECT pg_sleep(60)")
	start := time.Now()
	err = c.run(ctx)
	if got := translate(ctx, err); !errors.Is(got, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Fatalf("got %v after %v", got, time.Since(start))
	}
	s.pool.release(c)
}

// TestGivingUp has clients give up while record ids are fetched for them: that fails nobody else's commits.
func TestGivingUp(t *testing.T) {
	s, _ := openTwo(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					insertOne(t, s, "x")
				}
			}
		})
	}
	o, err := s.ids.find(t.Context(), kindTable, 2)
	must(t, err)
	gaveUp := 0
	for i := range 500 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Microsecond)
		tx := s.Begin(storage.TxnOptions{})
		o.mu.Lock()
		o.next = o.limit // the block is used up
		o.mu.Unlock()
		if _, err := tx.Insert(ctx, 2, []byte("y")); errors.Is(err, context.DeadlineExceeded) {
			gaveUp++
		} else if err != nil {
			t.Error(err)
		}
		tx.Rollback()
		cancel()
	}
	close(stop)
	wg.Wait()
	s.syncer.mu.Lock()
	defer s.syncer.mu.Unlock()
	if s.syncer.gen != 1 || gaveUp == 0 {
		t.Errorf("%d connections, %d have given up", s.syncer.gen, gaveUp)
	}
}

// TestLateCommit cuts the connection of a commit that PostgreSQL has not come to yet, because somebody has the table alone: it does
// not happen after it has been told that it is over.
func TestLateCommit(t *testing.T) {
	for name, opts := range map[string]storage.TxnOptions{"alone": {Hopeful: true, Hold: 1}, "in a group": brief} {
		t.Run(name, func(t *testing.T) {
			a, b := openTwo(t)
			ctx := t.Context()
			insertOne(t, a, "first")
			alone := b.Begin(storage.TxnOptions{Alone: []storage.TableID{1}})
			defer alone.Rollback()
			_, err := alone.Get(ctx, 1, 1)
			must(t, err)
			tx := a.Begin(opts)
			_, err = tx.Insert(ctx, 1, []byte("late"))
			must(t, err)
			a.pool.mu.Lock()
			conns := append([]*conn(nil), a.pool.idle...) // one of which the commit is going to take, if not the syncer's
			a.pool.mu.Unlock()
			a.syncer.mu.Lock()
			conns = append(conns, a.syncer.c)
			a.syncer.mu.Unlock()
			done := make(chan error, 1)
			go func() {
				_, err := tx.Commit(ctx)
				done <- err
			}()
			cut := ""
			for cut == "" { // until the commit waits
				cut = ask(t, b, "SELECT pid::text FROM pg_locks WHERE NOT granted AND relation = '"+table(t, b, 1)+"'::regclass")
			}
			for _, c := range conns {
				must(t, c.pg.Conn().Close())
			}
			var me *mongoerr.Error
			if err := <-done; !errors.As(err, &me) || me.Code != mongoerr.HostUnreachable {
				t.Fatalf("got %v", err)
			}
			alone.Rollback()
			for ask(t, b, "SELECT pid::text FROM pg_stat_activity WHERE pid = "+cut) != "" {
				<-time.After(time.Millisecond)
			}
			if n := count(t, b); n != 1 {
				t.Errorf("%d records", n)
			}
			insertOne(t, a, "another")
		})
	}
}

// TestForeignFence has a fence find a connection that has got the number of the one it is about.
func TestForeignFence(t *testing.T) {
	s, _ := openTwo(t)
	insertOne(t, s, "x")
	s.syncer.mu.Lock()
	slots := []uint32{s.syncer.c.pg.PID()}
	s.syncer.mu.Unlock()
	s.pool.mu.Lock()
	for _, c := range s.pool.idle {
		slots = append(slots, c.pg.PID())
	}
	s.pool.mu.Unlock()
	for _, slot := range slots {
		s.fence(slot)
	}
	for _, opts := range []storage.TxnOptions{{}, brief} {
		for try := 0; ; try++ {
			tx := s.Begin(opts)
			_, err := tx.Insert(t.Context(), 1, []byte("y"))
			must(t, err)
			_, err = tx.Commit(t.Context())
			tx.Rollback()
			if err == nil {
				break
			}
			if wantErr(t, err, storage.ErrWriteConflict); try > len(slots) {
				t.Fatal("a connection without its row goes on being used")
			}
		}
	}
	if n := count(t, s); n != 3 {
		t.Errorf("%d records", n)
	}
}

// table is the name of a table in SQL.
func table(t testing.TB, s *Store, id uint32) string {
	t.Helper()
	o, err := s.ids.find(t.Context(), kindTable, id)
	must(t, err)
	return o.name
}

// TestExpecting checks that what a transaction goes by is asked for when it looks, and not
// when it begins.
func TestExpecting(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	put := func(value string) *storage.Expectation {
		tx := b.Begin(storage.TxnOptions{})
		must(t, tx.PutMeta(ctx, []byte("v"), []byte(value)))
		commit(t, tx)
		return &storage.Expectation{Key: []byte("v"), Value: []byte(value)}
	}
	known := put("1")
	begin := func() storage.Txn {
		return a.Begin(storage.TxnOptions{ReadOnly: true, Expecting: func() []*storage.Expectation { return []*storage.Expectation{known} }})
	}
	scan := func(tx storage.Txn) error {
		defer tx.Rollback()
		it, err := tx.Scan(ctx, 1, storage.RecordRange{})
		if err != nil {
			return err
		}
		it.Next()
		return errors.Join(it.Err(), it.Close())
	}
	early := begin()
	known = put("2")
	must(t, scan(early))
	put("3")
	var stale *storage.StaleError
	if err := scan(begin()); !errors.As(err, &stale) || stale.Expected != known {
		t.Fatalf("got %v", err)
	}
}

// TestLostTimes has PostgreSQL lose commits in a crash that a process has seen. No other process gets their times, or
// earlier ones, for commits that come after this one has said that there are no more.
func TestLostTimes(t *testing.T) {
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	pg, err := pgharness.Start(map[string]string{"wal_writer_delay": "10s"})
	must(t, err)
	defer pg.Close()
	now := time.Now() // which stands still: times are a second and a number in it
	stores := [2]*Store{}
	for i := range stores {
		stores[i], err = Open(t.Context(), Config{URL: pg.URL(), Shared: true, AcquireTimeout: 20 * time.Second, Clock: clock.New(func() time.Time { return now })})
		must(t, err)
		defer stores[i].Close()
	}
	a, b := stores[0], stores[1]
	tx := a.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	insert := func(s *Store, noSync bool) uint64 {
		for {
			tx := s.Begin(storage.TxnOptions{NoSync: noSync})
			_, err := tx.Insert(t.Context(), 1, []byte("x"))
			pos := storage.Position(0)
			if err == nil {
				pos, err = tx.Commit(t.Context())
			}
			tx.Rollback()
			var me *mongoerr.Error
			if !errors.As(err, &me) || me.Code != mongoerr.HostUnreachable { // a connection that was cut
				must(t, err)
				return uint64(pos)
			}
		}
	}
	for range 10 {
		insert(b, false)
		last := uint64(0)
		for range 20 {
			last = insert(a, true)
		}
		pg.Kill()
		must(t, pg.Run())
		for deadline := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
			if upTo, _ := a.Durable(); upTo >= last {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the store does not recover")
			}
		}
		upTo, _ := a.Durable()
		if at := insert(b, false); at <= upTo {
			t.Errorf("a commit at %d after it was told that there are none up to %d", at, upTo)
		}
	}
}

// TestLostCreation loses the commit that created a table, as a crash does, and creates another one with its id: a process
// that knew the lost one reads and writes the other.
func TestLostCreation(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	create := func(s *Store, name string) {
		t.Helper()
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		must(t, errors.Join(tx.(storage.Namer).NameTable(9, "d", name), tx.CreateTable(9), tx.CreateIndex(9, 9, false)))
		commit(t, tx)
	}
	insert := func(s *Store) (storage.RecordID, error) {
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		id, err := tx.Insert(ctx, 9, []byte("x"))
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		return id, err
	}
	create(a, "lost")
	_, err := insert(a)
	must(t, err)
	table, err := a.ids.find(ctx, kindTable, 9)
	must(t, err)
	index, err := a.ids.find(ctx, kindIndex, 9)
	must(t, err)
	must(t, a.syncer.reload(ctx))
	if again, err := a.ids.find(ctx, kindIndex, 9); err != nil || again != index {
		t.Errorf("an index that is as it was is another one: %v", err)
	}

	c, err := b.pool.acquire(ctx)
	must(t, err)
	defer b.pool.release(c)
	c.end()
	c.once("DROP TABLE " + table.name + ", " + index.name)
	c.once("DELETE FROM " + b.schema + ".ids WHERE id = 9")
	c.once("DELETE FROM " + b.schema + ".blocks WHERE id = 9")
	must(t, c.run(ctx))
	must(t, b.syncer.reload(ctx)) // it may know the lost one, too
	create(b, "other")
	a.syncer.cut()
	for deadline := time.Now().Add(10 * time.Second); ; {
		id, err := insert(a)
		if err == nil {
			tx := b.Begin(storage.TxnOptions{ReadOnly: true})
			defer tx.Rollback()
			_, err = tx.Get(ctx, 9, id)
			must(t, err)
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// TestNoRecordIDs cuts the connection on which record ids are fetched: it is the transaction that has failed, and not the
// insert, without which it would go on.
func TestNoRecordIDs(t *testing.T) {
	s, _ := openTwo(t)
	table, err := s.ids.find(t.Context(), kindTable, 1)
	must(t, err)
	try := func() (met bool) {
		table.mu.Lock()
		table.next = table.limit
		table.mu.Unlock()
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		mark := tx.Savepoint()
		s.syncer.cut()
		_, err := tx.Insert(t.Context(), 1, []byte("two"))
		if err == nil {
			return false // there was another connection already
		}
		if undo := tx.RollbackTo(mark); !mongoerr.Is(err, mongoerr.HostUnreachable) || !mongoerr.Is(undo, mongoerr.HostUnreachable) {
			t.Errorf("inserted: %v, undone: %v", err, undo)
		}
		return true
	}
	for range 100 {
		if try() {
			return
		}
	}
	t.Error("no insert was without a connection")
}

// TestLostBlock loses what says that a process has taken record ids, and what it has used them for: another one gets them, and
// this one takes others.
func TestLostBlock(t *testing.T) {
	url := freshURL(t)
	var stores [3]*Store
	for i := range stores {
		var err error
		stores[i], err = Open(t.Context(), Config{URL: url, Shared: true})
		must(t, err)
		defer stores[i].Close()
	}
	a, b, third := stores[0], stores[1], stores[2]
	tx := a.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	commit(t, tx)
	ctx := t.Context()
	insertOne(t, b, "lost")
	table, err := a.ids.find(ctx, kindTable, 1)
	must(t, err)
	c, err := a.pool.acquire(ctx)
	must(t, err)
	c.end()
	c.once("DELETE FROM " + a.schema + ".blocks WHERE id = 1")
	c.once("DELETE FROM " + table.name)
	must(t, c.run(ctx))
	a.pool.release(c)
	before := b.Losses()
	b.syncer.cut()
	for b.Losses() == before {
		<-time.After(time.Millisecond)
	}
	for range 3 {
		insertOne(t, third, "x")
	}
	_, err = b.Generation(ctx)
	must(t, err)
	insertOne(t, b, "x")
}

// TestBehind commits transactions that go by what may be lost: they fail, and leave others alone.
func TestBehind(t *testing.T) {
	s, _ := openTwo(t)
	ctx := t.Context()
	for name, o := range map[string]storage.TxnOptions{"": {}, "brief": {Brief: true}, "brief, not durable": {Brief: true, NoSync: true}} {
		for behind := range uint64(2) {
			o.Losses = s.Losses() + behind
			tx := s.Begin(o)
			_, err := tx.Insert(ctx, 1, []byte("x"))
			must(t, err)
			_, err = tx.Commit(ctx)
			tx.Rollback()
			if wanted := behind != 0; errors.Is(err, storage.ErrWriteConflict) != wanted || !wanted && err != nil {
				t.Errorf("%q, behind by %d: %v", name, behind, err)
			}
		}
	}
}

// TestLostDrop loses the commit that dropped a table, as a crash does, while a transaction is open that saw the table.
func TestLostDrop(t *testing.T) {
	s, _ := openTwo(t)
	ctx := t.Context()
	older := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer older.Rollback()
	older.Snapshot()
	tx := s.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.DropIndex(1), tx.DropTable(1)))
	commit(t, tx)
	c, err := s.pool.acquire(ctx)
	must(t, err)
	c.end()
	table, err := s.ids.find(ctx, kindTable, 1)
	must(t, err)
	c.once("UPDATE " + s.schema + ".ids SET dropped = NULL")
	c.once("DROP TRIGGER dropped ON " + table.name)
	must(t, c.run(ctx))
	s.pool.release(c)
	must(t, s.syncer.reload(ctx))
	insertOne(t, s, "x")
}

// TestHoldOfTheChanged holds a table in a transaction whose snapshot is older than the last change of what belongs to the table.
func TestHoldOfTheChanged(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	key := []byte("Cd\x00c")
	put := func(value string) {
		t.Helper()
		tx := b.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		must(t, tx.PutMeta(ctx, key, []byte(value)))
		commit(t, tx)
	}
	for _, value := range []string{"other", "same"} {
		put("same")
		tx := a.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		_, err := tx.GetMeta(ctx, key) // takes the snapshot
		must(t, err)
		put(value)
		wantErr(t, tx.(storage.SharedTxn).Hold(ctx, 1, key), storage.ErrWriteConflict)
	}
}
