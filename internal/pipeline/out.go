package pipeline

import (
	"context"
	"io"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var outRows = []row{
	{name: "$out", doc: "Replaces a collection by the documents.", parse: parseOut, last: true, writes: true, noFacet: true, noLookup: true},
}

type outStage struct {
	arg  bsonval.Value
	spec OutSpec
}

func parseOut(p *parser, arg bsonval.Value) ([]stage, error) {
	s := &outStage{arg: arg, spec: OutSpec{NS: Namespace{DB: p.ns.DB}}}
	switch arg.Type() {
	case bsonval.TypeString:
		s.spec.NS.Coll = strings.Clone(arg.Str())
	case bsonval.TypeDocument:
		if err := s.read(arg.Doc()); err != nil {
			return nil, err
		}
	default:
		return nil, mongoerr.New(16990, "$out only supports a string or object argument, but found %s", arg.Type())
	}
	return []stage{s}, s.check()
}

func (s *outStage) read(d bsonval.Doc) error {
	var db, coll bool
	err := fields("$out", d, func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "db", "coll", "timeseries":
			if isNull(v) {
				return true, nil
			}
		default:
			return false, nil
		}
		switch name {
		case "db":
			db = true
			s.spec.NS.DB, err = fieldString("$out", name, v)
		case "coll":
			coll = true
			s.spec.NS.Coll, err = fieldString("$out", name, v)
		default:
			s.spec.TimeSeries, err = parseTimeSeries(v)
		}
		return true, err
	})
	switch {
	case err != nil:
		return err
	case !db:
		return errMissingField("$out", "db")
	case !coll:
		return errMissingField("$out", "coll")
	}
	return nil
}

func (s *outStage) check() error {
	ns := s.spec.NS
	if err := checkDBName(ns.DB); err != nil {
		return err
	}
	if err := checkCollName(ns.DB, ns.Coll); err != nil {
		return err
	}
	switch {
	case ns.DB == "admin" || ns.DB == "config" || ns.DB == "local":
		return mongoerr.New(31321, "Can't $out to internal database: %s", ns.DB)
	case strings.HasPrefix(ns.Coll, "system."):
		return mongoerr.New(17385, "Can't $out to special collection: %s", ns.Coll)
	case strings.Contains(ns.Coll, "$") || len(ns.String()) > maxNamespace:
		return mongoerr.New(mongoerr.IllegalOperation, "error with target namespace: invalid collection name '%s'", ns.Coll)
	}
	return checkTimeSeries(s.spec.TimeSeries)
}

// maxNamespace is the longest name of a collection with its database, in bytes.
const maxNamespace = 255

// parseTimeSeries checks the types of the time-series options.
func parseTimeSeries(v bsonval.Value) (bsonval.Doc, error) {
	const stage = "$out.timeseries"
	d, err := fieldDoc("$out", "timeseries", v)
	if err != nil {
		return nil, err
	}
	b := bsonval.NewBuilder()
	err = fields(stage, d, func(name string, v bsonval.Value) (bool, error) {
		switch name {
		case "timeField", "metaField", "granularity":
			if isNull(v) {
				return true, nil
			}
			if _, err := fieldString(stage, name, v); err != nil {
				return true, err
			}
			b.Value(name, v)
		case "bucketMaxSpanSeconds", "bucketRoundingSeconds":
			if isNull(v) {
				return true, nil
			}
			if !v.IsNumber() {
				return true, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected types '[long, int, decimal, double]'", stage, name, v.Type())
			}
			b.Value(name, bsonval.Int64(v.TruncInt64()))
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	out := b.Build()
	if out.Lookup("timeField").IsMissing() {
		return nil, errMissingField(stage, "timeField")
	}
	return out, nil
}

// granularities are the names of bucket sizes.
var granularities = [3]string{"seconds", "minutes", "hours"}

// maxBucketSeconds is the longest span of a time-series bucket: a year.
const maxBucketSeconds = 365 * 24 * 3600

func checkTimeSeries(d bsonval.Doc) error {
	if d == nil {
		return nil
	}
	g, span, rounding := d.Lookup("granularity"), d.Lookup("bucketMaxSpanSeconds"), d.Lookup("bucketRoundingSeconds")
	if !g.IsMissing() && g.Str() != granularities[0] && g.Str() != granularities[1] && g.Str() != granularities[2] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '$out.timeseries.granularity' is not a valid value.", g.Str())
	}
	for _, v := range [2]bsonval.Value{span, rounding} {
		if !v.IsMissing() && (v.Int64() < 1 || v.Int64() > maxBucketSeconds) {
			return mongoerr.New(mongoerr.BadValue, "bucketMaxSpanSeconds and bucketRoundingSeconds must be between 1 and 31536000, got %d", v.Int64())
		}
	}
	switch {
	case span.IsMissing() != rounding.IsMissing():
		return mongoerr.New(mongoerr.InvalidOptions, "bucketMaxSpanSeconds and bucketRoundingSeconds must be set together")
	case !span.IsMissing() && span.Int64() != rounding.Int64():
		return mongoerr.New(mongoerr.InvalidOptions, "bucketMaxSpanSeconds and bucketRoundingSeconds must be equal")
	case !span.IsMissing() && !g.IsMissing() && g.Str() == "seconds":
		return mongoerr.New(mongoerr.InvalidOptions, "cannot set granularity together with bucketMaxSpanSeconds")
	}
	return nil
}

func (s *outStage) name() string           { return "$out" }
func (s *outStage) explain() bsonval.Value { return s.arg }
func (s *outStage) needs() needs           { return needsAll }
func (s *outStage) target() Namespace      { return s.spec.NS }

func (s *outStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

func (s *outStage) fill(ctx context.Context, in *input) (Source, error) {
	w, err := in.r.env.Data.Out(ctx, s.spec)
	if err != nil {
		return nil, err
	}
	defer w.Abort()
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			return NewList(nil), w.Commit(ctx)
		}
		if err == nil {
			err = w.Write(ctx, d)
		}
		if err != nil {
			return nil, err
		}
	}
}
