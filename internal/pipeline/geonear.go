package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var geoNearRows = []row{
	{name: "$geoNear", doc: "Passes documents in the order of their distance from a point.", parse: parseGeoNear, first: true, noFacet: true},
}

// geoNearStage is $geoNear. It reads the whole collection and sorts by distance.
type geoNearStage struct {
	spec       bsonval.Value
	ns         Namespace
	near       expr.Expr
	min, max   expr.Expr // nil: none
	query      *matchStage
	distance   []string // nil: none
	locs       []string // nil: none
	key        string   // empty: the collection's only geo index
	spherical  bool
	multiplier float64
}

func parseGeoNear(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(10083, "$geoNear requires an object, found %s", arg.Type())
	}
	s := &geoNearStage{spec: arg, ns: p.ns, multiplier: 1}
	it := arg.Doc().Iter()
	for it.Next() {
		if err := s.set(p, it.KeyStr(), it.Value()); err != nil {
			return nil, err
		}
	}
	if s.near == nil {
		return nil, mongoerr.New(5860400, "$geoNear requires a 'near' argument")
	}
	return []stage{s}, nil
}

func (s *geoNearStage) set(p *parser, name string, v bsonval.Value) (err error) {
	switch name {
	case "near":
		s.near, err = p.c.Compile(v)
	case "minDistance":
		s.min, err = compileDistance(p.c, name, v)
	case "maxDistance":
		s.max, err = compileDistance(p.c, name, v)
	case "distanceField":
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(16606, "$geoNear requires that the 'distanceField' option is a String")
		}
		s.distance, err = expr.ParsePath(strings.Clone(v.Str()))
	case "includeLocs":
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(16607, "$geoNear requires that 'includeLocs' option is a String")
		}
		s.locs, err = expr.ParsePath(strings.Clone(v.Str()))
	case "query":
		if v.Type() != bsonval.TypeDocument {
			return errFieldType("$geoNear", name, v, "object")
		}
		if hasOperator(v.Doc(), "$near", "$nearSphere", "$geoNear") {
			return mongoerr.New(mongoerr.BadValue, "geo near queries are not allowed in the query of $geoNear")
		}
		s.query, err = newMatch(p.c, v.Doc())
	case "key":
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(mongoerr.TypeMismatch, "$geoNear parameter 'key' must be of type string but found type: %s", v.Type())
		}
		if v.Str() == "" {
			return mongoerr.New(mongoerr.BadValue, "$geoNear parameter 'key' cannot be the empty string")
		}
		s.key = strings.Clone(v.Str())
	case "spherical":
		s.spherical = v.Truthy()
	case "distanceMultiplier":
		if !v.IsNumber() {
			return mongoerr.New(mongoerr.TypeMismatch, "$geoNear parameter 'distanceMultiplier' must be a number, found %s", v.Type())
		}
		s.multiplier = v.AsDouble()
		if s.multiplier < 0 || math.IsNaN(s.multiplier) {
			return mongoerr.New(mongoerr.BadValue, "$geoNear parameter 'distanceMultiplier' must be non-negative")
		}
	default:
		return errUnknownField("$geoNear", name)
	}
	return err
}

// compileDistance compiles a distance, which must be a number if it is constant.
func compileDistance(c *expr.Compiler, name string, v bsonval.Value) (expr.Expr, error) {
	e, err := c.Compile(v)
	if err != nil {
		return nil, err
	}
	if k, ok := expr.ConstantValue(e); ok {
		_, err = distanceValue(name, k)
	}
	return e, err
}

func distanceValue(name string, v bsonval.Value) (float64, error) {
	if !v.IsNumber() {
		return 0, mongoerr.New(mongoerr.TypeMismatch, "$geoNear parameter '%s' must be a number, found %s", name, v.Type())
	}
	f := v.AsDouble()
	if f < 0 || math.IsNaN(f) {
		return 0, mongoerr.New(mongoerr.BadValue, "%s must be non-negative", name)
	}
	return f, nil
}

func (s *geoNearStage) isOrigin()              {}
func (s *geoNearStage) name() string           { return "$geoNear" }
func (s *geoNearStage) explain() bsonval.Value { return s.spec }
func (s *geoNearStage) needs() needs           { return needsAll }

func (s *geoNearStage) open(ctx context.Context, r *run, _ Source) (Source, error) {
	indexes, err := r.env.Data.GeoIndexes(ctx, s.ns)
	if err != nil {
		return nil, err
	}
	r.c.Root, r.c.Meta = bsonval.EmptyDoc, nil
	point, err := s.near.Eval(r.c)
	if err != nil {
		return nil, err
	}
	m, err := s.measure(indexes, point)
	if err != nil {
		return nil, err
	}
	if m.min, m.max, err = s.bounds(r); err != nil {
		return nil, err
	}
	q := Query{Collator: r.collator(), Vars: r.c.Vars}
	if s.query != nil {
		q.Filter, q.Matcher = s.query.filter, s.query.matcher
	}
	src, err := r.env.Data.Open(ctx, s.ns, q)
	if err != nil {
		return nil, err
	}
	return newLazy(r, src, func(ctx context.Context, in *input) (Source, error) { return s.fill(ctx, in, m) }), nil
}

