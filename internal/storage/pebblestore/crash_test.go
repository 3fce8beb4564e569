package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/archelon-db/archelon/internal/storage"
)

// ledger is a workload whose every commit can be checked: commit n inserts record
// n with an entry in two indexes, rewrites the counter record, deletes record n-5
// with its entries, notes n in meta and appends it to a log, twice if n is odd. Every
// tenth one truncates the log to the five commits before it.
type ledger struct {
	mu    sync.Mutex
	acked int // commits that Commit has returned from
	tried int // commits begun
}

const (
	ledgerTable  storage.TableID = 1
	ledgerUnique storage.IndexID = 1
	ledgerMulti  storage.IndexID = 2
	ledgerLog    storage.TableID = 2
	ledgerKeep                   = 5
)

func ledgerKey(n int) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(n)), 4) }

func (l *ledger) progress() (acked, tried int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.tried
}

// continueTo makes commits up to n, from where it stopped, until one fails. Commit 0
// creates everything.
func (l *ledger) continueTo(s *Store, n int) error {
	for i := l.acked; i < n; i++ {
		l.mu.Lock()
		l.tried = i + 1
		l.mu.Unlock()
		if err := l.commit(s, i); err != nil {
			return err
		}
		l.mu.Lock()
		l.acked = i + 1
		l.mu.Unlock()
	}
	return nil
}

func (l *ledger) commit(s *Store, n int) error {
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	if n == 0 {
		err := errors.Join(tx.CreateTable(ledgerTable), tx.CreateTable(ledgerLog),
			tx.CreateIndex(ledgerTable, ledgerUnique, true), tx.CreateIndex(ledgerTable, ledgerMulti, false))
		if err != nil {
			return err
		}
	}
	doc := fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", n*37%900))
	id, err := tx.Insert(ctx, ledgerTable, doc)
	if err != nil {
		return err
	}
	err = errors.Join(tx.PutEntry(ctx, ledgerUnique, ledgerKey(n), id, nil),
		tx.PutEntry(ctx, ledgerMulti, ledgerKey(n%3), id, nil),
		tx.PutMeta(ctx, []byte("n"), fmt.Append(nil, n)))
	if err != nil {
		return err
	}
	if old := n - ledgerKeep; old >= 0 {
		oldID, err := tx.LookupUnique(ctx, ledgerUnique, ledgerKey(old))
		if err != nil {
			return err
		}
		err = errors.Join(tx.Delete(ctx, ledgerTable, oldID),
			tx.DeleteEntry(ctx, ledgerUnique, ledgerKey(old), oldID),
			tx.DeleteEntry(ctx, ledgerMulti, ledgerKey(old%3), oldID))
		if err != nil {
			return err
		}
	}
	for range 1 + n%2 {
		doc := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(n))
		if err := tx.Append(ctx, ledgerLog, doc, storage.LogStamp{Time: 0, Wall: -1}); err != nil {
			return err
		}
	}
	if n > 0 && n%10 == 0 {
		log, err := readLog(tx)
		if err != nil {
			return err
		}
		keep := slices.IndexFunc(log, func(l logged) bool { return l.n == n-5 })
		if err := tx.Truncate(ctx, ledgerLog, log[keep].id); err != nil {
			return err
		}
	}
	_, err = tx.Commit(ctx)
	return err
}

// logged is a log record of the ledger.
type logged struct {
	id storage.RecordID
	n  int
}

// readLog reads the ledger's log and checks the times in it.
func readLog(tx storage.Txn) ([]logged, error) {
	it, err := tx.Scan(context.Background(), ledgerLog, storage.RecordRange{})
	if err != nil {
		return nil, err
	}
	var log []logged
	for it.Next() {
		doc := it.Doc()
		if len(doc) != 16 || binary.LittleEndian.Uint64(doc) != uint64(it.ID()) {
			err = fmt.Errorf("log record %d is %x", it.ID(), doc)
			break
		}
		log = append(log, logged{it.ID(), int(binary.BigEndian.Uint64(doc[8:]))})
	}
	return log, errors.Join(err, it.Close())
}

