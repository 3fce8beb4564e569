package history

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// CheckLinear returns the violations of linearizability, list by list, among the
// operations on single documents: transactions with one operation, or with a
// read of what they have just appended (findAndModify). Transactions of more
// count as writes of their last append to a list.
func CheckLinear(txns []Txn, final map[string][]int64) []error {
	r := newRecord(txns, final)
	if len(r.bad) > 0 {
		return r.bad
	}
	steps := map[string][]step{}
	for i, t := range txns {
		for key, s := range r.steps(i, t) {
			steps[key] = append(steps[key], s)
		}
	}
	for key, list := range steps {
		if err := linear(list); err != nil {
			r.fail("list %s: %w", key, err)
		}
	}
	return r.bad
}

// step is an operation on one list, with the length of the list after it. That
// orders all operations: a write before the reads of the same length.
type step struct {
	txn        Txn
	length     int
	write      bool
	start, end time.Duration
}

func (r *record) steps(i int, t Txn) map[string]step {
	steps := map[string]step{}
	single := len(t.Ops) == 1 || len(t.Ops) == 2 && t.Ops[0].Append != 0 && t.Ops[1].Key == t.Ops[0].Key
	if t.Outcome == Unknown {
		t.End = never
	}
	for _, o := range t.Ops {
		s := step{txn: t, start: t.Start, end: t.End}
		switch {
		case o.Append != 0 && r.in[i]:
			s.length, s.write = r.places[o.Append].index+1, true
		case o.Append == 0 && single && t.Outcome == Committed:
			s.length = len(o.List)
			if list := r.final[o.Key]; s.length > len(list) || !slices.Equal(o.List, list[:s.length]) {
				r.fail("%v was at no time the list, at the end %v", o, list)
				continue
			}
			if w, ok := steps[o.Key]; ok {
				if w.length != s.length {
					r.fail("%v did not return the state it made, of length %d", t, w.length)
				}
				continue
			}
		default:
			continue
		}
		steps[o.Key] = s
	}
	return steps
}

// linear checks that the order of lengths is one of real time.
func linear(steps []step) error {
	byEnd := slices.Clone(steps)
	slices.SortFunc(byEnd, func(a, b step) int { return cmp.Compare(a.end, b.end) })
	slices.SortFunc(steps, func(a, b step) int { return cmp.Compare(a.start, b.start) })
	var latest step // of those that ended before, the one with the longest list
	next := 0
	for _, s := range steps {
		for next < len(byEnd) && byEnd[next].end < s.start {
			if byEnd[next].length > latest.length {
				latest = byEnd[next]
			}
			next++
		}
		switch {
		case s.length < latest.length:
			return fmt.Errorf("a stale %v\n  after %v", s.txn, latest.txn)
		case s.write && s.length == latest.length && latest.length > 0:
			return fmt.Errorf("%v was seen before it began, by %v", s.txn, latest.txn)
		}
	}
	return nil
}

// Insert is an insert of a document with a key under a unique index.
type Insert struct {
	Key        int64
	ID         int64 // of the document; every insert has its own
	Outcome    Outcome
	Duplicate  bool // refused, because the key was taken
	Start, End time.Duration
}

// CheckKeys returns the violations of uniqueness; final holds the documents at
// the end, IDs by key.
func CheckKeys(inserts []Insert, final map[int64][]int64) []error {
	var bad []error
	byID, earliest := map[int64]Insert{}, map[int64]time.Duration{}
	for _, in := range inserts {
		byID[in.ID] = in
		if start, ok := earliest[in.Key]; in.Outcome != Aborted && (!ok || in.Start < start) {
			earliest[in.Key] = in.Start
		}
	}
	for key, ids := range final {
		if len(ids) != 1 {
			bad = append(bad, fmt.Errorf("key %d is there %d times", key, len(ids)))
		}
		for _, id := range ids {
			if in, ok := byID[id]; !ok || in.Outcome == Aborted || in.Key != key {
				bad = append(bad, fmt.Errorf("document %d with key %d should not be there: %+v", id, key, in))
			}
		}
	}
	for _, in := range inserts {
		switch ids := final[in.Key]; {
		case in.Outcome == Committed && !slices.Contains(ids, in.ID):
			bad = append(bad, fmt.Errorf("a committed insert is lost: %+v", in))
		case in.Duplicate && len(ids) == 0:
			bad = append(bad, fmt.Errorf("refused for a key that nobody has: %+v", in))
		case in.Duplicate && earliest[in.Key] > in.End:
			bad = append(bad, fmt.Errorf("refused before the key was taken: %+v", in))
		}
	}
	return bad
}

// Total is what a transaction found all accounts together to hold.
type Total struct {
	Sum        int64
	Accounts   int
	Start, End time.Duration
}

// CheckTotals returns an error if money was made or lost.
func CheckTotals(totals []Total, sum int64, accounts int) error {
	for _, t := range totals {
		if t.Sum != sum || t.Accounts != accounts {
			return fmt.Errorf("%d accounts hold %d, not %d in %d: %+v", t.Accounts, t.Sum, sum, accounts, t)
		}
	}
	if len(totals) == 0 {
		return errors.New("nobody has read the accounts")
	}
	return nil
}
