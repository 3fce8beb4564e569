package enginetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/storage"
)

// model is the store as one map and transactions as copies of it. Keys of the map
// are "r" + a record id, "u" + a unique key, "x" + a key + "/" + a record id.
type model struct {
	now     map[string]string
	seq     int
	written map[string]int // seq of the last commit that wrote a key
	claimed map[string]int // … or had only claimed it
	open    []*modelTxn
	ids     []storage.RecordID
}

type modelTxn struct {
	tx     storage.Txn
	seq    int
	state  map[string]string
	wrote  map[string]bool
	claims map[string]bool
	tried  map[string]bool // writes that failed, but may have claimed
	saves  []modelSave
}

type modelSave struct {
	sp    storage.Savepoint
	state map[string]string
	wrote map[string]bool
}

func recordKey(id storage.RecordID) string { return fmt.Sprintf("r%08d", id) }

// conflict says whether a claim must fail, or may.
func (m *model) conflict(t *modelTxn, key string) (must, may bool) {
	for _, o := range m.open {
		must = must || o != t && o.claims[key]
		may = may || o != t && o.tried[key]
	}
	return must || m.written[key] > t.seq, may || m.claimed[key] > t.seq
}

// runModel compares random interleavings of a few transactions with the model.
// Every transaction fixes its snapshot first, so that the model knows it.
func runModel(t *testing.T, h Harness) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t, h)
		defer f.e.Close()
		r := &modelRun{fixture: f, rt: rt, m: &model{now: map[string]string{}, written: map[string]int{}, claimed: map[string]int{}}}
		rt.Repeat(map[string]func(*rapid.T){
			"begin":    r.begin,
			"insert":   r.insert,
			"update":   r.update,
			"delete":   r.delete,
			"put":      r.put,
			"putMulti": r.putMulti,
			"drop":     r.dropEntry,
			"save":     r.save,
			"restore":  r.restore,
			"scan":     r.scan,
			"finish":   r.finish,
		})
		for len(r.m.open) > 0 {
			r.close(r.m.open[0], true)
		}
		r.begin(rt)
		r.scan(rt)
	})
}

type modelRun struct {
	*fixture
	rt *rapid.T
	m  *model
}

// pick chooses an open transaction.
func (r *modelRun) pick(rt *rapid.T) *modelTxn {
	if len(r.m.open) == 0 {
		rt.Skip("no transaction")
	}
	return rapid.SampledFrom(r.m.open).Draw(rt, "txn")
}

func (r *modelRun) pickID(rt *rapid.T) storage.RecordID {
	if len(r.m.ids) == 0 {
		rt.Skip("no record")
	}
	return rapid.SampledFrom(r.m.ids).Draw(rt, "id")
}

func pickKey(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "bb", "c", "d"}).Draw(rt, "key")
}

func (r *modelRun) begin(rt *rapid.T) {
	if len(r.m.open) == 3 {
		rt.Skip("enough")
	}
	t := &modelTxn{tx: r.e.Begin(storage.TxnOptions{NoSync: true}), seq: r.m.seq, state: maps.Clone(r.m.now),
		wrote: map[string]bool{}, claims: map[string]bool{}, tried: map[string]bool{}}
	t.tx.Snapshot()
	r.m.open = append(r.m.open, t)
}

func (r *modelRun) insert(rt *rapid.T) {
	t := r.pick(rt)
	doc := rapid.StringN(0, 3, -1).Draw(rt, "doc")
	id := r.insertIn(t.tx, doc)
	if len(r.m.ids) > 0 && id <= r.m.ids[len(r.m.ids)-1] {
		rt.Fatalf("record id %d after %v", id, r.m.ids)
	}
	r.m.ids = append(r.m.ids, id)
	t.set(recordKey(id), doc)
	t.claims[recordKey(id)] = true
}

func (t *modelTxn) set(key, value string) { t.state[key], t.wrote[key] = value, true }
func (t *modelTxn) unset(key string)      { delete(t.state, key); t.wrote[key] = true }

// claim checks err against the model's idea of a conflict. False means that the
// transaction is over.
func (r *modelRun) claim(rt *rapid.T, t *modelTxn, key string, err error) bool {
	must, may := r.m.conflict(t, key)
	got := errors.Is(err, storage.ErrWriteConflict)
	if got != must && !(got && may) {
		// A record the transaction cannot see may also be not found.
		if _, seen := t.state[key]; seen || !must || !errors.Is(err, storage.ErrNotFound) {
			rt.Fatalf("claim of %q: got %v, conflict must be %v", key, err, must)
		}
	}
	if got {
		r.close(t, false)
		return false
	}
	if err == nil {
		t.claims[key] = true
	} else {
		t.tried[key] = true
	}
	return true
}

