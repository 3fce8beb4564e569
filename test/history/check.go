package history

import (
	"cmp"
	"slices"
)

// Check returns the violations of snapshot isolation in a history: what no order
// of transactions that is consistent with real time allows, if each reads the
// state of the moment it began and of two that write the same list at the same
// time only the first one commits.
func Check(txns []Txn, final map[string][]int64) []error {
	r := newRecord(txns, final)
	if len(r.bad) > 0 {
		return r.bad
	}
	g := newGraph(r)
	for i, t := range txns {
		r.transaction(g, i, t)
	}
	if len(r.bad) > 0 {
		return r.bad
	}
	r.writes(g)
	r.realTime(g)
	if cycle := g.cycle(); cycle != nil {
		r.fail("no order of these transactions is possible:%s", r.describe(cycle))
	}
	return r.bad
}

// base is what a transaction has seen of a list.
type base struct {
	known    bool
	length   int // of the state it reads
	appended []int64
}

// transaction checks what one transaction saw and notes whom it depends on.
func (r *record) transaction(g *graph, i int, t Txn) {
	bases := map[string]*base{}
	for _, o := range t.Ops {
		b := bases[o.Key]
		if b == nil {
			b = &base{}
			bases[o.Key] = b
		}
		if o.Append != 0 {
			b.appended = append(b.appended, o.Append)
			continue
		}
		n := len(o.List) - len(b.appended)
		if n < 0 || !slices.Equal(o.List[n:], b.appended) {
			r.fail("a transaction does not read its own writes, %v: %v", o, t)
			return
		}
		if b.known && n != b.length {
			r.fail("a read is not repeatable, %v: %v", o, t)
			return
		}
		if !r.seen(o.Key, o.List[:n], i, t) {
			return
		}
		b.known, b.length = true, n
	}
	for key, b := range bases {
		r.depends(g, i, key, b)
	}
}

// seen checks a state of a list that a transaction saw, and says whether it was
// one of those that led to the state at the end.
func (r *record) seen(key string, list []int64, i int, t Txn) bool {
	final := r.final[key]
	for _, v := range list {
		p := r.places[v]
		if p == nil || !r.in[p.txn] && (t.Outcome == Committed || r.txns[p.txn].Outcome == Aborted && !r.txns[p.txn].Tried) {
			r.fail("a transaction read %d, which was never committed: %v", v, t)
			return false
		}
	}
	n := len(list)
	if t.Outcome != Committed && (n > len(final) || !slices.Equal(list, final[:n])) {
		// Both were lost together in a crash, even if the driver has sent the write
		// again since: only a commit promises that what was read stays.
		return false
	}
	if n > len(final) || !slices.Equal(list, final[:n]) {
		r.fail("a transaction read %v of %s, which was at no time its list, at the end %v: %v", list, key, final, t)
		return false
	}
	if n > 0 && n < len(final) {
		if last, next := r.places[list[n-1]].txn, r.places[final[n]].txn; last == next && last != i {
			r.fail("a transaction saw another one in the middle of its work: %v saw %v", t, r.txns[last])
			return false
		}
	}
	return true
}

// depends notes the dependencies that come from one list.
func (r *record) depends(g *graph, i int, key string, b *base) {
	final := r.final[key]
	if r.in[i] && len(b.appended) > 0 {
		at := r.places[b.appended[0]].index
		if !slices.Equal(final[at:min(at+len(b.appended), len(final))], b.appended) {
			r.fail("another transaction wrote between the writes of %v", r.txns[i])
			return
		}
		if b.known && at != b.length {
			r.fail("a lost update: %v wrote %s after others whose writes it had not seen, %v", r.txns[i], key, final[b.length:at])
			return
		}
	}
	if !b.known {
		return
	}
	if b.length > 0 {
		g.sees(r.places[final[b.length-1]].txn, i)
	}
	if b.length < len(final) {
		g.misses(i, r.places[final[b.length]].txn)
	}
}

// writes notes that later writers of a list come after earlier ones.
func (r *record) writes(g *graph) {
	for _, list := range r.final {
		for n := 1; n < len(list); n++ {
			g.sees(r.places[list[n-1]].txn, r.places[list[n]].txn)
		}
	}
}

// realTime notes that a transaction sees all that were committed before it began.
func (r *record) realTime(g *graph) {
	ends, starts := make([]int, 0, len(r.txns)), make([]int, len(r.txns))
	for i, t := range r.txns {
		starts[i] = i
		if t.Outcome == Committed {
			ends = append(ends, i)
		}
	}
	slices.SortFunc(ends, func(a, b int) int { return cmp.Compare(r.txns[a].End, r.txns[b].End) })
	slices.SortFunc(starts, func(a, b int) int { return cmp.Compare(r.txns[a].Start, r.txns[b].Start) })
	// A chain of moments keeps the number of edges small.
	moment, next := -1, 0
	for _, s := range starts {
		for next < len(ends) && r.txns[ends[next]].End < r.txns[s].Start {
			m := g.moment()
			if moment >= 0 {
				g.after(moment, m)
			}
			g.after(ends[next], m)
			moment = m
			next++
		}
		if moment >= 0 {
			g.sees(moment, s)
		}
	}
}
