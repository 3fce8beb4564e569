package history

import (
	"fmt"
	"time"
)

// Outcome is what a client knows of its transaction.
type Outcome int

// The outcomes.
const (
	Committed Outcome = iota // acknowledged
	Aborted                  // certainly without effect
	Unknown                  // the reply to the commit, or to the write, was lost
)

func (o Outcome) String() string { return [...]string{"committed", "aborted", "unknown"}[o] }

// Op is one read or append of a list.
type Op struct {
	Key    string
	Append int64   // the number appended; 0 for a read
	List   []int64 // what a read returned
}

func (o Op) String() string {
	if o.Append != 0 {
		return fmt.Sprintf("append(%s, %d)", o.Key, o.Append)
	}
	return fmt.Sprintf("read(%s) = %v", o.Key, o.List)
}

// Txn is a transaction, or a single operation outside of one.
type Txn struct {
	Ops        []Op
	Outcome    Outcome
	Tried      bool          // a commit was sent: though aborted, it may have been seen before a crash undid it
	Start, End time.Duration // of the first operation's request and the last reply, on one clock
}

func (t Txn) String() string { return fmt.Sprintf("%s [%s, %s] %v", t.Outcome, t.Start, t.End, t.Ops) }

// never is the end of what may take effect at any time after its start.
const never = time.Duration(1<<63 - 1)

// place is where an append stands in the lists at the end.
type place struct {
	txn   int
	key   string
	index int // -1: nowhere
}

// record is a history with what follows from the lists at the end.
type record struct {
	txns   []Txn
	final  map[string][]int64
	places map[int64]*place
	in     []bool // the transaction has happened
	bad    []error
}

func (r *record) fail(format string, args ...any) {
	r.bad = append(r.bad, fmt.Errorf(format, args...))
}

// newRecord finds out what has happened and checks that each transaction has
// wholly happened, once, or not at all.
func newRecord(txns []Txn, final map[string][]int64) *record {
	r := &record{txns: txns, final: final, places: map[int64]*place{}, in: make([]bool, len(txns))}
	for i, t := range txns {
		for _, o := range t.Ops {
			if o.Append != 0 {
				r.places[o.Append] = &place{txn: i, key: o.Key, index: -1}
			}
		}
	}
	for key, list := range final {
		for i, v := range list {
			p := r.places[v]
			switch {
			case p == nil:
				r.fail("the list of %s has %d, which nobody appended", key, v)
			case p.key != key:
				r.fail("the list of %s has %d, which was appended to %s", key, v, p.key)
			case p.index >= 0:
				r.fail("the list of %s has %d twice: one append took effect two times", key, v)
			default:
				p.index = i
			}
		}
	}
	for i, t := range txns {
		r.whole(i, t)
	}
	return r
}

// whole checks one transaction's appends.
func (r *record) whole(i int, t Txn) {
	there, all := 0, 0
	for _, o := range t.Ops {
		if o.Append == 0 {
			continue
		}
		all++
		if r.places[o.Append].index >= 0 {
			there++
		}
	}
	switch {
	case t.Outcome == Aborted && there > 0:
		r.fail("an aborted transaction took effect: %v", t)
	case t.Outcome == Committed && there < all:
		r.fail("a committed write is lost: %v", t)
	case there != 0 && there != all:
		r.fail("a transaction took effect in part: %v", t)
	}
	r.in[i] = t.Outcome == Committed || there > 0
}
