package history

import (
	"strings"
	"testing"
	"time"
)

// txn makes a transaction; its time is given in milliseconds.
func txn(o Outcome, start, end int, ops ...Op) Txn {
	return Txn{Ops: ops, Outcome: o, Start: time.Duration(start) * time.Millisecond, End: time.Duration(end) * time.Millisecond}
}

func add(key string, v int64) Op            { return Op{Key: key, Append: v} }
func read(key string, list ...int64) Op     { return Op{Key: key, List: list} }
func lists(x, y []int64) map[string][]int64 { return map[string][]int64{"x": x, "y": y} }

// TestPlanted checks histories with an error each, and some without.
func TestPlanted(t *testing.T) {
	for name, c := range map[string]struct {
		txns  []Txn
		final map[string][]int64
		want  string // "": no violation
	}{
		"nothing": {},
		"one after the other": {txns: []Txn{
			txn(Committed, 0, 1, read("x"), add("x", 1), read("x", 1)), txn(Committed, 2, 3, read("x", 1), add("x", 2)),
		}, final: lists([]int64{1, 2}, nil)},
		"write skew": {txns: []Txn{
			txn(Committed, 0, 5, read("x"), add("y", 1)), txn(Committed, 0, 5, read("y"), add("x", 2)),
		}, final: lists([]int64{2}, []int64{1})},
		"an old snapshot during another commit": {txns: []Txn{
			txn(Committed, 0, 5, add("x", 1), add("y", 2)), txn(Committed, 1, 6, read("x"), read("y")),
		}, final: lists([]int64{1}, []int64{2})},
		"unknown, and happened": {txns: []Txn{
			txn(Unknown, 0, 1, add("x", 1)), txn(Committed, 2, 3, read("x")), txn(Committed, 4, 5, read("x", 1)),
		}, final: lists([]int64{1}, nil)},
		"unknown, and not happened": {txns: []Txn{txn(Unknown, 0, 1, add("x", 1))}, final: lists(nil, nil)},
		"lost update": {want: "lost update", txns: []Txn{
			txn(Committed, 0, 5, read("x"), add("x", 1)), txn(Committed, 0, 5, read("x"), add("x", 2)),
		}, final: lists([]int64{1, 2}, nil)},
		"write overwritten": {want: "committed write is lost", txns: []Txn{
			txn(Committed, 0, 5, add("x", 1)), txn(Committed, 0, 5, add("x", 2)),
		}, final: lists([]int64{2}, nil)},
		"dirty read": {want: "never committed", txns: []Txn{
			txn(Aborted, 0, 5, add("x", 1)), txn(Committed, 1, 2, read("x", 1)),
		}, final: lists(nil, nil)},
		"read of an unknown one that did not happen": {want: "never committed", txns: []Txn{
			txn(Unknown, 0, 5, add("x", 1)), txn(Committed, 1, 2, read("x", 1)),
		}, final: lists(nil, nil)},
		"two lost together": {txns: []Txn{
			txn(Unknown, 0, 5, add("x", 1)), txn(Aborted, 1, 2, read("x", 1), add("x", 2)), txn(Unknown, 1, 2, read("x", 1), add("x", 3)),
		}, final: lists(nil, nil)},
		"commit seen, lost in a crash, and refused later": {txns: []Txn{
			{Ops: []Op{add("x", 1)}, Outcome: Aborted, Tried: true, End: 5}, txn(Aborted, 1, 2, read("x", 1), add("x", 2)),
		}, final: lists(nil, nil)},
		"the same, and relied on": {want: "never committed", txns: []Txn{
			{Ops: []Op{add("x", 1)}, Outcome: Aborted, Tried: true, End: 5}, txn(Committed, 1, 2, read("x", 1)),
		}, final: lists(nil, nil)},
		"aborted took effect": {want: "aborted transaction took effect", txns: []Txn{txn(Aborted, 0, 5, add("x", 1))},
			final: lists([]int64{1}, nil)},
		"intermediate read": {want: "in the middle", txns: []Txn{
			txn(Committed, 0, 5, add("x", 1), add("x", 2)), txn(Committed, 1, 6, read("x", 1)),
		}, final: lists([]int64{1, 2}, nil)},
		"non-repeatable read": {want: "not repeatable", txns: []Txn{
			txn(Committed, 1, 2, add("x", 1)), txn(Committed, 0, 5, read("x"), read("x", 1)),
		}, final: lists([]int64{1}, nil)},
		"non-repeatable read of an aborted transaction": {want: "not repeatable", txns: []Txn{
			txn(Committed, 1, 2, add("x", 1)), txn(Aborted, 0, 5, read("x"), read("x", 1)),
		}, final: lists([]int64{1}, nil)},
		"own write not read": {want: "own writes", txns: []Txn{
			txn(Committed, 0, 5, add("x", 1), read("x")),
		}, final: lists([]int64{1}, nil)},
		"read skew": {want: "no order", txns: []Txn{
			txn(Committed, 0, 5, add("x", 1), add("y", 2)), txn(Committed, 1, 6, read("x", 1), read("y")),
		}, final: lists([]int64{1}, []int64{2})},
		"long fork": {want: "no order", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1)), txn(Committed, 0, 9, add("y", 2)),
			txn(Committed, 0, 9, read("x", 1), read("y")), txn(Committed, 0, 9, read("x"), read("y", 2)),
		}, final: lists([]int64{1}, []int64{2})},
		"circular information": {want: "no order", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1), read("y", 2)), txn(Committed, 0, 9, add("y", 2), read("x", 1)),
		}, final: lists([]int64{1}, []int64{2})},
		"stale snapshot": {want: "no order", txns: []Txn{
			txn(Committed, 0, 1, add("x", 1)), txn(Committed, 2, 3, read("x"), read("y")),
		}, final: lists([]int64{1}, nil)},
		"own commit not seen later, through another list": {want: "no order", txns: []Txn{
			txn(Committed, 0, 1, add("x", 1)), txn(Committed, 2, 3, add("y", 2)), txn(Committed, 1, 9, read("y", 2), read("x")),
		}, final: lists([]int64{1}, []int64{2})},
		"writes in an order against real time": {want: "no order", txns: []Txn{
			txn(Committed, 0, 1, add("x", 1)), txn(Committed, 2, 3, add("x", 2)),
		}, final: lists([]int64{2, 1}, nil)},
		"half a transaction": {want: "in part", txns: []Txn{txn(Unknown, 0, 1, add("x", 1), add("y", 2))},
			final: lists([]int64{1}, nil)},
		"taken effect twice": {want: "twice", txns: []Txn{txn(Committed, 0, 1, add("x", 1))}, final: lists([]int64{1, 1}, nil)},
		"out of nowhere":     {want: "nobody appended", final: lists([]int64{7}, nil)},
		"forked list": {want: "at no time", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1)), txn(Committed, 0, 9, add("x", 2)), txn(Committed, 0, 9, read("x", 2)),
		}, final: lists([]int64{1, 2}, nil)},
		"a write between two of one transaction": {want: "between the writes", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1), add("x", 3)), txn(Committed, 0, 9, add("x", 2)),
		}, final: lists([]int64{1, 2, 3}, nil)},
	} {
		t.Run(name, func(t *testing.T) { expect(t, Check(c.txns, c.final), c.want) })
	}
}

