package match_test

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

func TestNecessary(t *testing.T) {
	for _, c := range []struct{ filter, want string }{
		{`{}`, ``},
		{`{"a": "xy"}`, `\x04a\x00|\x02a\x00\x03\x00\x00\x00xy\x00|\x0ea\x00\x03\x00\x00\x00xy\x00`},
		{`{"b.a": true}`, `\x04a\x00|\ba\x00\x01`},
		{`{"a": 1}`, `\x04a\x00|\x13a\x00|\x12a\x00\x01\x00\x00\x00\x00\x00\x00\x00|\x10a\x00\x01\x00\x00\x00|\x01a\x00\x00\x00\x00\x00\x00\x00\xf0?`},
		{`{"a": 0.5}`, `\x04a\x00|\x13a\x00|\x01a\x00\x00\x00\x00\x00\x00\x00\xe0?`},
		{`{"a": {"$in": [true, false]}}`, `\x04a\x00|\ba\x00\x00|\ba\x00\x01`},
		{`{"a": {"$gt": 1}}`, `a\x00`},
		{`{"a": {"$gt": 1}, "b": true}`, `\x04b\x00|\bb\x00\x01`},
		{`{"a": true, "b": false}`, `\x04a\x00|\ba\x00\x01 & \x04b\x00|\bb\x00\x00`},
		{`{"$or": [{"a": true}, {"b": {"$exists": true}}]}`, `\x04a\x00|\ba\x00\x01|b\x00`},
		{`{"$or": [{"a": true}, {"b": null}]}`, ``},
		{`{"a.0": {"$size": 2}}`, `a\x00`},
		{`{"a.0": "long enough"}`, `\f\x00\x00\x00long enough\x00`},
		{`{"a": {"$elemMatch": {"b": true}}}`, `\x04b\x00|\bb\x00\x01`},
		{`{"a": {"$elemMatch": {"$eq": "long enough"}}}`, `\f\x00\x00\x00long enough\x00`},
		{`{"a": {"b": true}}`, `\bb\x00\x01`},
		{`{"a": {"$regex": "^some.*thing"}}`, `thing|^some.*thing\x00\x00`},
		{`{"a": {"$regex": "some", "$options": "i"}}`, `a\x00`},
		{`{"a": null}`, ``},
		{`{"a": {"$in": [1, null]}}`, ``},
		{`{"a": {"$ne": 1}}`, ``},
		{`{"a": {"$not": {"$gt": 1}}}`, ``},
		{`{"a": {"$exists": false}}`, ``},
		{`{"a": {"$gt": {"$minKey": 1}}}`, ``},
		{`{"a": true, "$expr": {"$eq": ["$b", 1]}}`, ``},
	} {
		m, err := match.Compile(parse(t, c.filter), match.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var clauses []string
		for _, clause := range m.Necessary() {
			var any []string
			for _, s := range clause {
				quoted := fmt.Sprintf("%q", s)
				any = append(any, quoted[1:len(quoted)-1])
			}
			clauses = append(clauses, strings.Join(any, "|"))
		}
		if got := strings.Join(clauses, " & "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.filter, got, c.want)
		}
	}
}

// drawRich draws a value of any type, few of each, and many that are equal to
// others of another type.
func drawRich(t *rapid.T, depth int) any {
	id, _ := bson.ObjectIDFromHex("0123456789abcdef01234567")
	one, _ := bson.ParseDecimal128("1.0")
	half, _ := bson.ParseDecimal128("0.5")
	nan, _ := bson.ParseDecimal128("NaN")
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
	case depth > 0 && kind < 2:
		return drawRichDoc(t, depth-1)
	case depth > 0 && kind < 5:
		a := bson.A{}
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			a = append(a, drawRich(t, depth-1))
		}
		return a
	}
	return rapid.SampledFrom([]any{
		nil, true, false, int32(0), int64(0), 0.0, math.Copysign(0, -1), int32(1), int64(1), 1.0, one, half, 0.5, math.NaN(), nan,
		int64(1) << 40, float64(int64(1) << 40), int64(1)<<60 + 1, float64(int64(1) << 60), math.Inf(1), -1.0, int32(-1),
		"", "a", "literal", "a literal thing", bson.Symbol("literal"), bson.Symbol("a"), id, bson.NewDateTimeFromTime(time.Unix(1, 0)),
		bson.Timestamp{T: 1, I: 2}, bson.Binary{Data: []byte{1, 2}}, bson.Binary{Subtype: 2, Data: []byte{1, 2}},
		bson.Regex{Pattern: "literal"}, bson.JavaScript("a"), bson.CodeWithScope{Code: "a", Scope: bson.D{{Key: "a", Value: int32(1)}}},
		bson.DBPointer{DB: "a", Pointer: id}, bson.MinKey{}, bson.MaxKey{},
	}).Draw(t, "scalar")
}

