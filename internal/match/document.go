package match

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/text"
)

// maxTreeDepth is how deep filters may nest.
const maxTreeDepth = 100

// level says where a document of conditions stands.
type level uint8

const (
	levelTop     level = iota // the filter, or a branch of its logical operators
	levelElement              // inside $elemMatch
)

// parser compiles one filter.
type parser struct {
	o        Options
	compiler *expr.Compiler
	collator bsonval.Collator
	depth    int
}

func newParser(o Options) *parser {
	p := &parser{o: o, compiler: o.Compiler}
	if p.compiler == nil {
		p.compiler = expr.NewCompiler(&expr.Env{})
	}
	p.collator = p.compiler.Env.Collator
	return p
}

// Operator describes an operator for the manual.
type Operator struct{ Name, Doc string }

// documentOperator is a row of the table of operators that stand in place of a
// field name.
type documentOperator struct {
	name, doc string
	parse     func(p *parser, name string, arg bsonval.Value, at level) (Node, error)
}

// documentOperators are the operators in place of a field name.
func documentOperators() []documentOperator {
	return []documentOperator{
		{"$alwaysFalse", "Matches nothing.", parseAlways},
		{"$alwaysTrue", "Matches everything.", parseAlways},
		{"$and", "Matches what all filters of an array match.", parseLogical},
		{"$comment", "Is ignored; it shows in logs and in the profiler.", parseComment},
		{"$expr", "Matches documents for which an aggregation expression is true.", parseExpr},
		{"$jsonSchema", "Matches documents that a JSON schema allows.", parseJSONSchema},
		{"$nor", "Matches what none of the filters of an array matches.", parseLogical},
		{"$or", "Matches what one of the filters of an array matches.", parseLogical},
		{"$sampleRate", "Matches documents at random, with a probability.", parseSampleRate},
		{"$text", "Searches words by the collection's text index.", parseText},
		{"$where", "Matches documents for which JavaScript code returns something true.", parseWhere},
	}
}

// The tables by name. An initialiser would depend on itself through the parser,
// so they are filled here and not written to again.
var (
	documentOperatorsByName map[string]*documentOperator
	fieldOperatorsByName    map[string]*fieldOperator
)

func init() {
	documentOperatorsByName = map[string]*documentOperator{}
	for _, op := range documentOperators() {
		documentOperatorsByName[op.name] = &op
	}
	fieldOperatorsByName = map[string]*fieldOperator{}
	for _, op := range fieldOperators() {
		fieldOperatorsByName[op.name] = &op
	}
}

// Operators lists all query operators.
func Operators() []Operator {
	var list []Operator
	for _, op := range documentOperators() {
		list = append(list, Operator{op.name, op.doc})
	}
	for _, op := range fieldOperators() {
		list = append(list, Operator{op.name, op.doc})
	}
	return list
}

// document parses a document of conditions.
func (p *parser) document(d bsonval.Doc, at level) (Node, error) {
	if p.depth++; p.depth > maxTreeDepth {
		return nil, mongoerr.New(mongoerr.BadValue, "exceeded maximum query tree depth of %d at %s",
			maxTreeDepth, bsonval.FormatDoc(d))
	}
	defer func() { p.depth-- }()
	var nodes []Node
	it := d.Iter()
	for it.Next() {
		name := string(it.Key())
		var n Node
		var err error
		if strings.HasPrefix(name, "$") && name != "$id" && name != "$ref" && name != "$db" {
			op := documentOperatorsByName[name]
			if op == nil {
				return nil, mongoerr.New(mongoerr.BadValue, "unknown top level operator: %s. If you have a field name"+
					" that starts with a '$' symbol, consider using $getField or $setField.", name)
			}
			n, err = op.parse(p, name, it.Value(), at)
		} else {
			n, err = p.field(name, it.Value())
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	if it.Err() != nil {
		return nil, mongoerr.New(mongoerr.InvalidBSON, "filter: %v", it.Err())
	}
	return NewAnd(nodes...), nil
}

func parseLogical(p *parser, name string, arg bsonval.Value, at level) (Node, error) {
	if arg.Type() != bsonval.TypeArray {
		return nil, mongoerr.New(mongoerr.BadValue, "%s must be an array", name)
	}
	var nodes []Node
	it := arg.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.BadValue, "$or/$and/$nor entries need to be full objects")
		}
		n, err := p.document(it.Value().Doc(), at)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	if len(nodes) == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "$and/$or/$nor must be a nonempty array")
	}
	switch name {
	case "$and":
		return NewAnd(nodes...), nil
	case "$or":
		return NewOr(nodes...), nil
	}
	return NewNor(nodes...), nil
}