func expect(t *testing.T, bad []error, want string) {
	t.Helper()
	switch {
	case want == "" && len(bad) > 0:
		t.Errorf("unexpected: %v", bad)
	case want != "" && (len(bad) == 0 || !strings.Contains(bad[0].Error(), want)):
		t.Errorf("got %v, want a violation %q", bad, want)
	}
}

func TestPlantedLinear(t *testing.T) {
	for name, c := range map[string]struct {
		txns []Txn
		x    []int64
		want string
	}{
		"concurrent": {txns: []Txn{
			txn(Committed, 0, 9, add("x", 1)), txn(Committed, 1, 2, read("x")), txn(Committed, 3, 4, read("x", 1)),
		}, x: []int64{1}},
		"returns what it made": {txns: []Txn{
			txn(Committed, 0, 1, add("x", 1), read("x", 1)), txn(Committed, 2, 3, add("x", 2), read("x", 1, 2)),
		}, x: []int64{1, 2}},
		"unknown, late": {txns: []Txn{
			txn(Unknown, 0, 1, add("x", 1)), txn(Committed, 2, 3, read("x")), txn(Committed, 4, 5, read("x", 1)),
		}, x: []int64{1}},
		"stale read": {want: "stale", txns: []Txn{
			txn(Committed, 0, 1, add("x", 1)), txn(Committed, 2, 3, read("x")),
		}, x: []int64{1}},
		"read goes back": {want: "stale", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1)), txn(Committed, 1, 2, read("x", 1)), txn(Committed, 3, 4, read("x")),
		}, x: []int64{1}},
		"write seen before": {want: "before it began", txns: []Txn{
			txn(Committed, 3, 4, add("x", 1)), txn(Committed, 1, 2, read("x", 1)),
		}, x: []int64{1}},
		"write goes back": {want: "stale", txns: []Txn{
			txn(Committed, 0, 1, add("x", 1)), txn(Committed, 2, 3, add("x", 2)),
		}, x: []int64{2, 1}},
		"wrong reply": {want: "did not return", txns: []Txn{
			txn(Committed, 0, 9, add("x", 1), read("x", 1, 2)), txn(Committed, 0, 9, add("x", 2)),
		}, x: []int64{1, 2}},
		"lost": {want: "lost", txns: []Txn{txn(Committed, 0, 1, add("x", 1))}},
	} {
		t.Run(name, func(t *testing.T) { expect(t, CheckLinear(c.txns, lists(c.x, nil)), c.want) })
	}
}