// checkLog verifies that the log ends with the entries of commit last, and goes
// back without a gap to where it was truncated.
func checkLog(tx storage.Txn, last int) error {
	log, err := readLog(tx)
	if err != nil {
		return err
	}
	n, i := last, len(log)
	for ; i > 0; n-- {
		for range 1 + n%2 {
			if i--; i < 0 || log[i].n != n {
				return fmt.Errorf("log %v ends with commit %d: commit %d", log, last, n)
			}
		}
	}
	if from := max(-1, last-last%10-6); n != from && last >= 10 || n != -1 && last < 10 {
		return fmt.Errorf("log of commits %d to %d", n+1, last)
	}
	return nil
}

// checkPosition verifies that a store whose commits all append to the log is at the
// position of the last record, and its clock not behind.
func checkPosition(s *Store) error {
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	log, err := readLog(tx)
	if err != nil {
		return err
	}
	last := uint64(log[len(log)-1].id)
	if got := uint64(tx.Snapshot()); got != last || s.Visible() != last || s.Clock().Applied() < last {
		return fmt.Errorf("the last record is %d, the snapshot at %d, applied %d", last, got, s.Clock().Applied())
	}
	return nil
}

// check verifies that a store shows exactly the state after some commit, from
// the last acknowledged one to the last that was tried.
func (l *ledger) check(s *Store, acked, tried int) error {
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	last := -1
	v, err := tx.GetMeta(ctx, []byte("n"))
	if err == nil {
		fmt.Sscan(string(v), &last)
	} else if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	if last+1 < acked || last+1 > tried {
		return fmt.Errorf("%d commits found, %d acknowledged, %d tried", last+1, acked, tried)
	}
	if last < 0 {
		return nil
	}
	if err := checkLog(tx, last); err != nil {
		return err
	}
	if err := checkPosition(s); err != nil {
		return err
	}
	want := min(last+1, ledgerKeep)
	records := 0
	it, err := tx.Scan(ctx, ledgerTable, storage.RecordRange{})
	if err != nil {
		return err
	}
	for it.Next() {
		var n int
		fmt.Sscan(string(it.Doc()), &n)
		if n != last-want+1+records {
			err = fmt.Errorf("record %d holds %d after %d commits", it.ID(), n, last+1)
		}
		if id, lerr := tx.LookupUnique(ctx, ledgerUnique, ledgerKey(n)); lerr != nil || id != it.ID() {
			err = fmt.Errorf("unique entry of %d: %d, %v", n, id, lerr)
		}
		records++
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	for _, x := range []storage.IndexID{ledgerUnique, ledgerMulti} {
		ix, err := tx.ScanIndex(ctx, x, storage.IndexRange{Fetch: ledgerTable})
		if err != nil {
			return err
		}
		entries := 0
		for ix.Next() {
			if ix.Doc() == nil {
				err = fmt.Errorf("index %d has an entry for missing record %d", x, ix.ID())
			}
			entries++
		}
		if err := errors.Join(err, ix.Close()); err != nil {
			return err
		}
		if entries != records || records != want {
			return fmt.Errorf("%d records and %d entries in index %d, want %d", records, entries, x, want)
		}
	}
	return nil
}

// crashClones copies the file system, as a crash would leave it, before every
// operation that changes it.
type crashClones struct {
	fs       *vfs.MemFS
	progress func() (acked, tried int)
	store    atomic.Pointer[Store] // nil, or asked what is durable
	rng      *rand.Rand

	mu     sync.Mutex
	clones []crashClone
}

type crashClone struct {
	op           string
	fs           *vfs.MemFS
	acked, tried int
	durable      uint64
}

func (c *crashClones) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// What was acknowledged is read before the copy, what was tried after it.
	for _, unsynced := range []int{0, 50, 100} {
		acked, _ := c.progress()
		upTo := uint64(0)
		if s := c.store.Load(); s != nil {
			upTo, _ = s.Durable()
		}
		clone := c.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: unsynced, RNG: c.rng})
		_, tried := c.progress()
		c.clones = append(c.clones, crashClone{fmt.Sprintf("%d %s (%d%%)", op.Kind, op.Path, unsynced), clone, acked, tried, upTo})
	}
	return nil
}

