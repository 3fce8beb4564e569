package conformance

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// rules are the flags of an expectation that change what equal means.
type rules struct {
	partial bool // compare only what the expectation names
	nan     bool // NaN equals NaN, double and decimal alike
}

// mismatch says where and why two values differ. Kind is free of values, so that mismatches can be counted by it.
type mismatch struct {
	path string
	kind string
	text string
}

func (m *mismatch) String() string {
	if m.path == "" {
		return m.text
	}
	return m.path + ": " + m.text
}

func (m *mismatch) under(step string) *mismatch {
	if m == nil {
		return nil
	}
	if m.path != "" && m.path[0] != '[' {
		step += "."
	}
	m.path = step + m.path
	return m
}

func differ(kind string, want, got any) *mismatch {
	return &mismatch{kind: kind, text: fmt.Sprintf("%s: want %s, got %s", kind, show(want, 400), show(got, 400))}
}

// compare returns nil when got equals want under the rules.
func (r rules) compare(want, got any) *mismatch {
	if a, ok := want.(approx); ok {
		if !a.matches(got) {
			return differ("number not within tolerance", want, got)
		}
		return nil
	}
	if r.nan && isNaN(want) && isNaN(got) {
		return nil
	}
	if wt, gt := typeName(want), typeName(got); wt != gt {
		return differ(fmt.Sprintf("type is %s instead of %s", gt, wt), want, got)
	}
	switch w := want.(type) {
	case bson.D:
		return r.compareDocuments(w, got.(bson.D))
	case bson.A:
		return r.compareArrays(w, got.(bson.A))
	}
	if !equalScalars(want, got) {
		return differ(typeName(want)+" differs", want, got)
	}
	return nil
}

func (r rules) compareDocuments(want, got bson.D) *mismatch {
	for _, e := range want {
		v, ok := field(got, e.Key)
		if !ok {
			return (&mismatch{kind: "field missing", text: "missing, want " + show(e.Value, 400)}).under(e.Key)
		}
		if m := r.compare(e.Value, v); m != nil {
			return m.under(e.Key)
		}
	}
	if r.partial {
		return nil
	}
	for _, e := range got {
		if _, ok := field(want, e.Key); !ok {
			return (&mismatch{kind: "field not expected", text: "not expected, got " + show(e.Value, 400)}).under(e.Key)
		}
	}
	if len(want) != len(got) {
		return differ("repeated field", want, got)
	}
	return nil
}

func (r rules) compareArrays(want, got bson.A) *mismatch {
	if r.partial && len(got) > len(want) {
		got = got[:len(want)]
	}
	for i := range min(len(want), len(got)) {
		if m := r.compare(want[i], got[i]); m != nil {
			return m.under(fmt.Sprintf("[%d]", i))
		}
	}
	if len(want) != len(got) {
		return lengthMismatch(want, got)
	}
	return nil
}

func lengthMismatch(want, got bson.A) *mismatch {
	m := differ("array length differs", want, got)
	m.text = fmt.Sprintf("length %d instead of %d: want %s, got %s", len(got), len(want), show(want, 400), show(got, 400))
	return m
}

// compareMultisets compares arrays without regard to order; equal decides about two elements. It searches a perfect
// matching, because an approximate number may equal several elements.
func (r rules) compareMultisets(want, got bson.A, equal func(w, g any) *mismatch) *mismatch {
	if len(want) != len(got) && (!r.partial || len(got) < len(want)) {
		return lengthMismatch(want, got)
	}
	taken := make([]int, len(got)) // got index → want index + 1
	var assign func(w int, seen []bool) bool
	assign = func(w int, seen []bool) bool {
		for g := range got {
			if seen[g] || equal(want[w], got[g]) != nil {
				continue
			}
			seen[g] = true
			if taken[g] == 0 || assign(taken[g]-1, seen) {
				taken[g] = w + 1
				return true
			}
		}
		return false
	}
	for w := range want {
		if !assign(w, make([]bool, len(got))) {
			m := differ("element missing in unordered array", want, got)
			m.text = fmt.Sprintf("no element equals %s in %s", show(want[w], 400), show(got, 600))
			return m
		}
	}
	return nil
}

// compareTop compares a top-level document, taking the arrays in the named fields as multisets.
func (r rules) compareTop(want, got any, unordered []string) *mismatch {
	w, ok1 := want.(bson.D)
	g, ok2 := got.(bson.D)
	if len(unordered) == 0 || !ok1 || !ok2 {
		return r.compare(want, got)
	}
	w, g = slices.Clone(w), slices.Clone(g)
	for _, name := range unordered {
		wv, _ := field(w, name)
		gv, _ := field(g, name)
		wa, ok1 := wv.(bson.A)
		ga, ok2 := gv.(bson.A)
		if !ok1 || !ok2 {
			continue
		}
		if m := r.compareMultisets(wa, ga, r.compare); m != nil {
			return m.under(name)
		}
		drop := func(e bson.E) bool { return e.Key == name }
		w, g = slices.DeleteFunc(w, drop), slices.DeleteFunc(g, drop)
	}
	return r.compare(w, g)
}

func (a approx) matches(v any) bool {
	var x float64
	switch v := v.(type) {
	case int32:
		x = float64(v)
	case int64:
		x = float64(v)
	case float64:
		x = v
		if math.IsNaN(a.value) {
			return math.IsNaN(x)
		}
	default:
		return false
	}
	return x == a.value || math.Abs(x-a.value) <= a.tolerance
}

// equalScalars compares two values of the same type that are neither documents nor arrays.
func equalScalars(want, got any) bool {
	switch w := want.(type) {
	case float64:
		g := got.(float64)
		return w == g && math.Signbit(w) == math.Signbit(g)
	case bson.Decimal128:
		g := got.(bson.Decimal128)
		if w.IsNaN() || g.IsNaN() {
			return w.IsNaN() && g.IsNaN()
		}
		wh, wl := w.GetBytes()
		gh, gl := g.GetBytes()
		return wh == gh && wl == gl
	case bson.Binary:
		g := got.(bson.Binary)
		return w.Subtype == g.Subtype && bytes.Equal(w.Data, g.Data)
	case bson.Regex:
		g := got.(bson.Regex)
		return w.Pattern == g.Pattern && optionSet(w.Options) == optionSet(g.Options)
	case bson.CodeWithScope:
		g := got.(bson.CodeWithScope)
		return w.Code == g.Code && rules{}.compare(w.Scope, g.Scope) == nil
	}
	return want == got
}

func optionSet(options string) string {
	b := []byte(options)
	slices.Sort(b)
	return string(slices.Compact(b))
}