func drawRichDoc(t *rapid.T, depth int) bson.D {
	d := bson.D{}
	for _, name := range []string{"a", "b", "0", "ba"} {
		if rapid.IntRange(0, 2).Draw(t, "has "+name) > 0 {
			d = append(d, bson.E{Key: name, Value: drawRich(t, depth)})
		}
	}
	return d
}

func drawRichFilter(t *rapid.T, depth int) bson.D {
	f := bson.D{}
	for range rapid.IntRange(1, 2).Draw(t, "conditions") {
		if depth > 0 && rapid.IntRange(0, 3).Draw(t, "logical") == 0 {
			subs := bson.A{}
			for range rapid.IntRange(1, 3).Draw(t, "branches") {
				subs = append(subs, drawRichFilter(t, depth-1))
			}
			f = append(f, bson.E{Key: rapid.SampledFrom([]string{"$and", "$or", "$nor"}).Draw(t, "logic"), Value: subs})
			continue
		}
		path := rapid.SampledFrom([]string{"a", "b", "ba", "a.b", "a.0", "0", "b.0.a", "a.0.0", "b.a"}).Draw(t, "path")
		f = append(f, bson.E{Key: path, Value: drawRichCondition(t, depth)})
	}
	return f
}

func drawRichCondition(t *rapid.T, depth int) any {
	name := rapid.SampledFrom([]string{
		"", "", "$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$in", "$all", "$ne", "$exists", "$type", "$size", "$mod", "$bitsAllClear", "$regex",
		"$not", "$elemMatch", "$elemMatch",
	}).Draw(t, "operator")
	var arg any
	switch name {
	case "":
		return drawRich(t, 2)
	case "$in", "$all":
		list := bson.A{}
		for range rapid.IntRange(1, 3).Draw(t, "list") {
			list = append(list, drawRich(t, 1))
		}
		arg = list
	case "$exists":
		arg = rapid.Bool().Draw(t, "exists")
	case "$type":
		arg = rapid.SampledFrom([]string{"null", "number", "string", "object", "array", "bool", "minKey"}).Draw(t, "type")
	case "$size":
		arg = int32(rapid.IntRange(0, 3).Draw(t, "size"))
	case "$mod":
		arg = bson.A{int32(2), int32(1)}
	case "$bitsAllClear":
		arg = int32(2)
	case "$regex":
		arg = rapid.SampledFrom([]string{"literal", "^literal", "^a.*thing$", "a|b", "(literal)?", "é"}).Draw(t, "pattern")
	case "$not":
		arg = bson.D{{Key: "$gt", Value: drawRich(t, 0)}}
	case "$elemMatch":
		if depth > 0 && rapid.Bool().Draw(t, "by document") {
			arg = drawRichFilter(t, depth-1)
		} else {
			arg = bson.D{{Key: rapid.SampledFrom([]string{"$eq", "$gte", "$lt"}).Draw(t, "element"), Value: drawRich(t, 1)}}
		}
	default:
		arg = drawRich(t, 2)
	}
	return bson.D{{Key: name, Value: arg}}
}

// TestNecessaryHolds checks on random documents that whatever matches has what is
// necessary.
func TestNecessaryHolds(t *testing.T) {
	anyCase, err := collation.Parse(parse(t, `{"locale": "en", "strength": 2}`))
	if err != nil {
		t.Fatal(err)
	}
	matched, left := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		env := &expr.Env{NowMS: 1}
		if rapid.IntRange(0, 4).Draw(t, "fold") == 0 {
			env.Collator = anyCase.Collator()
		}
		f := encode(t, drawRichFilter(t, 2))
		c := expr.NewCompiler(env)
		m, err := match.Compile(f, match.Options{Compiler: c})
		if err != nil {
			return // a regular expression as the argument of $gt, for instance
		}
		clauses := m.Necessary()
		for range 10 {
			d := encode(t, drawRichDoc(t, 3))
			ok, err := m.Match(c.NewContext(), d)
			if err != nil {
				t.Fatal(err)
			}
			has := true
			for _, clause := range clauses {
				one := false
				for _, s := range clause {
					one = one || bytes.Contains(d, s)
				}
				has = has && one
			}
			if ok && !has {
				t.Fatalf("filter %s matches %s, which has not all of %q", bsonval.FormatDoc(f), bsonval.FormatDoc(d), clauses)
			}
			if ok {
				matched++
			}
			if !has {
				left++
			}
		}
	})
	if matched == 0 || left == 0 {
		t.Errorf("%d matched, %d were left out: the generators have become one-sided", matched, left)
	}
}