func (r *modelRun) update(rt *rapid.T) {
	t, id := r.pick(rt), r.pickID(rt)
	doc := rapid.StringN(0, 3, -1).Draw(rt, "doc")
	err := t.tx.Update(r.ctx, table, id, []byte(doc))
	if r.claim(rt, t, recordKey(id), err) && r.wantSeen(rt, t, recordKey(id), err) {
		t.set(recordKey(id), doc)
	}
}

func (r *modelRun) delete(rt *rapid.T) {
	t, id := r.pick(rt), r.pickID(rt)
	err := t.tx.Delete(r.ctx, table, id)
	if r.claim(rt, t, recordKey(id), err) && r.wantSeen(rt, t, recordKey(id), err) {
		t.unset(recordKey(id))
	}
}

// wantSeen checks a write's result against the existence of its record.
func (r *modelRun) wantSeen(rt *rapid.T, t *modelTxn, key string, err error) bool {
	_, seen := t.state[key]
	if seen != (err == nil) || !seen && !errors.Is(err, storage.ErrNotFound) {
		rt.Fatalf("%q exists: %v, but got %v", key, seen, err)
	}
	return seen
}

func (r *modelRun) put(rt *rapid.T) {
	t, key := r.pick(rt), pickKey(rt)
	id := storage.RecordID(rapid.IntRange(1, 3).Draw(rt, "holder"))
	err := r.fixture.put(t.tx, unique, key, id)
	if !r.claim(rt, t, "u"+key, err) {
		return
	}
	holder, held := t.state["u"+key]
	var dup *storage.DuplicateKeyError
	switch {
	case held && holder != fmt.Sprint(id):
		if !errors.As(err, &dup) || fmt.Sprint(dup.Record) != holder {
			rt.Fatalf("put %q: got %v, held by %s", key, err, holder)
		}
	case err != nil:
		rt.Fatalf("put %q: %v", key, err)
	case held: // nothing changes: an engine need not count it as a write
	default:
		t.set("u"+key, fmt.Sprint(id))
	}
}

// putMulti adds an entry that its record's claim covers.
func (r *modelRun) putMulti(rt *rapid.T) {
	t, id, key := r.pick(rt), r.pickID(rt), pickKey(rt)
	if r.rewrite(rt, t, id) {
		r.ok(r.fixture.put(t.tx, multi, key, id))
		t.set(fmt.Sprintf("x%s/%d", key, id), "")
	}
}

// rewrite updates a record, if the transaction can, which lets it change the
// record's entries.
func (r *modelRun) rewrite(rt *rapid.T, t *modelTxn, id storage.RecordID) bool {
	err := t.tx.Update(r.ctx, table, id, []byte("rewritten"))
	if !r.claim(rt, t, recordKey(id), err) || !r.wantSeen(rt, t, recordKey(id), err) {
		return false
	}
	t.set(recordKey(id), "rewritten")
	return true
}

func (r *modelRun) dropEntry(rt *rapid.T) {
	t, key := r.pick(rt), pickKey(rt)
	if rapid.Bool().Draw(rt, "multi") {
		if id := r.pickID(rt); r.rewrite(rt, t, id) {
			r.del(t.tx, multi, key, id)
			t.unset(fmt.Sprintf("x%s/%d", key, id))
		}
		return
	}
	id := storage.RecordID(rapid.IntRange(1, 3).Draw(rt, "holder"))
	err := t.tx.DeleteEntry(r.ctx, unique, ukey(key), id)
	if !r.claim(rt, t, "u"+key, err) {
		return
	}
	r.ok(err)
	if t.state["u"+key] == fmt.Sprint(id) {
		t.unset("u" + key)
	}
}

func (r *modelRun) save(rt *rapid.T) {
	t := r.pick(rt)
	t.saves = append(t.saves, modelSave{t.tx.Savepoint(), maps.Clone(t.state), maps.Clone(t.wrote)})
}

func (r *modelRun) restore(rt *rapid.T) {
	t := r.pick(rt)
	if len(t.saves) == 0 {
		rt.Skip("no savepoint")
	}
	i := rapid.IntRange(0, len(t.saves)-1).Draw(rt, "savepoint")
	s := t.saves[i]
	r.ok(t.tx.RollbackTo(s.sp))
	t.saves = t.saves[:i]
	t.state, t.wrote = s.state, s.wrote
}

func (r *modelRun) finish(rt *rapid.T) {
	r.close(r.pick(rt), rapid.Bool().Draw(rt, "commit"))
}

func (r *modelRun) close(t *modelTxn, commit bool) {
	r.m.open = slices.DeleteFunc(r.m.open, func(o *modelTxn) bool { return o == t })
	if !commit {
		t.tx.Rollback()
		return
	}
	r.commit(t.tx)
	r.m.seq++
	for key := range t.wrote {
		if v, ok := t.state[key]; ok {
			r.m.now[key] = v
		} else {
			delete(r.m.now, key)
		}
		r.m.written[key] = r.m.seq
	}
	for _, set := range []map[string]bool{t.claims, t.tried} {
		for key := range set {
			r.m.claimed[key] = r.m.seq
		}
	}
}

