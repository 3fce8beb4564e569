package database

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/plan"
)

// maxCachedPlans bounds the cache; when it is full, a random entry goes.
const maxCachedPlans = 5000

// planCache remembers which plan won the trial for a query shape: the filter's
// operators and paths without its values, the sort and the collation.
type planCache struct {
	mu      sync.Mutex // guards entries
	entries map[planKey]cachedPlan
}

type planKey struct {
	coll  *catalog.Collection // a changed collection is another key
	shape string
}

type cachedPlan struct {
	identity string
	works    int64 // steps of the trial

	// What $planCacheStats tells of the trial.
	created     time.Time
	query, sort bsonval.Doc
	trials      []exec.Trial // the winner first
	filtered    bool         // an index filter limited the plans
}

func newCachedPlan(q *plan.Query, trials []exec.Trial, filtered bool) cachedPlan {
	return cachedPlan{
		identity: trials[0].Plan.Identity(), works: trials[0].Stats.Works, created: time.Now(),
		query: match.ToBSON(q.Filter.Root()), sort: sortDoc(q.Sort), trials: trials, filtered: filtered,
	}
}

func (c *planCache) get(k planKey) (cachedPlan, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.entries[k]
	return p, ok
}

func (c *planCache) put(k planKey, p cachedPlan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[planKey]cachedPlan{}
	}
	if len(c.entries) >= maxCachedPlans {
		for victim := range c.entries {
			delete(c.entries, victim)
			break
		}
	}
	c.entries[k] = p
}

func (c *planCache) remove(k planKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.entries, k)
}

// forget drops the plans of a collection, or all if it is nil.
func (c *planCache) forget(coll *catalog.Collection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.entries {
		if coll == nil || k.coll.UUID == coll.UUID {
			delete(c.entries, k)
		}
	}
}

// A remembered plan that takes this many times the steps of its trial is tried
// again (MongoDB's number), unless that is few steps still.
const (
	replanRatio    = 10
	replanMinWorks = 1000
)

// openScan plans a query and opens a scan with the only candidate, the one
// remembered for its shape, or the winner of a trial, in which case the trials are
// returned, too. The view must have a transaction. The scan may change its plan
// before it returns its first record.
func (d *DB) openScan(ctx context.Context, view *exec.View, coll *catalog.Collection, q *plan.Query, ec *expr.Context,
) (*exec.Scan, []exec.Trial, error) {
	q.Context = ec
	marks := marksOf(coll)
	plans, err := d.candidates(coll, q)
	if err != nil {
		return nil, nil, err
	}
	if len(plans) == 1 && isSimple(plans[0]) {
		d.used(coll, plans[0])
		return d.openSimple(view, coll, q, plans[0], marks, ec), nil, nil
	}
	if plans, err = d.settle(view, coll, q, plans, marks); err != nil {
		return nil, nil, err
	}
	if len(plans) == 1 {
		d.used(coll, plans[0])
		return exec.Open(view, coll, plans[0], ec), nil, nil
	}
	key := planKey{coll, shapeOf(q)}
	try := func(ctx context.Context) ([]exec.Trial, error) {
		trials, err := exec.Choose(ctx, view, coll, plans, q.Sort != nil, ec)
		if err != nil {
			return nil, err
		}
		d.plans.put(key, newCachedPlan(q, trials, d.filters.of(coll, q) != nil))
		d.used(coll, trials[0].Plan)
		return trials, nil
	}
	if p, works := d.remembered(key, plans); p != nil {
		d.used(coll, p)
		scan := exec.Open(view, coll, p, ec)
		scan.Watch(max(works*replanRatio, replanMinWorks), func(ctx context.Context) (*plan.Plan, error) {
			trials, err := try(ctx)
			if err != nil {
				return nil, err
			}
			return trials[0].Plan, nil
		}, func() { d.plans.remove(key) })
		return scan, nil, nil
	}
	trials, err := try(ctx)
	if err != nil {
		return nil, nil, err
	}
	return exec.Open(view, coll, trials[0].Plan, ec), trials, nil
}

