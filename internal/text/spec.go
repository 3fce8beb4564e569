package text

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Defaults of text indexes.
const (
	DefaultLanguage = "english"
	DefaultOverride = "language"
	Version         = 3
)

// maxTerms is the largest number of different terms of one document.
const maxTerms = 400_000

// Wildcard is the field that stands for all strings of a document.
const Wildcard = "$**"

// Spec says which fields are searched. It is immutable.
type Spec struct {
	weights  map[string]float64 // by path
	prefixes map[string]bool    // the proper prefixes of those paths
	wildcard bool               // all other strings are searched, too, with weight 1
	language *Language
	override string
}

// NewSpec reads a text index's specification as listIndexes shows it.
func NewSpec(index bsonval.Doc) (*Spec, error) {
	s := &Spec{weights: map[string]float64{}, prefixes: map[string]bool{}, override: DefaultOverride}
	name := DefaultLanguage
	if v := index.Lookup("default_language"); v.Type() == bsonval.TypeString {
		name = v.Str()
	}
	var ok bool
	if s.language, ok = LanguageByName(name); !ok {
		return nil, mongoerr.New(mongoerr.CannotCreateIndex, "default_language is not valid")
	}
	if v := index.Lookup("language_override"); v.Type() == bsonval.TypeString {
		s.override = strings.Clone(v.Str())
	}
	v := index.Lookup("weights")
	if v.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.CannotCreateIndex, "weights must be an object")
	}
	it := v.Doc().Iter()
	for it.Next() {
		path := string(it.Key())
		if path == Wildcard {
			s.wildcard = true
			continue
		}
		s.weights[path] = it.Value().AsDouble()
		for i := range len(path) {
			if path[i] == '.' {
				s.prefixes[path[:i]] = true
			}
		}
	}
	return s, nil
}

// field is a string of a document that is searched.
type field struct {
	text     string
	language *Language
	weight   float64
}

// walk calls use for the strings of a document that are searched, until it
// returns false. It fails on language fields that name no language.
func (s *Spec) walk(d bsonval.Doc, use func(field) bool) error {
	w := walker{spec: s, use: use}
	w.document(d, "", s.language)
	return w.err
}

type walker struct {
	spec *Spec
	use  func(field) bool
	err  error
	done bool
}

func (w *walker) document(d bsonval.Doc, path string, l *Language) {
	if v := d.Lookup(w.spec.override); !v.IsMissing() {
		if l, w.err = languageOf(v); w.err != nil {
			w.done = true
			return
		}
	}
	it := d.Iter()
	for it.Next() && !w.done {
		if w.spec.wildcard && it.KeyStr() == w.spec.override {
			continue
		}
		name := it.KeyStr()
		if path != "" {
			name = path + "." + name
		}
		w.value(it.Value(), name, l, false)
	}
}

func languageOf(v bsonval.Value) (*Language, error) {
	if v.Type() != bsonval.TypeString {
		return nil, mongoerr.New(17261, "found language override field in document with non-string type")
	}
	l, ok := LanguageByName(v.Str())
	if !ok {
		return nil, mongoerr.New(17262, "language override unsupported: %s", v.Str())
	}
	return l, nil
}

// value visits a value at a path; in says that it is an array's element.
func (w *walker) value(v bsonval.Value, path string, l *Language, in bool) {
	weight, exact := w.spec.weights[path]
	if !exact && !w.spec.wildcard && !w.spec.prefixes[path] {
		return
	}
	switch v.Type() {
	case bsonval.TypeString:
		if !exact {
			weight = 1
		}
		if exact || w.spec.wildcard {
			w.done = !w.use(field{v.Str(), l, weight})
		}
	case bsonval.TypeDocument:
		if w.spec.wildcard || w.spec.prefixes[path] {
			w.document(v.Doc(), path, l)
		}
	case bsonval.TypeArray:
		if in && !w.spec.wildcard {
			return
		}
		it := v.Doc().Iter()
		for it.Next() && !w.done {
			w.value(it.Value(), path, l, true)
		}
	}
}

// Terms returns the terms of a document with their scores.
func (s *Spec) Terms(d bsonval.Doc) (map[string]float64, error) {
	scores := map[string]float64{}
	err := s.walk(d, func(f field) bool {
		f.score(scores)
		return true
	})
	if err == nil && len(scores) > maxTerms {
		err = mongoerr.New(16732, "too many unique keys for a single document to have text index")
	}
	return scores, err
}

// occurrence is how a term occurs in one field.
type occurrence struct{ count, frequency, divisor float64 }

// score adds the scores of a field's terms: repetitions count half of the one
// before, terms that make up more of the field count more, and one that is all
// of the field as it stands counts a little more still.
func (f field) score(scores map[string]float64) {
	found := map[string]occurrence{}
	total := 0.0
	f.language.words(f.text, sensitivity{}, func(word string) {
		o := found[word]
		if o.divisor == 0 {
			o.divisor = 1
		} else {
			o.divisor *= 2
		}
		o.count++
		o.frequency += 1 / o.divisor
		found[word] = o
		total++
	})
	for word, o := range found {
		adjustment := 1.0
		if strings.EqualFold(f.text, word) && len(f.text) == len(word) {
			adjustment += 0.1
		}
		scores[word] += f.weight * o.frequency * (0.5*o.count/total + 0.5) * adjustment
	}
}
