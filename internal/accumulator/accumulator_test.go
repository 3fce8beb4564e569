package accumulator

import (
	"math/rand"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/sortkey"
)

func mustDoc(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	d, ok := parse([]byte(json))
	if !ok {
		t.Fatalf("bad JSON: %s", json)
	}
	return d
}

// run accumulates documents, splitting them into two states that are merged at
// split.
func run(t testing.TB, spec string, docs []bsonval.Doc, split int) (bsonval.Value, error) {
	t.Helper()
	c := expr.NewCompiler(&expr.Env{})
	f, err := Compile(c, mustDoc(t, spec))
	if err != nil {
		return bsonval.Missing, err
	}
	ctx := c.NewContext()
	var states [2]*State
	for i := range states {
		if states[i], err = f.New(ctx, bsonval.Null); err != nil {
			return bsonval.Missing, err
		}
	}
	for i, d := range docs {
		ctx.Root = d
		s := states[0]
		if i >= split {
			s = states[1]
		}
		if err := s.Add(ctx); err != nil {
			return bsonval.Missing, err
		}
	}
	if err := states[0].Merge(states[1].Partial()); err != nil {
		return bsonval.Missing, err
	}
	return states[0].Result()
}

func TestAccumulators(t *testing.T) {
	docs := []bsonval.Doc{
		mustDoc(t, `{"v": 3, "s": 2, "a": [1, 2], "o": {"x": 1}}`),
		mustDoc(t, `{"v": 1, "s": 3, "a": [2, 3], "o": {"y": 2}}`),
		mustDoc(t, `{"s": 1}`),
		mustDoc(t, `{"v": null, "s": 5, "o": {"x": 9}}`),
		mustDoc(t, `{"v": 3, "s": 4, "a": []}`),
	}
	for _, tc := range []struct{ spec, want string }{
		{`{"$sum": "$v"}`, `{"r": {"$numberInt": "7"}}`},
		{`{"$avg": "$v"}`, `{"r": {"$numberDouble": "2.3333333333333335"}}`},
		{`{"$count": {}}`, `{"r": {"$numberInt": "5"}}`},
		{`{"$min": "$v"}`, `{"r": {"$numberInt": "1"}}`},
		{`{"$max": "$v"}`, `{"r": {"$numberInt": "3"}}`},
		{`{"$first": "$v"}`, `{"r": {"$numberInt": "3"}}`},
		{`{"$last": "$a"}`, `{"r": []}`},
		{`{"$push": "$v"}`, `{"r": [{"$numberInt": "3"}, {"$numberInt": "1"}, null, {"$numberInt": "3"}]}`},
		{`{"$addToSet": "$v"}`, `{"r": [{"$numberInt": "3"}, {"$numberInt": "1"}, null]}`},
		{`{"$concatArrays": "$a"}`, `{"r": [{"$numberInt": "1"}, {"$numberInt": "2"}, {"$numberInt": "2"}, {"$numberInt": "3"}]}`},
		{`{"$setUnion": "$a"}`, `{"r": [{"$numberInt": "1"}, {"$numberInt": "2"}, {"$numberInt": "3"}]}`},
		{`{"$mergeObjects": "$o"}`, `{"r": {"x": {"$numberInt": "9"}, "y": {"$numberInt": "2"}}}`},
		{`{"$firstN": {"n": 2, "input": "$s"}}`, `{"r": [{"$numberInt": "2"}, {"$numberInt": "3"}]}`},
		{`{"$lastN": {"n": 2, "input": "$s"}}`, `{"r": [{"$numberInt": "5"}, {"$numberInt": "4"}]}`},
		{`{"$minN": {"n": 2, "input": "$v"}}`, `{"r": [{"$numberInt": "1"}, {"$numberInt": "3"}]}`},
		{`{"$maxN": {"n": 2, "input": "$s"}}`, `{"r": [{"$numberInt": "5"}, {"$numberInt": "4"}]}`},
		{`{"$top": {"sortBy": {"s": 1}, "output": "$s"}}`, `{"r": {"$numberInt": "1"}}`},
		{`{"$bottom": {"sortBy": {"s": 1}, "output": ["$s", "$v"]}}`, `{"r": [{"$numberInt": "5"}, null]}`},
		{`{"$topN": {"n": 2, "sortBy": {"s": -1}, "output": "$s"}}`, `{"r": [{"$numberInt": "5"}, {"$numberInt": "4"}]}`},
		{`{"$bottomN": {"n": 2, "sortBy": {"s": -1}, "output": "$s"}}`, `{"r": [{"$numberInt": "2"}, {"$numberInt": "1"}]}`},
		{`{"$median": {"input": "$s", "method": "approximate"}}`, `{"r": {"$numberDouble": "3.0"}}`},
		{`{"$percentile": {"input": "$s", "p": [0.2, 1], "method": "approximate"}}`, `{"r": [{"$numberDouble": "1.0"}, {"$numberDouble": "5.0"}]}`},
		{`{"$stdDevPop": "$s"}`, `{"r": {"$approx": {"value": {"$numberDouble": "1.4142135623730951"}, "tolerance": {"$numberDouble": "1e-12"}}}}`},
	} {
		for split := range len(docs) + 1 {
			got, err := run(t, tc.spec, docs, split)
			if m := (&matcher{}); err != nil || !m.equal(got, mustDoc(t, tc.want).Lookup("r")) {
				t.Errorf("%s split at %d: got %s, %v; want %s", tc.spec, split, bsonval.Format(got), err, tc.want)
			}
		}
	}
}

