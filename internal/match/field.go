package match

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// operand is an operator's place: its name, its argument and the document of
// operators that it stands in.
type operand struct {
	field Field
	name  string
	arg   bsonval.Value
	all   bsonval.Doc
}

// fieldOperator is a row of the table of operators on a field.
type fieldOperator struct {
	name, doc string
	parse     func(p *parser, o operand) (Node, error)
}

// fieldOperators are the operators on a field.
func fieldOperators() []fieldOperator {
	return []fieldOperator{
		{"$all", "Matches arrays that hold all the given values.", parseAll},
		{"$bitsAllClear", "Matches numbers and binary data in which all the given bits are 0.", bits(BitsAllClear)},
		{"$bitsAllSet", "Matches numbers and binary data in which all the given bits are 1.", bits(BitsAllSet)},
		{"$bitsAnyClear", "Matches numbers and binary data in which one of the given bits is 0.", bits(BitsAnyClear)},
		{"$bitsAnySet", "Matches numbers and binary data in which one of the given bits is 1.", bits(BitsAnySet)},
		{"$elemMatch", "Matches arrays with an element that meets all the given conditions.", parseElemMatch},
		{"$eq", "Matches values equal to the given one.", comparison(Eq)},
		{"$exists", "Matches documents that have the field, or do not.", parseExists},
		{"$geoIntersects", "Matches geometries that share a point with the given one.", parseGeoIntersects},
		{"$geoWithin", "Matches geometries inside the given one.", parseGeoWithin},
		{"$gt", "Matches values greater than the given one.", comparison(Gt)},
		{"$gte", "Matches values greater than or equal to the given one.", comparison(Gte)},
		{"$in", "Matches values equal to one of an array.", parseIn},
		{"$lt", "Matches values less than the given one.", comparison(Lt)},
		{"$lte", "Matches values less than or equal to the given one.", comparison(Lte)},
		{"$mod", "Matches numbers that leave the given remainder.", parseMod},
		{"$ne", "Matches values not equal to the given one.", parseNe},
		{"$near", "Sorts documents by distance from a point.", parseNear},
		{"$nearSphere", "Sorts documents by distance from a point on the sphere.", parseNear},
		{"$nin", "Matches values equal to none of an array.", parseNin},
		{"$not", "Matches what the given conditions do not match.", parseNot},
		{"$options", "Gives the flags of $regex.", parseOptions},
		{"$regex", "Matches strings by a regular expression.", parseRegex},
		{"$size", "Matches arrays of the given length.", parseSize},
		{"$type", "Matches values of the given types.", parseType},
		{"$within", "An older name of $geoWithin.", parseGeoWithin},
	}
}

// field parses {path: v}.
func (p *parser) field(path string, v bsonval.Value) (Node, error) {
	f := newField(path)
	switch {
	case isOperators(v):
		nodes, err := p.operators(f, v.Doc())
		if err != nil {
			return nil, err
		}
		return NewAnd(nodes...), nil
	case v.Type() == bsonval.TypeRegex:
		pattern, options := v.RegexParts()
		return newRegex(f, pattern, options)
	}
	return p.compare(f, Eq, v)
}

// isOperators tells a document of operators from a plain value: its first name
// begins with a dollar, and it is no DBRef.
func isOperators(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return false
	}
	key, _, ok := v.Doc().First()
	return ok && strings.HasPrefix(key, "$") && !isDBRef(v.Doc())
}

// isDBRef tells a document with $ref and $id.
func isDBRef(d bsonval.Doc) bool {
	return !d.Lookup("$ref").IsMissing() && !d.Lookup("$id").IsMissing()
}

