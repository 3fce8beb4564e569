package pipeline

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var searchRows = []row{
	{name: "$search", doc: "Full-text search by a search service, which this server has not.", parse: refuseSearch("$search"), first: true, refused: true},
	{name: "$searchMeta", doc: "Metadata of a search by a search service, which this server has not.", parse: refuseSearch("$searchMeta"), first: true, refused: true},
	{name: "$vectorSearch", doc: "Vector search by a search service, which this server has not.", parse: refuseSearch("$vectorSearch"), first: true, refused: true},
	{name: "$listSearchIndexes", doc: "Lists search indexes, which this server has not.", parse: refuseSearch("$listSearchIndexes"), first: true, refused: true},
	{name: "$scoreFusion", doc: "Combines the scores of pipelines of a search service, which this server has not.", parse: refuseSearch("$scoreFusion"), first: true, refused: true},
}

// refuseSearch gives the error of a server without search service.
func refuseSearch(name string) func(*parser, bsonval.Value) ([]stage, error) {
	return func(*parser, bsonval.Value) ([]stage, error) {
		return nil, mongoerr.New(31082, "%s: Using Atlas Search Database Commands and the $listSearchIndexes aggregation stage requires additional configuration.", name)
	}
}
