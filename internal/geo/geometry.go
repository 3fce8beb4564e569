package geo

import (
	"math"

	"github.com/golang/geo/s2"
)

// EarthRadiusMeters is MongoDB's radius of the Earth.
const EarthRadiusMeters = 6378100

// Point is a point of the plane, and of the sphere if its coordinates are a
// longitude and a latitude.
type Point struct {
	X, Y float64
	s    s2.Point
}

func newPoint(x, y float64) Point {
	return Point{x, y, s2.PointFromLatLng(s2.LatLngFromDegrees(y, x))}
}

// OnSphere says whether the coordinates are a longitude and a latitude.
func (p Point) OnSphere() bool { return math.Abs(p.X) <= 180 && math.Abs(p.Y) <= 90 }

// S2 returns the point on the unit sphere.
func (p Point) S2() s2.Point { return p.s }

// line is the vertices of a line string.
type line []s2.Point

// polygon is a shell and its holes. A point is inside if it is inside the shell
// and inside no hole.
type polygon struct {
	shell *s2.Loop
	holes []*s2.Loop
}

// Geometry is points, lines and polygons: one of them, or a collection.
type Geometry struct {
	points   []Point
	lines    []line
	polygons []polygon

	// legacy tells a legacy coordinate pair from GeoJSON.
	legacy bool
	// strict tells a polygon whose winding counts.
	strict bool
	// typ is the GeoJSON type.
	typ string
}

// Type returns the GeoJSON type; empty for legacy points.
func (g *Geometry) Type() string { return g.typ }

// Point returns a geometry that is one point.
func (g *Geometry) Point() (p Point, ok bool) {
	if len(g.points) != 1 || len(g.lines) > 0 || len(g.polygons) > 0 {
		return Point{}, false
	}
	return g.points[0], true
}

// IsLegacy tells a legacy coordinate pair.
func (g *Geometry) IsLegacy() bool { return g.legacy }

// IsStrict tells a polygon with strict winding, which documents may not hold.
func (g *Geometry) IsStrict() bool { return g.strict }

// OnSphere says whether all the geometry lies on the sphere.
func (g *Geometry) OnSphere() bool {
	for _, p := range g.points {
		if !p.OnSphere() {
			return false
		}
	}
	return true
}

// boundaryTolerance is how near, in radians, a point counts as on a polygon's
// boundary: half the width of an S2 leaf cell, about 5 mm, as in MongoDB, for
// which a point is its leaf cell. A boundary belongs to its polygon.
const boundaryTolerance = 7e-10

func (p *polygon) contains(x s2.Point) bool {
	return p.encloses(x) || p.edges(func(a, b s2.Point) bool { return s2.DistanceFromSegment(x, a, b) < boundaryTolerance })
}

// encloses is contains without the tolerance.
func (p *polygon) encloses(x s2.Point) bool {
	inside := p.shell.ContainsPoint(x)
	for _, h := range p.holes {
		inside = inside && !h.ContainsPoint(x)
	}
	return inside
}

// onBoundary says whether a point lies on a loop.
func onBoundary(l *s2.Loop, x s2.Point) bool {
	return loopEdges(l, func(a, b s2.Point) bool { return s2.DistanceFromSegment(x, a, b) < boundaryTolerance })
}

func (p *polygon) loops() []*s2.Loop { return append([]*s2.Loop{p.shell}, p.holes...) }

// edges calls f for each edge until it returns true.
func loopEdges(l *s2.Loop, f func(a, b s2.Point) bool) bool {
	v := l.Vertices()
	for i := range v {
		if f(v[i], v[(i+1)%len(v)]) {
			return true
		}
	}
	return false
}

func lineEdges(l line, f func(a, b s2.Point) bool) bool {
	for i := 1; i < len(l); i++ {
		if f(l[i-1], l[i]) {
			return true
		}
	}
	return false
}

func (p *polygon) edges(f func(a, b s2.Point) bool) bool {
	for _, l := range p.loops() {
		if loopEdges(l, f) {
			return true
		}
	}
	return false
}

// crosses says whether an edge crosses the polygon's boundary at a point inside
// both edges.
func (p *polygon) crosses(a, b s2.Point) bool {
	return p.edges(func(c, d s2.Point) bool { return s2.CrossingSign(a, b, c, d) == s2.Cross })
}

// Distance is the angle in radians from a point of the sphere to the nearest
// point of the geometry.
func (g *Geometry) Distance(from s2.Point) float64 {
	best := math.Inf(1)
	for _, p := range g.points {
		best = min(best, from.Distance(p.s).Radians())
	}
	segment := func(a, b s2.Point) bool {
		best = min(best, s2.DistanceFromSegment(from, a, b).Radians())
		return false
	}
	for _, l := range g.lines {
		lineEdges(l, segment)
	}
	for i := range g.polygons {
		p := &g.polygons[i]
		if p.contains(from) {
			return 0
		}
		p.edges(segment)
	}
	return best
}
