package geo

import (
	"math"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"
)

// Range is a range of index cells, both ends included.
type Range struct{ Lo, Hi int64 }

// Limits of coverings by cells of the sphere.
const (
	maxIndexCells = 24 // of one geometry in an index
	maxQueryCells = 24 // of one region to look for

	// DefaultFinestLevel is the level of the smallest cells under which geometries
	// that are no points are filed: about a meter.
	DefaultFinestLevel = 23
	// MaxLevel is the level of the smallest cells there are.
	MaxLevel = s2.MaxLevel
)

// coverSlack is how much larger, in radians, coverings are than what they cover
// (60 cm): more than the tolerance of relations and the errors of distances.
const coverSlack = 1e-7

// roundingSlack is the same for the cells that geometries are filed under: more
// than the errors of coordinates.
const roundingSlack = 1e-13

// Levels are the sizes of the cells under which an index files geometries, from
// 0, a face of the cube around the sphere, to [MaxLevel], square centimeters.
type Levels struct{ Coarsest, Finest int }

// Cells appends the cells of an index under which a geometry is filed: those that
// cover it, or for a point its smallest cell. They are as signed numbers in the
// order of the curve on each face.
func (g *Geometry) Cells(dst []int64, levels Levels) []int64 {
	if p, ok := g.Point(); ok {
		return append(dst, int64(s2.CellFromPoint(p.s).ID()))
	}
	coverer := &s2.RegionCoverer{MinLevel: levels.Coarsest, MaxLevel: levels.Finest, LevelMod: 1, MaxCells: maxIndexCells}
	for _, id := range coverer.Covering(newOutline(g, roundingSlack)) {
		dst = append(dst, int64(id))
	}
	return dst
}

// SphereRanges are the cells of a spherical index that may hold geometries which
// share a point with a region; ok is false for regions of the plane.
func SphereRanges(r Region) (ranges []Range, ok bool) {
	switch r := r.(type) {
	case *Geometry:
		return cellRanges(newOutline(r, coverSlack)), true
	case *Cap:
		return SphereRing(r.Center, 0, r.Radius), true
	}
	return nil, false
}

// SphereRing are the cells of a spherical index that may hold geometries with a
// point at a distance between lo and hi, in radians, from another.
func SphereRing(center Point, lo, hi float64) []Range {
	return cellRanges(&ring{center.s, lo, hi})
}

// cellRanges are the ranges of the cells in a covering, and the cells around them.
func cellRanges(r s2.Region) []Range {
	coverer := &s2.RegionCoverer{MaxLevel: MaxLevel, LevelMod: 1, MaxCells: maxQueryCells}
	cells := coverer.Covering(r)
	ranges := make([]Range, 0, 2*len(cells))
	seen := map[s2.CellID]bool{}
	for _, id := range cells {
		ranges = append(ranges, Range{int64(id.RangeMin()), int64(id.RangeMax())})
		for level := id.Level() - 1; level >= 0; level-- {
			parent := id.Parent(level)
			if seen[parent] {
				break
			}
			seen[parent] = true
			ranges = append(ranges, Range{int64(parent), int64(parent)})
		}
	}
	return ranges
}

// bounded implements the parts of s2.Region that follow from a bounding cap.
type bounded struct{ cap s2.Cap }

func (b bounded) CapBound() s2.Cap            { return b.cap }
func (b bounded) RectBound() s2.Rect          { return b.cap.RectBound() }
func (b bounded) CellUnionBound() []s2.CellID { return b.cap.CellUnionBound() }

// ring is the points at distances between lo and hi, in radians.
type ring struct {
	center s2.Point
	lo, hi float64
}

var _ s2.Region = (*ring)(nil)

func (r *ring) bounds() bounded {
	return bounded{s2.CapFromCenterAngle(r.center, s1.Angle(min(r.hi+coverSlack, math.Pi)))}
}

func (r *ring) CapBound() s2.Cap            { return r.bounds().CapBound() }
func (r *ring) RectBound() s2.Rect          { return r.bounds().RectBound() }
func (r *ring) CellUnionBound() []s2.CellID { return r.bounds().CellUnionBound() }

func (r *ring) ContainsPoint(p s2.Point) bool {
	d := r.center.Distance(p).Radians()
	return d >= r.lo && d <= r.hi
}

func (r *ring) ContainsCell(c s2.Cell) bool {
	return c.Distance(r.center).Angle().Radians() >= r.lo+coverSlack &&
		c.MaxDistance(r.center).Angle().Radians() <= r.hi-coverSlack
}

func (r *ring) IntersectsCell(c s2.Cell) bool {
	return c.Distance(r.center).Angle().Radians() <= r.hi+coverSlack &&
		c.MaxDistance(r.center).Angle().Radians() >= r.lo-coverSlack
}

// outline is a geometry widened by a slack, for coverings.
type outline struct {
	bounded
	g     *Geometry
	edges []outlineEdge
	slack s1.ChordAngle
	wide  float64
}

var _ s2.Region = (*outline)(nil)

// outlineEdge is an edge and a cap around it.
type outlineEdge struct {
	a, b, mid s2.Point
	radius    float64
}

func newOutline(g *Geometry, slack float64) *outline {
	o := &outline{g: g, slack: s1.ChordAngleFromAngle(s1.Angle(slack)), wide: slack}
	o.cap = s2.EmptyCap()
	for _, p := range g.points {
		o.cap = o.cap.AddPoint(p.s)
	}
	for _, l := range g.lines {
		lineEdges(l, o.edge)
		path := s2.Polyline(l)
		o.cap = o.cap.AddCap(path.CapBound())
	}
	for i := range g.polygons {
		g.polygons[i].edges(o.edge)
		o.cap = o.cap.AddCap(g.polygons[i].shell.CapBound())
	}
	o.cap = o.cap.Expanded(s1.Angle(slack))
	return o
}

func (o *outline) edge(a, b s2.Point) bool {
	mid := s2.Point{Vector: a.Add(b.Vector).Normalize()}
	o.edges = append(o.edges, outlineEdge{a, b, mid, mid.Distance(a).Radians()})
	return false
}

func (o *outline) ContainsPoint(p s2.Point) bool { return o.g.containsPoint(p) }

// onEdge says whether an edge is within the slack of a cell.
func (o *outline) onEdge(c s2.Cell) bool {
	around := c.CapBound()
	center, radius := around.Center(), around.Radius().Radians()+o.wide
	const errors = 1e-12
	for i := range o.edges {
		e := &o.edges[i]
		if reach := radius + e.radius + errors; reach < math.Pi && center.Dot(e.mid.Vector) < math.Cos(reach)-errors {
			continue
		}
		if c.DistanceToEdge(e.a, e.b) <= o.slack {
			return true
		}
	}
	return false
}

func (o *outline) inside(p s2.Point) bool {
	for i := range o.g.polygons {
		if o.g.polygons[i].encloses(p) {
			return true
		}
	}
	return false
}

func (o *outline) ContainsCell(c s2.Cell) bool {
	return len(o.g.polygons) > 0 && !o.onEdge(c) && o.inside(c.Center())
}

func (o *outline) IntersectsCell(c s2.Cell) bool {
	for _, p := range o.g.points {
		if c.Distance(p.s) <= o.slack {
			return true
		}
	}
	return o.onEdge(c) || o.inside(c.Center())
}
