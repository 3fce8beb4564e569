package database

import (
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
)

// FuzzIndexSpec: a specification that passes makes an index, and is itself.
func FuzzIndexSpec(f *testing.F) {
	for _, s := range []string{
		`{key: {a: 1, "b.c": -1}, name: "x", unique: 1, sparse: true, expireAfterSeconds: 5.5}`,
		`{key: {_id: 1}, name: "x", v: 1}`, `{key: {a: "text"}, name: "t", weights: {a: 2}, default_language: "en"}`,
		`{key: {a: 1, "$**": 1}, name: "w", wildcardProjection: {a: 0, b: {c: 0}}}`, `{key: {a: "2d"}, name: "g", bits: 5, min: -1}`,
		`{key: {a: 1}, name: "p", partialFilterExpression: {$and: [{a: {$gt: 1}}, {b: {$in: [1, 2]}}]}, collation: {locale: "fr"}}`,
	} {
		f.Add([]byte(parse(f, s)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		s, err := parseIndexSpec(b)
		if err != nil {
			return
		}
		spec, err := s.normal(nil)
		if err != nil || !s.kind.built {
			return
		}
		x, err := catalog.NewIndex(spec)
		if err != nil {
			t.Fatalf("%s passes the check, but: %v", bsonval.FormatDoc(spec), err)
		}
		again, err := parseIndexSpec(spec)
		if err != nil {
			t.Fatalf("%s does not pass itself: %v", bsonval.FormatDoc(spec), err)
		}
		if spec, err = again.normal(nil); err != nil || relate(spec, x) != identical {
			t.Fatalf("%s is not itself: %v", bsonval.FormatDoc(spec), err)
		}
	})
}

// FuzzCreateOptions: options that pass make a collection and pass again.
func FuzzCreateOptions(f *testing.F) {
	for _, s := range []string{
		`{validator: {a: {$type: "int"}}, validationLevel: "off", collation: {locale: "en"}}`, `{viewOn: "c", pipeline: [{$match: {a: 1}}]}`,
		`{clusteredIndex: {key: {_id: 1}, unique: true}}`, `{capped: true, size: 5, max: 3}`, `{idIndex: {key: {_id: 1}, name: "_id_"}}`,
	} {
		f.Add([]byte(parse(f, s)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		stored, err := parseCreateOptions(ns, b)
		if err != nil {
			return
		}
		if _, err := newCollection(ns, stored); err != nil {
			t.Fatalf("%s: %v", bsonval.FormatDoc(stored), err)
		}
		if again, err := parseCreateOptions(ns, stored); err != nil || string(again) != string(stored) {
			t.Fatalf("%s is not itself: %s, %v", bsonval.FormatDoc(stored), bsonval.FormatDoc(again), err)
		}
	})
}