func (s *geoNearStage) bounds(r *run) (lo, hi float64, err error) {
	hi = math.Inf(1)
	for i, e := range [2]expr.Expr{s.min, s.max} {
		if e == nil {
			continue
		}
		v, err := e.Eval(r.c)
		if err != nil {
			return 0, 0, err
		}
		f, err := distanceValue([2]string{"minDistance", "maxDistance"}[i], v)
		if err != nil {
			return 0, 0, err
		}
		if i == 0 {
			lo = f
		} else {
			hi = f
		}
	}
	return lo, hi, nil
}

// measure is how distances are taken.
type measure struct {
	path     []string
	from     geo.Point
	sphere   bool
	radius   float64 // what a radian is worth
	min, max float64
}

// measure finds the field to measure, and checks that an index could do it: an
// index is not used, but MongoDB demands one.
func (s *geoNearStage) measure(indexes []GeoIndex, near bsonval.Value) (*measure, error) {
	key, err := s.field(indexes)
	if err != nil {
		return nil, err
	}
	flat, round := false, false
	for _, x := range indexes {
		if x.Field == key {
			flat = flat || x.Kind == "2d"
			round = round || x.Kind == "2dsphere"
		}
	}
	m := &measure{path: strings.Split(key, "."), radius: 1}
	g, err := geo.ParsePoint(near)
	if err != nil {
		return nil, err
	}
	m.from, _ = g.Point()
	geoJSON := !g.IsLegacy()
	m.sphere = geoJSON || s.spherical
	switch {
	case geoJSON && !round, !m.sphere && !flat, !flat && !round:
		return nil, mongoerr.New(mongoerr.NoQueryExecutionPlans, "error processing query: unable to find index for $geoNear query")
	case !m.from.OnSphere() && m.sphere:
		return nil, mongoerr.New(mongoerr.BadValue, "invalid point: longitude or latitude out of bounds: %s", bsonval.Format(near))
	case !m.sphere && (math.Abs(m.from.X) > 180 || math.Abs(m.from.Y) > 180):
		return nil, mongoerr.New(16433, "point not in interval of [ -180, 180 ]: %s", bsonval.Format(near))
	}
	if geoJSON {
		m.radius = geo.EarthRadiusMeters
	}
	return m, nil
}

// field is the field to measure: key, or that of the only geo index.
func (s *geoNearStage) field(indexes []GeoIndex) (string, error) {
	if s.key != "" {
		return s.key, nil
	}
	for _, kind := range [2]string{"2d", "2dsphere"} {
		field, n := "", 0
		for _, x := range indexes {
			if x.Kind == kind {
				field = x.Field
				n++
			}
		}
		switch {
		case n > 1:
			return "", mongoerr.New(mongoerr.IndexNotFound, "There is more than one %s index on %s; unsure which to use for $geoNear", kind, s.ns)
		case n == 1:
			return field, nil
		}
	}
	return "", mongoerr.New(mongoerr.IndexNotFound, "$geoNear requires a 2d or 2dsphere index, but none were found")
}

// nearest is the smallest distance of a document's locations, and where it is.
func (m *measure) nearest(d bsonval.Doc) (dist float64, at bsonval.Value, ok bool) {
	v := expr.Walk(bsonval.Document(d), m.path)
	dist = math.Inf(1)
	try := func(v bsonval.Value) {
		g, isGeo := geo.ParseStored(v)
		if !isGeo {
			return
		}
		if f, can := m.to(g); can && (!ok || f < dist) {
			dist, at, ok = f, v, true
		}
	}
	if try(v); ok || v.Type() != bsonval.TypeArray {
		return dist, at, ok
	}
	it := v.Doc().Iter()
	for it.Next() {
		try(it.Value())
	}
	return dist, at, ok
}

func (m *measure) to(g *geo.Geometry) (float64, bool) {
	if m.sphere {
		return g.Distance(m.from.S2()) * m.radius, true
	}
	p, ok := g.Point()
	return math.Hypot(p.X-m.from.X, p.Y-m.from.Y), ok
}

// fill sorts the documents within the bounds by distance.
func (s *geoNearStage) fill(ctx context.Context, in *input, m *measure) (Source, error) {
	sorter := NewSorter(nil, 0, in.r.env)
	var buf, buf2 []byte
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			return sorter.Sorted()
		}
		if err != nil {
			sorter.Close()
			return nil, err
		}
		dist, at, ok := m.nearest(d)
		if !ok || dist < m.min || dist > m.max {
			continue
		}
		meta := bsonval.NewBuilder().Double("geoNearDistance", dist*s.multiplier).Value("geoNearPoint", at).Build()
		if s.distance != nil {
			buf = setPath(buf[:0], d, s.distance, bsonval.Double(dist*s.multiplier))
			d = buf
		}
		if s.locs != nil {
			buf2 = setPath(buf2[:0], d, s.locs, at)
			d = buf2
		}
		sorter.key = binary.BigEndian.AppendUint64(sorter.key[:0], math.Float64bits(dist))
		if err := sorter.insert(d, meta); err != nil {
			sorter.Close()
			return nil, err
		}
	}
}

// isEmptyMatch tells {$match: {}}, which may stand before $geoNear.
func isEmptyMatch(s stage) bool {
	m, ok := s.(*matchStage)
	return ok && bytes.Equal(m.filter, bsonval.EmptyDoc)
}