func parseComment(*parser, string, bsonval.Value, level) (Node, error) { return AlwaysTrue{}, nil }

func parseAlways(_ *parser, name string, arg bsonval.Value, _ level) (Node, error) {
	if n, ok := arg.AsInt64(); !ok || n != 1 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "%s must be an integer value of 1", name)
	}
	if name == "$alwaysTrue" {
		return AlwaysTrue{}, nil
	}
	return AlwaysFalse{}, nil
}

func (p *parser) checkAllowed(f Features, name string, at level) error {
	if at == levelElement {
		return mongoerr.New(mongoerr.BadValue, "%s can only be applied to the top-level document", name)
	}
	if p.o.Ban&f == 0 {
		return nil
	}
	code := mongoerr.BadValue
	if f == FeatureExpr || f == FeatureJSONSchema {
		code = mongoerr.QueryFeatureNotAllowed
	}
	return mongoerr.New(code, "%s is not allowed in this context", name)
}

func parseExpr(p *parser, name string, arg bsonval.Value, at level) (Node, error) {
	if err := p.checkAllowed(FeatureExpr, name, at); err != nil {
		return nil, err
	}
	e, err := p.compiler.Compile(arg)
	if err != nil {
		return nil, err
	}
	if v, ok := expr.ConstantValue(e); ok {
		if v.Truthy() {
			return AlwaysTrue{}, nil
		}
		return AlwaysFalse{}, nil
	}
	return &Expr{e, arg}, nil
}

func parseWhere(p *parser, name string, arg bsonval.Value, at level) (Node, error) {
	if err := p.checkAllowed(FeatureWhere, name, at); err != nil {
		return nil, err
	}
	var code string
	switch arg.Type() {
	case bsonval.TypeString, bsonval.TypeCode:
		code = arg.Str()
	case bsonval.TypeCodeScope:
		code, _ = arg.CodeScopeParts()
	default:
		return nil, mongoerr.New(mongoerr.BadValue, "$where got bad type")
	}
	if p.compiler.Env.JS == nil {
		return nil, errNoScript()
	}
	return &Where{code, arg}, nil
}

func parseSampleRate(_ *parser, _ string, arg bsonval.Value, _ level) (Node, error) {
	if !arg.IsNumber() {
		return nil, mongoerr.New(mongoerr.BadValue, "argument to $sampleRate must be a numeric type")
	}
	x := arg.AsDouble()
	switch {
	case !(x >= 0 && x <= 1):
		return nil, mongoerr.New(mongoerr.BadValue, "numeric argument to $sampleRate must be in [0, 1]")
	case x == 0:
		return AlwaysFalse{}, nil
	case x == 1:
		return AlwaysTrue{}, nil
	}
	return &SampleRate{x}, nil
}

// textOptions are the fields of $text's argument.
var textOptions = []struct {
	name string
	typ  bsonval.Type
}{
	{"$search", bsonval.TypeString},
	{"$language", bsonval.TypeString},
	{"$caseSensitive", bsonval.TypeBool},
	{"$diacriticSensitive", bsonval.TypeBool},
}

func parseText(p *parser, name string, arg bsonval.Value, at level) (Node, error) {
	if err := p.checkAllowed(FeatureText, name, at); err != nil {
		return nil, err
	}
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.BadValue, "$text expects an object")
	}
	d := arg.Doc()
	if d.Lookup("$search").IsMissing() {
		return nil, mongoerr.New(mongoerr.FailedToParse, `Missing required string field "$search"`)
	}
	for _, o := range textOptions {
		if v := d.Lookup(o.name); !v.IsMissing() && v.Type() != o.typ {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "\"%s\" had the wrong type. Expected %s, found %s",
				o.name, o.typ, v.Type())
		}
	}
	it := d.Iter()
	for it.Next() {
		known := false
		for _, o := range textOptions {
			known = known || o.name == it.KeyStr()
		}
		if !known {
			return nil, mongoerr.New(mongoerr.BadValue, "extra fields in $text")
		}
	}
	n := &Text{Search: text.Search{
		Text:               string(d.Lookup("$search").Bytes()),
		Language:           string(d.Lookup("$language").Bytes()),
		CaseSensitive:      d.Lookup("$caseSensitive").Bool(),
		DiacriticSensitive: d.Lookup("$diacriticSensitive").Bool(),
	}}
	if p.o.TextIndex == nil {
		return n, nil // refused once it is certain that nothing else is wrong
	}
	var err error
	n.Query, err = text.NewQuery(p.o.TextIndex, n.Search)
	return n, err
}