// TestAddTimes adds a document many times by itself and at once.
func TestAddTimes(t *testing.T) {
	c := expr.NewCompiler(&expr.Env{})
	for _, s := range []struct {
		spec   string
		counts bool
		step   int64
	}{
		{`{"$sum": 1}`, true, 1},
		{`{"$sum": -7}`, true, -7},
		{`{"$sum": {"$add": [1, 2]}}`, true, 3},
		{`{"$count": {}}`, true, 1},
		{`{"$sum": 1.5}`, false, 0},
		{`{"$sum": {"$numberLong": "1"}}`, false, 0},
		{`{"$sum": "$v"}`, false, 0},
		{`{"$sum": "x"}`, false, 0},
		{`{"$max": 1}`, false, 0},
	} {
		f, err := Compile(c, mustDoc(t, s.spec))
		if err != nil {
			t.Fatal(err)
		}
		if f.Counts() != s.counts {
			t.Errorf("%s: counts: %t", s.spec, f.Counts())
		}
		if !s.counts {
			continue
		}
		for _, n := range []int64{1, 2, 1000} {
			var got [2]bsonval.Value
			for i := range got {
				st, err := f.New(c.NewContext(), bsonval.Null)
				if err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					st.AddTimes(n)
				}
				for range int64(i) * n {
					if err := st.Add(c.NewContext()); err != nil {
						t.Fatal(err)
					}
				}
				if got[i], err = st.Result(); err != nil {
					t.Fatal(err)
				}
			}
			if a, b := bsonval.Format(got[0]), bsonval.Format(got[1]); a != b || got[0].Type() != got[1].Type() {
				t.Errorf("%s, %d times: %s at once, %s one by one", s.spec, n, a, b)
			}
		}
		const many = 5_000_000_000
		st, err := f.New(c.NewContext(), bsonval.Null)
		if err != nil {
			t.Fatal(err)
		}
		st.AddTimes(many)
		if v, err := st.Result(); err != nil || v.Type() != bsonval.TypeInt64 || v.Int64() != many*s.step {
			t.Errorf("%s, %d times: %s (%v)", s.spec, int64(many), bsonval.Format(v), err)
		}
	}
}

