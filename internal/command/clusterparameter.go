package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// clusterParameterCommands are the commands on cluster parameters.
func clusterParameterCommands() []*Command {
	return []*Command{
		{Name: "getClusterParameter", Help: "Tells cluster parameters.", AdminOnly: true, SecondaryOK: true, Run: runGetClusterParameter},
		{Name: "setClusterParameter", Help: "Is not implemented.", First: FirstValue, FirstKind: Object, AdminOnly: true,
			WriteConcern: true, Missing: true, Run: runSetClusterParameter},
	}
}

// clusterParameters are the parameters there are, with their values, which cannot be changed.
var clusterParameters = []struct {
	name  string
	value func(*bsonval.Builder)
}{
	{"changeStreamOptions", func(b *bsonval.Builder) { b.StartDoc("preAndPostImages").Str("expireAfterSeconds", "off").End() }},
	{"defaultMaxTimeMS", func(b *bsonval.Builder) { b.Int64("readOperations", 0) }},
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
			p.value(b)
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

// runSetClusterParameter checks the arguments before it refuses.
func runSetClusterParameter(_ context.Context, c *Call) error {
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
	if name == "changeStreamOptions" && vals[0].Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.BadValue, "changeStreamOptions.preAndPostImages has to be a document")
	}
	return mongoerr.New(mongoerr.NotImplemented, "cluster parameter '%s' cannot be set yet", name)
}