func (c *crashClones) String() string { return "crash clones" }

// TestCrashAtEveryWrite crashes before every write and sync of a workload that
// flushes and compacts now and then, and opens what is left.
func TestCrashAtEveryWrite(t *testing.T) {
	const seed1, seed2 = 7, 11
	t.Logf("seed %d %d", seed1, seed2)
	fs := vfs.NewCrashableMem()
	l := &ledger{}
	c := &crashClones{fs: fs, progress: l.progress, rng: rand.New(rand.NewPCG(seed1, seed2))}
	s := open(t, Config{Dir: "/data/store", FS: errorfs.Wrap(fs, c)})
	for n := 10; n <= 40; n += 10 {
		if err := l.continueTo(s, n); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		if n%20 == 0 {
			if err := s.Compact(context.Background(), ledgerTable); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d crashes", len(c.clones))
	for i, clone := range c.clones {
		before := clone.fs.String()
		if err := reopen(clone, l); err != nil {
			t.Fatalf("crash %d before %s: %v\n%s", i, clone.op, err, before)
		}
	}
}

// reopen opens what a crash has left, checks it, goes on writing, and opens it
// again.
func reopen(c crashClone, l *ledger) error {
	s, err := Open(Config{Dir: "/data/store", FS: c.fs})
	if err != nil {
		return err
	}
	err = l.check(s, c.acked, c.tried)
	found := commitsIn(s)
	if err == nil {
		err = l.commit(s, found)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if s, err = Open(Config{Dir: "/data/store", FS: c.fs}); err != nil {
		return err
	}
	return errors.Join(l.check(s, found+1, found+1), s.Close())
}

// commitsIn is the number of a ledger's commits that a store shows.
func commitsIn(s *Store) int {
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	last := -1
	if v, err := tx.GetMeta(context.Background(), []byte("n")); err == nil {
		fmt.Sscan(string(v), &last)
	}
	return last + 1
}

// TestCrashUnderLoad crashes a store that several goroutines write to, so that
// commits share syncs. Each goroutine counts in a record, an entry and a log record
// of its own. What was durable before a crash is there after it.
func TestCrashUnderLoad(t *testing.T) {
	const workers, rounds = 6, 12
	const seed1, seed2 = 3, 5
	t.Logf("seed %d %d", seed1, seed2)
	ctx := context.Background()
	fs := vfs.NewCrashableMem()
	var mu sync.Mutex
	acked := 0 // commits acknowledged, of all workers
	total := func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return acked, workers * rounds
	}
	c := &crashClones{fs: fs, progress: total, rng: rand.New(rand.NewPCG(seed1, seed2))}
	s := open(t, Config{Dir: "/data/store", FS: errorfs.Wrap(fs, c)})
	tx := s.Begin(storage.TxnOptions{})
	err := errors.Join(tx.CreateTable(ledgerTable), tx.CreateTable(ledgerLog), tx.CreateIndex(ledgerTable, ledgerUnique, true))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.clones = nil // before the table there is nothing to check
	c.mu.Unlock()
	c.store.Store(s)

	var wg sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range rounds {
				tx := s.Begin(storage.TxnOptions{NoSync: w == 0})
				id, err := tx.Insert(ctx, ledgerTable, []byte{byte(w), byte(i)})
				if err == nil {
					err = tx.PutEntry(ctx, ledgerUnique, []byte{byte(w), byte(i), 4}, id, nil)
				}
				if err == nil {
					doc := binary.BigEndian.AppendUint64(make([]byte, 8), uint64(w<<8|i))
					err = tx.Append(ctx, ledgerLog, doc, storage.LogStamp{Time: 0, Wall: -1})
				}
				if err == nil {
					_, err = tx.Commit(ctx)
				}
				if err != nil {
					errs[w] = err
					return
				}
				if w != 0 {
					mu.Lock()
					acked++
					mu.Unlock()
				}
			}
		}()
	}
	wg.Wait()
	tx = s.Begin(storage.TxnOptions{ReadOnly: true})
	log, err := readLog(tx)
	tx.Rollback()
	if err := errors.Join(err, errors.Join(errs...), s.Close()); err != nil || len(log) != workers*rounds {
		t.Fatal(len(log), err)
	}
	t.Logf("%d crashes", len(c.clones))
	for i, clone := range c.clones {
		if err := checkLoad(clone, log); err != nil {
			t.Fatalf("crash %d before %s: %v", i, clone.op, err)
		}
	}
}

