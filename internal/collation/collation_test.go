package collation

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.mongodb.org/mongo-driver/v2/bson"
	"golang.org/x/text/collate"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// document reads relaxed Extended JSON.
func document(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(json), false, &d); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func mustParse(t testing.TB, json string) *Spec {
	t.Helper()
	s, err := Parse(document(t, json))
	if err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return s
}

// TestOrder runs testdata/order. Its commands:
//
//	sort      input: a collation, then quoted strings, one a line; output: the
//	          strings in order, equal ones on one line
func TestOrder(t *testing.T) {
	datadriven.RunTest(t, "testdata/order", func(t *testing.T, d *datadriven.TestData) string {
		if d.Cmd != "sort" {
			t.Fatalf("unknown command %s", d.Cmd)
		}
		header, body, _ := strings.Cut(d.Input, "\n")
		c := mustParse(t, header).Collator()
		var items []string
		for line := range strings.Lines(body) {
			s, err := strconv.Unquote(strings.TrimSpace(line))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			items = append(items, s)
		}
		slices.SortStableFunc(items, func(a, b string) int { return c.CompareStrings([]byte(a), []byte(b)) })
		var out strings.Builder
		for i, s := range items {
			if i > 0 && c.CompareStrings([]byte(items[i-1]), []byte(s)) == 0 {
				out.WriteString(" = ")
			} else if i > 0 {
				out.WriteString("\n")
			}
			fmt.Fprintf(&out, "%+q", s)
		}
		return out.String()
	})
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		json string
		code mongoerr.Code
	}{
		{`{}`, 40414},
		{`{"strength": 2}`, 40414},
		{`{"locale": ""}`, 2},
		{`{"locale": "zzz"}`, 2},
		{`{"locale": "en-US"}`, 2},
		{`{"locale": "en@collation=phonebook"}`, 2},
		{`{"locale": 1}`, 14},
		{`{"locale": ["en"]}`, 14},
		{`{"locale": "en", "Strength": 3}`, 40415},
		{`{"locale": "en", "strength": 0}`, 2},
		{`{"locale": "en", "strength": 6}`, 2},
		{`{"locale": "en", "strength": "3"}`, 14},
		{`{"locale": "en", "strength": true}`, 14},
		{`{"locale": "en", "strength": {"$numberDouble": "NaN"}}`, 2},
		{`{"locale": "en", "strength": {"$numberDecimal": "Infinity"}}`, 2},
		{`{"locale": "en", "strength": {"$numberDecimal": "5.5"}}`, 2},
		{`{"locale": "en", "caseLevel": 1}`, 14},
		{`{"locale": "en", "backwards": null}`, 14},
		{`{"locale": "en", "backwards": true, "strength": 1}`, 2},
		{`{"locale": "en", "caseFirst": "x"}`, 2},
		{`{"locale": "en", "caseFirst": "upper", "strength": 2}`, 2},
		{`{"locale": "en", "alternate": "x"}`, 2},
		{`{"locale": "en", "maxVariable": "x"}`, 2},
		{`{"locale": "en", "version": "58"}`, 161},
		{`{"locale": "en", "version": 57}`, 14},
		{`{"locale": "simple", "strength": 9}`, 2},
	} {
		if _, err := Parse(document(t, c.json)); !mongoerr.Is(err, c.code) {
			t.Errorf("%s: %v, want code %d", c.json, err, c.code)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`{"locale": "en"}`, `{"locale":"en","caseLevel":false,"caseFirst":"off","strength":3,"numericOrdering":false,"alternate":"non-ignorable","maxVariable":"punct","normalization":false,"backwards":false,"version":"57.1"}`},
		{`{"locale": "fr_CA", "strength": {"$numberDouble": "2.9"}, "caseLevel": null}`, `{"locale":"fr_CA","caseLevel":false,"caseFirst":"off","strength":2,"numericOrdering":false,"alternate":"non-ignorable","maxVariable":"punct","normalization":false,"backwards":true,"version":"57.1"}`},
		{`{"locale": "de@collation=phonebook", "strength": {"$numberDecimal": "2.5"}, "version": "57.1"}`, `{"locale":"de@collation=phonebook","caseLevel":false,"caseFirst":"off","strength":2,"numericOrdering":false,"alternate":"non-ignorable","maxVariable":"punct","normalization":false,"backwards":false,"version":"57.1"}`},
		{`{"locale": "simple", "normalization": true}`, `{"locale":"simple"}`},
	} {
		s := mustParse(t, c.json)
		got, err := bson.MarshalExtJSON(bson.Raw(s.Doc()), false, false)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %s %v, want %s", c.json, got, err, c.want)
		}
		again, err := Parse(s.Doc())
		if err != nil || !again.Equal(s) {
			t.Errorf("%s: the whole document reads as %+v, %v", c.json, again, err)
		}
	}
	if mustParse(t, `{"locale": "simple"}`).Collator() != nil {
		t.Error("the simple collation has a collator")
	}
	if mustParse(t, `{"locale": "en"}`).Equal(mustParse(t, `{"locale": "en", "strength": 2}`)) {
		t.Error("different strengths are equal")
	}
}

// TestEveryLocaleHasACollator also guards the names in the tables.
func TestEveryLocaleHasACollator(t *testing.T) {
	names := slices.Clone(locales)
	for base, types := range collationTypes {
		for _, v := range types {
			names = append(names, base+"@collation="+v)
		}
	}
	for _, name := range names {
		s, err := Parse(bsonval.NewBuilder().Str("locale", name).Build())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s.Collator().CompareStrings([]byte("a"), []byte("b")) != -1 {
			t.Errorf("%s: a is not before b", name)
		}
	}
}

