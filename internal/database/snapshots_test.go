package database

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// find lists what a find sees on a snapshot.
func (s *Snapshot) find(t testing.TB, filter string) []string {
	t.Helper()
	op := s.db.NewOp(t.Context())
	op.At = s
	cur, err := s.db.Find(t.Context(), op, ns, &FindQuery{Filter: doc(t, filter)})
	return results(t, cur, err)
}

func TestSnapshotIsReadAgain(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	insert(t, d, doc(t, `{"_id": 1}`))
	first, err := d.SnapshotNow()
	if err != nil {
		t.Fatal(err)
	}
	same, err := d.SnapshotNow()
	if err != nil || same.state != first.state {
		t.Errorf("nothing was committed and the state is another: %v", err)
	}
	same.Release()
	insert(t, d, doc(t, `{"_id": 2}`))
	want := []string{`{ _id: 1 }`}
	if got := first.find(t, `{}`); !slices.Equal(got, want) {
		t.Errorf("held: %v", got)
	}
	then := first.Time()
	first.Release()
	first.Release() // does nothing
	again, err := d.SnapshotAt(t.Context(), then)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.find(t, `{}`); again.Time() != then || !slices.Equal(got, want) {
		t.Errorf("again: %v at %d, want %d", got, again.Time(), then)
	}
	// A cursor keeps the state when nobody else does.
	insert(t, d, doc(t, `{"_id": 3}`))
	op := d.NewOp(t.Context())
	op.At = again
	cur, err := d.Find(t.Context(), op, ns, &FindQuery{})
	if err != nil {
		t.Fatal(err)
	}
	again.Release()
	d.SetSnapshotWindow(0)
	if n := d.SnapshotsKept(); n != 0 {
		t.Errorf("%d states kept without a window", n)
	}
	if got := results(t, cur, nil); !slices.Equal(got, want) {
		t.Errorf("cursor: %v", got)
	}
	d.SetSnapshotWindow(time.Hour)
	if _, err := d.SnapshotAt(t.Context(), then); !mongoerr.Is(err, mongoerr.SnapshotUnavailable) {
		t.Errorf("not kept any more: %v", err)
	}
	d.SetSnapshotWindow(time.Second)
	if _, err := d.SnapshotAt(t.Context(), then-60<<32); !mongoerr.Is(err, mongoerr.SnapshotTooOld) {
		t.Errorf("a minute ago: %v", err)
	}
}

// No-ops change nothing: the states before and after one are the same.
func TestSnapshotsDoNotMindNoops(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	insert(t, d, doc(t, `{"_id": 1}`))
	written := d.engine.Clock().Applied()
	for range 3 {
		if err := d.Noop(t.Context(), readNoop); err != nil {
			t.Fatal(err)
		}
	}
	later := d.engine.Clock().Applied()
	for _, at := range []uint64{written, written + 1, later} {
		s, err := d.SnapshotAt(t.Context(), at)
		if err != nil {
			t.Errorf("at %d: %v", at-written, err)
			continue
		}
		if got := s.find(t, `{}`); len(got) != 1 || s.Time() != at {
			t.Errorf("at %d: %v", at-written, got)
		}
		s.Release()
	}
	if _, err := d.SnapshotAt(t.Context(), written-1); err == nil {
		t.Error("before the insert, which is not kept")
	}
	// A time a client has brought, to which the log has not come yet.
	ahead := later + 1000
	if err := d.engine.Clock().Advance(ahead); err != nil {
		t.Fatal(err)
	}
	s, err := d.SnapshotAt(t.Context(), ahead)
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	if d.engine.Clock().Applied() < ahead {
		t.Error("the log has not come to the time that was read")
	}
}

// TestSnapshotsAgree reads snapshots while transactions move amounts between documents and an index comes and goes: each
// read of a snapshot sees the same, by whatever plan, and nothing is made or lost.
func TestSnapshotsAgree(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	const docs, total = 8, 8 * 100
	for i := range docs {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "n": 100, "x": 1}`, i)))
	}
	stop := make(chan struct{})
	var work sync.WaitGroup
	running := func() bool {
		select {
		case <-stop:
			return false
		default:
			return true
		}
	}
	work.Go(func() {
		for i := 0; running(); i++ {
			tx := d.BeginTransaction()
			op := d.NewOp(t.Context())
			op.Txn = tx
			for _, step := range []string{fmt.Sprintf(`{"q": %d, "by": -1}`, i%docs), fmt.Sprintf(`{"q": %d, "by": 1}`, (i+3)%docs)} {
				s := doc(t, step)
				_, err := d.Update(t.Context(), op, ns, &UpdateStatement{
					Filter: bsonval.NewBuilder().Value("_id", s.Lookup("q")).Build(),
					Update: bsonval.Document(bsonval.NewBuilder().StartDoc("$inc").Value("n", s.Lookup("by")).End().Build()),
				})
				if err != nil {
					break
				}
			}
			if !tx.Ended() {
				if err := tx.Commit(t.Context(), nil); err != nil && !mongoerr.Is(err, mongoerr.WriteConflict) {
					t.Error(err)
				}
			}
			tx.Abort()
		}
	})
	work.Go(func() {
		for running() {
			addIndex(t, d, `{"x": 1}`, `{}`)
			if _, err := d.DropIndexes(t.Context(), ns, bsonval.String(`{"x": 1}`)); err != nil {
				t.Error(err)
			}
		}
	})
	sum := func(found []string) (sum int) {
		for _, text := range found {
			var id, n int
			if _, err := fmt.Sscanf(text, "{ _id: %d, n: %d,", &id, &n); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			sum += n
		}
		return sum
	}
	for range 150 {
		s, err := d.SnapshotNow()
		if err != nil {
			t.Fatal(err)
		}
		all := s.find(t, `{}`)
		byIndex := s.find(t, `{"x": 1}`)
		again, err := d.SnapshotAt(t.Context(), s.Time())
		if err != nil {
			t.Fatal(err)
		}
		later := again.find(t, `{"x": {"$gte": 0}}`)
		if len(all) != docs || len(byIndex) != docs || len(later) != docs {
			t.Fatalf("%d, %d and %d documents", len(all), len(byIndex), len(later))
		}
		if a, b, c := sum(all), sum(byIndex), sum(later); a != total || b != total || c != total {
			t.Fatalf("sums %d, %d and %d", a, b, c)
		}
		slices.Sort(all)
		slices.Sort(later)
		if !slices.Equal(all, later) {
			t.Fatalf("%v, later %v", all, later)
		}
		s.Release()
		again.Release()
	}
	close(stop)
	work.Wait()
}
