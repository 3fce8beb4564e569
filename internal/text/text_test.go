package text

import (
	"math"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func doc(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

func spec(t testing.TB, json string) *Spec {
	t.Helper()
	s, err := NewSpec(doc(t, json))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestEnglishStems has pairs of the published vocabulary of the Porter2 stemmer.
func TestEnglishStems(t *testing.T) {
	for word, want := range map[string]string{
		"consign": "consign", "consigned": "consign", "consignment": "consign", "consistency": "consist",
		"consistently": "consist", "consolation": "consol", "consolatory": "consolatori", "consoled": "consol",
		"knackeries": "knackeri", "knaves": "knave", "knavish": "knavish", "kneading": "knead", "kneeling": "kneel",
		"knightly": "knight", "knots": "knot", "generate": "generat", "generously": "generous", "communism": "communism",
		"running": "run", "runs": "run", "hopping": "hop", "hoped": "hope", "coffee": "coffe", "ties": "tie",
		"cries": "cri", "gas": "gas", "gaps": "gap", "kiwis": "kiwi", "skies": "sky", "dying": "die", "inning": "inning",
		"relational": "relat", "digitizer": "digit", "hopefulness": "hope", "formaliti": "formal", "electrical": "electr",
		"adoption": "adopt", "controlling": "control", "rate": "rate", "cease": "ceas", "say": "say", "by": "by",
		"youth": "youth", "luxuriated": "luxuri", "proceed": "proceed", "dogs'": "dog", "boy's": "boy",
	} {
		if got := stemEnglish(word); got != want {
			t.Errorf("%s: %s, want %s", word, got, want)
		}
	}
}

func TestLightStemming(t *testing.T) {
	for _, tc := range []struct{ language, words string }{
		{"spanish", "correr corriendo"}, {"french", "cours courant"}, {"german", "haus hauses häuser"},
		{"portuguese", "falar falando"}, {"italian", "parlare parlando"}, {"dutch", "werken werkende"},
	} {
		l, _ := LanguageByName(tc.language)
		stems := map[string]bool{}
		for w := range strings.FieldsSeq(tc.words) {
			stems[stripDiacritics(l.stem(w))] = true
		}
		if len(stems) != 1 {
			t.Errorf("%s: %v", tc.language, stems)
		}
	}
}

func TestWords(t *testing.T) {
	for _, tc := range []struct {
		language, text string
		by             sensitivity
		want           []string
	}{
		{"english", "The quick-brown Fox's café, hello@world #tags", sensitivity{},
			[]string{"quick", "brown", "fox", "cafe", "hello", "world", "tag"}},
		{"english", "don't can't o'clock", sensitivity{}, []string{"o'clock"}},
		{"french", "l'été", sensitivity{}, []string{"l", "ete"}},
		{"none", "The Running", sensitivity{}, []string{"the", "running"}},
		{"english", "Café RUNNING", sensitivity{letterCase: true, diacritics: true}, []string{"Café", "RUNNING"}},
		{"english", "数据库系统 hi\x00there", sensitivity{}, []string{"数据库系统", "hi"}},
	} {
		l, _ := LanguageByName(tc.language)
		var got []string
		l.words(tc.text, tc.by, func(w string) { got = append(got, w) })
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s %q: %q, want %q", tc.language, tc.text, got, tc.want)
		}
	}
}

func TestScores(t *testing.T) {
	s := spec(t, `{"weights": {"a": 1, "b.c": 10}}`)
	for _, tc := range []struct {
		doc  string
		want map[string]float64
	}{
		{`{"a": "coffee shopping"}`, map[string]float64{"coffe": 0.75, "shop": 0.75}},
		{`{"a": "tea"}`, map[string]float64{"tea": 1.1}},
		{`{"a": "tea tea tea"}`, map[string]float64{"tea": 1.75}},
		{`{"a": "tea", "b": [{"c": "tea time"}, {"c": ["cup"]}]}`, map[string]float64{"tea": 1.1 + 7.5, "time": 7.5, "cup": 11}},
		{`{"a": 5, "b": {"d": "tea"}, "x": "tea"}`, map[string]float64{}},
		{`{"a": "the running", "language": "none"}`, map[string]float64{"the": 0.75, "running": 0.75}},
	} {
		got, err := s.Terms(doc(t, tc.doc))
		if err != nil || len(got) != len(tc.want) {
			t.Errorf("%s: %v %v", tc.doc, got, err)
		}
		for term, score := range tc.want {
			if math.Abs(got[term]-score) > 1e-9 {
				t.Errorf("%s: %s has %v, want %v", tc.doc, term, got[term], score)
			}
		}
	}
	all := spec(t, `{"weights": {"$**": 1, "t": 3}, "language_override": "lang"}`)
	got, err := all.Terms(doc(t, `{"t": "tea", "x": {"lang": "none", "y": "teas"}}`))
	if err != nil || len(got) != 2 || math.Abs(got["tea"]-3.3) > 1e-9 || math.Abs(got["teas"]-1.1) > 1e-9 {
		t.Errorf("wildcard: %v %v", got, err)
	}
	if _, err := s.Terms(doc(t, `{"language": 5}`)); !mongoerr.Is(err, 17261) {
		t.Errorf("language of another type: %v", err)
	}
	if _, err := s.Terms(doc(t, `{"language": "klingon"}`)); !mongoerr.Is(err, 17262) {
		t.Errorf("unknown language: %v", err)
	}
}

func TestQueries(t *testing.T) {
	s := spec(t, `{"weights": {"a": 1}}`)
	for _, tc := range []struct {
		search  Search
		text    string
		matches bool
	}{
		{Search{Text: "fox"}, "Foxes run", true},
		{Search{Text: "fox -brown"}, "the brown fox", false},
		{Search{Text: "-fox"}, "dog", false},
		{Search{Text: "pre-market"}, "market", true},
		{Search{Text: `"brown fox"`}, "quick BROWN fox", true},
		{Search{Text: `"brown fox" "red dog"`}, "brown fox", false},
		{Search{Text: `fox -"brown fox"`}, "brown fox", false},
		{Search{Text: `fox -"brown fox"`}, "fox brown", true},
		{Search{Text: `"brown fox" quick`}, "quick rabbit", false},
		{Search{Text: "the"}, "the", false},
		{Search{Text: "cafe"}, "Café", true},
		{Search{Text: "café", DiacriticSensitive: true}, "cafe", false},
		{Search{Text: "Cafe", CaseSensitive: true}, "cafe", false},
		{Search{Text: "Cafe", CaseSensitive: true}, "Café", true},
		{Search{Text: `"unfinished fox`}, "fox", true},
	} {
		q, err := NewQuery(s, tc.search)
		if err != nil {
			t.Fatal(err)
		}
		d := bsonval.NewBuilder().Str("a", tc.text).Build()
		if got := q.Matches(d); got != tc.matches {
			t.Errorf("%+v on %q: %v", tc.search, tc.text, got)
		}
	}
	if _, err := NewQuery(s, Search{Language: "klingon"}); !mongoerr.Is(err, mongoerr.BadValue) {
		t.Errorf("unknown language: %v", err)
	}
}

// FuzzQuery reads searches; what matches must have one of the terms.
func FuzzQuery(f *testing.F) {
	f.Add(`brown "red fox" -"a b" -c`, "red fox")
	f.Add("--\"", "\"")
	s := spec(f, `{"weights": {"a": 1}}`)
	f.Fuzz(func(t *testing.T, search, text string) {
		q, err := NewQuery(s, Search{Text: search})
		if err != nil {
			t.Fatal(err)
		}
		d := bsonval.NewBuilder().Str("a", text).Build()
		terms, err := s.Terms(d)
		if err != nil {
			t.Fatal(err)
		}
		found := slices.ContainsFunc(q.Terms(), func(term string) bool { return terms[term] > 0 })
		if q.Matches(d) && !found || q.Exact() && found && !q.Matches(d) {
			t.Fatalf("%q on %q: matches %v, terms %v of %v", search, text, q.Matches(d), q.Terms(), terms)
		}
	})
}
