package database

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
)

// Limits of views, MongoDB's.
const (
	maxViewDepth         = 20       // views over views
	maxViewPipelineBytes = 16 << 20 // of all pipelines together
)

// resolveView returns the collection under a view, which need not exist, and the
// stages (an array) that make the view's documents of it. Another namespace is
// its own base.
func (d *DB) resolveView(ns Namespace) (base Namespace, stages bsonval.Doc, err error) {
	snap := d.catalog.Snapshot()
	stages = bsonval.NewArrayBuilder().Build()
	for depth := 0; ; depth++ {
		coll := snap.Collection(ns.DB, ns.Coll)
		if coll == nil || !coll.IsView() {
			return ns, stages, nil
		}
		if depth == maxViewDepth {
			return ns, nil, errViewDepth()
		}
		stages = concatArrays(coll.Pipeline, stages)
		if len(stages) > maxViewPipelineBytes {
			return ns, nil, errViewSize()
		}
		ns.Coll = coll.ViewOn
	}
}

func errViewDepth() error {
	return mongoerr.New(mongoerr.ViewDepthLimitExceeded, "View depth limit exceeded; maximum depth is %d", maxViewDepth)
}

func errViewSize() error {
	return mongoerr.New(mongoerr.ViewPipelineMaxSizeExceeded,
		"View pipeline exceeds maximum size; maximum size is %d", maxViewPipelineBytes)
}

// checkViewCollations refuses a pipeline that reads views of another collation
// than its own.
func (d *DB) checkViewCollations(a *aggregation) error {
	for _, ns := range a.pipe.Namespaces() {
		coll := d.catalog.Collection(ns.DB, ns.Coll)
		if coll != nil && coll.IsView() && !coll.Collation.Equal(a.c.collation) {
			return mongoerr.New(mongoerr.OptionNotSupportedOnView,
				"Cannot override a view's default collation: %s", ns)
		}
	}
	return nil
}

// checkView checks the definition of a view that is about to be stored: its
// pipeline, its collation, and that views stay a forest of bounded height.
func (d *DB) checkView(snap *catalog.Snapshot, view *catalog.Collection) error {
	env := &expr.Env{}
	if view.Collation != nil {
		env.Collator = view.Collation.Collator()
	}
	options := pipeline.Options{Compiler: expr.NewCompiler(env), NS: Namespace{DB: view.DB, Coll: view.ViewOn}}
	pipe, err := pipeline.Parse(view.Pipeline, options)
	if err != nil {
		return err
	}
	if target, stage, writes := pipe.Target(); writes {
		return mongoerr.New(mongoerr.OptionNotSupportedOnView,
			"The aggregation stage %s in location %d of the pipeline cannot be used in the view definition of %s because "+
				"it writes to disk (%s)", stage, pipe.Len()-1, view.Namespace(), target)
	}
	// What is wrong with any pipeline was found above; the rest is wrong with a view's.
	options.View = true
	if _, err := pipeline.Parse(view.Pipeline, options); err != nil {
		return err
	}
	refs := []string{view.ViewOn}
	for _, ns := range pipe.Namespaces() {
		if ns.DB == view.DB && ns.Coll != "" {
			refs = append(refs, ns.Coll)
		}
	}
	g := &viewGraph{snap: snap, view: view}
	below, err := g.heightOver(refs, nil)
	if err != nil {
		return err
	}
	if below+g.depthAbove(view.Name, 0) >= maxViewDepth+1 {
		return errViewDepth()
	}
	return g.checkCollations(refs)
}

// viewGraph walks the views of one database as they would be with view in it.
type viewGraph struct {
	snap *catalog.Snapshot
	view *catalog.Collection
}

// refs lists what a view reads: the collection it is on and those its stages name.
func (g *viewGraph) refs(v *catalog.Collection) []string {
	refs := []string{v.ViewOn}
	pipe, err := pipeline.Parse(v.Pipeline, pipeline.Options{
		Compiler: expr.NewCompiler(&expr.Env{}), NS: Namespace{DB: v.DB, Coll: v.ViewOn}, View: true,
	})
	if err != nil {
		return refs
	}
	for _, ns := range pipe.Namespaces() {
		if ns.DB == v.DB && ns.Coll != "" {
			refs = append(refs, ns.Coll)
		}
	}
	return refs
}

// heightOver is one more than the most views in a chain down from refs; path is
// the chain so far.
func (g *viewGraph) heightOver(refs, path []string) (int, error) {
	most := 0
	for _, name := range refs {
		if name == g.view.Name {
			cycle := g.view.Namespace()
			for _, p := range append(path, name) {
				cycle += " => " + g.view.DB + "." + p
			}
			return 0, mongoerr.New(mongoerr.GraphContainsCycle, "View cycle detected: %s", cycle)
		}
		v := g.snap.Collection(g.view.DB, name)
		if v == nil || !v.IsView() {
			continue
		}
		if len(path) >= maxViewDepth {
			return 0, errViewDepth()
		}
		h, err := g.heightOver(g.refs(v), append(slices.Clone(path), name))
		if err != nil {
			return 0, err
		}
		most = max(most, h)
	}
	return most + 1, nil
}

// depthAbove is the most views in a chain that ends on name.
func (g *viewGraph) depthAbove(name string, depth int) int {
	if depth > maxViewDepth {
		return depth
	}
	most := 0
	for _, v := range g.snap.Collections(g.view.DB) {
		if v.IsView() && v.Name != g.view.Name && slices.Contains(g.refs(v), name) {
			most = max(most, 1+g.depthAbove(v.Name, depth+1))
		}
	}
	return most
}

// checkCollations refuses a view that reads a view of another collation, or is
// read by one.
func (g *viewGraph) checkCollations(refs []string) error {
	for _, v := range g.snap.Collections(g.view.DB) {
		if !v.IsView() || v.Name == g.view.Name || v.Collation.Equal(g.view.Collation) {
			continue
		}
		upper, lower := g.view, v
		if !slices.Contains(refs, v.Name) {
			if !slices.Contains(g.refs(v), g.view.Name) {
				continue
			}
			upper, lower = v, g.view
		}
		return mongoerr.New(mongoerr.OptionNotSupportedOnView, "View %s has a collation that does not match the collation "+
			"of view %s", upper.Namespace(), lower.Namespace())
	}
	return nil
}