func TestPlantedKeys(t *testing.T) {
	in := func(key, id int64, o Outcome, duplicate bool, start, end time.Duration) Insert {
		return Insert{Key: key, ID: id, Outcome: o, Duplicate: duplicate, Start: start, End: end}
	}
	for name, c := range map[string]struct {
		inserts []Insert
		final   []int64 // documents with key 1
		want    string
	}{
		"one of two":          {inserts: []Insert{in(1, 1, Committed, false, 0, 1), in(1, 2, Aborted, true, 0, 1)}, final: []int64{1}},
		"unknown":             {inserts: []Insert{in(1, 1, Unknown, false, 0, 1), in(1, 2, Aborted, true, 0, 1)}, final: []int64{1}},
		"both":                {inserts: []Insert{in(1, 1, Committed, false, 0, 1), in(1, 2, Committed, false, 0, 1)}, final: []int64{1, 2}, want: "2 times"},
		"lost":                {inserts: []Insert{in(1, 1, Committed, false, 0, 1)}, want: "lost"},
		"refused for none":    {inserts: []Insert{in(1, 2, Aborted, true, 0, 1)}, want: "nobody has"},
		"refused too early":   {inserts: []Insert{in(1, 1, Committed, false, 5, 6), in(1, 2, Aborted, true, 0, 1)}, final: []int64{1}, want: "before"},
		"the aborted one":     {inserts: []Insert{in(1, 1, Aborted, false, 0, 1)}, final: []int64{1}, want: "should not"},
		"a stranger's insert": {final: []int64{9}, want: "should not"},
	} {
		t.Run(name, func(t *testing.T) {
			final := map[int64][]int64{}
			if c.final != nil {
				final[1] = c.final
			}
			expect(t, CheckKeys(c.inserts, final), c.want)
		})
	}
}

func TestPlantedTotals(t *testing.T) {
	if err := CheckTotals([]Total{{Sum: 100, Accounts: 2}}, 100, 2); err != nil {
		t.Error(err)
	}
	for _, bad := range [][]Total{nil, {{Sum: 100, Accounts: 2}, {Sum: 99, Accounts: 2}}, {{Sum: 100, Accounts: 1}}} {
		if CheckTotals(bad, 100, 2) == nil {
			t.Errorf("%v passes", bad)
		}
	}
}
