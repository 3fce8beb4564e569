package indexkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// codeGeoKeys is MongoDB's error of a value in a 2dsphere index that is no
// geometry.
const codeGeoKeys mongoerr.Code = 16755

// Sphere makes the keys of 2dsphere indexes: for a geometry the numbers of the
// cells of the sphere that cover it, for other fields their values. Since version
// 2 of these indexes documents without any geometry are left out.
type Sphere struct {
	fields []Field
	parts  [][]string
	geo    []bool
	levels geo.Levels
	sparse bool
}

func newSphere(s Spec) (Generator, error) {
	g := &Sphere{fields: s.Fields, sparse: s.Sparse, levels: geo.Levels{Finest: geo.DefaultFinestLevel}}
	for _, f := range s.Fields {
		g.parts = append(g.parts, strings.Split(f.Path, "."))
	}
	it := s.Options.Lookup("key").Doc().Iter()
	for it.Next() {
		g.geo = append(g.geo, it.Value().Type() == bsonval.TypeString)
	}
	if v := s.Options.Lookup("2dsphereIndexVersion"); !v.IsNumber() || v.TruncInt64() > 1 {
		g.sparse = true
	}
	if v := s.Options.Lookup("coarsestIndexedLevel"); v.IsNumber() {
		g.levels.Coarsest = int(v.TruncInt64())
	}
	if v := s.Options.Lookup("finestIndexedLevel"); v.IsNumber() {
		g.levels.Finest = int(v.TruncInt64())
	}
	return g, nil
}

// IsGeo says whether a field of the index holds geometries.
func (g *Sphere) IsGeo(field int) bool { return g.geo[field] }

// Generate implements Generator.
func (g *Sphere) Generate(k *Keys, d bsonval.Doc) error {
	components := make([][]bsonval.Value, len(g.fields))
	present := false
	for i, parts := range g.parts {
		if metArray(d, parts, !g.geo[i]) {
			k.Multikey |= 1 << i
		}
		if !g.geo[i] {
			components[i] = literals(d, parts)
			continue
		}
		values := along(nil, bsonval.Document(d), parts)
		if len(values) == 1 && noGeometry(values[0]) {
			values = nil
		}
		cells, err := g.cells(values)
		if err != nil {
			return err
		}
		present = present || len(cells) > 0
		if len(cells) == 0 {
			cells = append(cells, bsonval.Null)
		}
		components[i] = cells
	}
	if present || !g.sparse {
		k.combinations(components, g.fields)
	}
	return nil
}

// noGeometry tells the values that stand for no geometry at all: null, undefined,
// {} and [].
func noGeometry(v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeNull, bsonval.TypeUndefined:
		return true
	case bsonval.TypeArray, bsonval.TypeDocument:
		return v.Doc().IsEmpty()
	}
	return false
}

func (g *Sphere) cells(values []bsonval.Value) ([]bsonval.Value, error) {
	var ids []int64
	for _, v := range values {
		shape, err := geo.ParseIndexed(v)
		if err != nil {
			return nil, mongoerr.New(codeGeoKeys, "Can't extract geo keys: %s  %s", bsonval.Format(v), err.Error())
		}
		ids = shape.Cells(ids, g.levels)
	}
	out := make([]bsonval.Value, 0, len(ids))
	for _, id := range ids {
		out = append(out, bsonval.Int64(id))
	}
	return out, nil
}