// checkLoad verifies that each goroutine's commits are there up to some point,
// that records, entries and log match, that the log is the beginning of the whole
// one and has what was durable, and that no acknowledged commit is missing.
func checkLoad(c crashClone, whole []logged) error {
	ctx := context.Background()
	s, err := Open(Config{Dir: "/data/store", FS: c.fs})
	if err != nil {
		return err
	}
	defer s.Close()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.ScanIndex(ctx, ledgerUnique, storage.IndexRange{Fetch: ledgerTable})
	if err != nil {
		return err
	}
	next := map[byte]byte{}
	n := 0
	for it.Next() {
		w, i, doc := it.Key()[0], it.Key()[1], it.Doc()
		if len(doc) != 2 || doc[0] != w || doc[1] != i || next[w] != i {
			err = fmt.Errorf("worker %d: entry %d, expected %d, record %v", w, i, next[w], doc)
		}
		next[w]++
		n++
	}
	if err := errors.Join(err, it.Close()); err != nil {
		return err
	}
	records, err := tx.Scan(ctx, ledgerTable, storage.RecordRange{})
	if err != nil {
		return err
	}
	for records.Next() {
		n--
	}
	if err := records.Close(); err != nil || n != 0 {
		return fmt.Errorf("%d more entries than records, %v", n, err)
	}
	log, err := readLog(tx)
	if err != nil {
		return err
	}
	total, synced := 0, 0
	for w, n := range next {
		total += int(n)
		if w != 0 {
			synced += int(n)
		}
	}
	if len(log) != total || !slices.Equal(log, whole[:len(log)]) {
		return fmt.Errorf("%d records, log %v", total, log)
	}
	for _, l := range log {
		if i := l.n & 0xff; i >= int(next[byte(l.n>>8)]) {
			return fmt.Errorf("log record %x without its record", l.n)
		}
	}
	if len(log) < len(whole) && uint64(whole[len(log)].id) <= c.durable {
		return fmt.Errorf("the log ends before %d, durable was %d", whole[len(log)].id, c.durable)
	}
	if synced < c.acked {
		return fmt.Errorf("%d commits found, %d acknowledged", synced, c.acked)
	}
	return nil
}

// TestJournalFails injects an error into each journal write or sync in turn: the
// commit that needed it reports it, the store accepts no more, reads go on, and
// what was acknowledged survives.
func TestJournalFails(t *testing.T) {
	for fail := range 24 {
		fs := vfs.NewCrashableMem()
		l := &ledger{}
		inject := &journalFault{countdown: -1}
		s, err := Open(Config{Dir: "store", FS: errorfs.Wrap(fs, inject)})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.continueTo(s, 2); err != nil {
			t.Fatal(err)
		}
		inject.arm(fail)
		err = l.continueTo(s, 100)
		if !errors.Is(err, errorfs.ErrInjected) {
			t.Fatalf("fault %d: got %v", fail, err)
		}
		var failed *FailedError
		if err := l.commit(s, l.acked+1); !errors.As(err, &failed) {
			t.Fatalf("fault %d: the store goes on: %v", fail, err)
		}
		if err := s.Sync(context.Background()); !errors.As(err, &failed) {
			t.Fatalf("fault %d: sync says %v", fail, err)
		}
		acked, tried := l.progress()
		if err := l.check(s, acked, tried); err != nil {
			t.Fatalf("fault %d: reading: %v", fail, err)
		}
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		s.Close()
		if err := reopenAt(clone, l, acked, tried); err != nil {
			t.Fatalf("fault %d: %v", fail, err)
		}
	}
}

