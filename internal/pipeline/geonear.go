package pipeline

import (
	"bytes"
	"context"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var geoNearRows = []row{
	{name: "$geoNear", doc: "Passes documents in the order of their distance from a point.", parse: parseGeoNear, first: true, noFacet: true},
}

// geoNearStage is $geoNear. It reads the collection by the distances that a geo
// index knows.
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
		s.distance, err = fieldpath.Parse(strings.Clone(v.Str()))
	case "includeLocs":
		if v.Type() != bsonval.TypeString {
			return mongoerr.New(16607, "$geoNear requires that 'includeLocs' option is a String")
		}
		s.locs, err = fieldpath.Parse(strings.Clone(v.Str()))
	case "query":
		if v.Type() != bsonval.TypeDocument {
			return errFieldType("$geoNear", name, v, "object")
		}
		if hasOperator(v.Doc(), "$near", "$nearSphere", "$geoNear") {
			return mongoerr.New(mongoerr.BadValue, "geo near queries are not allowed in the query of $geoNear")
		}
		s.query, err = newMatch(p.c, nil, v.Doc())
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
	node, err := s.node(r, indexes, point)
	if err != nil {
		return nil, err
	}
	nodes := []match.Node{node}
	if s.query != nil {
		nodes = append(nodes, s.query.matcher.Root())
	}
	src, err := r.env.Data.Open(ctx, s.ns, Query{
		Matcher: match.FromNode(match.NewAnd(nodes...)), Collator: r.collator(), Vars: r.c.Vars,
	})
	if err != nil {
		return nil, err
	}
	return &geoNearSource{input: newInput(r, src), s: s, node: node}, nil
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

// node is the condition that the collection is read with: it asks for the order
// of distances, and so for an index.
func (s *geoNearStage) node(r *run, indexes []GeoIndex, near bsonval.Value) (*match.GeoNear, error) {
	key, err := s.field(indexes)
	if err != nil {
		return nil, err
	}
	g, err := geo.ParsePoint(near)
	if err != nil {
		return nil, err
	}
	point, ok := g.Point()
	meters := !g.IsLegacy()
	sphere := meters || s.spherical
	switch {
	case !ok:
		return nil, mongoerr.New(mongoerr.BadValue, "invalid point in $geoNear: %s", bsonval.Format(near))
	case !point.OnSphere() && sphere:
		return nil, mongoerr.New(mongoerr.BadValue, "invalid point: longitude or latitude out of bounds: %s", bsonval.Format(near))
	}
	n := match.NewGeoNear(key, point, bsonval.NewBuilder().Value("$geoNear", near).Build())
	n.Spherical, n.Meters = sphere, meters
	n.Min, n.Max, err = s.bounds(r)
	return n, err
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

// geoNearSource adds distances to the documents, which come in their order.
type geoNearSource struct {
	input
	s         *geoNearStage
	node      *match.GeoNear
	meta      bsonval.Doc
	buf, buf2 []byte
}

func (x *geoNearSource) Next(ctx context.Context) (bsonval.Doc, error) {
	d, err := x.next(ctx)
	if err != nil {
		return nil, err
	}
	distance, at, _ := x.node.Nearest(d)
	distance *= x.s.multiplier
	x.meta = bsonval.NewBuilder().Double("geoNearDistance", distance).Value("geoNearPoint", at).Build()
	at = x.meta.Lookup("geoNearPoint")
	if x.s.distance != nil {
		x.buf = setPath(x.buf[:0], d, x.s.distance, bsonval.Double(distance))
		d = x.buf
	}
	if x.s.locs != nil {
		x.buf2 = setPath(x.buf2[:0], d, x.s.locs, at)
		d = x.buf2
	}
	return d, nil
}

// Metadata implements MetaSource: distances are metadata, too.
func (x *geoNearSource) Metadata() bsonval.Doc { return x.meta }

func (x *geoNearSource) hasMeta() bool { return true }

// isEmptyMatch tells {$match: {}}, which may stand before $geoNear.
func isEmptyMatch(s stage) bool {
	m, ok := s.(*matchStage)
	return ok && bytes.Equal(m.filter, bsonval.EmptyDoc)
}
