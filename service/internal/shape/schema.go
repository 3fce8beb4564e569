package shape

import (
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Direction says which way documents go.
type Direction bool

// A request's schema says what the decoder takes, a reply's what the encoder writes.
const (
	Request Direction = false
	Reply   Direction = true
)

// Schema is the shape as {$jsonSchema: …}, in MongoDB's dialect.
func (s *Shape) Schema(to Direction) bsonval.Doc {
	b := bsonval.NewBuilder().StartDoc("$jsonSchema")
	(&schemaWriter{b: b, to: to, open: map[*node]bool{}}).write(s.root, "")
	return b.End().Build()
}

type schemaWriter struct {
	b  *bsonval.Builder
	to Direction
	// open are the structs being described: the dialect has no references, so one within itself is any document.
	open map[*node]bool
}

// write appends the keywords of a node to the open document.
func (w *schemaWriter) write(n *node, doc string) {
	nullable := n.kind == kindPointer
	n = n.target()
	if doc != "" {
		w.b.Str("description", doc)
	}
	w.types(n, nullable && w.to == Reply)
	if w.open[n] {
		return
	}
	switch n.kind {
	case kindStruct:
		w.open[n] = true
		w.fields(n)
		delete(w.open, n)
	case kindMap:
		w.b.StartDoc("additionalProperties")
		w.write(n.elem, "")
		w.b.End()
	case kindSlice, kindArray:
		w.b.StartDoc("items")
		w.write(n.elem, "")
		w.b.End()
		if n.kind == kindArray {
			w.b.Int32("minItems", int32(n.typ.Len())).Int32("maxItems", int32(n.typ.Len()))
		}
	}
}

// types appends the keyword bsonType.
func (w *schemaWriter) types(n *node, nullable bool) {
	types := n.accepts
	if w.to == Reply {
		types = n.produces
	}
	var names []string
	for _, t := range types {
		names = append(names, t.String())
	}
	if w.to == Request && n.kind == kindScalar && len(n.accepts) == len(numbers) {
		names = []string{"number"}
	}
	if len(names) == 0 {
		return
	}
	if nullable || w.to == Reply && (n.kind == kindSlice || n.kind == kindMap) {
		names = append(names, "null")
	}
	if len(names) == 1 {
		w.b.Str("bsonType", names[0])
		return
	}
	w.b.StartArray("bsonType")
	for _, name := range names {
		w.b.Add(bsonval.String(name))
	}
	w.b.End()
}

func (w *schemaWriter) fields(n *node) {
	if slices.ContainsFunc(n.fields, w.mustHave) {
		w.b.StartArray("required")
		for _, f := range n.fields {
			if w.mustHave(f) {
				w.b.Add(bsonval.String(f.name))
			}
		}
		w.b.End()
	}
	if len(n.fields) > 0 {
		w.b.StartDoc("properties")
		for i := range n.fields {
			w.b.StartDoc(n.fields[i].name)
			w.write(n.fields[i].node, n.fields[i].doc)
			w.b.End()
		}
		w.b.End()
	}
	if n.rest == nil {
		w.b.Bool("additionalProperties", false)
		return
	}
	w.b.StartDoc("additionalProperties")
	w.write(n.rest.node.elem, "")
	w.b.End()
}

// mustHave says whether every document has the field.
func (w *schemaWriter) mustHave(f field) bool {
	if w.to == Reply {
		return !f.omitEmpty
	}
	return f.required
}
