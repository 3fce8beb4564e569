package match

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
)

// Failure explains why a document does not match, in the form of the details of a
// failed validation (errInfo.details).
func (m *Matcher) Failure(c *expr.Context, d bsonval.Doc) bsonval.Doc {
	s := m.begin(c)
	defer m.end(s)
	f := failure{s: s, doc: d}
	return f.explain(m.root, false)
}

type failure struct {
	s   *state
	doc bsonval.Doc
}

// explain describes a node that did not match; negated, one that did but should
// not have.
func (f *failure) explain(n Node, negated bool) bsonval.Doc {
	b := bsonval.NewBuilder()
	switch n := n.(type) {
	case *And:
		return f.clauses(b.Str("operatorName", "$and"), n.Nodes, negated)
	case *Or:
		return f.clauses(b.Str("operatorName", "$or"), n.Nodes, negated)
	case *Nor:
		return f.clauses(b.Str("operatorName", "$nor"), n.Nodes, !negated)
	case *Not:
		return b.Str("operatorName", "$not").Doc("details", f.explain(n.Node, !negated)).Build()
	case *JSONSchema:
		b.Str("operatorName", "$jsonSchema")
		if negated {
			return b.Value("specifiedAs", bsonval.Document(ToBSON(n))).Str("reason", "schema matched").Build()
		}
		n.schema.describe(b)
		return b.Array("schemaRulesNotSatisfied", n.schema.failures(bsonval.Document(f.doc))).Build()
	}
	return f.leaf(b, n, negated)
}

func (f *failure) clauses(b *bsonval.Builder, nodes []Node, negated bool) bsonval.Doc {
	name := "clausesNotSatisfied"
	if negated {
		name = "clausesSatisfied"
	}
	b.StartArray(name)
	for i, n := range nodes {
		if n.match(f.s, f.doc) == negated {
			b.StartDoc("").Int32("index", int32(i)).Doc("details", f.explain(n, negated)).End()
		}
	}
	return b.Build()
}

// leaf describes an operator on a field, or an expression.
func (f *failure) leaf(b *bsonval.Builder, n Node, negated bool) bsonval.Doc {
	spec := ToBSON(n)
	path, operators := operatorsOf(n)
	name, _, _ := spec.First()
	if operators != nil {
		name, _, _ = operators.First()
	}
	b.Str("operatorName", name).Doc("specifiedAs", spec)
	switch n.(type) {
	case *Expr:
		b.Str("reason", pick(negated, "expression matched", "expression did not match"))
		return b.Build()
	case *Compare:
		b.Str("reason", pick(negated, "comparison succeeded", "comparison failed"))
	case *In:
		b.Str("reason", pick(negated, "matching value found in array", "no matching value found in array"))
	case *Regex:
		b.Str("reason", pick(negated, "regular expression did match", "regular expression did not match"))
	case *Type:
		b.Str("reason", pick(negated, "type did match", "type did not match"))
	case *Exists:
		return b.Str("reason", pick(negated, "path does exist", "path does not exist")).Build()
	case *Size:
		b.Str("reason", pick(negated, "array length was equal to given size", "array length was not equal to given size"))
	case *ElemMatchObject, *ElemMatchValue:
		b.Str("reason", pick(negated, "array did satisfy the child predicate", "array did not satisfy the child predicate"))
	default:
		b.Str("reason", pick(negated, "the condition was satisfied", "the condition was not satisfied"))
	}
	if path == "" {
		return b.Build()
	}
	v := expr.Walk(bsonval.Document(f.doc), newField(path).names)
	if v.IsMissing() {
		return bsonval.NewBuilder().Str("operatorName", name).Doc("specifiedAs", spec).Str("reason", "field was missing").Build()
	}
	return b.Value("consideredValue", v).Build()
}

func pick(negated bool, yes, no string) string {
	if negated {
		return yes
	}
	return no
}

func (s *schema) describe(b *bsonval.Builder) {
	b.Value("title", s.title).Value("description", s.description)
}

// failures is an array of the rules that do not allow a value.
func (s *schema) failures(v bsonval.Value) bsonval.Doc {
	b := bsonval.NewArrayBuilder()
	for _, r := range s.rules {
		if !r.allows(v) {
			b.Add(bsonval.Document(explainRule(r, v)))
		}
	}
	return b.Build()
}
