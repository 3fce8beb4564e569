package expr

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// TestMemoryLimits evaluates expressions whose values would become too large,
// each by another operator.
func TestMemoryLimits(t *testing.T) {
	const memory = mongoerr.ExceededMemoryLimit
	root, err := bson.Marshal(bson.D{{Key: "s", Value: strings.Repeat("x", 1<<20)}, {Key: "n", Value: bson.A{1, 2, 3}}})
	if err != nil {
		t.Fatal(err)
	}
	many := strings.TrimSuffix(strings.Repeat(`"$s",`, 80), ",")
	double := func(in string) string {
		return `{"$reduce": {"input": {"$range": [0, 40]}, "initialValue": "$s", "in": ` + in + `}}`
	}
	for _, c := range []struct {
		name, expr string
		code       mongoerr.Code
	}{
		{"concat", `{"$concat": [` + many + `]}`, 13548},
		{"array literal", `[` + many + `]`, memory},
		{"doubling document", double(`{"a": "$$value", "b": "$$value"}`), memory},
		{"doubling array", double(`["$$value", "$$value"]`), memory},
		{"doubling string", double(`{"$concat": ["$$value", "$$value"]}`), 13548},
		{"map", `{"$map": {"input": {"$range": [0, 100]}, "in": "$s"}}`, memory},
		{"zip", `{"$zip": {"inputs": [["$s"], ` + strings.TrimSuffix(strings.Repeat(`["$s"],`, 80), ",") + `]}}`, memory},
		{"replaceAll", `{"$replaceAll": {"input": "$s", "find": "x", "replacement": "yyyyyyyyyy"}}`, 0},
		{"replaceAll too large", `{"$replaceAll": {"input": "$s", "find": "x", "replacement": "` + strings.Repeat("y", 100) + `"}}`, 13548},
		{"regexFindAll", `{"$regexFindAll": {"input": {"$concat": ["$s", "$s"]}, "regex": "x"}}`, memory},
		{"variables", `{"$let": {"vars": {` + variables(12) + `}, "in": {"$strLenBytes": "$$va"}}}`, memory},
		{"fields do not count", `{"$size": [[` + strings.TrimSuffix(strings.Repeat(`{"$strLenBytes": "$s"},`, 400), ",") + `]]}`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var holder bson.Raw
			if err := bson.UnmarshalExtJSON([]byte(`{"e": `+c.expr+`}`), false, &holder); err != nil {
				t.Fatal(err)
			}
			compiler := NewCompiler(&Env{NowMS: 1})
			e, err := compiler.Compile(bsonval.Doc(holder).Lookup("e"))
			if err != nil {
				t.Fatal(err)
			}
			ctx := compiler.NewContext()
			ctx.Root = root
			_, err = e.Eval(ctx)
			switch {
			case c.code == 0 && err != nil:
				t.Errorf("got %v", err)
			case c.code != 0 && !mongoerr.Is(err, c.code):
				t.Errorf("got %v, want code %d", err, c.code)
			}
			if ctx.held != 0 {
				t.Errorf("%d bytes are still counted as held", ctx.held)
			}
		})
	}
}

// variables binds n strings of 30 MiB each.
func variables(n int) string {
	large := `{"$concat": [` + strings.TrimSuffix(strings.Repeat(`"$s",`, 30), ",") + `]}`
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"v` + string(rune('a'+i)) + `": ` + large)
	}
	return b.String()
}
