package pipeline

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

// rule rewrites the stages at i, or returns ok false. A rule makes a pipeline
// shorter or moves a filter or limit ahead, so that applying them all ends.
type rule struct {
	name  string
	apply func(list []stage, i int) (out []stage, ok bool)
}

// rules in the order in which they are tried at each place.
var rules = []rule{
	{"drop empty filter", dropEmptyMatch},
	{"join filters", joinMatches},
	{"filter early", filterEarly},
	{"join limits", joinLimits},
	{"join skips", joinSkips},
	{"limit before skip", limitBeforeSkip},
	{"limit in sort", limitInSort},
	{"cut early", cutEarly},
}

// Optimize rewrites the pipeline into a cheaper one with the same result. It
// must be called while the variables that Parse saw are in the compiler's scope.
func (p *Pipeline) Optimize() {
	for i := 0; i < len(p.stages); {
		if !p.rewriteAt(i) {
			i++
			continue
		}
		i = max(i-1, 0)
	}
}

func (p *Pipeline) rewriteAt(i int) bool {
	for _, r := range rules {
		if out, ok := r.apply(p.stages, i); ok {
			p.stages = out
			return true
		}
	}
	return false
}

// pair returns the stages at i and i+1 if they have the types.
func pair[A, B stage](list []stage, i int) (a A, b B, ok bool) {
	if i+1 >= len(list) {
		return a, b, false
	}
	a, okA := list[i].(A)
	b, okB := list[i+1].(B)
	return a, b, okA && okB
}

// replaced returns list with n stages at i replaced.
func replaced(list []stage, i, n int, with ...stage) []stage {
	return slices.Concat(list[:i], with, list[i+n:])
}

func dropEmptyMatch(list []stage, i int) ([]stage, bool) {
	m, ok := list[i].(*matchStage)
	if !ok || !m.filter.IsEmpty() {
		return nil, false
	}
	return replaced(list, i, 1), true
}

func joinMatches(list []stage, i int) ([]stage, bool) {
	a, b, ok := pair[*matchStage, *matchStage](list, i)
	if !ok {
		return nil, false
	}
	filter := conjunction(append(conjuncts(a.filter), conjuncts(b.filter)...))
	m := &matchStage{filter: filter, c: a.c, text: a.text, matcher: match.FromNode(match.NewAnd(a.matcher.Root(), b.matcher.Root()))}
	return replaced(list, i, 2, m), true
}

// conjuncts splits a filter into parts of one field.
func conjuncts(filter bsonval.Doc) []bsonval.Doc {
	var parts []bsonval.Doc
	it := filter.Iter()
	for it.Next() {
		if it.KeyStr() == "$and" {
			inner := it.Value().Doc().Iter()
			for inner.Next() {
				parts = append(parts, conjuncts(inner.Value().Doc())...)
			}
			continue
		}
		parts = append(parts, bsonval.NewBuilder().Value(it.KeyStr(), it.Value()).Build())
	}
	return parts
}

func conjunction(parts []bsonval.Doc) bsonval.Doc {
	if len(parts) == 1 {
		return parts[0]
	}
	b := bsonval.NewBuilder().StartArray("$and")
	for _, p := range parts {
		b.Add(bsonval.Document(p))
	}
	return b.Build()
}

// filterable is a stage that some filters may overtake.
type filterable interface {
	// filterBefore says whether a filter that reads the paths gives the same
	// before the stage.
	filterBefore(paths []string) bool
}

// filterEarly moves the parts of a filter that do not depend on the stage before
// it ahead of that stage.
func filterEarly(list []stage, i int) ([]stage, bool) {
	if i+1 >= len(list) {
		return nil, false
	}
	s, isFilterable := list[i].(filterable)
	m, isMatch := list[i+1].(*matchStage)
	if !isFilterable || !isMatch {
		return nil, false
	}
	var early, late []bsonval.Doc
	for _, part := range conjuncts(m.filter) {
		pm, err := newMatch(m.c, m.text, part)
		if err != nil {
			return nil, false
		}
		d := &expr.Deps{}
		pm.matcher.Deps(d)
		if !d.All && !pm.matcher.HasText() && s.filterBefore(d.Fields) {
			early = append(early, part)
		} else {
			late = append(late, part)
		}
	}
	if len(early) == 0 {
		return nil, false
	}
	out := []stage{}
	for _, parts := range [2][]bsonval.Doc{early, late} {
		if len(parts) > 0 {
			pm, err := newMatch(m.c, m.text, conjunction(parts))
			if err != nil {
				return nil, false
			}
			out = append(out, pm)
		}
		if len(out) == 1 {
			out = append(out, list[i])
		}
	}
	return replaced(list, i, 2, out...), true
}

func joinLimits(list []stage, i int) ([]stage, bool) {
	a, b, ok := pair[*limitStage, *limitStage](list, i)
	if !ok {
		return nil, false
	}
	return replaced(list, i, 2, &limitStage{min(a.n, b.n)}), true
}

func joinSkips(list []stage, i int) ([]stage, bool) {
	a, b, ok := pair[*skipStage, *skipStage](list, i)
	if !ok {
		return nil, false
	}
	return replaced(list, i, 2, &skipStage{addClamped(a.n, b.n)}), true
}

// limitBeforeSkip lets a sort know how many documents are wanted behind a skip.
func limitBeforeSkip(list []stage, i int) ([]stage, bool) {
	sort, skip, ok := pair[*sortStage, *skipStage](list, i)
	if !ok || i+2 >= len(list) {
		return nil, false
	}
	l, ok := list[i+2].(*limitStage)
	if !ok {
		return nil, false
	}
	return replaced(list, i, 3, limited(sort, addClamped(skip.n, l.n)), skip), true
}

func limitInSort(list []stage, i int) ([]stage, bool) {
	sort, l, ok := pair[*sortStage, *limitStage](list, i)
	if !ok {
		return nil, false
	}
	return replaced(list, i, 2, limited(sort, l.n)), true
}

func limited(s *sortStage, n int64) *sortStage {
	c := *s
	if c.limit == 0 || n < c.limit {
		c.limit = n
	}
	return &c
}

// cutEarly moves a skip or limit ahead of a stage that makes one document of
// each.
func cutEarly(list []stage, i int) ([]stage, bool) {
	if i+1 >= len(list) {
		return nil, false
	}
	switch list[i].(type) {
	case *projectStage, *replaceStage, *lookupStage:
	default:
		return nil, false
	}
	switch list[i+1].(type) {
	case *limitStage, *skipStage:
		return replaced(list, i, 2, list[i+1], list[i]), true
	}
	return nil, false
}

func (s *sortStage) filterBefore([]string) bool { return s.limit == 0 }

func (s *unwindStage) filterBefore(paths []string) bool {
	changed := []string{joinPath(s.path)}
	if s.index != nil {
		changed = append(changed, joinPath(s.index))
	}
	return !anyRelated(paths, changed)
}

func (s *lookupStage) filterBefore(paths []string) bool {
	return !anyRelated(paths, []string{joinPath(s.as)})
}

func (s *graphStage) filterBefore(paths []string) bool {
	return !anyRelated(paths, []string{joinPath(s.as)})
}

func anyRelated(paths, others []string) bool {
	for _, p := range paths {
		if relatedToAny(p, others) {
			return true
		}
	}
	return false
}