var specs = []string{
	`{"locale": "en"}`, `{"locale": "en", "strength": 1}`, `{"locale": "en", "strength": 2}`,
	`{"locale": "en", "strength": 5, "alternate": "shifted"}`, `{"locale": "sv", "strength": 4}`,
	`{"locale": "ja", "strength": 4}`, `{"locale": "en", "numericOrdering": true}`,
	`{"locale": "cs", "caseLevel": true, "strength": 1, "caseFirst": "upper"}`,
	`{"locale": "fr_CA", "alternate": "shifted", "maxVariable": "space", "strength": 4, "numericOrdering": true}`,
}

// TestLaws checks that the order is one: total, and the same by keys.
func TestLaws(t *testing.T) {
	var collators []bsonval.Collator
	for _, s := range specs {
		collators = append(collators, mustParse(t, s).Collator())
	}
	text := rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.SampledFrom([]rune("aAbBcChá\u0301\u0308 -_.0129ßあアがカ🍎가\x00")), 0, 6, -1),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(collators).Draw(t, "collator")
		x, y, z := []byte(text.Draw(t, "x")), []byte(text.Draw(t, "y")), []byte(text.Draw(t, "z"))
		xy, yz, xz := c.CompareStrings(x, y), c.CompareStrings(y, z), c.CompareStrings(x, z)
		if xy != -c.CompareStrings(y, x) || c.CompareStrings(x, x) != 0 {
			t.Fatalf("%q %q: not antisymmetric", x, y)
		}
		if xy <= 0 && yz <= 0 && xz > 0 || xy == 0 && yz == 0 && xz != 0 {
			t.Fatalf("%q %q %q: not transitive", x, y, z)
		}
		if got := bytes.Compare(c.AppendKey(nil, x), c.AppendKey(nil, y)); got != xy {
			t.Fatalf("%q %q: keys %d, strings %d", x, y, got, xy)
		}
		if k := c.AppendKey([]byte("p"), x); k[0] != 'p' || !bytes.Equal(k[1:], c.AppendKey(nil, x)) {
			t.Fatalf("%q: AppendKey does not append", x)
		}
	})
}

// TestGoldenKeys pins the bytes that indexes store.
func TestGoldenKeys(t *testing.T) {
	for _, c := range []struct{ spec, s, want string }{
		{specs[0], "aB", "15ef1605000000200020" + "0000" + "0208"},
		{specs[1], "aB", "15ef1605"},
		{specs[2], "é", "164c" + "0000" + "00200032"},
		{specs[3], "a b", "15ef1605" + "0000" + "00200020" + "0000" + "0202" + "00" + "fd0109fd" + "00" + "612062"},
		{specs[6], "a010", "15ef" + "14e6" + "01000002" + "0201" + "0000" + "00200020" + "0000" + "0202"},
		{specs[7], "aB", "15ef1605" + "0000" + "0201"},
	} {
		if got := hex.EncodeToString(mustParse(t, c.spec).Collator().AppendKey(nil, []byte(c.s))); got != c.want {
			t.Errorf("%s %q: %s, want %s", c.spec, c.s, got, c.want)
		}
	}
}

// TestASCIIWeights checks the claim of singleLetters: pairs of characters weigh
// what each weighs alone.
func TestASCIIWeights(t *testing.T) {
	var buf collate.Buffer
	for _, lang := range singleLetters {
		weights := collate.New(languageTag(lang))
		table := newASCIIWeights(lang, weights)
		if table == nil {
			t.Errorf("%s: no table", lang)
			continue
		}
		var k keyer
		for i := range 128 * 128 {
			text := []byte{byte(i / 128), byte(i % 128)}
			k.primary, k.secondary, k.tertiary = k.primary[:0], k.secondary[:0], k.tertiary[:0]
			table.weigh(&k, text, false)
			p, s, ter := splitLevels(weights.Key(&buf, text))
			if !bytes.Equal(p, k.primary) || !bytes.Equal(s, k.secondary) || !bytes.Equal(ter, k.tertiary) {
				t.Errorf("%s: %q weighs otherwise", lang, text)
				break
			}
			buf.Reset()
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := mustParse(t, specs[0]).Collator()
	want := c.AppendKey(nil, []byte("Straße"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if !bytes.Equal(c.AppendKey(nil, []byte("Straße")), want) {
					t.Error("keys differ")
					return
				}
			}
		})
	}
	wg.Wait()
}

func FuzzParse(f *testing.F) {
	for _, s := range specs {
		f.Add([]byte(document(f, s)), []byte("a"), []byte("b"))
	}
	f.Fuzz(func(t *testing.T, d, a, b []byte) {
		if bsonval.Validate(d) != nil {
			return
		}
		s, err := Parse(d)
		if err != nil {
			if mongoerr.As(err) == nil {
				t.Fatal(err)
			}
			return
		}
		if c := s.Collator(); c != nil && c.CompareStrings(a, b) != -c.CompareStrings(b, a) {
			t.Fatalf("%q %q", a, b)
		}
	})
}

func BenchmarkAppendKey(b *testing.B) {
	for _, s := range []string{"hello world", "Ελληνικά"} {
		b.Run(s, func(b *testing.B) {
			c := mustParse(b, specs[0]).Collator()
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = c.AppendKey(dst[:0], []byte(s))
			}
		})
	}
}
