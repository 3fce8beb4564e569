package database

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// A query shape is a command without its values: {a: 1} becomes
// {a: {$eq: "?number"}}. Commands of one shape share their query settings
// (https://www.mongodb.com/docs/manual/core/query-shapes/).

// ShapeHash names a shape: SHA-256 in hexadecimal digits.
func ShapeHash(shape bsonval.Doc) string {
	sum := sha256.Sum256(shape)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func beginShape(command string, ns Namespace) *bsonval.Builder {
	return bsonval.NewBuilder().StartDoc("cmdNs").Str("db", ns.DB).Str("coll", ns.Coll).End().Str("command", command)
}

// FindShape is the shape of a find.
func FindShape(ns Namespace, q *FindQuery) bsonval.Doc {
	b := beginShape("find", ns)
	b.Doc("filter", filterShape(filterOf(q.Filter)))
	if len(q.Sort) > 5 {
		b.Doc("sort", q.Sort)
	}
	if len(q.Projection) > 5 {
		b.Doc("projection", projectionShape(q.Projection))
	}
	if q.Skip > 0 {
		b.Str("skip", "?number")
	}
	if q.Limit > 0 {
		b.Str("limit", "?number")
	}
	if q.Max != nil {
		b.Doc("max", exprShape(bsonval.Document(q.Max)).Doc())
	}
	if q.Min != nil {
		b.Doc("min", exprShape(bsonval.Document(q.Min)).Doc())
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"returnKey", q.ReturnKey}, {"showRecordId", q.ShowRecordID}, {"tailable", q.Tailable}, {"awaitData", q.AwaitData}} {
		if f.set {
			b.Bool(f.name, true)
		}
	}
	if q.Collation != nil {
		b.Doc("collation", q.Collation.Doc())
	}
	if len(q.Let) > 5 {
		b.Doc("let", exprShape(bsonval.Document(q.Let)).Doc())
	}
	return b.Build()
}

// DistinctShape is the shape of a distinct.
func DistinctShape(ns Namespace, key string, q *FindQuery) bsonval.Doc {
	b := beginShape("distinct", ns).Str("key", key).Doc("query", filterShape(filterOf(q.Filter)))
	if q.Collation != nil {
		b.Doc("collation", q.Collation.Doc())
	}
	return b.Build()
}

// AggregateShape is the shape of an aggregate.
func AggregateShape(ns Namespace, q *AggregateQuery) bsonval.Doc {
	b := beginShape("aggregate", ns).Array("pipeline", pipelineShape(q.Pipeline))
	if q.Collation != nil {
		b.Doc("collation", q.Collation.Doc())
	}
	if len(q.Let) > 5 {
		b.Doc("let", exprShape(bsonval.Document(q.Let)).Doc())
	}
	return b.Build()
}

// literalShape is a value by its type.
func literalShape(v bsonval.Value) bsonval.Value {
	name := v.Type().String()
	switch {
	case v.IsNumber():
		name = "number"
	case v.Type() == bsonval.TypeArray:
		return bsonval.String(arrayShape(v.Doc()))
	}
	return bsonval.String("?" + name)
}

// arrayShape is an array by the type of its elements if they have one.
func arrayShape(a bsonval.Doc) string {
	kind := ""
	it := a.Iter()
	for it.Next() {
		elem := literalShape(it.Value()).Str()
		if kind != "" && kind != elem {
			return "?array<>"
		}
		kind = elem
	}
	if kind == "" {
		return "[]"
	}
	return "?array<" + kind + ">"
}

// filterShape is a filter without its values.
func filterShape(d bsonval.Doc) bsonval.Doc {
	if d.Len() > 1 && d.Lookup("$and").IsMissing() {
		// The fields of a document are an $and, written or not.
		b := bsonval.NewBuilder().StartArray("$and")
		it := d.Iter()
		for it.Next() {
			one := bsonval.NewBuilder()
			conditionShape(one, string(it.Key()), it.Value())
			b.Add(bsonval.Document(one.Build()))
		}
		return b.End().Build()
	}
	b := bsonval.NewBuilder()
	it := d.Iter()
	for it.Next() {
		conditionShape(b, string(it.Key()), it.Value())
	}
	return b.Build()
}

