package command

import (
	"context"
	"math"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// clusterParameterCommands are the commands on cluster parameters.
func clusterParameterCommands() []*Command {
	return []*Command{
		{Name: "getClusterParameter", Help: "Tells cluster parameters.", AdminOnly: true, SecondaryOK: true, Run: runGetClusterParameter},
		{Name: "setClusterParameter", Help: "Changes a cluster parameter.", First: FirstValue, FirstKind: Object, AdminOnly: true,
			WriteConcern: true, Run: runSetClusterParameter},
	}
}

// clusterParameters are the parameters there are, with their values.
var clusterParameters = []struct {
	name  string
	value func(*Call, *bsonval.Builder)
}{
	{"changeStreamOptions", func(c *Call, b *bsonval.Builder) {
		b.StartDoc("preAndPostImages")
		if after := c.Database().ImagesExpiry(); after > 0 {
			b.Int64("expireAfterSeconds", int64(after/time.Second))
		} else {
			b.Str("expireAfterSeconds", "off")
		}
		b.End()
	}},
	{"defaultMaxTimeMS", func(_ *Call, b *bsonval.Builder) { b.Int64("readOperations", 0) }},
}

func runGetClusterParameter(_ context.Context, c *Call) error {
	names := []bsonval.Value{c.First}
	switch c.First.Type() {
	case bsonval.TypeString:
	case bsonval.TypeArray:
		if names = c.First.Doc().Values(nil); len(names) == 0 {
			return mongoerr.New(mongoerr.BadValue, "Must supply at least one cluster server parameter name to getClusterParameter")
		}
	default:
		return wrongType(c.Cmd.Name, c.Cmd.Name, c.First.Type(), StringOrArray)
	}
	for _, n := range names {
		if n.Type() != bsonval.TypeString {
			return wrongType(c.Cmd.Name, c.Cmd.Name, n.Type(), String)
		}
	}
	all := c.First.Type() == bsonval.TypeString && c.First.Str() == "*"
	b := bsonval.NewArrayBuilder()
	for _, p := range clusterParameters {
		wanted := all
		for _, n := range names {
			wanted = wanted || n.Str() == p.name
		}
		if wanted {
			b.StartDoc("").Str("_id", p.name)
			p.value(c, b)
			b.End()
		}
	}
	for _, n := range names {
		if !all && !isClusterParameter(n.Str()) {
			return mongoerr.New(mongoerr.NoSuchKey, "Unknown server parameter: %s", n.Str())
		}
	}
	c.Append("clusterParameters", bsonval.Array(b.Build()))
	return nil
}

func isClusterParameter(name string) bool {
	for _, p := range clusterParameters {
		if p.name == name {
			return true
		}
	}
	return false
}

// clusterParameterFields are the types of the parameters MongoDB has.
var clusterParameterFields = map[string][]Field{
	"changeStreams":                     {{Name: "expireAfterSeconds", Kind: Int}},
	"pauseMigrationsDuringMultiUpdates": {{Name: "enabled", Kind: Bool}},
	"defaultMaxTimeMS":                  {{Name: "readOperations", Kind: Int}},
	"changeStreamOptions":               {{Name: "preAndPostImages", Kind: Any}},
}

// runSetClusterParameter sets how long pre-images are kept; it refuses the other parameters, once the arguments are right.
func runSetClusterParameter(ctx context.Context, c *Call) error {
	name, v, ok := c.First.Doc().First()
	if !ok || c.First.Doc().Len() != 1 {
		return mongoerr.New(mongoerr.InvalidOptions, "setClusterParameter only supports setting exactly one parameter")
	}
	fields := clusterParameterFields[name]
	if fields == nil {
		return mongoerr.New(mongoerr.NoSuchKey, "Unknown server parameter: %s", name)
	}
	if v.Type() != bsonval.TypeDocument {
		return wrongType("setClusterParameter", name, v.Type(), Object)
	}
	var vals [1]bsonval.Value
	if err := ParseFields("setClusterParameter."+name, v.Doc(), fields, vals[:]); err != nil {
		return err
	}
	if name == "changeStreamOptions" {
		after, err := imagesExpiry(vals[0])
		if err != nil {
			return err
		}
		return c.Database().SetImagesExpiry(ctx, after)
	}
	return mongoerr.New(mongoerr.NotImplemented, "cluster parameter '%s' cannot be set yet", name)
}

// imagesExpiry reads changeStreamOptions.preAndPostImages; 0 is "off".
func imagesExpiry(v bsonval.Value) (time.Duration, error) {
	if v.Type() != bsonval.TypeDocument {
		return 0, mongoerr.New(mongoerr.BadValue, "changeStreamOptions.preAndPostImages has to be a document")
	}
	const name = "setClusterParameter.changeStreamOptions.preAndPostImages"
	var vals [1]bsonval.Value
	if err := ParseFields(name, v.Doc(), []Field{{Name: "expireAfterSeconds", Kind: Any}}, vals[:]); err != nil {
		return 0, err
	}
	switch after := vals[0]; {
	case after.IsMissing():
		return 0, nil
	case after.Type() == bsonval.TypeString && after.Str() == "off":
		return 0, nil
	case after.Type() == bsonval.TypeString:
		return 0, mongoerr.New(mongoerr.BadValue, "Non-numeric value of 'expireAfterSeconds' should be 'off'")
	case !after.IsNumber():
		return 0, wrongType(name, "expireAfterSeconds", after.Type(), IntOrString)
	case after.TruncInt64() <= 0:
		return 0, mongoerr.New(mongoerr.BadValue, "Numeric value of 'expireAfterSeconds' should be positive")
	default:
		return time.Duration(min(after.TruncInt64(), math.MaxInt64/int64(time.Second))) * time.Second, nil
	}
}
