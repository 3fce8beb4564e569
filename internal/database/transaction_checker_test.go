package database

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	checkedKeys    = 6
	checkedClients = 8
)

// observed is what a committed transaction saw and did. Every key holds the list of the transactions that have written it,
// so that a value read tells the whole history of the key.
type observed struct {
	id    int32
	reads map[int][]int32 // before its own writes
	wrote []int
}

// TestSnapshotIsolation runs random concurrent transactions for a while (ARCHELON_TXN_CHECK, 2s by default) and checks that
// what they saw can be explained by snapshot isolation.
func TestSnapshotIsolation(t *testing.T) {
	span := 2 * time.Second
	if s := os.Getenv("ARCHELON_TXN_CHECK"); s != "" {
		var err error
		if span, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := open(t)
	for k := range checkedKeys {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "h": []}`, k)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), span)
	defer cancel()
	var mu sync.Mutex // guards history
	var history []observed
	aborted := 0
	var clients sync.WaitGroup
	for c := range checkedClients {
		clients.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(c)))
			for n := range int32(1 << 20) {
				if ctx.Err() != nil {
					return
				}
				o := observed{id: int32(c)<<20 | n, reads: map[int][]int32{}}
				ok := runObserved(t, d, r, &o)
				mu.Lock()
				if ok {
					history = append(history, o)
				} else {
					aborted++
				}
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	final := readLists(t, d, nil)
	t.Logf("%d transactions committed, %d aborted", len(history), aborted)
	if len(history) == 0 {
		t.Fatal("no transaction committed")
	}
	if err := checkHistory(history, final); err != nil {
		t.Fatal(err)
	}
	sound(t, d, ns)
}

// runObserved runs one random transaction; false if it did not commit.
func runObserved(t *testing.T, d *DB, r *rand.Rand, o *observed) bool {
	tx := d.BeginTransaction()
	defer tx.Abort()
	o.reads = readLists(t, d, tx)
	for _, k := range r.Perm(checkedKeys)[:r.IntN(3)] {
		_, err := d.Update(context.Background(), opIn(t, d, tx), ns, &UpdateStatement{
			Filter: doc(t, fmt.Sprintf(`{"_id": %d}`, k)),
			Update: bsonval.Document(doc(t, fmt.Sprintf(`{"$push": {"h": %d}}`, o.id))),
		})
		if err != nil {
			if !mongoerr.Is(err, mongoerr.WriteConflict) {
				t.Errorf("update: %v", err)
			}
			return false
		}
		o.wrote = append(o.wrote, k)
	}
	again := readLists(t, d, tx)
	for k, list := range o.reads {
		if slices.Contains(o.wrote, k) {
			list = append(slices.Clone(list), o.id)
		}
		if !slices.Equal(again[k], list) {
			t.Errorf("transaction %d read key %d again as %v, want %v", o.id, k, again[k], list)
		}
	}
	if r.IntN(8) == 0 {
		return false // the client changes its mind
	}
	if err := tx.Commit(context.Background(), nil); err != nil {
		t.Errorf("commit: %v", err)
		return false
	}
	return true
}

// readLists reads all keys.
func readLists(t *testing.T, d *DB, tx *Transaction) map[int][]int32 {
	lists := map[int][]int32{}
	cur, err := d.Find(context.Background(), opIn(t, d, tx), ns, &FindQuery{})
	if err != nil {
		t.Errorf("find: %v", err)
		return lists
	}
	defer cur.Close()
	b, at := bsonval.BeginDoc(nil)
	if b, _, _, err = cur.AppendBatch(context.Background(), b, -1); err != nil {
		t.Errorf("find: %v", err)
		return lists
	}
	it := bsonval.Doc(bsonval.EndDoc(b, at)).Iter()
	for it.Next() {
		list := []int32{}
		h := it.Value().Doc().Lookup("h").Doc().Iter()
		for h.Next() {
			list = append(list, h.Value().Int32())
		}
		lists[int(it.Value().Doc().Lookup("_id").TruncInt64())] = list
	}
	return lists
}

// checkHistory checks that
//  1. the lists hold the writes of the committed transactions, each once, and no others,
//  2. everything read was the state of a key at some time: a prefix of its list,
//  3. no write was lost: a writer saw all that came before its write,
//  4. a snapshot shows all writes of a transaction or none,
//  5. snapshots are states one after the other: of two, one has seen at least what the other has.
func checkHistory(history []observed, final map[int][]int32) error {
	at := make([]map[int32]int, checkedKeys) // position of a transaction in a key's list
	writes := 0
	for k := range at {
		at[k] = map[int32]int{}
		for i, id := range final[k] {
			at[k][id] = i
		}
		writes += len(final[k])
	}
	byID := map[int32]*observed{}
	for i := range history {
		o := &history[i]
		byID[o.id] = o
		for _, k := range o.wrote {
			if pos, ok := at[k][o.id]; !ok {
				return fmt.Errorf("the write of transaction %d to key %d is lost", o.id, k)
			} else if pos != len(o.reads[k]) {
				return fmt.Errorf("transaction %d wrote key %d as number %d having seen %d", o.id, k, pos, len(o.reads[k]))
			}
			writes--
		}
		for k, list := range o.reads {
			if len(list) > len(final[k]) || !slices.Equal(list, final[k][:len(list)]) {
				return fmt.Errorf("transaction %d read %v of key %d, which never was", o.id, list, k)
			}
		}
	}
	if writes != 0 {
		return fmt.Errorf("%d writes are there twice or of transactions that did not commit", writes)
	}
	for i := range history {
		o := &history[i]
		for k, list := range o.reads {
			if len(list) == 0 {
				continue
			}
			last := byID[list[len(list)-1]]
			for _, other := range last.wrote {
				if at[other][last.id] >= len(o.reads[other]) {
					return fmt.Errorf("transaction %d sees the write of %d to key %d and not that to %d", o.id, last.id, k, other)
				}
			}
		}
	}
	return checkOrder(history)
}

// checkOrder is the last point of checkHistory.
func checkOrder(history []observed) error {
	seen := func(o *observed) (n int) {
		for _, list := range o.reads {
			n += len(list)
		}
		return n
	}
	slices.SortFunc(history, func(a, b observed) int { return seen(&a) - seen(&b) })
	for i := 1; i < len(history); i++ {
		for k, list := range history[i].reads {
			if before := history[i-1].reads[k]; len(before) > len(list) {
				return fmt.Errorf("transactions %d and %d have seen states that do not follow each other", history[i-1].id, history[i].id)
			}
		}
	}
	return nil
}

// TestCheckerFindsAnomalies makes sure that the checker is worth something.
func TestCheckerFindsAnomalies(t *testing.T) {
	reads := func(a, b []int32) map[int][]int32 { return map[int][]int32{0: a, 1: b} }
	list := func(ids ...int32) []int32 { return ids }
	for name, c := range map[string]struct {
		final   map[int][]int32
		history []observed
		bad     bool
	}{
		"one after the other": {reads(list(1, 2), list(2)), []observed{{1, reads(nil, nil), []int{0}}, {2, reads(list(1), nil), []int{0, 1}}}, false},
		"write skew":          {reads(list(1), list(2)), []observed{{1, reads(nil, nil), []int{0}}, {2, reads(nil, nil), []int{1}}}, false},
		"lost update":         {reads(list(1, 2), nil), []observed{{1, reads(nil, nil), []int{0}}, {2, reads(nil, nil), []int{0}}}, true},
		"lost write":          {reads(list(1), nil), []observed{{1, reads(nil, nil), []int{0}}, {2, reads(list(1), nil), []int{1}}}, true},
		"aborted write":       {reads(list(1, 7), nil), []observed{{1, reads(nil, nil), []int{0}}}, true},
		"half a transaction":  {reads(list(1), list(1)), []observed{{1, reads(nil, nil), []int{0, 1}}, {2, reads(list(1), nil), nil}}, true},
		"dirty read":          {reads(list(1), nil), []observed{{1, reads(nil, nil), []int{0}}, {2, reads(list(9), nil), nil}}, true},
		"long fork": {reads(list(1), list(2)), []observed{
			{1, reads(nil, nil), []int{0}}, {2, reads(nil, nil), []int{1}}, {3, reads(list(1), nil), nil}, {4, reads(nil, list(2)), nil},
		}, true},
	} {
		if err := checkHistory(c.history, c.final); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
}
