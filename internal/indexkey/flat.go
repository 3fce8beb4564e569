package indexkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Flat makes the keys of 2d indexes: for a legacy point the number of its cell in
// a grid, for the other fields their values. The first field is the point; a
// document may have several in an array. Documents without a point are left out.
type Flat struct {
	fields []Field
	parts  [][]string
	grid   geo.Grid
}

// defaultGridBits are the bits of a coordinate in an index that does not say.
const defaultGridBits = 26

func newFlat(s Spec) (Generator, error) {
	g := &Flat{fields: s.Fields, grid: geo.Grid{Min: -180, Max: 180, Bits: defaultGridBits}}
	for _, f := range s.Fields {
		g.parts = append(g.parts, strings.Split(f.Path, "."))
	}
	if v := s.Options.Lookup("bits"); v.IsNumber() {
		g.grid.Bits = int(v.TruncInt64())
	}
	if v := s.Options.Lookup("min"); v.IsNumber() {
		g.grid.Min = v.AsDouble()
	}
	if v := s.Options.Lookup("max"); v.IsNumber() {
		g.grid.Max = v.AsDouble()
	}
	return g, nil
}

// Grid is the grid of the index.
func (g *Flat) Grid() geo.Grid { return g.grid }

// Generate implements Generator.
func (g *Flat) Generate(k *Keys, d bsonval.Doc) error {
	var cells []bsonval.Value
	for _, v := range along(nil, bsonval.Document(d), g.parts[0]) {
		var err error
		if cells, err = g.points(cells, v); err != nil {
			return err
		}
	}
	if len(cells) == 0 {
		return nil
	}
	components := make([][]bsonval.Value, len(g.fields))
	components[0] = cells
	for i := range g.parts {
		if i > 0 {
			components[i] = literals(d, g.parts[i])
		}
		if metArray(d, g.parts[i], i > 0) {
			k.Multikey |= 1 << i
		}
	}
	k.combinations(components, g.fields)
	return nil
}

// points adds the cells of a point, or of the points in an array.
func (g *Flat) points(cells []bsonval.Value, v bsonval.Value) ([]bsonval.Value, error) {
	if v.Type() != bsonval.TypeArray && v.Type() != bsonval.TypeDocument || v.Doc().IsEmpty() {
		return cells, nil
	}
	if _, first, _ := v.Doc().First(); first.IsNumber() {
		cell, err := g.cell(v)
		return append(cells, cell), err
	}
	it := v.Doc().Iter()
	for it.Next() {
		e := it.Value()
		switch {
		case e.Type() != bsonval.TypeArray && e.Type() != bsonval.TypeDocument:
			return nil, mongoerr.New(16804, "location object expected, location array not in correct format")
		case e.Doc().IsEmpty():
			continue
		}
		cell, err := g.cell(e)
		if err != nil {
			return nil, err
		}
		cells = append(cells, cell)
	}
	return cells, nil
}

func (g *Flat) cell(v bsonval.Value) (bsonval.Value, error) {
	if v.Doc().Len() < 2 {
		return v, mongoerr.New(13068, "geo field only has 1 element: %s", bsonval.Format(v))
	}
	p, err := geo.ParseFlatPoint(v)
	switch {
	case err != nil:
		return v, mongoerr.New(13026, "geo values must be 'legacy coordinate pairs' for 2d indexes: %s", bsonval.Format(v))
	case !g.grid.Holds(p.X, p.Y):
		return v, mongoerr.New(13027, "point not in interval of [ %v, %v ] :: caused by :: %s", g.grid.Min, g.grid.Max, bsonval.Format(v))
	}
	return bsonval.Int64(g.grid.Cell(p.X, p.Y)), nil
}