func TestErrors(t *testing.T) {
	docs := []bsonval.Doc{mustDoc(t, `{"v": "text"}`)}
	for _, tc := range []struct {
		spec string
		code mongoerr.Code
	}{
		{`{}`, 40234},
		{`{"a": 1}`, 40234},
		{`{"$sum": 1, "$avg": 1}`, 40238},
		{`{"$sum": [1]}`, 40237},
		{`{"$nonsense": 1}`, 15952},
		{`{"$count": 1}`, mongoerr.TypeMismatch},
		{`{"$mergeObjects": "$v"}`, 5911200},
		{`{"$concatArrays": "$v"}`, mongoerr.TypeMismatch},
		{`{"$firstN": {"n": 0, "input": "$v"}}`, 5787908},
		{`{"$firstN": {"n": 1.5, "input": "$v"}}`, 5787903},
		{`{"$firstN": {"n": "x", "input": "$v"}}`, 5787902},
		{`{"$firstN": {"n": 1}}`, 5787907},
		{`{"$topN": {"n": 1, "output": 1}}`, 5788005},
		{`{"$top": {"sortBy": 1, "output": 1}}`, 5788604},
		{`{"$median": 1}`, 7436100},
		{`{"$percentile": {"input": "$v", "p": [2], "method": "approximate"}}`, 7750303},
		{`{"$percentile": {"input": "$v", "p": [0.5], "method": "exact"}}`, mongoerr.BadValue},
	} {
		if _, err := run(t, tc.spec, docs, 0); !mongoerr.Is(err, tc.code) {
			t.Errorf("%s: %v, want code %d", tc.spec, err, tc.code)
		}
	}
}

// TestTopN compares $topN with sorting everything.
func TestTopN(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOfN(rapid.Int32Range(0, 9), 0, 20).Draw(rt, "keys")
		n := rapid.IntRange(1, 8).Draw(rt, "n")
		var docs []bsonval.Doc
		type entry struct{ key, place int32 }
		var entries []entry
		for i, k := range keys {
			docs = append(docs, bsonval.NewBuilder().Int32("k", k).Int32("p", int32(i)).Build())
			entries = append(entries, entry{k, int32(i)})
		}
		c := expr.NewCompiler(&expr.Env{})
		spec := bsonval.NewBuilder().StartDoc("$topN").Int32("n", int32(n)).StartDoc("sortBy").Int32("k", 1).End().
			Str("output", "$p").Build()
		f, err := Compile(c, spec)
		if err != nil {
			rt.Fatal(err)
		}
		ctx := c.NewContext()
		s, err := f.New(ctx, bsonval.Null)
		if err != nil {
			rt.Fatal(err)
		}
		for _, d := range docs {
			ctx.Root = d
			if err := s.Add(ctx); err != nil {
				rt.Fatal(err)
			}
		}
		slices.SortStableFunc(entries, func(a, b entry) int { return int(a.key - b.key) })
		var want []bsonval.Value
		for _, e := range entries[:min(n, len(entries))] {
			want = append(want, bsonval.Int32(e.place))
		}
		if got, err := s.Result(); err != nil || !bsonval.Equal(got, bsonval.ArrayOf(want...)) {
			rt.Fatalf("got %s %v, want %s", bsonval.Format(got), err, bsonval.Format(bsonval.ArrayOf(want...)))
		}
	})
}

