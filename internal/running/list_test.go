package running

import (
	"maps"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type listed struct {
	Entry[*listed]
	name int
}

func names(l *List[*listed]) []int {
	var got []int
	l.Each(func(op *listed) { got = append(got, op.name) })
	slices.Sort(got)
	return got
}

// TestListed compares the list with a set of what was added and not removed.
func TestListed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list List[*listed]
		model := map[int]*listed{}
		ids := map[int32]bool{}
		for name := range rapid.IntRange(1, 40).Draw(t, "steps") {
			if gone := slices.Sorted(maps.Keys(model)); len(gone) > 0 && rapid.Bool().Draw(t, "remove") {
				n := rapid.SampledFrom(gone).Draw(t, "which")
				list.Remove(&model[n].Entry)
				delete(model, n)
			} else {
				op := &listed{name: name}
				list.Add(&op.Entry, op, rapid.Uint64Range(0, 3*shards).Draw(t, "connection"))
				if ids[op.ID] {
					t.Fatalf("id %d is given twice", op.ID)
				}
				model[name], ids[op.ID] = op, true
			}
			if got, want := names(&list), slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
				t.Fatalf("listed %v, want %v", got, want)
			}
		}
	})
}

func TestListAtOnce(t *testing.T) {
	var list List[*listed]
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for range 200 {
				op := &listed{name: c}
				list.Add(&op.Entry, op, uint64(c))
				list.Each(func(op *listed) { _ = op.name })
				list.Remove(&op.Entry)
			}
		})
	}
	wg.Wait()
	if got := names(&list); got != nil {
		t.Errorf("still listed: %v", got)
	}
}
