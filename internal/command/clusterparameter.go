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
		{Name: "setClusterParameter", Help: "Changes a cluster parameter.", First: FirstValue, FirstKind: Object, AdminOnly: true,
			WriteConcern: true, Run: runSetClusterParameter},
	}
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
	values := *c.Commands.cluster.values.Load()
	b := bsonval.NewArrayBuilder()
	for i := range clusterParameters {
		wanted := all
		for _, n := range names {
			wanted = wanted || n.Str() == clusterParameters[i].name
		}
		if wanted {
			b.StartDoc("").Str("_id", clusterParameters[i].name)
			for it := values[i].Iter(); it.Next(); {
				b.Value(it.KeyStr(), it.Value())
			}
			b.End()
		}
	}
	for _, n := range names {
		if !all && clusterParameterIndex(n.Str()) < 0 {
			return mongoerr.New(mongoerr.NoSuchKey, "Unknown server parameter: %s", n.Str())
		}
	}
	c.Append("clusterParameters", bsonval.Array(b.Build()))
	return nil
}

func runSetClusterParameter(ctx context.Context, c *Call) error {
	name, v, ok := c.First.Doc().First()
	if !ok || c.First.Doc().Len() != 1 {
		return mongoerr.New(mongoerr.InvalidOptions, "setClusterParameter only supports setting exactly one parameter")
	}
	i := clusterParameterIndex(name)
	if i < 0 {
		return mongoerr.New(mongoerr.NoSuchKey, "Unknown server parameter: %s", name)
	}
	p := &clusterParameters[i]
	if v.Type() != bsonval.TypeDocument {
		return wrongType("setClusterParameter", name, v.Type(), Object)
	}
	var vals [1]bsonval.Value
	if err := ParseFields("setClusterParameter."+name, v.Doc(), []Field{p.field}, vals[:]); err != nil {
		return err
	}
	value := p.fallback
	if !vals[0].IsMissing() {
		var err error
		if value, err = p.check(vals[0]); err != nil {
			return err
		}
	}
	if !c.Database().HasOplog() {
		return mongoerr.New(mongoerr.IllegalOperation, "setClusterParameter cannot be run on standalones")
	}
	return c.Commands.setClusterParameter(ctx, i, value)
}
