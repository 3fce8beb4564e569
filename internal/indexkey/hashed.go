package indexkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Hashed makes the keys of hashed indexes: the values of the fields in order,
// of one of them its hash. No field may hold or lead through an array.
type Hashed struct {
	fields []Field
	parts  [][]string
	hashed int // the field whose values are hashed
	sparse bool
}

func newHashed(s Spec) (Generator, error) {
	g := &Hashed{fields: s.Fields, sparse: s.Sparse, hashed: HashedField(s.Options.Lookup("key").Doc())}
	for _, f := range s.Fields {
		g.parts = append(g.parts, strings.Split(f.Path, "."))
	}
	return g, nil
}

// HashedField is the position of the hashed field in a key pattern, -1 if there
// is none.
func HashedField(key bsonval.Doc) int {
	it := key.Iter()
	for i := 0; it.Next(); i++ {
		if v := it.Value(); v.Type() == bsonval.TypeString && Kind(v.Str()) == KindHashed {
			return i
		}
	}
	return -1
}

// Generate implements Generator.
func (g *Hashed) Generate(k *Keys, d bsonval.Doc) error {
	k.Begin()
	present := false
	for i, parts := range g.parts {
		v, at, ok := walk(d, parts)
		if !ok {
			return mongoerr.New(16766, "hashed indexes do not currently support array values. Found array at path: %s",
				strings.Join(parts[:at], "."))
		}
		present = present || !v.IsMissing()
		if i == g.hashed {
			v = bsonval.Int64(bsonval.HashedKey(v))
		}
		k.Component(v, g.fields[i].Desc)
	}
	if present || !g.sparse {
		k.End()
	}
	return nil
}

// walk finds the value at a path; ok is false if it meets an array, and at is
// how many parts lead there.
func walk(d bsonval.Doc, parts []string) (v bsonval.Value, at int, ok bool) {
	v = bsonval.Document(d)
	for i, part := range parts {
		if v.Type() != bsonval.TypeDocument {
			return bsonval.Missing, i, true
		}
		if v = v.Doc().Lookup(part); v.Type() == bsonval.TypeArray {
			return v, i + 1, false
		}
	}
	return v, len(parts), true
}
