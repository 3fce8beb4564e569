package match_test

import (
	"math"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

// The generators draw from few values, so that filters match often.

func drawScalar(t *rapid.T) any {
	return rapid.SampledFrom([]any{
		nil, true, false, int32(0), int32(1), int32(2), 1.0, 0.5, math.NaN(), "", "a", "A", "b", "ab",
	}).Draw(t, "scalar")
}

func drawValue(t *rapid.T, depth int) any {
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case depth > 0 && kind < 2:
		return drawDoc(t, depth-1)
	case depth > 0 && kind < 5:
		a := bson.A{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			a = append(a, drawValue(t, depth-1))
		}
		return a
	}
	return drawScalar(t)
}

func drawDoc(t *rapid.T, depth int) bson.D {
	d := bson.D{}
	for _, name := range []string{"a", "b", "0"} {
		if rapid.IntRange(0, 2).Draw(t, "has "+name) > 0 {
			d = append(d, bson.E{Key: name, Value: drawValue(t, depth)})
		}
	}
	return d
}

func drawFilter(t *rapid.T, depth int) bson.D {
	f := bson.D{}
	for range rapid.IntRange(0, 2).Draw(t, "conditions") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "logical") == 0 {
			name := rapid.SampledFrom([]string{"$and", "$or", "$nor"}).Draw(t, "logic")
			subs := bson.A{}
			for range rapid.IntRange(1, 3).Draw(t, "branches") {
				subs = append(subs, drawFilter(t, depth-1))
			}
			f = append(f, bson.E{Key: name, Value: subs})
			continue
		}
		path := rapid.SampledFrom([]string{"a", "b", "a.b", "a.0", "a.a", "b.0.a", "a.b.a", "a.1", "b.1.0"}).Draw(t, "path")
		f = append(f, bson.E{Key: path, Value: drawCondition(t, depth)})
	}
	return f
}

func drawCondition(t *rapid.T, depth int) any {
	if rapid.IntRange(0, 3).Draw(t, "implicit") == 0 {
		return drawOperand(t)
	}
	return drawOps(t, depth)
}

// drawOperand draws a value to compare with.
func drawOperand(t *rapid.T) any { return drawValue(t, 2) }

func drawList(t *rapid.T) bson.A {
	list := bson.A{}
	for range rapid.IntRange(0, 3).Draw(t, "list") {
		list = append(list, drawOperand(t))
	}
	return list
}

func drawOps(t *rapid.T, depth int) bson.D {
	ops := bson.D{}
	for range rapid.IntRange(1, 2).Draw(t, "operators") {
		names := []string{"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$exists", "$size", "$type", "$mod"}
		if depth > 0 {
			names = append(names, "$not", "$elemMatch", "$elemMatch")
		}
		name := rapid.SampledFrom(names).Draw(t, "operator")
		var arg any
		switch name {
		case "$in", "$nin", "$all":
			arg = drawList(t)
		case "$exists":
			arg = rapid.Bool().Draw(t, "exists")
		case "$size":
			arg = int32(rapid.IntRange(0, 3).Draw(t, "size"))
		case "$type":
			arg = rapid.SampledFrom([]string{"null", "int", "double", "string", "object", "array", "bool"}).Draw(t, "type")
		case "$mod":
			arg = bson.A{int32(rapid.IntRange(1, 3).Draw(t, "divisor")), int32(rapid.IntRange(0, 2).Draw(t, "rest"))}
		case "$not":
			arg = drawOps(t, depth-1)
		case "$elemMatch":
			if rapid.Bool().Draw(t, "by value") {
				arg = drawOps(t, depth-1)
			} else {
				arg = drawFilter(t, depth-1)
			}
		default:
			arg = drawOperand(t)
		}
		ops = append(ops, bson.E{Key: name, Value: arg})
	}
	if rapid.IntRange(0, 9).Draw(t, "regex") == 0 {
		ops = bson.D{{Key: "$regex", Value: rapid.SampledFrom([]string{"a", "^a", "b$", "^A"}).Draw(t, "pattern")}}
		if rapid.Bool().Draw(t, "any case") {
			ops = append(ops, bson.E{Key: "$options", Value: "i"})
		}
	}
	return ops
}

// TestAgainstNaive compares filters with the naive implementation on random
// documents, by bytes and without regard to case.
func TestAgainstNaive(t *testing.T) {
	anyCase, err := collation.Parse(parse(t, `{"locale": "en", "strength": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	matched, total := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		fold := rapid.Bool().Draw(t, "fold")
		env := &expr.Env{NowMS: 1}
		if fold {
			env.Collator = anyCase.Collator()
		}
		f := drawFilter(t, 2)
		c := expr.NewCompiler(env)
		m, err := match.Compile(encode(t, f), match.Options{Compiler: c})
		if err != nil {
			t.Fatalf("compile %v: %v", f, err)
		}
		for range 10 {
			d := drawDoc(t, 3)
			got, err := m.Match(c.NewContext(), encode(t, d))
			if err != nil {
				t.Fatalf("match: %v", err)
			}
			if want := (naive{fold}).filter(f, d); got != want {
				t.Fatalf("filter %s on %s: %v, want %v (fold %v)", bsonval.FormatDoc(encode(t, f)), bsonval.FormatDoc(encode(t, d)),
					got, want, fold)
			}
			if total++; got {
				matched++
			}
		}
	})
	if total >= 100 && (matched*20 < total || matched*20 > total*19) {
		t.Errorf("%d of %d documents matched: the generators have become one-sided", matched, total)
	}
}

func encode(t *rapid.T, d bson.D) bsonval.Doc {
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return bsonval.Doc(raw)
}
