package pipeline

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/changestream"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var changeStreamRows = []row{
	{name: "$changeStream", doc: "Streams the changes of a collection, a database or the server.", parse: parseChangeStream, first: true, noFacet: true},
	{name: "$changeStreamSplitLargeEvent", doc: "Splits change events that are too large for one document.", parse: parseSplitLargeEvent, last: true, noFacet: true, streaming: true},
}

func parseChangeStream(p *parser, arg bsonval.Value) ([]stage, error) {
	spec, err := changestream.Parse(arg)
	if err != nil {
		return nil, err
	}
	if _, err := spec.Target(p.ns.DB, p.ns.Coll); err != nil {
		return nil, err
	}
	return p.system("$changeStream", arg), nil
}

func parseSplitLargeEvent(_ *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument || !arg.Doc().IsEmpty() {
		return nil, mongoerr.New(7182800, "$changeStreamSplitLargeEvent spec should be an empty object")
	}
	return []stage{&splitStage{}}, nil
}

// splitStage asks for events to be split that are larger than a document may be.
// Whoever runs the pipeline takes it off and does it: it takes resume tokens.
type splitStage struct{}

func (s *splitStage) name() string           { return "$changeStreamSplitLargeEvent" }
func (s *splitStage) explain() bsonval.Value { return bsonval.Document(bsonval.EmptyDoc) }
func (s *splitStage) needs() needs           { return needsAll }
func (s *splitStage) open(_ context.Context, _ *run, src Source) (Source, error) {
	return src, nil
}

// TakeSplit removes $changeStreamSplitLargeEvent from the end of the pipeline and says
// whether it was there.
func (p *Pipeline) TakeSplit() bool {
	n := len(p.stages)
	if n == 0 || p.stages[n-1].name() != "$changeStreamSplitLargeEvent" {
		return false
	}
	p.stages = p.stages[:n-1]
	return true
}
