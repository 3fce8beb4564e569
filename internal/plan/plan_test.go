package plan

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/sortkey"
	"github.com/archelon-db/archelon/internal/storage"
)

// document makes a document of Extended JSON.
func document(t testing.TB, json string) bsonval.Doc {
	t.Helper()
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(json), false, &raw); err != nil {
		t.Fatalf("%s: %v", json, err)
	}
	return bsonval.Doc(raw)
}

// marks is a transaction that takes multikey marks and can do nothing else.
type marks struct{ storage.Txn }

func (marks) PutMeta(context.Context, []byte, []byte) error { return nil }

// TestPlans prints the candidates of queries. The commands of the files under
// testdata are
//
//	indexes    one index a line: {key: …, other options, multikey: <mask>}
//	plan       fields of Query in Extended JSON: {filter: …, sort: …}
func TestPlans(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var coll *catalog.Collection
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "indexes":
				coll = collectionOf(t, d.Input)
				return ""
			case "plan":
				return candidatesOf(t, coll, document(t, d.Input))
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func collectionOf(t *testing.T, lines string) *catalog.Collection {
	coll, err := catalog.NewCollection("test", "c", bsonval.EmptyDoc)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(lines) {
		spec := document(t, line)
		b := bsonval.NewBuilder().Int32("v", 2).Doc("key", spec.Lookup("key").Doc())
		if spec.Lookup("name").IsMissing() {
			b.Str("name", nameOf(spec.Lookup("key").Doc()))
		}
		mask := uint32(0)
		it := spec.Iter()
		for it.Next() {
			switch it.KeyStr() {
			case "key":
			case "multikey":
				mask = uint32(it.Value().TruncInt64())
			default:
				b.Value(it.KeyStr(), it.Value())
			}
		}
		x, err := catalog.NewIndex(b.Build())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := catalog.MarkMultikey(t.Context(), marks{}, x, mask, 0); err != nil {
			t.Fatal(err)
		}
		coll.Indexes = append(coll.Indexes, x)
	}
	return coll
}

func nameOf(key bsonval.Doc) string {
	var parts []string
	it := key.Iter()
	for it.Next() {
		parts = append(parts, it.KeyStr()+"_"+strings.Trim(bsonval.Format(it.Value()), `"`))
	}
	return strings.Join(parts, "_")
}

func queryOf(t *testing.T, d bsonval.Doc) *Query {
	q := &Query{}
	env := &expr.Env{}
	if c := d.Lookup("collation"); !c.IsMissing() {
		var err error
		if q.Collation, err = collation.Parse(c.Doc()); err != nil {
			t.Fatal(err)
		}
		env.Collator = q.Collation.Collator()
	}
	filter := bsonval.EmptyDoc
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		var err error
		switch it.KeyStr() {
		case "collation":
		case "filter":
			filter = v.Doc()
		case "sort":
			q.Sort, err = sortkey.Compile(v.Doc())
		case "need":
			q.Need = []string{}
			for _, s := range v.Doc().Values(nil) {
				q.Need = append(q.Need, s.Str())
			}
		case "distinct":
			q.Distinct = v.Str()
		case "hint":
			q.Hint = &Hint{}
			if v.Type() == bsonval.TypeString {
				q.Hint.Name = v.Str()
			} else if n := v.Doc().Lookup("$natural"); !n.IsMissing() {
				q.Hint.Natural = int(n.TruncInt64())
			} else {
				q.Hint.Key = v.Doc()
			}
		case "min":
			q.Min = v.Doc()
		case "max":
			q.Max = v.Doc()
		default:
			t.Fatalf("unknown field %s", it.KeyStr())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if q.Filter, err = match.Compile(filter, match.Options{Compiler: expr.NewCompiler(env)}); err != nil {
		t.Fatal(err)
	}
	return q
}

func candidatesOf(t *testing.T, coll *catalog.Collection, d bsonval.Doc) string {
	plans, err := Candidates(coll, queryOf(t, d))
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, p := range plans {
		printPlan(&b, p, "")
	}
	return b.String()
}

func printPlan(b *strings.Builder, p *Plan, indent string) {
	b.WriteString(indent + p.Stage())
	if p.Index != nil {
		b.WriteString(" " + p.Index.Name)
	}
	for _, f := range []struct {
		on   bool
		name string
	}{
		{p.Reverse, "backward"},
		{p.Sorted, "sorted"},
		{p.Covered && !p.KeyOnly, "covered"},
		{p.KeyOnly, "key-only"},
		{p.Point, "point"},
		{p.Distinct > 0, fmt.Sprintf("distinct=%d", p.Distinct)},
		{p.MergeFrom > 0, fmt.Sprintf("from=%d", p.MergeFrom)},
	} {
		if f.on {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteByte('\n')
	if p.Index != nil && p.Lower == nil && p.Upper == nil {
		for i, f := range p.Index.Fields {
			fmt.Fprintf(b, "%s  %s: %s\n", indent, f.Path, strings.Join(p.Bounds.Field(i).Strings(f.Desc != p.Reverse), ", "))
		}
	}
	if p.Lower != nil || p.Upper != nil {
		fmt.Fprintf(b, "%s  keys: %x to %x\n", indent, p.Lower, p.Upper)
	}
	if p.KeyFilter != nil {
		fmt.Fprintf(b, "%s  key filter: %s\n", indent, bsonval.FormatDoc(match.ToBSON(p.KeyFilter.Root())))
	}
	if p.Filter != nil {
		fmt.Fprintf(b, "%s  filter: %s\n", indent, bsonval.FormatDoc(match.ToBSON(p.Filter.Root())))
	}
	for _, u := range p.Union {
		printPlan(b, u, indent+"  ")
	}
}
