package database

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/plan"
)

// TestExplain prints explanations as clients see them. The commands of the files
// under testdata/explain are
//
//	insert             documents, one a line
//	index              {key: …, …}
//	find, count        {filter, sort, …}      with the argument stats: executionStats
//	distinct key=…     {filter}
//	aggregate          [stages]
//	update, delete     {filter}
//
// Times are left out, hashes are replaced.
func TestExplain(t *testing.T) {
	datadriven.Walk(t, "testdata/explain", func(t *testing.T, path string) {
		d := open(t)
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			switch td.Cmd {
			case "insert":
				for line := range strings.Lines(td.Input) {
					insert(t, d, doc(t, line))
				}
				return ""
			case "index":
				spec := doc(t, td.Input)
				var options []string
				it := spec.Iter()
				for it.Next() {
					if it.KeyStr() != "key" {
						options = append(options, fmt.Sprintf("%q: %s", it.KeyStr(), extended(t, it.Value())))
					}
				}
				addIndex(t, d, extended(t, spec.Lookup("key")), "{"+strings.Join(options, ", ")+"}")
				return ""
			}
			return explained(t, d, td)
		})
	})
}

func extended(t *testing.T, v bsonval.Value) string {
	wrapped := bsonval.NewBuilder().Value("v", v).Build()
	out, err := bson.MarshalExtJSON(bson.Raw(wrapped), false, false)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(out), `{"v":`), "}")
}

func explained(t *testing.T, d *DB, td *datadriven.TestData) string {
	verbosity := ExplainPlanner
	if td.HasArg("stats") {
		verbosity = ExplainStats
	}
	if td.HasArg("all") {
		verbosity = ExplainAllPlans
	}
	op := d.NewOp(t.Context())
	input := td.Input
	if td.Cmd == "aggregate" {
		input = `{"pipeline": ` + input + `}`
	}
	in := doc(t, input)
	sub := func(name string) bsonval.Doc {
		if v := in.Lookup(name); !v.IsMissing() {
			return v.Doc()
		}
		return nil
	}
	q := &FindQuery{Filter: sub("filter"), Sort: sub("sort"), Projection: sub("projection"),
		Limit: in.Lookup("limit").TruncInt64(), Skip: in.Lookup("skip").TruncInt64()}
	if v := in.Lookup("hint"); v.Type() == bsonval.TypeString {
		q.Hint = &plan.Hint{Name: v.Str()}
	}
	var out bsonval.Doc
	var err error
	switch td.Cmd {
	case "find":
		out, err = d.ExplainFind(t.Context(), op, ns, q, verbosity)
	case "count":
		out, err = d.ExplainCount(t.Context(), op, ns, q, verbosity)
	case "distinct":
		var key string
		td.ScanArgs(t, "key", &key)
		out, err = d.ExplainDistinct(t.Context(), op, ns, key, q, verbosity)
	case "aggregate":
		out, err = d.ExplainAggregate(t.Context(), op, ns, &AggregateQuery{Pipeline: sub("pipeline")}, verbosity)
	case "update":
		out, err = d.ExplainUpdate(t.Context(), op, ns, &UpdateStatement{Filter: q.Filter,
			Update: bsonval.Document(doc(t, `{"$set": {"z": 1}}`)), Multi: true}, verbosity)
	case "delete":
		out, err = d.ExplainDelete(t.Context(), op, ns, &DeleteStatement{Filter: q.Filter, Multi: true}, verbosity)
	default:
		t.Fatalf("unknown command %s", td.Cmd)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	printExplained(&b, out, "")
	return b.String()
}

// dull are fields that are the same everywhere, or never.
var dull = map[string]bool{
	"explainVersion": true, "indexFilterSet": true, "queryHash": true, "planCacheShapeHash": true, "planCacheKey": true,
	"optimizationTimeMillis": true, "maxIndexedOrSolutionsReached": true, "maxIndexedAndSolutionsReached": true,
	"maxScansToExplodeReached": true, "prunedSimilarIndexes": true, "executionTimeMillis": true,
	"executionTimeMillisEstimate": true, "needYield": true, "saveState": true, "restoreState": true, "namespace": true,
	"querySettings": true, "queryShapeHash": true,
}

func printExplained(b *strings.Builder, d bsonval.Doc, indent string) {
	it := d.Iter()
	for it.Next() {
		name, v := it.KeyStr(), it.Value()
		if dull[name] {
			continue
		}
		nested := v.Type() == bsonval.TypeDocument && len(bsonval.Format(v)) > 60
		list := v.Type() == bsonval.TypeArray && v.Doc().Index(0).Type() == bsonval.TypeDocument
		if !nested && !list {
			fmt.Fprintf(b, "%s%s: %s\n", indent, name, bsonval.Format(v))
			continue
		}
		fmt.Fprintf(b, "%s%s:\n", indent, name)
		printExplained(b, v.Doc(), indent+"  ")
	}
}
