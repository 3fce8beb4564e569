package plan

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// regions is the plan over a 2d or 2dsphere index: a geometry to be in or to
// intersect becomes the index cells that cover it, the other fields are bounded as
// in an ordinary index. The filter is always applied again. Only a forced plan
// goes without a geometry to look for, since documents may be missing in the index.
func (p *planner) regions(x *catalog.Index, forced bool) *Plan {
	fields := p.geoBounds(x)
	bounded := false
	for i := range x.Fields {
		if !isGeoField(x, i) {
			continue
		}
		for _, q := range geoPredicates(nil, p.nodes, "") {
			if q.path != x.Fields[i].Path {
				continue
			}
			if ranges, ok := rangesOf(x, q.node); ok {
				fields[i] = p.cells(ranges)
				bounded = true
				break
			}
		}
	}
	if !bounded && !forced {
		return nil
	}
	plan := &Plan{Index: x, Bounds: Bounds{Fields: fields}, Filter: p.q.Filter, Sorted: p.q.Sort == nil}
	for _, f := range fields {
		plan.Nothing = plan.Nothing || f.IsEmpty()
	}
	return plan
}

// geoBounds are the bounds of the fields of a geo index that hold no geometry.
func (p *planner) geoBounds(x *catalog.Index) []Intervals {
	b, _ := p.bounds(x, x.Collation.Equal(p.q.Collation))
	fields := make([]Intervals, len(x.Fields))
	for i := range fields {
		fields[i] = p.all()
		if i < len(b.Fields) && !isGeoField(x, i) {
			fields[i] = b.Fields[i]
		}
	}
	return fields
}

// isGeoField says whether a field of a geo index holds geometries.
func isGeoField(x *catalog.Index, i int) bool {
	if g, ok := x.Generator.(*indexkey.Sphere); ok {
		return g.IsGeo(i)
	}
	return i == 0
}

// geoPredicate is a geometry that a filter asks for at a path.
type geoPredicate struct {
	path string
	node match.Node
}

// geoPredicates collects what must hold of geometries.
func geoPredicates(dst []geoPredicate, nodes []match.Node, prefix string) []geoPredicate {
	for _, n := range nodes {
		switch n := n.(type) {
		case *match.And:
			dst = geoPredicates(dst, n.Nodes, prefix)
		case *match.ElemMatchObject:
			dst = geoPredicates(dst, []match.Node{n.Node}, prefix+n.Path+".")
		case *match.GeoWithin:
			dst = append(dst, geoPredicate{prefix + n.Path, n})
		case *match.GeoIntersects:
			dst = append(dst, geoPredicate{prefix + n.Path, n})
		}
	}
	return dst
}

// rangesOf are the cells of an index where a predicate's geometries are; ok is
// false if the index cannot tell.
func rangesOf(x *catalog.Index, n match.Node) (ranges []geo.Range, ok bool) {
	flat, isFlat := x.Generator.(*indexkey.Flat)
	switch n := n.(type) {
	case *match.GeoWithin:
		if isFlat {
			return flat.Grid().Ranges(n.Region)
		}
		return geo.SphereRanges(n.Region)
	case *match.GeoIntersects:
		if !isFlat {
			return geo.SphereRanges(n.Geometry)
		}
	}
	return nil, false
}

// cells is the set of the cells in ranges.
func (p *planner) cells(ranges []geo.Range) Intervals { return cells(p.builder, ranges) }

func cells(b builder, ranges []geo.Range) Intervals {
	sets := make([]Intervals, 0, len(ranges))
	for _, r := range ranges {
		sets = append(sets, b.of(b.before(bsonval.Int64(r.Lo)), b.after(bsonval.Int64(r.Hi))))
	}
	return b.unite(sets...)
}

// Near asks for documents in the order of their distance from a point. They are
// looked for in rings around it, each with bounds of its own.
type Near struct {
	Node *match.GeoNear

	field   int // the index field of the geometries
	bounds  []Intervals
	builder builder
	filter  *match.Matcher
}

