package text

import (
	"maps"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Search is $text's argument.
type Search struct {
	Text               string
	Language           string // empty: the index's
	CaseSensitive      bool
	DiacriticSensitive bool
}

// Query is a search in the fields of a Spec. It is immutable.
type Query struct {
	spec     *Spec
	language *Language
	by       sensitivity

	terms    map[string]bool // in the index
	positive map[string]bool // one of them must occur, as sensitive as asked for
	negated  map[string]bool // none of them may

	phrases, negatedPhrases []string // folded
}

// NewQuery reads a search:
//
//	words "a phrase" -without -"a phrase to be absent"
//
// Any one word is enough, the words of phrases included; every phrase must occur.
func NewQuery(spec *Spec, s Search) (*Query, error) {
	q := &Query{
		spec: spec, language: spec.language, by: sensitivity{s.CaseSensitive, s.DiacriticSensitive},
		terms: map[string]bool{}, positive: map[string]bool{}, negated: map[string]bool{},
	}
	if s.Language != "" {
		var ok bool
		if q.language, ok = LanguageByName(s.Language); !ok {
			return nil, mongoerr.New(mongoerr.BadValue, "unsupported language: \"%s\" for text index version %d",
				s.Language, Version)
		}
	}
	q.parse(s.Text)
	return q, nil
}

func (q *Query) parse(s string) {
	negated, phrase := false, -1 // where the phrase began
	space := true                // the character before was white space
	for i := 0; i < len(s); {
		switch c := s[i]; c {
		case ' ', '\t', '\n', '\v', '\f', '\r':
			space = true
			i++
			continue
		case '-':
			if phrase < 0 && space {
				negated = true
			}
			i++
		case '"':
			i++
			switch {
			case phrase < 0:
				phrase = i
			case negated:
				q.negatedPhrases = append(q.negatedPhrases, q.language.fold(s[phrase:i-1], q.by))
				phrase, negated = -1, false
			default:
				q.phrases = append(q.phrases, q.language.fold(s[phrase:i-1], q.by))
				phrase = -1
			}
		default:
			end := i + strings.IndexAny(s[i:]+" ", " \t\n\v\f\r-\"")
			if phrase < 0 || !negated {
				q.add(s[i:end], negated)
			}
			negated = negated && phrase >= 0
			i = end
		}
		space = false
	}
}

// add adds the words of a part of the search.
func (q *Query) add(s string, negated bool) {
	if !negated {
		q.language.words(s, sensitivity{}, func(w string) { q.terms[w] = true })
	}
	set := q.positive
	if negated {
		set = q.negated
	}
	q.language.words(s, q.by, func(w string) { set[w] = true })
}

// Terms lists the terms to look up in the index, in order: a document that
// matches has one of them, and the sum of its terms' scores is its score.
func (q *Query) Terms() []string { return slices.Sorted(maps.Keys(q.terms)) }

// Describe writes the parts of the search into an open document, as explain shows
// them; phrases as they are compared.
func (q *Query) Describe(b *bsonval.Builder) {
	list := func(name string, values []string) {
		b.StartArray(name)
		for _, v := range values {
			b.Add(bsonval.String(v))
		}
		b.End()
	}
	list("terms", q.Terms())
	list("negatedTerms", slices.Sorted(maps.Keys(q.negated)))
	list("phrases", q.phrases)
	list("negatedPhrases", q.negatedPhrases)
}

// Exact says that every document with one of the terms matches.
func (q *Query) Exact() bool {
	return q.by == sensitivity{} && len(q.negated) == 0 && len(q.phrases) == 0 && len(q.negatedPhrases) == 0
}

// Matches says whether a document matches.
func (q *Query) Matches(d bsonval.Doc) bool {
	found, refused := false, false
	phrases, missing := make([]bool, len(q.phrases)), len(q.phrases)
	err := q.spec.walk(d, func(f field) bool {
		f.language.words(f.text, q.by, func(w string) {
			found = found || q.positive[w]
			refused = refused || q.negated[w]
		})
		if len(q.phrases)+len(q.negatedPhrases) > 0 {
			folded := f.language.fold(f.text, q.by)
			for i, p := range q.phrases {
				if !phrases[i] && strings.Contains(folded, p) {
					phrases[i] = true
					missing--
				}
			}
			for _, p := range q.negatedPhrases {
				refused = refused || strings.Contains(folded, p)
			}
		}
		return !refused
	})
	return err == nil && found && !refused && missing == 0
}
