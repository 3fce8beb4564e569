package database

import (
	"maps"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// maxTextWeight is the largest weight of a field in a text index.
const maxTextWeight = 1_000_000_000

func checkText(s *indexSpec) error {
	bad := func(format string, args ...any) error {
		return mongoerr.New(mongoerr.CannotCreateIndex, format, args...)
	}
	if v := s.get("weights"); !v.IsMissing() {
		if v.Type() != bsonval.TypeDocument {
			return bad("weights must be an object")
		}
		it := v.Doc().Iter()
		for it.Next() {
			w := it.Value()
			if !w.IsNumber() {
				return bad("weight for text index needs numeric type")
			}
			if n := w.AsDouble(); n < 1 || n >= maxTextWeight {
				return bad("text index weight must be in the exclusive interval (0,%d) but found: %s", maxTextWeight, bsonval.Format(w))
			}
		}
	}
	if v := s.get("default_language"); !v.IsMissing() {
		if _, ok := text.LanguageByName(v.Str()); !ok {
			return bad("default_language is not valid")
		}
	}
	if v := s.get("language_override"); !v.IsMissing() && (v.Str() == "" || v.Str()[0] == '$') {
		return bad("language_override is not valid")
	}
	if v := s.get("textIndexVersion"); !v.IsMissing() {
		switch n := v.TruncInt64(); n {
		case text.Version:
		case 1, 2:
			return mongoerr.New(mongoerr.NotImplemented, "textIndexVersion %d is not implemented", n)
		default:
			return bad("bad textIndexVersion: %d", n)
		}
	}
	return s.checkAdjacentText()
}

// checkAdjacentText says whether the text fields follow each other.
func (s *indexSpec) checkAdjacentText() error {
	inside, after := false, false
	it := s.key.Iter()
	for it.Next() {
		isText := it.Value().Type() == bsonval.TypeString || it.KeyStr() == indexkey.ScoreField
		if isText && after {
			return mongoerr.New(mongoerr.CannotCreateIndex, "'text' fields in index must all be adjacent")
		}
		after = after || inside && !isText
		inside = isText
	}
	return nil
}

// storedKey is the key pattern as it is stored: in that of a text index two
// fields stand for all that is searched.
func (s *indexSpec) storedKey() bsonval.Doc {
	if s.kind.name != textKind.name || !s.key.Lookup(indexkey.TermField).IsMissing() {
		return s.key
	}
	b := bsonval.NewBuilder()
	done := false
	it := s.key.Iter()
	for it.Next() {
		switch {
		case it.Value().Type() != bsonval.TypeString:
			b.Value(string(it.Key()), it.Value())
		case !done:
			b.Str(indexkey.TermField, textKind.name).Int32(indexkey.ScoreField, 1)
			done = true
		}
	}
	return b.Build()
}

// appendText writes the options of a text index with their defaults.
func (s *indexSpec) appendText(b *bsonval.Builder) {
	weights := map[string]int32{}
	it := s.key.Iter()
	for it.Next() {
		if it.Value().Type() == bsonval.TypeString && it.KeyStr() != indexkey.TermField {
			weights[string(it.Key())] = 1
		}
	}
	if v := s.get("weights"); v.Type() == bsonval.TypeDocument {
		it := v.Doc().Iter()
		for it.Next() {
			weights[string(it.Key())] = int32(it.Value().TruncInt64())
		}
	}
	b.StartDoc("weights")
	for _, path := range slices.Sorted(maps.Keys(weights)) {
		b.Int32(path, weights[path])
	}
	b.End()
	language, override := text.DefaultLanguage, text.DefaultOverride
	if v := s.get("default_language"); v.Type() == bsonval.TypeString {
		language = v.Str()
	}
	if v := s.get("language_override"); v.Type() == bsonval.TypeString {
		override = v.Str()
	}
	b.Str("default_language", language).Str("language_override", override).Int32("textIndexVersion", text.Version)
}

// textSpec says, for an operation, what the text index of a collection searches; nil
// if it has none.
func (d *DB) textSpec(op *Op) func(Namespace) *text.Spec {
	return func(ns Namespace) *text.Spec { return d.defined(op, ns).TextSpec() }
}

// hasTextIndex says whether a collection has a text index or gets one.
func hasTextIndex(coll *catalog.Collection, added []*catalog.Index) bool {
	isText := func(x *catalog.Index) bool { return x.Kind == indexkey.KindText }
	return slices.ContainsFunc(coll.Indexes, isText) || slices.ContainsFunc(added, isText)
}