func reopenAt(fs *vfs.MemFS, l *ledger, acked, tried int) error {
	s, err := Open(Config{Dir: "store", FS: fs})
	if err != nil {
		return err
	}
	return errors.Join(l.check(s, acked, tried), s.Close())
}

// TestJournalFailsLater: a commit that did not wait cannot report a broken journal,
// but one soon after it does, and the process lives on.
func TestJournalFailsLater(t *testing.T) {
	inject := &journalFault{countdown: -1}
	s := open(t, Config{Dir: "store", FS: errorfs.Wrap(vfs.NewMem(), inject), JournalInterval: 1})
	l := &ledger{}
	if err := l.continueTo(s, 2); err != nil {
		t.Fatal(err)
	}
	inject.arm(0)
	var failed *FailedError
	for err := error(nil); !errors.As(err, &failed); {
		if err = l.continueTo(s, l.acked+1); err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		s.nosync.running.Wait() // not more commits than fit into a journal file
	}
	s.Close()
}

// journalFault fails one journal operation and all that follow, as a broken disk
// does.
type journalFault struct {
	mu        sync.Mutex
	countdown int // operations until the fault; negative: not armed
}

func (j *journalFault) arm(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.countdown = n
}

func (j *journalFault) MaybeError(op errorfs.Op) error {
	if !strings.HasSuffix(op.Path, ".log") || (op.Kind != errorfs.OpFileWrite && op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData) {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.countdown < 0:
		return nil
	case j.countdown > 0:
		j.countdown--
		return nil
	}
	return errorfs.ErrInjected
}

func (j *journalFault) String() string { return "journal fault" }

// TestDiskFull refuses commits while the disk is nearly full and accepts them
// again afterwards.
func TestDiskFull(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 10 << 30, AvailBytes: 5 << 30})
	s := open(t, Config{Dir: "store", FS: fs})
	ctx := context.Background()
	write := func(size int) error {
		tx := s.Begin(storage.TxnOptions{})
		defer tx.Rollback()
		if _, err := tx.Insert(ctx, 1, make([]byte, size)); err != nil {
			return err
		}
		_, err := tx.Commit(ctx)
		return err
	}
	tx := s.Begin(storage.TxnOptions{})
	if err := tx.CreateTable(1); err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 10 << 30, AvailBytes: 1 << 20})
	var err error
	for range 20 {
		if err = write(100 << 10); err != nil {
			break
		}
	}
	if !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	if err := write(1); !errors.Is(err, storage.ErrNoSpace) {
		t.Fatalf("got %v", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{TotalBytes: 10 << 30, AvailBytes: 5 << 30})
	if err := write(1); err != nil {
		t.Fatalf("after making room: %v", err)
	}
}

// TestLateSync: a commit that did not wait is on disk an interval later.
func TestLateSync(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, Config{Dir: "store", FS: fs, JournalInterval: 1})
	l := &ledger{}
	if err := l.continueTo(s, 3); err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := reopenAt(fs.CrashClone(vfs.CrashCloneCfg{}), l, 3, 3); err != nil {
		t.Fatal(err)
	}
	if err := l.continueTo(s, 4); err != nil {
		t.Fatal(err)
	}
	s.nosync.mu.Lock()
	armed := s.nosync.armed
	s.nosync.mu.Unlock()
	for armed {
		s.nosync.mu.Lock()
		armed = s.nosync.armed
		s.nosync.mu.Unlock()
	}
	s.nosync.running.Wait()
	if err := reopenAt(fs.CrashClone(vfs.CrashCloneCfg{}), l, 4, 4); err != nil {
		t.Fatal(err)
	}
}