// openTried is openScan for explain, which neither uses nor changes what is
// remembered.
func (d *DB) openTried(ctx context.Context, view *exec.View, coll *catalog.Collection, q *plan.Query, ec *expr.Context,
) (*exec.Scan, []exec.Trial, error) {
	view.Txn().Snapshot()
	q.Context = ec
	plans, err := d.candidates(coll, q)
	if err != nil {
		return nil, nil, err
	}
	if len(plans) == 1 {
		return openExamined(view, coll, plans[0], ec), nil, nil
	}
	trials, err := exec.Choose(ctx, view, coll, plans, q.Sort != nil, ec)
	if err != nil {
		return nil, nil, err
	}
	return openExamined(view, coll, trials[0].Plan, ec), trials, nil
}

// openExamined opens a scan for explain, which tells what it has examined.
func openExamined(view *exec.View, coll *catalog.Collection, p *plan.Plan, ec *expr.Context) *exec.Scan {
	scan := exec.Open(view, coll, p, ec)
	scan.Examine = true
	return scan
}

// remembered is the plan that won the last trial of a query shape, and the steps
// that it took; nil if it is not known or not among the candidates.
func (d *DB) remembered(key planKey, plans []*plan.Plan) (*plan.Plan, int64) {
	cached, ok := d.plans.get(key)
	if !ok {
		return nil, 0
	}
	for _, p := range plans {
		if p.Identity() == cached.identity {
			return p, cached.works
		}
	}
	return nil, 0
}

// used counts a plan's indexes as used, or its scan of the collection.
func (d *DB) used(coll *catalog.Collection, p *plan.Plan) {
	switch {
	case p.Index != nil:
		p.Index.Uses.Add(1)
	case p.MergeFrom > 0:
		p.Union[0].Index.Uses.Add(1)
		return
	case p.Union == nil && !p.Nothing:
		d.Metrics.CollectionScans.Add(1)
		coll.Guard.Scans.Add(1)
	}
	for _, u := range p.Union {
		d.used(coll, u)
	}
}

// shapeOf is the part of a query that decides between plans.
func shapeOf(q *plan.Query) string {
	var b strings.Builder
	shapeNode(&b, q.Filter.Root())
	if q.Sort != nil {
		for _, p := range q.Sort.Parts() {
			b.WriteString("|s:" + p.Path)
			if p.Desc {
				b.WriteByte('-')
			}
		}
	}
	if q.Collation != nil {
		b.WriteString("|c:" + string(q.Collation.Doc()))
	}
	if q.Need != nil {
		b.WriteString("|n:" + strings.Join(q.Need, ","))
	}
	if q.Distinct != "" {
		b.WriteString("|d:" + q.Distinct)
	}
	return b.String()
}

func shapeNode(b *strings.Builder, n match.Node) {
	name := "x"
	switch n := n.(type) {
	case *match.And:
		name = "and"
	case *match.Or:
		name = "or"
	case *match.Nor:
		name = "nor"
	case *match.Not:
		name = "not"
	case *match.Compare:
		name = n.Op.String()
		if n.Value.Type() == bsonval.TypeNull {
			name += "0"
		}
	case *match.In:
		name = "in"
	case *match.Regex:
		name = "re"
		if prefix, _ := n.Regexp.LiteralPrefix(); prefix != "" {
			name = "pre"
		}
	case *match.Exists:
		name = "ex"
	case *match.ElemMatchObject, *match.ElemMatchValue:
		name = "em"
	}
	b.WriteString(name)
	if f, ok := n.(interface{ FieldPath() string }); ok {
		b.WriteString(":" + f.FieldPath())
	}
	b.WriteByte('(')
	defer b.WriteByte(')')
	switch children := match.Children(n); len(children) {
	case 0:
	case 1:
		shapeNode(b, children[0])
	default:
		// The order of conditions does not matter.
		parts := make([]string, len(children))
		for i, c := range children {
			var one strings.Builder
			shapeNode(&one, c)
			parts[i] = one.String()
		}
		slices.Sort(parts)
		for _, part := range parts {
			b.WriteString(part)
		}
	}
}