// conditionShape appends one field of a filter.
func conditionShape(b *bsonval.Builder, name string, v bsonval.Value) {
	switch {
	case name == "$comment":
	case name == "$and" || name == "$or" || name == "$nor":
		b.StartArray(name)
		it := v.Doc().Iter()
		for it.Next() {
			if it.Value().Type() == bsonval.TypeDocument {
				b.Add(bsonval.Document(filterShape(it.Value().Doc())))
			}
		}
		b.End()
	case name == "$expr":
		b.Value(name, exprShape(v))
	case strings.HasPrefix(name, "$"):
		b.Value(name, literalShape(v))
	case isOperatorDoc(v):
		b.Doc(name, operatorShape(v.Doc()))
	case v.Type() == bsonval.TypeRegex:
		b.StartDoc(name).Str("$regex", "?string").End()
	default:
		b.StartDoc(name).Value("$eq", literalShape(v)).End()
	}
}

// isOperatorDoc tells {$gt: 5} from a document to compare with.
func isOperatorDoc(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return false
	}
	name, _, ok := v.Doc().First()
	return ok && strings.HasPrefix(name, "$") && name != "$ref" && name != "$id" && name != "$db"
}

// operatorShape is a document of operators without their operands.
func operatorShape(d bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := d.Iter()
	for it.Next() {
		name, v := string(it.Key()), it.Value()
		switch {
		case name == "$not" && isOperatorDoc(v):
			b.Doc(name, operatorShape(v.Doc()))
		case name == "$elemMatch" && isOperatorDoc(v):
			b.Doc(name, operatorShape(v.Doc()))
		case name == "$elemMatch" && v.Type() == bsonval.TypeDocument:
			b.Doc(name, filterShape(v.Doc()))
		default:
			b.Value(name, literalShape(v))
		}
	}
	return b.Build()
}

// exprShape is an expression without its literals.
func exprShape(v bsonval.Value) bsonval.Value {
	switch v.Type() {
	case bsonval.TypeString:
		if strings.HasPrefix(v.Str(), "$") {
			return v
		}
	case bsonval.TypeDocument:
		b := bsonval.NewBuilder()
		it := v.Doc().Iter()
		for it.Next() {
			if it.KeyStr() == "$literal" || it.KeyStr() == "$const" {
				b.Value(string(it.Key()), literalShape(it.Value()))
				continue
			}
			b.Value(string(it.Key()), exprShape(it.Value()))
		}
		return bsonval.Document(b.Build())
	case bsonval.TypeArray:
		b := bsonval.NewArrayBuilder()
		it := v.Doc().Iter()
		for it.Next() {
			b.Add(exprShape(it.Value()))
		}
		return bsonval.Array(b.Build())
	}
	return literalShape(v)
}

// projectionShape keeps which fields are in and which are out.
func projectionShape(d bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := d.Iter()
	for it.Next() {
		switch v := it.Value(); {
		case v.IsNumber() || v.Type() == bsonval.TypeBool:
			b.Bool(string(it.Key()), v.Truthy())
		case v.Type() == bsonval.TypeDocument && !isOperatorDoc(v):
			b.Doc(string(it.Key()), projectionShape(v.Doc()))
		default:
			b.Value(string(it.Key()), exprShape(v))
		}
	}
	return b.Build()
}

// pipelineShape is an array of stages without their values. Of stages whose
// strings name collections and fields only the pipelines within are looked at.
func pipelineShape(stages bsonval.Doc) bsonval.Doc {
	out := bsonval.NewArrayBuilder()
	it := stages.Iter()
	for it.Next() {
		name, arg, ok := it.Value().Doc().First()
		if !ok {
			continue
		}
		out.StartDoc("")
		switch name {
		case "$match":
			out.Doc(name, filterShape(arg.Doc()))
		case "$project":
			out.Doc(name, projectionShape(arg.Doc()))
		case "$addFields", "$set", "$group", "$replaceRoot", "$replaceWith", "$redact", "$limit", "$skip", "$sample":
			out.Value(name, exprShape(arg))
		default:
			out.Value(name, nestedPipelines(arg))
		}
		out.End()
	}
	return out.Build()
}

// nestedPipelines is a stage's argument with the shapes of the pipelines in it.
func nestedPipelines(arg bsonval.Value) bsonval.Value {
	if arg.Type() != bsonval.TypeDocument {
		return arg
	}
	b := bsonval.NewBuilder()
	it := arg.Doc().Iter()
	for it.Next() {
		if v := it.Value(); it.KeyStr() == "pipeline" && v.Type() == bsonval.TypeArray {
			b.Array("pipeline", pipelineShape(v.Doc()))
		} else {
			b.Value(string(it.Key()), v)
		}
	}
	return bsonval.Document(b.Build())
}