func TestWindowFunctions(t *testing.T) {
	var docs []bsonval.Doc
	for _, d := range []string{`{"t": 1, "v": 2}`, `{"t": 2, "v": null}`, `{"t": 2.5}`, `{"t": 4, "v": 8}`, `{"t": 5, "v": 8}`} {
		docs = append(docs, mustDoc(t, d))
	}
	sortBy, err := sortkey.Compile(mustDoc(t, `{"t": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ spec, want string }{
		{`{"$locf": "$v"}`, `[2, 2, 2, 8, 8]`},
		{`{"$linearFill": "$v"}`, `[2, 4.0, 5.0, 8, 8]`},
		{`{"$shift": {"output": "$t", "by": -1, "default": "none"}}`, `["none", 1, 2, 2.5, 4]`},
		{`{"$rank": {}}`, `[1, 2, 3, 4, 5]`},
		{`{"$documentNumber": {}}`, `[1, 2, 3, 4, 5]`},
		{`{"$sum": "$v", "window": {"documents": [-1, 1]}}`, `[2, 2, 8, 16, 16]`},
		{`{"$count": {}, "window": {"range": [-1, 0.5]}}`, `[1, 3, 2, 1, 2]`},
		{`{"$push": "$t", "window": {"documents": ["current", "unbounded"]}}`, `[[1, 2, 2.5, 4, 5], [2, 2.5, 4, 5], [2.5, 4, 5], [4, 5], [5]]`},
		{`{"$derivative": {"input": "$t"}, "window": {"documents": [-1, 0]}}`, `[null, 1.0, 1.0, 1.0, 1.0]`},
		{`{"$integral": {"input": "$v"}, "window": {"documents": ["unbounded", "current"]}}`, `[0.0, 0.0, 0.0, 15.0, 23.0]`},
		{`{"$expMovingAvg": {"input": "$v", "alpha": 0.5}}`, `[2.0, 2.0, 2.0, 5.0, 6.5]`},
		{`{"$minMaxScaler": {"input": "$t", "min": 0, "max": 8}}`, `[0.0, 2.0, 3.0, 6.0, 8.0]`},
	} {
		c := expr.NewCompiler(&expr.Env{})
		w, err := CompileWindow(c, bsonval.Document(mustDoc(t, tc.spec)), sortBy)
		if err != nil {
			t.Errorf("%s: %v", tc.spec, err)
			continue
		}
		got, err := w.Run(c.NewContext(), docs)
		want := mustDoc(t, `{"r": `+tc.want+`}`).Lookup("r")
		if err != nil || !bsonval.Equal(bsonval.ArrayOf(got...), want) {
			t.Errorf("%s: got %s, %v; want %s", tc.spec, bsonval.Format(bsonval.ArrayOf(got...)), err, tc.want)
		}
	}
}

func TestAddAllocatesNothing(t *testing.T) {
	d := mustDoc(t, `{"v": 3, "s": "some text"}`)
	for _, spec := range []string{`{"$sum": "$v"}`, `{"$avg": "$v"}`, `{"$stdDevPop": "$v"}`, `{"$min": "$v"}`, `{"$last": "$s"}`} {
		c := expr.NewCompiler(&expr.Env{})
		f, err := Compile(c, mustDoc(t, spec))
		if err != nil {
			t.Fatal(err)
		}
		ctx := c.NewContext()
		ctx.Root = d
		s, err := f.New(ctx, bsonval.Null)
		if err != nil {
			t.Fatal(err)
		}
		add := func() {
			if err := s.Add(ctx); err != nil {
				t.Fatal(err)
			}
		}
		add()
		if n := testing.AllocsPerRun(100, add); n != 0 {
			t.Errorf("%s: %v allocations per document", spec, n)
		}
	}
}

func FuzzCompile(f *testing.F) {
	f.Add([]byte(mustDoc(f, `{"$topN": {"n": 2, "sortBy": {"a": 1}, "output": "$a"}}`)), []byte(mustDoc(f, `{"a": [1, 2]}`)))
	f.Add([]byte(mustDoc(f, `{"$sum": "$a", "window": {"range": [-1, 1]}}`)), []byte(mustDoc(f, `{"a": 1}`)))
	f.Add([]byte(mustDoc(f, `{"$derivative": {"input": "$a", "unit": "hour"}, "window": {"documents": [-1, 0]}}`)), []byte(mustDoc(f, `{"a": 1}`)))
	sortBy, err := sortkey.Compile(mustDoc(f, `{"a": 1}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, spec, d []byte) {
		if bsonval.Validate(spec) != nil || bsonval.Validate(d) != nil {
			return
		}
		c := expr.NewCompiler(&expr.Env{Rand: rand.New(rand.NewSource(1)).Float64})
		if f, err := Compile(c, spec); err == nil {
			ctx := c.NewContext()
			ctx.Root = d
			if s, err := f.New(ctx, bsonval.Null); err == nil && s.Add(ctx) == nil {
				if err := s.Merge(s.Partial()); err == nil {
					_, _ = s.Result()
				}
			}
		}
		if w, err := CompileWindow(c, bsonval.Document(spec), sortBy); err == nil {
			_, _ = w.Run(c.NewContext(), []bsonval.Doc{d, d})
		}
	})
}

func BenchmarkSum(b *testing.B) {
	c := expr.NewCompiler(&expr.Env{})
	f, err := Compile(c, mustDoc(b, `{"$sum": "$v"}`))
	if err != nil {
		b.Fatal(err)
	}
	ctx := c.NewContext()
	ctx.Root = mustDoc(b, `{"v": 3}`)
	s, err := f.New(ctx, bsonval.Null)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.Add(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
