package match

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// GeoWithin matches geometries inside a region.
type GeoWithin struct {
	Field
	Region geo.Region
	// Spec is the operator's argument.
	Spec bsonval.Value
}

func (n *GeoWithin) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *GeoWithin) matchValue(_ *state, v bsonval.Value) bool {
	g, ok := geo.ParseStored(v)
	return ok && n.Region.Contains(g)
}

// GeoIntersects matches geometries that share a point with another.
type GeoIntersects struct {
	Field
	Geometry *geo.Geometry
	// Spec is the operator's argument.
	Spec bsonval.Value
}

func (n *GeoIntersects) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *GeoIntersects) matchValue(_ *state, v bsonval.Value) bool {
	g, ok := geo.ParseStored(v)
	return ok && n.Geometry.Intersects(g)
}

// GeoNear matches geometries within distances of a point. A plan has to use a
// geospatial index of the field and to sort by Distance: a 2dsphere index if
// distances are in meters, a 2d index if they are not on the sphere, either one
// for legacy points on the sphere.
type GeoNear struct {
	Field
	Point geo.Point
	// Spherical says that distances are on the sphere, Meters that they are in
	// meters; otherwise they are in radians or in the plane's units.
	Spherical, Meters bool
	Min, Max          float64
	// Spec is the document of operators on the field.
	Spec bsonval.Doc
}

// NewGeoNear makes a condition on a path that takes any distance; the caller sets
// the other fields. The spec is what Spec says.
func NewGeoNear(path string, point geo.Point, spec bsonval.Doc) *GeoNear {
	return &GeoNear{Field: newField(path), Point: point, Max: math.Inf(1), Spec: spec}
}

func (n *GeoNear) match(s *state, d bsonval.Doc) bool { return n.any(s, d, eachElement, n) }

func (n *GeoNear) matchValue(_ *state, v bsonval.Value) bool {
	x, ok := n.distance(v)
	return ok && x >= n.Min && x <= n.Max
}

// Distance is the distance of the nearest geometry of a document that is within
// the bounds; ok is false if there is none.
func (n *GeoNear) Distance(d bsonval.Doc) (distance float64, ok bool) {
	distance, _, ok = n.Nearest(d)
	return distance, ok
}

// Nearest is Distance with the value that is the geometry.
func (n *GeoNear) Nearest(d bsonval.Doc) (distance float64, at bsonval.Value, ok bool) {
	near := nearest{n: n, best: math.Inf(1)}
	var s state
	n.any(&s, d, eachElement, &near)
	return near.best, near.at, near.found
}

// nearest looks at all the values of a path and remembers the best.
type nearest struct {
	n     *GeoNear
	best  float64
	at    bsonval.Value
	found bool
}

func (w *nearest) match(*state, bsonval.Doc) bool { return false }

func (w *nearest) matchValue(_ *state, v bsonval.Value) bool {
	if x, ok := w.n.distance(v); ok && x >= w.n.Min && x <= w.n.Max && (!w.found || x < w.best) {
		w.best, w.at, w.found = x, v, true
	}
	return false
}

func (n *GeoNear) distance(v bsonval.Value) (float64, bool) {
	g, ok := geo.ParseStored(v)
	if !ok {
		return 0, false
	}
	if !n.Spherical {
		p, ok := g.Point()
		return math.Hypot(p.X-n.Point.X, p.Y-n.Point.Y), ok
	}
	if p, ok := g.Point(); ok && !p.OnSphere() {
		return 0, false
	}
	x := g.Distance(n.Point.S2())
	if n.Meters {
		x *= geo.EarthRadiusMeters
	}
	return x, true
}

func isNear(name string) bool { return name == "$near" || name == "$nearSphere" || name == "$geoNear" }

func parseGeoWithin(_ *parser, o operand) (Node, error) {
	if o.all.Len() > 1 {
		return nil, errExtraGeoField(o.all)
	}
	if o.arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "%s must be an object", o.name)
	}
	region, err := geo.ParseRegion(o.arg.Doc())
	if err != nil {
		return nil, err
	}
	return &GeoWithin{o.field, region, o.arg}, nil
}

func errExtraGeoField(d bsonval.Doc) error {
	return mongoerr.New(mongoerr.BadValue, "can't parse extra field beside a geo operator: %s", bsonval.FormatDoc(d))
}

func parseGeoIntersects(_ *parser, o operand) (Node, error) {
	if o.all.Len() > 1 {
		return nil, errExtraGeoField(o.all)
	}
	if o.arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "%s must be an object", o.name)
	}
	key, arg, _ := o.arg.Doc().First()
	if key != "$geometry" || o.arg.Doc().Len() > 1 {
		return nil, mongoerr.New(mongoerr.BadValue, "%s needs one $geometry: %s", o.name, bsonval.Format(o.arg))
	}
	g, err := geo.ParsePoint(arg)
	if arg.Type() == bsonval.TypeDocument {
		g, err = geo.ParseGeoJSON(arg.Doc())
	}
	if err != nil {
		return nil, err
	}
	return &GeoIntersects{o.field, g, o.arg}, nil
}

