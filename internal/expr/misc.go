package expr

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var miscOperators = []operator{
	{name: "$binarySize", doc: "The size in bytes of a string or of binary data.", min: 1, max: 1, fn: evalBinarySize},
	{name: "$bsonSize", doc: "The size in bytes of a document as BSON.", min: 1, max: 1, fn: evalBSONSize},
	{name: "$meta", doc: "Metadata of the document, such as its text score.", compile: compileMeta},
	{name: "$rand", doc: "A random number from 0 up to 1.", compile: compileRand, impure: true},
	{name: "$toHashedIndexKey", doc: "The key that a value has in a hashed index.", min: 1, max: 1,
		fn: func(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
			return bsonval.Int64(bsonval.HashedKey(args[0])), nil
		}},
}

func evalBinarySize(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	switch v := args[0]; {
	case v.IsNullish():
		return bsonval.Null, nil
	case v.Type() == bsonval.TypeString || v.Type() == bsonval.TypeBinary:
		return bsonval.Int32(int32(len(v.Bytes()))), nil
	default:
		return bsonval.Missing, mongoerr.New(51276, "$binarySize requires a string or BinData argument, found: %s", v.Type())
	}
}

func evalBSONSize(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	switch v := args[0]; {
	case v.IsNullish():
		return bsonval.Null, nil
	case v.Type() == bsonval.TypeDocument:
		return bsonval.Int32(int32(len(v.Bytes()))), nil
	default:
		return bsonval.Missing, mongoerr.New(31393, "$bsonSize requires a document input, found: %s", v.Type())
	}
}

// metaNames are the kinds of metadata there are, available or not.
var metaNames = []string{
	"textScore", "randVal", "searchScore", "searchHighlights", "geoNearDistance", "geoNearPoint", "recordId",
	"indexKey", "sortKey", "searchScoreDetails", "searchSequenceToken", "timeseriesBucketMinTime",
	"timeseriesBucketMaxTime", "vectorSearchScore", "score", "scoreDetails", "stream",
}

type meta struct{ name string }

func (e meta) Eval(c *Context) (bsonval.Value, error) {
	if c.Meta == nil {
		return bsonval.Missing, nil
	}
	return c.Meta(e.name), nil
}

func compileMeta(c *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if arg.Type() != bsonval.TypeString {
		return nil, mongoerr.New(17307, "$meta only supports string arguments")
	}
	name := string(arg.Bytes())
	if !slices.Contains(metaNames, name) {
		return nil, mongoerr.New(17308, "Unsupported argument to $meta: %s", name)
	}
	if name == "textScore" && c.NoTextScore {
		return nil, ErrNoTextScore()
	}
	c.Deps.AddMeta(name)
	return meta{name}, nil
}

// ErrNoTextScore is the error of asking for the score of a text search where
// there is none.
func ErrNoTextScore() error {
	return mongoerr.New(40218, "query requires text score metadata, but it is not available")
}

type random struct{}

func (random) Eval(c *Context) (bsonval.Value, error) { return bsonval.Double(c.Env.Rand()), nil }

func compileRand(_ *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	if t := arg.Type(); t != bsonval.TypeDocument && t != bsonval.TypeArray || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(3040501, "$rand does not currently accept arguments")
	}
	return random{}, nil
}
