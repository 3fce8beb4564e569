package pipeline

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// Leading splits off what a planner can run: a filter, a sort, skip and limit.
// The query also says which fields the rest reads. Call it after Optimize.
func (p *Pipeline) Leading() (q Query, rest *Pipeline) {
	n := p.leading(&q)
	r := *p
	r.stages = p.stages[n:]
	if n == 0 && len(p.stages) > 0 {
		if s, ok := p.stages[0].(*sampleStage); ok {
			q.Sample = s.size // it puts them into a random order
		}
	}
	q.Deps, q.IndexKeys = r.deps(), r.asksFor("indexKey")
	return q, &r
}

// leading fills q from the first stages and returns how many it took.
func (p *Pipeline) leading(q *Query) int {
	list := p.stages
	n := 0
	if n < len(list) {
		if m, ok := list[n].(*matchStage); ok {
			q.Filter, q.Matcher = m.filter, m.matcher
			n++
		}
	}
	if n < len(list) {
		if s, ok := list[n].(*sortStage); ok && !s.pattern.HasMeta() {
			q.Sort, q.Limit = s.spec, s.limit
			n++
		}
	}
	for ; n < len(list); n++ {
		switch s := list[n].(type) {
		case *limitStage:
			if q.Limit == 0 || s.n < q.Limit {
				q.Limit = s.n
			}
			continue
		case *skipStage:
			if q.Limit == 0 {
				q.Skip = addClamped(q.Skip, s.n)
				continue
			}
			if s.n < q.Limit {
				q.Skip, q.Limit = addClamped(q.Skip, s.n), q.Limit-s.n
				continue
			}
		}
		break
	}
	return n
}

// asksFor says whether some stage reads a kind of metadata.
func (p *Pipeline) asksFor(meta string) bool {
	for _, s := range p.stages {
		if slices.Contains(s.needs().deps.Meta, meta) {
			return true
		}
	}
	return false
}

// deps are the fields of the input that the pipeline reads; nil means whole
// documents.
func (p *Pipeline) deps() *expr.Deps {
	var fields []string
	for _, s := range p.stages {
		n := s.needs()
		if n.deps.All {
			return nil
		}
		fields = append(fields, n.deps.Fields...)
		if n.only {
			slices.Sort(fields)
			return &expr.Deps{Fields: slices.Compact(fields)}
		}
	}
	return nil
}

// Explain returns the stages as explain shows them: an array of {name: argument}.
func (p *Pipeline) Explain() bsonval.Doc {
	b := bsonval.NewArrayBuilder()
	for _, s := range p.stages {
		b.StartDoc("").Value(s.name(), s.explain()).End()
	}
	return b.Build()
}
