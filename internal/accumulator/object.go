package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var objectOperators = []operator{
	{name: "$mergeObjects", doc: "Merges documents; later fields win.",
		start: func(*expr.Context, int) (collector, error) { return &merged{}, nil }},
}

// merged is $mergeObjects.
type merged struct {
	merger expr.ObjectMerger
	bytes  int
}

func (m *merged) add(_ *expr.Context, v bsonval.Value) error {
	if v.IsNullish() {
		return nil
	}
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(5911200, "$mergeObjects only supports objects as input, but input %s is of type %s",
			bsonval.Format(v), v.Type())
	}
	m.bytes += len(v.Doc())
	return m.merger.Add(v.Clone())
}

func (m *merged) result(*expr.Context) (bsonval.Value, error) { return m.merger.Result(), nil }

func (m *merged) size() int { return m.bytes }

func (m *merged) partial() bsonval.Value { return m.merger.Result() }

func (m *merged) merge(c *expr.Context, partial bsonval.Value) error { return m.add(c, partial) }