// parseNear parses $near and $nearSphere, which stand alone with their distances
// in the document of operators.
func parseNear(p *parser, o operand) (Node, error) {
	if p.o.Ban&FeatureNear != 0 {
		return nil, mongoerr.New(5626500, "$geoNear, $near, and $nearSphere are not allowed in this context")
	}
	first, _, _ := o.all.First()
	if first != o.name {
		return nil, mongoerr.New(mongoerr.BadValue, "%s must be the first operator of its field", o.name)
	}
	n := &GeoNear{Field: o.field, Spherical: o.name != "$near", Max: math.Inf(1), Spec: o.all}
	if o.arg.Type() == bsonval.TypeDocument {
		if key, _, _ := o.arg.Doc().First(); key == "$geometry" || key == "$minDistance" || key == "$maxDistance" {
			return n, n.parseGeoJSON(o)
		}
	}
	return n, n.parseLegacy(o)
}

func (n *GeoNear) parseGeoJSON(o operand) error {
	if o.all.Len() > 1 {
		return mongoerr.New(mongoerr.BadValue, "invalid argument in geo near query: %s", bsonval.FormatDoc(o.all))
	}
	n.Spherical, n.Meters = true, true
	there := false
	it := o.arg.Doc().Iter()
	for it.Next() {
		v := it.Value()
		switch it.KeyStr() {
		case "$geometry":
			if v.Type() != bsonval.TypeDocument {
				return mongoerr.New(mongoerr.BadValue, "$geometry must be an object")
			}
			if c := v.Doc().Lookup("coordinates"); v.Doc().Lookup("type").IsMissing() && !c.IsMissing() {
				v = c // the type defaults to Point
			}
			g, err := geo.ParsePoint(v)
			if err != nil {
				return err
			}
			p, ok := g.Point()
			if !ok || !p.OnSphere() {
				return mongoerr.New(mongoerr.BadValue, "invalid point in geo near query $geometry argument: %s", bsonval.Format(v))
			}
			n.Point, there = p, true
		case "$minDistance":
			if !v.IsNumber() || !(v.AsDouble() >= 0) || math.IsInf(v.AsDouble(), 0) {
				return mongoerr.New(mongoerr.BadValue, "$minDistance must be non-negative")
			}
			n.Min = v.AsDouble()
		case "$maxDistance":
			if !v.IsNumber() || !(v.AsDouble() >= 0) {
				return mongoerr.New(mongoerr.BadValue, "$maxDistance must be non-negative")
			}
			n.Max = v.AsDouble()
		default:
			return mongoerr.New(mongoerr.BadValue, "invalid argument in geo near query: %s", it.Key())
		}
	}
	if !there {
		return mongoerr.New(mongoerr.BadValue, "$near requires a point, given %s", bsonval.Format(o.arg))
	}
	return nil
}

func (n *GeoNear) parseLegacy(o operand) error {
	g, err := geo.ParsePoint(o.arg)
	if err != nil {
		return err
	}
	p, ok := g.Point()
	if !ok {
		return mongoerr.New(mongoerr.BadValue, "invalid point provided to geo near query: %s", bsonval.Format(o.arg))
	}
	n.Point = p
	if !g.IsLegacy() {
		n.Spherical = true
	}
	if third := o.arg.Doc().Index(2); g.IsLegacy() && !third.IsMissing() {
		if !third.IsNumber() || !(third.AsDouble() >= 0) {
			return mongoerr.New(16896, "$maxDistance must be non-negative")
		}
		n.Max = third.AsDouble()
	}
	it := o.all.Iter()
	for it.Next() {
		v := it.Value()
		switch it.KeyStr() {
		case o.name:
		case "$minDistance":
			if !v.IsNumber() {
				return mongoerr.New(16893, "$minDistance must be a number")
			}
			if !(v.AsDouble() >= 0) {
				return mongoerr.New(16894, "$minDistance must be non-negative")
			}
			n.Min = v.AsDouble()
		case "$maxDistance":
			if !v.IsNumber() {
				return mongoerr.New(16895, "$maxDistance must be a number")
			}
			if !(v.AsDouble() >= 0) {
				return mongoerr.New(16896, "$maxDistance must be non-negative")
			}
			n.Max = v.AsDouble()
		case "$uniqueDocs": // old and without effect
		default:
			return mongoerr.New(mongoerr.BadValue, "invalid argument in geo near query: %s", it.Key())
		}
	}
	return nil
}