// scan compares everything a transaction sees, in random bounds and direction.
func (r *modelRun) scan(rt *rapid.T) {
	t := r.pick(rt)
	reverse := rapid.Bool().Draw(rt, "reverse")
	arrange := func(out []string) []string {
		if reverse {
			slices.Reverse(out)
		}
		return out
	}

	want := []string{}
	for _, k := range slices.Sorted(maps.Keys(t.state)) {
		if k[0] == 'r' {
			want = append(want, t.state[k])
		}
	}
	if got := r.docs(t.tx, storage.RecordRange{Reverse: reverse}); !slices.Equal(got, arrange(want)) {
		rt.Fatalf("records: got %q, want %q", got, want)
	}

	lower, upper, after := pickKey(rt), pickKey(rt), pickKey(rt)
	afterID := storage.RecordID(rapid.IntRange(1, 3).Draw(rt, "after"))
	bounded := rapid.Bool().Draw(rt, "bounded")
	continued := rapid.Bool().Draw(rt, "continued")
	for _, x := range []storage.IndexID{unique, multi} {
		rg := storage.IndexRange{Reverse: reverse}
		if bounded {
			rg.Lower, rg.Upper = ukey(lower), ukey(upper)
		}
		if continued {
			rg.After, rg.AfterID = ukey(after), afterID
		}
		want := t.entries(x, func(e modelEntry) bool {
			c := cmp.Or(cmp.Compare(e.key, after), cmp.Compare(e.id, afterID))
			inside := !bounded || e.key >= lower && e.key < upper
			return inside && (!continued || !reverse && c > 0 || reverse && c < 0)
		})
		if got := r.fixture.entries(t.tx, x, rg); !slices.Equal(got, arrange(want)) {
			rt.Fatalf("index %d %+v: got %q, want %q", x, rg, got, want)
		}
		if !continued {
			r.count(rt, t, x, rg)
		}
	}
	if c, ok := t.tx.(storage.Counter); ok {
		if n, err := c.CountRecords(r.ctx, table, 0, 0, 0); err != nil || n != int64(len(want)) {
			rt.Fatalf("%d records counted (%v), want %d", n, err, len(want))
		}
	}
}

// count compares what a transaction counts with what it scans, if it can.
func (r *modelRun) count(rt *rapid.T, t *modelTxn, x storage.IndexID, rg storage.IndexRange) {
	c, ok := t.tx.(storage.Counter)
	if !ok {
		return
	}
	runs := []storage.KeyRun{{Lower: rg.Lower, Upper: rg.Upper}}
	if rg.Lower != nil && rapid.Bool().Draw(rt, "runs") {
		runs = append([]storage.KeyRun{{Lower: []byte{0}, Upper: []byte{1}}}, runs...) // where there is nothing
	}
	entries := t.entries(x, func(e modelEntry) bool {
		return rg.Lower == nil || e.key >= string(rg.Lower[:len(rg.Lower)-1]) && e.key < string(rg.Upper[:len(rg.Upper)-1])
	})
	ids := map[string]bool{}
	for _, e := range entries {
		ids[e[strings.LastIndexByte(e, '/'):]] = true
	}
	most := int64(rapid.IntRange(0, 3).Draw(rt, "most"))
	for once, want := range map[bool]int{false: len(entries), true: len(ids)} {
		if most > 0 {
			want = min(want, int(most))
		}
		n, ok, err := c.CountIndex(r.ctx, x, storage.IndexCount{Runs: runs, Once: once, Most: most})
		if err != nil || !ok || n != int64(want) {
			rt.Fatalf("index %d %q, once %t, most %d: %d counted (%t, %v), want %d", x, runs, once, most, n, ok, err, want)
		}
	}
}

type modelEntry struct {
	key string
	id  storage.RecordID
}

// entries lists a transaction's index entries in order.
func (t *modelTxn) entries(x storage.IndexID, keep func(modelEntry) bool) []string {
	var all []modelEntry
	for k, v := range t.state {
		var e modelEntry
		switch {
		case x == unique && k[0] == 'u':
			e.key = k[1:]
			fmt.Sscan(v, &e.id)
		case x == multi && k[0] == 'x':
			i := strings.LastIndexByte(k, '/')
			e.key = k[1:i]
			fmt.Sscan(k[i+1:], &e.id)
		default:
			continue
		}
		if keep(e) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b modelEntry) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.id, b.id))
	})
	out := []string{}
	for _, e := range all {
		out = append(out, fmt.Sprintf("%s/%d", e.key, e.id))
	}
	return out
}