// nearPlans are the plans for a filter with $near: over the indexes of its field
// that know such distances.
func (p *planner) nearPlans(n *match.GeoNear) ([]*Plan, error) {
	var plans []*Plan
	for _, x := range p.coll.Indexes {
		if !p.usableIndex(x) || p.q.Hint != nil && !p.q.Hint.names(x) || x.Partial != nil && !p.impliesPartial(x) {
			continue
		}
		for i, f := range x.Fields {
			if f.Path != n.Path || !measures(x, i, n) {
				continue
			}
			if flat, ok := x.Generator.(*indexkey.Flat); ok && !flat.Grid().Holds(n.Point.X, n.Point.Y) {
				return nil, mongoerr.New(16433, "point not in interval of [ %v, %v ] :: caused by :: { x: %v, y: %v }",
					flat.Grid().Min, flat.Grid().Max, n.Point.X, n.Point.Y)
			}
			near := &Near{Node: n, field: i, bounds: p.geoBounds(x), builder: p.builder, filter: p.q.Filter}
			plans = append(plans, &Plan{
				Index: x, Near: near, Bounds: Bounds{Fields: near.bounds}, Filter: p.q.Filter, Sorted: p.q.Sort == nil,
			})
			break
		}
	}
	if plans == nil {
		return nil, mongoerr.New(mongoerr.NoQueryExecutionPlans, "error processing query: ns=%s planner returned error :: "+
			"caused by :: unable to find index for $geoNear query", p.coll.Namespace())
	}
	return plans, nil
}

// names says whether a hint means an index.
func (h *Hint) names(x *catalog.Index) bool {
	return h.Natural == 0 && (h.Name == x.Name || h.Name == "" && sameKey(x.Key, h.Key))
}

// measures says whether a field of an index knows the distances of a $near.
func measures(x *catalog.Index, field int, n *match.GeoNear) bool {
	switch x.Kind {
	case indexkey.Kind2DSphere:
		return isGeoField(x, field) && n.Spherical
	case indexkey.Kind2D:
		return field == 0 && !n.Meters
	}
	return false
}

// nearOf is the filter's $near, nil if there is none.
func (p *planner) nearOf() *match.GeoNear {
	for _, n := range p.nodes {
		if near, ok := n.(*match.GeoNear); ok {
			return near
		}
	}
	return nil
}

// unit is what a radian is in the distances of a $near on the sphere.
func (n *Near) unit() float64 {
	if n.Node.Meters {
		return geo.EarthRadiusMeters
	}
	return 1
}

// firstRing is the width of the first ring in meters.
const firstRing = 10.0

// firstRingSteps is how many widths of the first ring a grid is wide.
const firstRingSteps = 1 << 20

// Extent are the width of the first ring and the distance behind which there is
// nothing.
func (n *Near) Extent(x *catalog.Index) (width, end float64) {
	if n.Node.Spherical {
		// A little more than half around the sphere.
		return firstRing / geo.EarthRadiusMeters * n.unit(), min(n.Node.Max, 3.2*n.unit())
	}
	flat, ok := x.Generator.(*indexkey.Flat)
	if !ok {
		return 1, n.Node.Max
	}
	grid := flat.Grid()
	return (grid.Max - grid.Min) / firstRingSteps, min(n.Node.Max, grid.Extent(n.Node.Point))
}

// RingsOverlap says whether each ring's bounds hold the inner rings, too: on a flat
// index for distances on the sphere.
func (n *Near) RingsOverlap(x *catalog.Index) bool {
	return n.Node.Spherical && x.Kind == indexkey.Kind2D
}

// Ring is the plan for the documents at distances from lo to hi. Others may be
// among its results.
func (p *Plan) Ring(lo, hi float64) *Plan {
	n := p.Near
	var ranges []geo.Range
	flat, isFlat := p.Index.Generator.(*indexkey.Flat)
	switch {
	case !isFlat:
		ranges = geo.SphereRing(n.Node.Point, lo/n.unit(), min(hi/n.unit(), math.Pi))
	case n.Node.Spherical:
		ranges, _ = flat.Grid().Ranges(&geo.Cap{Center: n.Node.Point, Radius: hi / n.unit()})
	default:
		ranges = flat.Grid().Ring(n.Node.Point, lo, hi)
	}
	fields := append([]Intervals(nil), n.bounds...)
	fields[n.field] = cells(n.builder, ranges)
	return &Plan{Index: p.Index, Bounds: Bounds{Fields: fields}, Filter: n.filter, Sorted: true, Repeats: true}
}
