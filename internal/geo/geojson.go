package geo

import (
	"math"

	"github.com/golang/geo/s2"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// The names of coordinate reference systems.
const (
	crsStrict = "urn:x-mongodb:crs:strictwinding:EPSG:4326"
	crs84     = "urn:ogc:def:crs:OGC:1.3:CRS84"
	crsEPSG   = "EPSG:4326"
)

// maxCollectionDepth bounds geometry collections inside one another.
const maxCollectionDepth = 32

func bad(format string, args ...any) error { return mongoerr.New(mongoerr.BadValue, format, args...) }

// ParseGeoJSON reads a GeoJSON object.
func ParseGeoJSON(d bsonval.Doc) (*Geometry, error) {
	g := &Geometry{}
	return g, g.parse(d, 0)
}

func (g *Geometry) parse(d bsonval.Doc, depth int) error {
	typ := d.Lookup("type")
	if typ.Type() != bsonval.TypeString {
		return bad("unknown GeoJSON type: %s", bsonval.FormatDoc(d))
	}
	if err := g.parseCRS(d.Lookup("crs"), typ.Str()); err != nil {
		return err
	}
	if depth == 0 {
		g.typ = string(typ.Bytes())
	}
	if typ.Str() == "GeometryCollection" {
		return g.parseCollection(d.Lookup("geometries"), depth)
	}
	c := d.Lookup("coordinates")
	if c.Type() != bsonval.TypeArray {
		return bad("GeoJSON coordinates must be an array of coordinates: %s", bsonval.FormatDoc(d))
	}
	switch typ.Str() {
	case "Point":
		return g.addPoint(c)
	case "LineString":
		return g.addLine(c)
	case "Polygon":
		return g.addPolygon(c)
	case "MultiPoint":
		return each(c, g.addPoint)
	case "MultiLineString":
		return each(c, g.addLine)
	case "MultiPolygon":
		return each(c, g.addPolygon)
	}
	return bad("unknown GeoJSON type: %s", bsonval.FormatDoc(d))
}

func (g *Geometry) parseCRS(v bsonval.Value, typ string) error {
	if v.IsMissing() {
		return nil
	}
	if v.Type() != bsonval.TypeDocument {
		return bad("GeoJSON CRS must be an object")
	}
	if t := v.Doc().Lookup("type"); t.Type() != bsonval.TypeString || t.Str() != "name" {
		return bad("GeoJSON CRS must have field \"type\": \"name\"")
	}
	properties := v.Doc().Lookup("properties")
	if properties.Type() != bsonval.TypeDocument {
		return bad("CRS must have field \"properties\" which is an object")
	}
	name := properties.Doc().Lookup("name")
	if name.Type() != bsonval.TypeString {
		return bad("In CRS, \"properties.name\" must be a string")
	}
	switch name.Str() {
	case crs84, crsEPSG:
		return nil
	case crsStrict:
		if typ == "Polygon" {
			g.strict = true
			return nil
		}
		return bad("Strict winding order is only supported by polygon")
	}
	return bad("Unknown CRS name: %s", name.Str())
}

func (g *Geometry) parseCollection(v bsonval.Value, depth int) error {
	if v.Type() != bsonval.TypeArray {
		return bad("GeometryCollection geometries must be an array")
	}
	if depth >= maxCollectionDepth {
		return bad("GeometryCollection nested too deeply")
	}
	if v.Doc().IsEmpty() {
		return bad("GeometryCollection geometries must have at least 1 element")
	}
	return each(v, func(e bsonval.Value) error {
		if e.Type() != bsonval.TypeDocument {
			return bad("Element of \"geometries\" must be an object")
		}
		return g.parse(e.Doc(), depth+1)
	})
}

func each(v bsonval.Value, f func(bsonval.Value) error) error {
	if v.Doc().IsEmpty() {
		return bad("GeoJSON coordinates must have at least 1 element")
	}
	it := v.Doc().Iter()
	for it.Next() {
		if err := f(it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// pair reads the first two numbers of an array (or document). exact refuses
// arrays that hold something else than numbers.
func pair(v bsonval.Value) (x, y float64, err error) {
	if v.Type() != bsonval.TypeArray && v.Type() != bsonval.TypeDocument {
		return 0, 0, bad("Point must be an array or object, instead got type %s", v.Type())
	}
	n := 0
	it := v.Doc().Iter()
	for ; n < 2 && it.Next(); n++ {
		if !it.Value().IsNumber() {
			return 0, 0, bad("Point must only contain numeric elements, instead got type %s", it.Value().Type())
		}
		if n == 0 {
			x = it.Value().AsDouble()
		} else {
			y = it.Value().AsDouble()
		}
	}
	if n < 2 {
		return 0, 0, bad("Point must contain at least two elements")
	}
	if bad := math.IsNaN(x) || math.IsInf(x, 0) || math.IsNaN(y) || math.IsInf(y, 0); bad {
		return 0, 0, mongoerr.New(mongoerr.BadValue, "Point coordinates must be finite numbers")
	}
	return x, y, nil
}

func spherePoint(v bsonval.Value) (Point, error) {
	if v.Type() != bsonval.TypeArray {
		return Point{}, bad("GeoJSON coordinates must be an array")
	}
	x, y, err := pair(v)
	if err != nil {
		return Point{}, err
	}
	p := newPoint(x, y)
	if !p.OnSphere() {
		return p, bad("longitude/latitude is out of bounds, lng: %v lat: %v", x, y)
	}
	return p, nil
}

func (g *Geometry) addPoint(v bsonval.Value) error {
	p, err := spherePoint(v)
	g.points = append(g.points, p)
	return err
}

func vertices(v bsonval.Value) ([]s2.Point, error) {
	if v.Type() != bsonval.TypeArray {
		return nil, bad("GeoJSON coordinates must be an array of coordinates")
	}
	var list []s2.Point
	it := v.Doc().Iter()
	for it.Next() {
		p, err := spherePoint(it.Value())
		if err != nil {
			return nil, err
		}
		list = append(list, p.s)
	}
	return list, nil
}

func withoutRepeats(list []s2.Point) []s2.Point {
	out := list[:0:0]
	for i, p := range list {
		if i == 0 || p != list[i-1] {
			out = append(out, p)
		}
	}
	return out
}

func (g *Geometry) addLine(v bsonval.Value) error {
	list, err := vertices(v)
	if err != nil {
		return err
	}
	if list = withoutRepeats(list); len(list) < 2 {
		return bad("GeoJSON LineString must have at least 2 vertices: %s", bsonval.Format(v))
	}
	for i := 1; i < len(list); i++ {
		if list[i-1].Vector.Add(list[i].Vector).Norm() < 1e-14 {
			return bad("GeoJSON LineString has antipodal vertices: %s", bsonval.Format(v))
		}
	}
	g.lines = append(g.lines, list)
	return nil
}

func (g *Geometry) addPolygon(v bsonval.Value) error {
	if v.Type() != bsonval.TypeArray {
		return bad("Polygon coordinates must be an array")
	}
	var p polygon
	it := v.Doc().Iter()
	for it.Next() {
		l, err := parseLoop(it.Value(), !g.strict)
		if err != nil {
			return err
		}
		if p.shell == nil {
			p.shell = l
			continue
		}
		if g.strict {
			return bad("Only one simple loop is allowed in a big polygon")
		}
		for _, x := range l.Vertices() {
			if !p.shell.ContainsPoint(x) && !onBoundary(p.shell, x) {
				return bad("Secondary loops not contained by first exterior loop - secondary loops must be holes: %s",
					bsonval.Format(v))
			}
		}
		p.holes = append(p.holes, l)
	}
	if p.shell == nil {
		return bad("Polygon has no loops.")
	}
	g.polygons = append(g.polygons, p)
	return nil
}

// parseLoop reads a closed ring; normalize turns it so that its inside is the
// smaller side.
func parseLoop(v bsonval.Value, normalize bool) (*s2.Loop, error) {
	list, err := vertices(v)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 || list[0] != list[len(list)-1] {
		return nil, bad("Loop is not closed: %s", bsonval.Format(v))
	}
	list = withoutRepeats(list)
	if len(list) < 4 {
		return nil, bad("Loop must have at least 3 different vertices: %s", bsonval.Format(v))
	}
	list = list[:len(list)-1]
	if err := checkSimple(list, v); err != nil {
		return nil, err
	}
	l := s2.LoopFromPoints(list)
	if err := l.Validate(); err != nil {
		return nil, bad("Loop is not valid: %s %s", bsonval.Format(v), err.Error())
	}
	if normalize {
		l.Normalize()
	}
	return l, nil
}

// checkSimple refuses rings that touch or cross themselves.
func checkSimple(list []s2.Point, v bsonval.Value) error {
	seen := make(map[s2.Point]bool, len(list))
	for _, p := range list {
		if seen[p] {
			return bad("Loop is not valid: %s Duplicate vertices", bsonval.Format(v))
		}
		seen[p] = true
	}
	n := len(list)
	for i := range list {
		for j := i + 2; j < n; j++ {
			if i == 0 && j == n-1 {
				continue
			}
			if s2.CrossingSign(list[i], list[i+1], list[j], list[(j+1)%n]) == s2.Cross {
				return bad("Loop is not valid: %s Edges %d and %d cross.", bsonval.Format(v), i, j)
			}
		}
	}
	return nil
}

// ParseStored reads a document's value as a geometry: GeoJSON, or a legacy
// point (two numbers in an array or document). ok is false for everything else.
func ParseStored(v bsonval.Value) (g *Geometry, ok bool) {
	t := v.Type()
	if t != bsonval.TypeArray && t != bsonval.TypeDocument {
		return nil, false
	}
	if t == bsonval.TypeDocument && v.Doc().Lookup("type").Type() == bsonval.TypeString {
		g, err := ParseGeoJSON(v.Doc())
		return g, err == nil && !g.strict
	}
	x, y, err := pair(v)
	if err != nil {
		return nil, false
	}
	return &Geometry{points: []Point{newPoint(x, y)}, legacy: true}, true
}

// ParseIndexed reads the geometry that a spherical index files a document under,
// and says what is wrong with it.
func ParseIndexed(v bsonval.Value) (*Geometry, error) {
	g, err := ParsePoint(v)
	switch {
	case err != nil:
		return nil, err
	case g.strict:
		return nil, bad("can't index geometry with strict winding order")
	case !g.OnSphere():
		return nil, bad("longitude/latitude is out of bounds, lng: %v lat: %v", g.points[0].X, g.points[0].Y)
	}
	return g, nil
}

// ParseFlatPoint reads a legacy point.
func ParseFlatPoint(v bsonval.Value) (Point, error) {
	x, y, err := pair(v)
	return newPoint(x, y), err
}

// ParsePoint reads the point of a query: GeoJSON or a legacy pair.
func ParsePoint(v bsonval.Value) (*Geometry, error) {
	if v.Type() == bsonval.TypeDocument && !v.Doc().Lookup("type").IsMissing() {
		return ParseGeoJSON(v.Doc())
	}
	x, y, err := pair(v)
	if err != nil {
		return nil, err
	}
	return &Geometry{points: []Point{newPoint(x, y)}, legacy: true}, nil
}
