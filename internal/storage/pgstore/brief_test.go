package pgstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

var brief = storage.TxnOptions{Brief: true, ConflictWait: time.Second}

// briefly runs a transaction as callers do: first a brief one, then an ordinary one until it
// meets no conflict. It returns how often it ran.
func briefly(s *Store, fn func(tx storage.Txn) error) (runs int, err error) {
	for opts := brief; ; opts.Brief = false {
		runs++
		tx := s.Begin(opts)
		err = fn(tx)
		if err == nil {
			_, err = tx.Commit(context.Background())
		}
		tx.Rollback()
		if !errors.Is(err, storage.ErrWriteConflict) {
			return runs, err
		}
	}
}

// TestBriefSums lets two processes count in the same records, in brief and in ordinary
// transactions.
func TestBriefSums(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	const records, workers, each = 5, 6, 60
	var ids [records]storage.RecordID
	for i := range ids {
		ids[i] = insertOne(t, a, "0")
	}
	var wg sync.WaitGroup
	for w := range 2 * workers {
		wg.Go(func() {
			s := []*Store{a, b}[w%2]
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for range each {
				id := ids[rng.IntN(records)]
				var err error
				if w%6 == 0 {
					for err = storage.ErrWriteConflict; errors.Is(err, storage.ErrWriteConflict); {
						tx := s.Begin(storage.TxnOptions{ConflictWait: time.Second})
						if err = increment(ctx, tx, id); err == nil {
							_, err = tx.Commit(ctx)
						}
						tx.Rollback()
					}
				} else {
					_, err = briefly(s, func(tx storage.Txn) error { return increment(ctx, tx, id) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	sum := 0
	for _, id := range ids {
		n, err := strconv.Atoi(read(t, b, id))
		must(t, err)
		sum += n
	}
	if sum != 2*workers*each {
		t.Fatalf("%d were counted, not %d", sum, 2*workers*each)
	}
}

// TestBriefKeys lets two processes insert under the same unique keys: each is won once, and
// who loses is told so in the end.
func TestBriefKeys(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	const keys, workers = 60, 8
	var won [keys]atomic.Int32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			s := []*Store{a, b}[w%2]
			for k := range keys {
				_, err := briefly(s, func(tx storage.Txn) error {
					id, err := tx.Insert(ctx, 1, fmt.Appendf(nil, "%d by %d", k, w))
					if err != nil {
						return err
					}
					return tx.PutEntry(ctx, 1, benchKey(k), id, nil)
				})
				var dup *storage.DuplicateKeyError
				switch {
				case err == nil:
					won[k].Add(1)
				case !errors.As(err, &dup):
					t.Errorf("key %d: %v", k, err)
				}
			}
		})
	}
	wg.Wait()
	for k := range won {
		if n := won[k].Load(); n != 1 {
			t.Errorf("key %d was inserted %d times", k, n)
		}
	}
	if n := count(t, a); n != keys {
		t.Errorf("there are %d records", n)
	}
}

func count(t *testing.T, s *Store) (n int) {
	t.Helper()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.Scan(t.Context(), 1, storage.RecordRange{})
	must(t, err)
	defer it.Close()
	for it.Next() {
		n++
	}
	must(t, it.Err())
	return n
}

// TestBriefWrites checks each kind of write, with others in the group.
func TestBriefWrites(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	tx := a.Begin(storage.TxnOptions{})
	must(t, tx.CreateIndex(1, 2, false))
	commit(t, tx)
	key := func(i int) []byte { return append(strconv.AppendInt(nil, int64(i), 10), 4) }
	var ids [20]storage.RecordID
	steps := []func(tx storage.Txn, i int) error{
		func(tx storage.Txn, i int) (err error) {
			if ids[i], err = tx.Insert(ctx, 1, key(i)); err != nil {
				return err
			}
			return errors.Join(tx.PutEntry(ctx, 1, key(i), ids[i], []byte{1}), tx.PutEntry(ctx, 2, key(i), ids[i], nil),
				tx.PutMeta(ctx, key(i), []byte("made")))
		},
		func(tx storage.Txn, i int) error {
			id, err := tx.LookupUnique(ctx, 1, key(i))
			if err != nil || id != ids[i] {
				return fmt.Errorf("found %d: %w", id, err)
			}
			return errors.Join(tx.Update(ctx, 1, id, key(100+i)),
				tx.DeleteEntry(ctx, 1, key(i), id), tx.PutEntry(ctx, 1, key(100+i), id, nil),
				tx.DeleteEntry(ctx, 2, key(i), id), tx.PutEntry(ctx, 2, key(100+i), id, nil), tx.PutMeta(ctx, key(i), []byte("changed")))
		},
		func(tx storage.Txn, i int) error {
			return errors.Join(tx.Lock(ctx, 1, ids[i]), tx.Delete(ctx, 1, ids[i]), tx.DeleteEntry(ctx, 1, key(100+i), ids[i]),
				tx.DeleteEntry(ctx, 2, key(100+i), ids[i]), tx.DeleteMeta(ctx, key(i)))
		},
	}
	for n, step := range steps {
		var wg sync.WaitGroup
		var inGroups atomic.Int64
		for i := range ids {
			wg.Go(func() {
				runs, err := briefly(a, func(tx storage.Txn) error { return step(tx, i) })
				if err != nil {
					t.Errorf("step %d of %d: %v", n, i, err)
				}
				if runs == 1 {
					inGroups.Add(1)
				}
			})
		}
		wg.Wait()
		if most := inGroups.Load(); most < int64(len(ids))/2 { // on a busy machine a lock may take longer than a group waits
			t.Errorf("step %d: only %d of %d were committed in groups", n, most, len(ids))
		}
		want := ""
		for i := range ids {
			if n < 2 { // the last step deletes
				want += string(key(i+100*n)) + string(key(i+100*n)) + [2]string{"made", "changed"}[n] + ";"
			}
		}
		if got := contents(t, b, 20, key); got != want {
			t.Fatalf("after step %d:\n%q, want\n%q", n, got, want)
		}
	}
}

// contents are the records by their keys in index 2, with their meta keys.
func contents(t *testing.T, s *Store, n int, key func(int) []byte) (out string) {
	t.Helper()
	ctx := t.Context()
	tx := s.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	for _, base := range []int{0, 100} {
		for i := range n {
			it, err := tx.ScanIndex(ctx, 2, storage.IndexRange{Lower: key(base + i), Upper: append(key(base+i), 0x80), Fetch: 1})
			must(t, err)
			for it.Next() {
				id, err := tx.LookupUnique(ctx, 1, it.Key())
				if err != nil || id != it.ID() {
					t.Fatalf("%q is %d in one index, %d in the other: %v", it.Key(), it.ID(), id, err)
				}
				v, err := tx.GetMeta(ctx, key(i))
				must(t, err)
				out += string(it.Key()) + string(it.Doc()) + string(v) + ";"
			}
			must(t, errors.Join(it.Err(), it.Close()))
		}
	}
	return out
}

// TestBriefMeta writes meta keys several times in a brief transaction: the last value counts.
func TestBriefMeta(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	one := insertOne(t, a, "1")
	runs, err := briefly(a, func(tx storage.Txn) error {
		err := errors.Join(tx.Lock(ctx, 1, one), tx.Update(ctx, 1, one, []byte("11")))
		for _, w := range []string{"x1", "y1", "x2", "z1", "y2", "x3"} {
			err = errors.Join(err, tx.PutMeta(ctx, []byte(w[:1]), []byte(w)))
		}
		return errors.Join(err, tx.DeleteMeta(ctx, []byte("z")), tx.PutMeta(ctx, []byte("y"), []byte("y3")))
	})
	if runs != 1 || err != nil {
		t.Fatalf("%d runs, %v", runs, err)
	}
	tx := b.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	for key, want := range map[string]string{"x": "x3", "y": "y3", "z": ""} {
		if got, err := tx.GetMeta(ctx, []byte(key)); string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", key, got, err)
		}
	}
}

// TestBriefSettles checks transactions that turn out not to be brief.
func TestBriefSettles(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	one, two := insertOne(t, a, "1"), insertOne(t, a, "2")
	elsewhere := func(t *testing.T, id storage.RecordID) {
		tx := b.Begin(storage.TxnOptions{})
		must(t, tx.Update(ctx, 1, id, []byte(time.Now().String())))
		commit(t, tx)
	}
	for name, more := range map[string]func(tx storage.Txn) error{
		"second record": func(tx storage.Txn) error { _, err := tx.Get(ctx, 1, two); return err },
		"second write":  func(tx storage.Txn) error { return tx.Update(ctx, 1, two, []byte("22")) },
		"meta":          func(tx storage.Txn) error { return tx.ScanMeta(ctx, nil, func(_, _ []byte) bool { return true }) },
		"scan": func(tx storage.Txn) error {
			it, err := tx.Scan(ctx, 1, storage.RecordRange{})
			if err != nil {
				return err
			}
			it.Next()
			return errors.Join(it.Err(), it.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, interfere := range []bool{false, true} {
				tx := a.Begin(brief)
				must(t, tx.Lock(ctx, 1, one))
				must(t, tx.Update(ctx, 1, one, []byte(name)))
				if interfere {
					elsewhere(t, one)
					wantErr(t, more(tx), storage.ErrWriteConflict)
				} else {
					must(t, more(tx))
					commit(t, tx)
				}
				tx.Rollback()
				if got := read(t, b, one); (got == name) == interfere {
					t.Fatalf("the record is %q", got)
				}
			}
		})
	}
}

// TestBriefPremises checks that what a transaction goes by is looked at.
func TestBriefPremises(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	put := func(key, value string) {
		tx := b.Begin(storage.TxnOptions{})
		must(t, tx.PutMeta(ctx, []byte(key), []byte(value)))
		commit(t, tx)
	}
	put("v", "1")
	id := insertOne(t, a, "one")
	version, none := &storage.Expectation{Key: []byte("v"), Value: []byte("1")}, &storage.Expectation{Key: []byte("w")}
	insert := func() error {
		opts := brief
		opts.Expecting = func() []*storage.Expectation { return []*storage.Expectation{version, none} }
		tx := a.Begin(opts)
		defer tx.Rollback()
		if _, err := tx.Insert(ctx, 1, []byte("x")); err != nil {
			return err
		}
		_, err := tx.Commit(ctx)
		return err
	}
	find := func() error {
		tx := a.Begin(storage.TxnOptions{ReadOnly: true, Single: true, Expecting: func() []*storage.Expectation {
			return []*storage.Expectation{version, none}
		}})
		defer tx.Rollback()
		_, err := tx.Get(ctx, 1, id)
		return err
	}
	before := time.Now()
	must(t, insert())
	if !version.MetSince(before) || !none.MetSince(before) {
		t.Fatal("a commit does not say that what it expected was so")
	}
	must(t, find())
	var stale *storage.StaleError
	put("w", "something")
	wantErr(t, insert(), storage.ErrWriteConflict)
	if err := find(); !errors.As(err, &stale) || stale.Expected != none {
		t.Fatalf("got %v", err)
	}
	none.Value = []byte("something")
	must(t, insert())
	put("v", "2")
	wantErr(t, insert(), storage.ErrWriteConflict)
	if err := find(); !errors.As(err, &stale) || stale.Expected != version || !version.Missed() {
		t.Fatalf("got %v", err)
	}
	if n := count(t, a); n != 3 {
		t.Fatalf("%d records", n)
	}
}

// TestExpectedAndWritten checks that a transaction may write the meta keys that it goes by.
func TestExpectedAndWritten(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	value := func(s string) []byte {
		if s == "" {
			return nil
		}
		return []byte(s)
	}
	put := func(s *Store, opts storage.TxnOptions, from, to string) error {
		opts.Expect = []*storage.Expectation{{Key: []byte("version")}, {Key: []byte("k"), Value: value(from)}, {Key: []byte("next")}}
		opts.Hold = 1
		tx := s.Begin(opts)
		defer tx.Rollback()
		if _, err := tx.Insert(ctx, 1, []byte(to)); err != nil {
			return err
		}
		if err := tx.PutMeta(ctx, []byte("k"), []byte(to)); err != nil {
			return err
		}
		_, err := tx.Commit(ctx)
		return err
	}
	last := ""
	for name, opts := range map[string]storage.TxnOptions{"brief": brief, "hopeful": {Hopeful: true}} {
		for i := range 4 {
			next := fmt.Sprint(name, i)
			must(t, put([]*Store{a, b}[i%2], opts, last, next))
			wantErr(t, put(a, opts, last, "again"), storage.ErrWriteConflict)
			wantErr(t, put(a, opts, "another", "again"), storage.ErrWriteConflict)
			last = next
		}
		// At the same time, at both: one of them is first.
		var wg sync.WaitGroup
		var done atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				if err := put([]*Store{a, b}[i%2], opts, last, name); err == nil {
					done.Add(1)
				} else if !errors.Is(err, storage.ErrWriteConflict) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if done.Load() != 1 {
			t.Errorf("%s: %d of 8 have found the same value", name, done.Load())
		}
		last = name
	}
	if n := count(t, b); n != 10 {
		t.Errorf("%d records", n)
	}
}

// TestBriefLog checks that log records of a group have the members' positions.
func TestBriefLog(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	var mu sync.Mutex
	positions := map[string]storage.Position{}
	var wg sync.WaitGroup
	for w := range 12 {
		wg.Go(func() {
			s := []*Store{a, b}[w%2]
			for i := range 20 {
				name := fmt.Sprintf("%02d/%02d", w, i)
				tx := s.Begin(brief)
				_, err := tx.Insert(ctx, 1, []byte(name))
				for n := range w%3 + 1 {
					err = errors.Join(err, tx.Append(ctx, 2, append(make([]byte, 8), fmt.Sprint(name, n)...), storage.LogStamp{Wall: -1}))
				}
				pos, cerr := tx.Commit(ctx)
				tx.Rollback()
				if err = errors.Join(err, cerr); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				positions[fmt.Sprint(name, w%3)] = pos
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	tx := a.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.Scan(ctx, 2, storage.RecordRange{})
	must(t, err)
	defer it.Close()
	n := 0
	for it.Next() {
		n++
		name := string(it.Doc()[8:])
		if pos, last := positions[name]; last && pos != storage.Position(it.ID()) {
			t.Errorf("%s has position %d, its commit %d", name, it.ID(), pos)
		}
		if at := binary.LittleEndian.Uint64(it.Doc()); at != uint64(it.ID()) {
			t.Errorf("%s of %d is stamped %d", name, it.ID(), at)
		}
	}
	must(t, it.Err())
	if want := 20 * 2 * (4 + 8 + 12) / 2; n != want {
		t.Errorf("%d log records, want %d", n, want)
	}
}

// TestBriefCut cuts connections while groups are under way: what was acknowledged is there,
// once, and the store recovers by itself.
func TestBriefCut(t *testing.T) {
	_, b := openTwo(t)
	ctx := t.Context()
	a, err := Open(ctx, Config{URL: b.config.URL + "&application_name=cut", Shared: true})
	must(t, err)
	defer a.Close()
	var acknowledged, failed sync.Map
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("%d/%d", w, i)
				_, err := briefly(a, func(tx storage.Txn) error {
					id, err := tx.Insert(ctx, 1, []byte(name))
					if err != nil {
						return err
					}
					return tx.PutEntry(ctx, 1, []byte(name+"\x04"), id, nil)
				})
				if err == nil {
					acknowledged.Store(name, true)
				} else {
					failed.Store(name, true)
				}
			}
		})
	}
	for range 10 {
		<-time.After(30 * time.Millisecond) // some groups later
		ask(t, b, "SELECT count(pg_terminate_backend(pid))::text FROM pg_stat_activity WHERE application_name = 'cut'")
	}
	close(stop)
	wg.Wait()
	there := map[string]int{}
	tx := b.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.Scan(ctx, 1, storage.RecordRange{})
	must(t, err)
	defer it.Close()
	for it.Next() {
		there[string(it.Doc())]++
	}
	must(t, it.Err())
	n := 0
	acknowledged.Range(func(name, _ any) bool {
		n++
		if there[name.(string)] != 1 {
			t.Errorf("%s was acknowledged, and is there %d times", name, there[name.(string)])
		}
		return true
	})
	cut := 0
	failed.Range(func(_, _ any) bool { cut++; return true })
	if n == 0 || cut == 0 {
		t.Errorf("%d inserts were acknowledged, %d failed", n, cut)
	}
}

// TestPoints asks for many records and keys at once, for some of them twice and for some that
// are not there, while some who ask give up.
func TestPoints(t *testing.T) {
	a, _ := openTwo(t)
	var ids [50]storage.RecordID
	for i := range ids {
		ids[i] = insertOne(t, a, strconv.Itoa(i))
	}
	keys := a.Begin(storage.TxnOptions{})
	for i, id := range ids {
		must(t, keys.PutEntry(t.Context(), 1, benchKey(i), id, nil))
	}
	commit(t, keys)
	var answers atomic.Int64
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				if w%4 == 0 {
					time.AfterFunc(time.Duration(rng.Int64N(300_000)), cancel)
				}
				err := askPoint(ctx, a, ids[:], rng.IntN(len(ids)+5), rng.IntN(2) == 0)
				switch {
				case err == nil:
					answers.Add(1)
				case w%4 != 0 || !errors.Is(err, context.Canceled):
					t.Error(err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if n := answers.Load(); n < 16*3/4*200 {
		t.Errorf("%d answers", n)
	}
}

// askPoint reads the record of a number by its id or by its key. There is none for numbers beyond the ids.
func askPoint(ctx context.Context, s *Store, ids []storage.RecordID, i int, byKey bool) error {
	tx := s.Begin(storage.TxnOptions{ReadOnly: true, Single: true})
	defer tx.Rollback()
	id, want := ids[len(ids)-1]+storage.RecordID(i), storage.ErrNotFound
	if i < len(ids) {
		id, want = ids[i], nil
	}
	if byKey {
		found, err := tx.LookupUnique(ctx, 1, benchKey(i))
		if errors.Is(err, context.Canceled) {
			return err
		}
		if err != want || err == nil && found != id {
			return fmt.Errorf("looked key %d up: %d instead of %d, %w", i, found, id, err)
		}
	}
	doc, err := tx.Get(ctx, 1, id)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != want || err == nil && string(doc) != strconv.Itoa(i) {
		return fmt.Errorf("asked for %d: %q, %w", i, doc, err)
	}
	return nil
}
