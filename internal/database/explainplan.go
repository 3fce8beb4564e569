package database

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/exec"
)

// explanation is the explain output of one query on one collection
// (https://www.mongodb.com/docs/manual/reference/explain-results/).
type explanation struct {
	ns     Namespace
	filter bsonval.Doc

	filtered bool        // an index filter limits the plans
	settings bsonval.Doc // of the query's shape; nil for none

	shape   string
	winning stageNode
	// trials are what the candidates did, the winner first, and rejected the trees
	// of the others; empty if there was no choice.
	rejected []stageNode
	trials   []exec.Trial

	returned int64
	took     time.Duration
	stats    exec.Stats
}

// appendTo writes queryPlanner and, if asked for, executionStats.
func (e *explanation) appendTo(b *bsonval.Builder, verbosity string) {
	b.StartDoc("queryPlanner")
	b.Str("namespace", e.ns.String()).Doc("parsedQuery", e.filter).Bool("indexFilterSet", e.filtered)
	b.Str("queryHash", hashOf(e.shape)).Str("planCacheShapeHash", hashOf(e.shape))
	b.Str("planCacheKey", hashOf(e.shape+e.ns.String()))
	b.Int32("optimizationTimeMillis", 0)
	if e.settings != nil {
		b.Doc("querySettings", e.settings)
	}
	b.Bool("maxIndexedOrSolutionsReached", false).Bool("maxIndexedAndSolutionsReached", false)
	b.Bool("maxScansToExplodeReached", false).Bool("prunedSimilarIndexes", false)
	b.StartDoc("winningPlan").Bool("isCached", false)
	e.winning.appendTo(b, false)
	b.End()
	b.StartArray("rejectedPlans")
	for _, n := range e.rejected {
		b.StartDoc("").Bool("isCached", false)
		n.appendTo(b, false)
		b.End()
	}
	b.End().End()
	if verbosity == ExplainPlanner {
		return
	}
	b.StartDoc("executionStats").Bool("executionSuccess", true).Int32("nReturned", int32(e.returned))
	b.Int32("executionTimeMillis", int32(e.took.Milliseconds()))
	b.Int32("totalKeysExamined", int32(e.stats.KeysExamined)).Int32("totalDocsExamined", int32(e.stats.DocsExamined))
	b.StartDoc("executionStages").Bool("isCached", false)
	e.winning.appendTo(b, true)
	b.End()
	if verbosity == ExplainAllPlans {
		e.appendTrials(b)
	}
	b.End()
}

func (e *explanation) appendTrials(b *bsonval.Builder) {
	b.StartArray("allPlansExecution")
	for i, t := range e.trials {
		b.StartDoc("").Int32("nReturned", int32(t.Stats.Returned)).Int32("executionTimeMillisEstimate", 0)
		b.Int32("totalKeysExamined", int32(t.Stats.KeysExamined))
		b.Int32("totalDocsExamined", int32(t.Stats.DocsExamined)).Double("score", t.Score)
		b.StartDoc("executionStages")
		if i == 0 {
			e.winning.appendTo(b, true)
		} else {
			e.rejected[i-1].appendTo(b, true)
		}
		b.End().End()
	}
	b.End()
}

func hashOf(s string) string {
	h := fnv.New32a()
	h.Write([]byte(s)) // never fails
	return fmt.Sprintf("%08X", h.Sum32())
}

// stageNode is one stage of a plan tree.
type stageNode struct {
	name   string
	filter bsonval.Doc            // nil for none
	fields func(*bsonval.Builder) // what describes the stage
	counts func(*bsonval.Builder) // further numbers of the execution
	works  int64
	out    int64 // documents passed on
	inputs []stageNode
	many   bool // inputs are shown as a list even if there is one
}

// appendTo writes the stage's fields into the open document.
func (n *stageNode) appendTo(b *bsonval.Builder, stats bool) {
	b.Str("stage", n.name)
	if n.filter != nil {
		b.Doc("filter", n.filter)
	}
	if stats {
		b.Int32("nReturned", int32(n.out)).Int32("executionTimeMillisEstimate", 0)
		b.Int32("works", int32(n.works)).Int32("advanced", int32(n.out))
		b.Int32("needTime", int32(max(n.works-n.out-1, 0))).Int32("needYield", 0)
		b.Int32("saveState", 0).Int32("restoreState", 0).Int32("isEOF", 1)
	}
	if n.fields != nil {
		n.fields(b)
	}
	if stats && n.counts != nil {
		n.counts(b)
	}
	switch {
	case len(n.inputs) == 1 && !n.many:
		b.StartDoc("inputStage")
		n.inputs[0].appendTo(b, stats)
		b.End()
	case len(n.inputs) > 0:
		b.StartArray("inputStages")
		for i := range n.inputs {
			b.StartDoc("")
			n.inputs[i].appendTo(b, stats)
			b.End()
		}
		b.End()
	}
}

// over puts a stage on top of another.
func over(name string, input stageNode, fields func(*bsonval.Builder)) stageNode {
	return stageNode{name: name, fields: fields, works: input.out + 1, out: input.out, inputs: []stageNode{input}}
}
