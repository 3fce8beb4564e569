package pipeline

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var bucketRows = []row{
	{name: "$bucket", doc: "Groups the documents by the ranges that an expression falls into.", parse: parseBucket},
	{name: "$bucketAuto", doc: "Groups the documents into a number of ranges of about the same size.", parse: parseBucketAuto},
}

// bucketArgs are the arguments of $bucket.
type bucketArgs struct {
	groupBy    bsonval.Value
	boundaries []bsonval.Value
	def        bsonval.Value
	output     bsonval.Value
}

// parseBucket makes $group and $sort of $bucket: the group is the largest
// boundary that is not above the value.
func parseBucket(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(40201, "Argument to $bucket stage must be an object, but found type: %s.", arg.Type())
	}
	a := &bucketArgs{}
	it := arg.Doc().Iter()
	for it.Next() {
		if err := a.set(p, it.KeyStr(), it.Value()); err != nil {
			return nil, err
		}
	}
	if a.groupBy.IsMissing() || a.boundaries == nil {
		return nil, mongoerr.New(40198, "$bucket requires 'groupBy' and 'boundaries' to be specified.")
	}
	if err := a.checkDefault(); err != nil {
		return nil, err
	}
	return p.expand("$group", a.group(), "$sort", bsonval.NewBuilder().Int32("_id", 1).Build())
}

func (a *bucketArgs) set(p *parser, name string, v bsonval.Value) error {
	switch name {
	case "groupBy":
		if !isExpression(v) {
			return mongoerr.New(40202, "The $bucket 'groupBy' field must be defined as a $-prefixed path or an expression, but found: %s.", bsonval.Format(v))
		}
		a.groupBy = v
	case "boundaries":
		return a.setBoundaries(p.c, v)
	case "default":
		e, err := p.c.Compile(v)
		if err != nil {
			return err
		}
		k, ok := expr.ConstantValue(e)
		if !ok {
			return mongoerr.New(40195, "The $bucket 'default' field must be a constant expression, but found: %s.", bsonval.Format(v))
		}
		a.def = k
	case "output":
		if v.Type() != bsonval.TypeDocument {
			return mongoerr.New(40196, "The $bucket 'output' field must be an object, but found type: %s.", v.Type())
		}
		a.output = v
	default:
		return mongoerr.New(40197, "Unrecognized option to $bucket: %s.", name)
	}
	return nil
}

// isExpression tells what groupBy takes: a path or an operator call.
func isExpression(v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeString:
		return strings.HasPrefix(v.Str(), "$")
	case bsonval.TypeDocument:
		k, _, ok := v.Doc().First()
		return ok && strings.HasPrefix(k, "$")
	}
	return false
}

func (a *bucketArgs) setBoundaries(c *expr.Compiler, v bsonval.Value) error {
	if v.Type() != bsonval.TypeArray {
		return mongoerr.New(40200, "The $bucket 'boundaries' field must be an array, but found type: %s.", v.Type())
	}
	it := v.Doc().Iter()
	for it.Next() {
		e, err := c.Compile(it.Value())
		if err != nil {
			return err
		}
		k, ok := expr.ConstantValue(e)
		if !ok {
			return mongoerr.New(40191, "The $bucket 'boundaries' field must be an array of constant values, but found value: %s.", bsonval.Format(it.Value()))
		}
		a.boundaries = append(a.boundaries, k)
	}
	if len(a.boundaries) < 2 {
		return mongoerr.New(40192, "The $bucket 'boundaries' field must have at least 2 values, but found %d value(s).", len(a.boundaries))
	}
	for i := 1; i < len(a.boundaries); i++ {
		lo, hi := a.boundaries[i-1], a.boundaries[i]
		if lo.Type().Order() != hi.Type().Order() {
			return mongoerr.New(40193, "All values in the 'boundaries' option to $bucket must have the same type. Found conflicting types %s and %s.", lo.Type(), hi.Type())
		}
		if bsonval.CompareCollated(lo, hi, c.Env.Collator) >= 0 {
			return mongoerr.New(40194, "The 'boundaries' option to $bucket must be sorted, but elements %d and %d are not in ascending order (%s is not less than %s).", i-1, i, bsonval.Format(lo), bsonval.Format(hi))
		}
	}
	return nil
}

// checkDefault checks that the default is outside the boundaries.
func (a *bucketArgs) checkDefault() error {
	if a.def.IsMissing() {
		return nil
	}
	lo, hi := a.boundaries[0], a.boundaries[len(a.boundaries)-1]
	if a.def.Type().Order() == lo.Type().Order() && bsonval.Compare(a.def, lo) >= 0 && bsonval.Compare(a.def, hi) < 0 {
		return mongoerr.New(40199, "The $bucket 'default' field must be less than the lowest boundary or greater than or equal to the highest boundary.")
	}
	return nil
}

// group is the argument of $group.
func (a *bucketArgs) group() bsonval.Doc {
	b := bsonval.NewBuilder().StartDoc("_id").StartDoc("$switch").StartArray("branches")
	for i := 1; i < len(a.boundaries); i++ {
		b.StartDoc("").StartDoc("case").StartArray("$and")
		b.StartDoc("").StartArray("$gte").Add(a.groupBy).StartDoc("").Value("$literal", a.boundaries[i-1]).End().End().End()
		b.StartDoc("").StartArray("$lt").Add(a.groupBy).StartDoc("").Value("$literal", a.boundaries[i]).End().End().End()
		b.End().End().StartDoc("then").Value("$literal", a.boundaries[i-1]).End().End()
	}
	b.End()
	if !a.def.IsMissing() {
		b.StartDoc("default").Value("$literal", a.def).End()
	}
	b.End().End()
	appendOutput(b, a.output)
	return b.Build()
}

// appendOutput adds the accumulators of output, or a count.
func appendOutput(b *bsonval.Builder, output bsonval.Value) {
	if output.IsMissing() {
		b.StartDoc("count").Int32("$sum", 1).End()
		return
	}
	it := output.Doc().Iter()
	for it.Next() {
		b.Value(it.KeyStr(), it.Value())
	}
}
