package pipeline

import (
	"context"
	"sort"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// stage is a compiled stage.
type stage interface {
	// name is the stage's name with the dollar.
	name() string

	// open starts the stage on src. It must not close src when it fails.
	open(ctx context.Context, r *run, src Source) (Source, error)

	// explain is the stage's argument as explain shows it.
	explain() bsonval.Value

	// needs tells what the stage reads of its input.
	needs() needs
}

// origin is a stage that makes its documents without an input.
type origin interface{ isOrigin() }

// transformer is a stage that makes one document of each.
type transformer interface {
	// transform appends the new document to dst. The context's root is d.
	transform(dst []byte, c *expr.Context, d bsonval.Doc) (bsonval.Doc, error)
}

// needs is what a stage reads of its input's documents.
type needs struct {
	deps *expr.Deps
	// only says that nothing but deps passes the stage: later stages need not be
	// asked.
	only bool
}

var needsAll = needs{deps: &expr.Deps{All: true}, only: true}

// row is a line of the table of stages.
type row struct {
	name string
	doc  string // one sentence for the manual

	// parse compiles the argument; some stages are several simpler ones.
	parse func(p *parser, arg bsonval.Value) ([]stage, error)

	first     bool // only valid as the first stage
	last      bool // only valid as the last stage
	writes    bool // $out and $merge
	noFacet   bool // not inside $facet
	update    bool // allowed in updates
	noInput   bool // runs on {aggregate: 1} only
	noLookup  bool // not in $lookup's pipeline
	streaming bool // allowed behind $changeStream
	refused   bool // parsed or not, this server answers it with an error
}

// families are the tables, one for each file.
func families() [][]row {
	return [][]row{
		bucketRows,
		changeStreamRows,
		countRows,
		densifyRows,
		documentsRows,
		facetRows,
		fillRows,
		geoNearRows,
		graphLookupRows,
		groupRows,
		limitRows,
		lookupRows,
		matchRows,
		mergeRows,
		outRows,
		projectRows,
		rankFusionRows,
		redactRows,
		replaceRows,
		sampleRows,
		searchRows,
		shardedRows,
		sortRows,
		systemRows,
		unionRows,
		unwindRows,
		windowRows,
	}
}

var rows map[string]*row

// A table in an initialiser would depend on itself through parse, so it is
// filled here.
func init() {
	rows = map[string]*row{}
	for _, family := range families() {
		for i := range family {
			r := &family[i]
			if rows[r.name] != nil {
				panic("pipeline: two rows for " + r.name)
			}
			rows[r.name] = r
		}
	}
}

// StageInfo describes a stage for the manual.
type StageInfo struct {
	Name, Doc string
	// Refused stages are known by name but not there.
	Refused bool
}

// Stages lists the stages by name.
func Stages() []StageInfo {
	list := make([]StageInfo, 0, len(rows))
	for _, r := range rows {
		list = append(list, StageInfo{r.name, r.doc, r.refused})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}
