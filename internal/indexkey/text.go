package indexkey

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// The fields that stand in the key pattern of a text index for what is searched:
// in keys, the term and its score.
const (
	TermField  = "_fts"
	ScoreField = "_ftsx"
)

// Text makes the keys of text indexes: for every term of a document the term and
// its score, between the values of the other fields.
//
//	{a: 1, _fts: "text", _ftsx: 1, b: -1}   gives   a | term | score | b (descending)
//
// A document without terms has no key. The other fields may not hold arrays of
// more than one element.
type Text struct {
	// Spec says what is searched.
	Spec *text.Spec

	others *BTree
	at     int // position of the term
}

func newText(s Spec) (Generator, error) {
	g := &Text{}
	var others []Field
	for i, f := range s.Fields {
		switch f.Path {
		case TermField:
			g.at = i
		case ScoreField:
		default:
			others = append(others, f)
		}
	}
	g.others = New(others, false)
	var err error
	g.Spec, err = text.NewSpec(s.Options)
	return g, err
}

// Position is the place of the term in keys; the score follows it.
func (g *Text) Position() int { return g.at }

// Generate implements Generator.
func (g *Text) Generate(k *Keys, d bsonval.Doc) error {
	terms, err := g.Spec.Terms(d)
	if err != nil || len(terms) == 0 {
		return err
	}
	var others []bsonval.Value
	combinations := 0
	err = g.others.Each(k, d, func(vals []bsonval.Value) {
		others = append(others[:0], vals...)
		combinations++
	})
	if err != nil {
		return err
	}
	if combinations > 1 {
		return mongoerr.New(16675, "cannot have a multi-key as a prefix to a text index")
	}
	k.Multikey = 0
	if len(terms) > 1 {
		k.Multikey = 1 << g.at
	}
	for term, score := range terms {
		k.Begin()
		for i := range len(others) + 1 {
			if i == g.at {
				k.Component(bsonval.String(term), false)
				k.Component(bsonval.Double(score), false)
			}
			if i < len(others) {
				k.Component(others[i], g.others.fields[i].Desc)
			}
		}
		k.End()
	}
	return nil
}
