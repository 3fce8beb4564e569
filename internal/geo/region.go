package geo

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Region is what $geoWithin looks inside of.
type Region interface {
	// Contains says whether the region contains all of a geometry.
	Contains(g *Geometry) bool
}

// Box is a rectangle of the plane, edges included.
type Box struct{ MinX, MinY, MaxX, MaxY float64 }

// Contains implements Region: boxes contain points only.
func (b *Box) Contains(g *Geometry) bool {
	p, ok := g.Point()
	return ok && p.X >= b.MinX && p.X <= b.MaxX && p.Y >= b.MinY && p.Y <= b.MaxY
}

// Circle is a disc of the plane.
type Circle struct{ X, Y, Radius float64 }

// Contains implements Region: circles contain points only.
func (c *Circle) Contains(g *Geometry) bool {
	p, ok := g.Point()
	return ok && math.Hypot(p.X-c.X, p.Y-c.Y) <= c.Radius
}

// Cap is a disc of the sphere, its radius in radians.
type Cap struct {
	Center Point
	Radius float64
}

// Contains implements Region. The edges of a geometry whose vertices are in a cap
// no larger than a hemisphere are in it, too.
func (c *Cap) Contains(g *Geometry) bool {
	if !g.OnSphere() {
		return false
	}
	const slack = 1e-15
	limit := c.Radius + slack
	for _, p := range g.points {
		if c.Center.s.Distance(p.s).Radians() > limit {
			return false
		}
	}
	for _, l := range g.lines {
		for _, v := range l {
			if c.Center.s.Distance(v).Radians() > limit {
				return false
			}
		}
	}
	for i := range g.polygons {
		for _, v := range g.polygons[i].shell.Vertices() {
			if c.Center.s.Distance(v).Radians() > limit {
				return false
			}
		}
	}
	return true
}

// FlatPolygon is a polygon of the plane, by the even-odd rule.
type FlatPolygon struct{ xs, ys []float64 }

// Contains implements Region: flat polygons contain points only.
func (f *FlatPolygon) Contains(g *Geometry) bool {
	p, ok := g.Point()
	return ok && f.contains(p.X, p.Y)
}

// contains counts crossings of the ray to the right. Vertices and horizontal and
// vertical edges belong to the polygon; points on slanted edges do on the left
// sides only.
func (f *FlatPolygon) contains(x, y float64) bool {
	inside := false
	n := len(f.xs)
	for i := range f.xs {
		j := (i + 1) % n
		x1, y1, x2, y2 := f.xs[i], f.ys[i], f.xs[j], f.ys[j]
		switch {
		case x == x1 && y == y1:
			return true
		case x1 == x2 && x == x1 && y >= min(y1, y2) && y <= max(y1, y2):
			return true
		case y1 == y2 && y == y1 && x >= min(x1, x2) && x <= max(x1, x2):
			return true
		}
		if y > min(y1, y2) && y <= max(y1, y2) && x <= max(x1, x2) && (x1 == x2 || x <= (y-y1)*(x2-x1)/(y2-y1)+x1) {
			inside = !inside
		}
	}
	return inside
}

// ParseRegion reads the argument of $geoWithin.
func ParseRegion(d bsonval.Doc) (Region, error) {
	var region Region
	it := d.Iter()
	for it.Next() {
		var err error
		switch it.KeyStr() {
		case "$geometry":
			region, err = parseGeometryRegion(it.Value())
		case "$box":
			region, err = parseBox(it.Value())
		case "$center":
			region, err = parseCircle(it.Value(), false)
		case "$centerSphere":
			region, err = parseCircle(it.Value(), true)
		case "$polygon":
			region, err = parseFlatPolygon(it.Value())
		case "$uniqueDocs": // old and without effect
		default:
			err = bad("unknown geo specifier: %s: %s", it.Key(), bsonval.Format(it.Value()))
		}
		if err != nil {
			return nil, err
		}
	}
	if region == nil {
		return nil, bad("geo query doesn't have any geometry")
	}
	return region, nil
}

func parseGeometryRegion(v bsonval.Value) (Region, error) {
	if v.Type() != bsonval.TypeDocument {
		return nil, bad("$geometry must be an object")
	}
	g, err := ParseGeoJSON(v.Doc())
	if err != nil {
		return nil, err
	}
	if g.typ != "Polygon" && g.typ != "MultiPolygon" {
		return nil, bad("$geoWithin not supported with provided geometry: %s", bsonval.Format(v))
	}
	return g, nil
}

// elements returns the parts of an array or document.
func elements(v bsonval.Value) []bsonval.Value {
	if v.Type() != bsonval.TypeArray && v.Type() != bsonval.TypeDocument {
		return nil
	}
	return v.Doc().Values(nil)
}

// flatPair reads a legacy point of exactly two numbers.
func flatPair(v bsonval.Value) (x, y float64, err error) {
	if n := len(elements(v)); n > 2 {
		return 0, 0, bad("Point must only contain two numeric elements")
	}
	return pair(v)
}

func parseBox(v bsonval.Value) (Region, error) {
	corners := elements(v)
	if len(corners) < 2 {
		return nil, bad("$box must be an array of two points")
	}
	x1, y1, err := flatPair(corners[0])
	if err != nil {
		return nil, err
	}
	x2, y2, err := flatPair(corners[1])
	if err != nil {
		return nil, err
	}
	return &Box{min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)}, nil
}

func parseCircle(v bsonval.Value, sphere bool) (Region, error) {
	parts := elements(v)
	if len(parts) < 2 {
		return nil, bad("Only center and radius are allowed in $center")
	}
	x, y, err := flatPair(parts[0])
	if err != nil {
		return nil, err
	}
	if !parts[1].IsNumber() {
		return nil, bad("radius must be a non-negative number")
	}
	radius := parts[1].AsDouble()
	switch {
	case !(radius >= 0):
		return nil, bad("radius must be a non-negative number")
	case len(parts) > 2:
		return nil, bad("Only 2 fields allowed for circular region, but more were provided")
	case !sphere:
		return &Circle{x, y, radius}, nil
	}
	p := newPoint(x, y)
	if !p.OnSphere() {
		return nil, bad("Spherical CRS center point out of bounds, lng: %v lat: %v", x, y)
	}
	return &Cap{p, radius}, nil
}

func parseFlatPolygon(v bsonval.Value) (Region, error) {
	f := &FlatPolygon{}
	for _, e := range elements(v) {
		x, y, err := flatPair(e)
		if err != nil {
			return nil, err
		}
		f.xs, f.ys = append(f.xs, x), append(f.ys, y)
	}
	if len(f.xs) < 3 {
		return nil, bad("Polygon must have at least 3 points")
	}
	return f, nil
}
