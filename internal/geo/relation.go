package geo

import "github.com/golang/geo/s2"

// Contains says whether the polygons of g contain all of another geometry.
func (g *Geometry) Contains(o *Geometry) bool {
	if len(g.polygons) == 0 || !o.OnSphere() {
		return false
	}
	for _, p := range o.points {
		if !g.containsPoint(p.s) {
			return false
		}
	}
	for _, l := range o.lines {
		if !g.containsPath(func(f func(a, b s2.Point) bool) bool { return lineEdges(l, f) }) {
			return false
		}
	}
	for i := range o.polygons {
		q := &o.polygons[i]
		if !g.containsPath(q.edges) || g.holeInside(q) {
			return false
		}
	}
	return true
}

func (g *Geometry) containsPoint(x s2.Point) bool {
	for i := range g.polygons {
		if g.polygons[i].contains(x) {
			return true
		}
	}
	return false
}

// containsPath says whether one polygon contains all of a path.
func (g *Geometry) containsPath(edges func(f func(a, b s2.Point) bool) bool) bool {
	for i := range g.polygons {
		p := &g.polygons[i]
		outside := edges(func(a, b s2.Point) bool {
			return !p.contains(a) || !p.contains(b) || p.crosses(a, b)
		})
		if !outside {
			return true
		}
	}
	return false
}

// holeInside says whether a hole of g lies inside a polygon, which then is not
// contained though its boundary may be.
func (g *Geometry) holeInside(q *polygon) bool {
	for i := range g.polygons {
		for _, h := range g.polygons[i].holes {
			if strictlyInside(q, h.Vertices()) {
				return true
			}
		}
	}
	return false
}

func strictlyInside(q *polygon, points []s2.Point) bool {
	for _, x := range points {
		if !q.contains(x) || onBoundary(q.shell, x) {
			return false
		}
	}
	return true
}

// Intersects says whether two geometries have a point in common.
func (g *Geometry) Intersects(o *Geometry) bool {
	if !g.OnSphere() || !o.OnSphere() {
		return false
	}
	return g.meets(o) || o.meets(g)
}

// meets says whether a vertex of o lies in g, or edges cross.
func (g *Geometry) meets(o *Geometry) bool {
	for _, p := range o.points {
		if g.touches(p.s) {
			return true
		}
	}
	edge := func(a, b s2.Point) bool { return g.touches(a) || g.touches(b) || g.crossedBy(a, b) }
	for _, l := range o.lines {
		if lineEdges(l, edge) {
			return true
		}
	}
	for i := range o.polygons {
		if o.polygons[i].edges(edge) {
			return true
		}
	}
	return false
}

func (g *Geometry) touches(x s2.Point) bool {
	for _, p := range g.points {
		if p.s.ApproxEqual(x) {
			return true
		}
	}
	for _, l := range g.lines {
		if lineEdges(l, func(a, b s2.Point) bool { return s2.DistanceFromSegment(x, a, b) < boundaryTolerance }) {
			return true
		}
	}
	return g.containsPoint(x)
}

func (g *Geometry) crossedBy(a, b s2.Point) bool {
	for _, l := range g.lines {
		if lineEdges(l, func(c, d s2.Point) bool { return s2.CrossingSign(a, b, c, d) != s2.DoNotCross }) {
			return true
		}
	}
	for i := range g.polygons {
		if g.polygons[i].edges(func(c, d s2.Point) bool { return s2.CrossingSign(a, b, c, d) != s2.DoNotCross }) {
			return true
		}
	}
	return false
}