// operators parses a document of operators on a field.
func (p *parser) operators(f Field, d bsonval.Doc) ([]Node, error) {
	if p.depth++; p.depth > maxTreeDepth {
		return nil, mongoerr.New(mongoerr.BadValue, "exceeded maximum query tree depth of %d at %s",
			maxTreeDepth, bsonval.FormatDoc(d))
	}
	defer func() { p.depth-- }()
	var nodes []Node
	if key, arg, _ := d.First(); isNear(key) {
		n, err := parseNear(p, operand{f, key, arg, d})
		if err != nil {
			return nil, err
		}
		return []Node{n}, nil
	}
	it := d.Iter()
	for it.Next() {
		op := fieldOperatorsByName[it.KeyStr()]
		if op == nil {
			return nil, mongoerr.New(mongoerr.BadValue, "unknown operator: %s", it.Key())
		}
		n, err := op.parse(p, operand{f, op.name, it.Value(), d})
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (p *parser) compare(f Field, op Op, v bsonval.Value) (Node, error) {
	switch {
	case v.Type() == bsonval.TypeUndefined:
		return nil, mongoerr.New(mongoerr.BadValue, "cannot compare to undefined")
	case v.Type() == bsonval.TypeRegex && op != Eq:
		return nil, mongoerr.New(mongoerr.BadValue, "Can't have RegEx as arg to predicate over field '%s'.", f.Path)
	}
	return &Compare{Field: f, Op: op, Value: v, Collator: p.collator}, nil
}

func comparison(op Op) func(*parser, operand) (Node, error) {
	return func(p *parser, o operand) (Node, error) { return p.compare(o.field, op, o.arg) }
}

func bits(op BitsOp) func(*parser, operand) (Node, error) {
	return func(_ *parser, o operand) (Node, error) { return parseBits(o.field, op, o.arg) }
}

func parseNe(p *parser, o operand) (Node, error) {
	if o.arg.Type() == bsonval.TypeRegex {
		return nil, mongoerr.New(mongoerr.BadValue, "Can't have regex as arg to $ne.")
	}
	n, err := p.compare(o.field, Eq, o.arg)
	if err != nil {
		return nil, err
	}
	return NewNot(n), nil
}

func parseIn(p *parser, o operand) (Node, error) {
	if o.arg.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.BadValue, "%s needs an array", o.name)
	}
	var values []bsonval.Value
	var regexes []*Regex
	it := o.arg.Doc().Iter()
	for it.Next() {
		v := it.Value()
		switch {
		case isOperators(v):
			return nil, mongoerr.New(mongoerr.BadValue, "cannot nest $ under %s", o.name)
		case v.Type() == bsonval.TypeUndefined:
			return nil, mongoerr.New(mongoerr.BadValue, "InMatchExpression equality cannot be undefined")
		case v.Type() == bsonval.TypeRegex:
			pattern, options := v.RegexParts()
			r, err := newRegex(o.field, pattern, options)
			if err != nil {
				return nil, err
			}
			regexes = append(regexes, r)
		default:
			values = append(values, v)
		}
	}
	return newIn(o.field, values, regexes, p.collator), nil
}

func parseNin(p *parser, o operand) (Node, error) {
	n, err := parseIn(p, o)
	if err != nil {
		return nil, err
	}
	return NewNot(n), nil
}

func parseNot(p *parser, o operand) (Node, error) {
	if o.arg.Type() == bsonval.TypeRegex {
		n, err := p.field(o.field.Path, o.arg)
		if err != nil {
			return nil, err
		}
		return NewNot(n), nil
	}
	if o.arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "$not needs a regex or a document")
	}
	if o.arg.Doc().IsEmpty() {
		return nil, mongoerr.New(mongoerr.BadValue, "$not cannot be empty")
	}
	nodes, err := p.operators(o.field, o.arg.Doc())
	if err != nil {
		return nil, err
	}
	return NewNot(NewAnd(nodes...)), nil
}

// parseAll makes a conjunction of equalities, or of $elemMatch.
func parseAll(p *parser, o operand) (Node, error) {
	if o.arg.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.BadValue, "$all needs an array")
	}
	if o.arg.Doc().IsEmpty() {
		return AlwaysFalse{}, nil
	}
	elem := isElemMatch(o.arg.Doc().Index(0))
	var nodes []Node
	it := o.arg.Doc().Iter()
	for it.Next() {
		v := it.Value()
		if elem != isElemMatch(v) {
			return nil, mongoerr.New(mongoerr.BadValue, "$all/$elemMatch has to be consistent")
		}
		if !elem && isOperators(v) {
			return nil, mongoerr.New(mongoerr.BadValue, "no $ expressions in $all")
		}
		n, err := p.field(o.field.Path, v)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return NewAnd(nodes...), nil
}

func isElemMatch(v bsonval.Value) bool {
	if v.Type() != bsonval.TypeDocument {
		return false
	}
	key, _, ok := v.Doc().First()
	return ok && key == "$elemMatch"
}

func parseElemMatch(p *parser, o operand) (Node, error) {
	if o.arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "$elemMatch needs an Object")
	}
	d := o.arg.Doc()
	key, _, _ := d.First()
	if isOperators(o.arg) && documentOperatorsByName[key] == nil {
		nodes, err := p.operators(newField(""), d)
		if err != nil {
			return nil, err
		}
		return &ElemMatchValue{o.field, nodes}, nil
	}
	n, err := p.document(d, levelElement)
	if err != nil {
		return nil, err
	}
	return &ElemMatchObject{o.field, n}, nil
}

// IsFieldOperator says whether a name (with the dollar) is an operator on a
// field.
func IsFieldOperator(name string) bool { return fieldOperatorsByName[name] != nil }
