package plan

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// TextSearch is the scan of a text index: the keys of each term give the
// documents that hold it, with the score it adds to theirs.
type TextSearch struct {
	// Query is the search, for explain.
	Query *match.Text

	// Ranges are the key ranges [lower, upper) of the terms.
	Ranges []KeyRange

	// ScoreAt is the place of the score among the components of keys.
	ScoreAt int
}

// KeyRange is a range of index keys, without the upper one.
type KeyRange struct{ Lower, Upper []byte }

// search plans a filter with $text: by the text index alone, or as a branch of an
// $or whose other branches have indexes, too.
func (p *planner) search() ([]*Plan, error) {
	if p.q.Hint != nil {
		return nil, mongoerr.New(mongoerr.BadValue, "$text and hint not allowed in same query")
	}
	x := p.coll.TextIndex()
	if x.Hidden {
		return nil, p.errNoSearch()
	}
	if _, direct := p.textNode(); direct >= 0 {
		if plans := p.access(x, false); len(plans) > 0 {
			return plans, nil
		}
		return nil, p.errNoSearch()
	}
	if plan := p.union(); plan != nil {
		return []*Plan{plan}, nil
	}
	return nil, mongoerr.New(mongoerr.NoQueryExecutionPlans, "error processing query: ns=%s planner returned error :: caused by "+
		":: Failed to produce a solution for TEXT under OR - other non-TEXT clauses under OR have to be indexed as well.",
		p.coll.Namespace())
}

func (p *planner) errNoSearch() error {
	return mongoerr.New(mongoerr.NoQueryExecutionPlans, "error processing query: ns=%s planner returned error :: caused by :: "+
		"failed to use text index to satisfy $text query (if text index is compound, are equality predicates given for all "+
		"prefix fields?)", p.coll.Namespace())
}

// textNode finds the $text among the conjuncts; its place is -1 if there is none.
func (p *planner) textNode() (*match.Text, int) {
	for i, n := range p.nodes {
		if t, ok := n.(*match.Text); ok {
			return t, i
		}
	}
	return nil, -1
}

// textMatch is the plan over a text index; nil if there is no $text among the
// conjuncts or a field before the terms is not compared for equality.
func (p *planner) textMatch(x *catalog.Index) *Plan {
	node, conjunct := p.textNode()
	g, ok := x.Generator.(*indexkey.Text)
	if node == nil || !ok {
		return nil
	}
	var prefix []byte
	for _, f := range x.Fields[:g.Position()] {
		v, ok := p.onlyValue(f.Path)
		if !ok {
			return nil
		}
		prefix = keystring.Append(prefix, v, f.Desc, nil)
	}
	var decided decisions
	if node.Query.Exact() {
		decided.add(conjunct)
	}
	search := &TextSearch{Query: node, ScoreAt: g.Position() + 1}
	for _, term := range node.Query.Terms() {
		lower := keystring.Append(bytes.Clone(prefix), bsonval.String(term), false, nil)
		search.Ranges = append(search.Ranges, KeyRange{lower, keystring.Above(bytes.Clone(lower))})
	}
	return &Plan{Index: x, Text: search, Filter: p.residual(decided), Sorted: p.q.Sort == nil}
}

// onlyValue is the value that a field must be equal to.
func (p *planner) onlyValue(path string) (bsonval.Value, bool) {
	for _, q := range p.preds.list {
		if q.path == path && q.group == 0 && (!q.text || p.q.Collation == nil) && len(q.set.list) == 1 && q.set.list[0].isPoint() {
			return q.set.list[0].lo.v, true
		}
	}
	return bsonval.Missing, false
}
