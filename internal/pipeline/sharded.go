package pipeline

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var shardedRows = []row{
	{name: "$shardedDataDistribution", doc: "Reports how sharded collections are spread, which only routers know.", parse: parseShardedDataDistribution, first: true, noFacet: true, refused: true},
	{name: "$listSampledQueries", doc: "Lists the queries sampled for a choice of shard keys; this server samples none.", parse: parseListSampledQueries, first: true, noFacet: true, refused: true},
	{name: "$score", doc: "Computes a score of documents for $scoreFusion.", parse: parseScore, refused: true},
}

func parseShardedDataDistribution(_ *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(6789100, "The $shardedDataDistribution stage specification must be an empty object")
	}
	return nil, mongoerr.New(6789101, "The $shardedDataDistribution stage can only be run on mongoS")
}

func parseListSampledQueries(p *parser, arg bsonval.Value) ([]stage, error) {
	const stage = "$listSampledQueries"
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(6876001, "%s must take a nested object but found: %s", stage, bsonval.Format(arg))
	}
	err := fields(stage, arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		if name != "namespace" {
			return false, nil
		}
		_, err := fieldString(stage, name, v)
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if p.ns.DB != "admin" || p.ns.Coll != "" {
		return nil, mongoerr.New(mongoerr.InvalidNamespace, "%s must be run against the 'admin' database with {aggregate: 1}", stage)
	}
	return nil, mongoerr.New(mongoerr.IllegalOperation, "%s is not supported on a server that is not part of a sharded cluster", stage)
}

func parseScore(_ *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "The $score stage specification must be an object, found %s", arg.Type())
	}
	return nil, mongoerr.New(mongoerr.NotImplemented, "stage $score is not implemented")
}
