package match

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/regex"
)

// schemaKeyword is a row of the table of keywords. Rows without parse are read
// by another keyword's row, or known and not supported.
type schemaKeyword struct {
	name        string
	unsupported bool
	parse       func(p *schemaParser, k string, arg bsonval.Value) (rule, error)
}

// schemaKeywords are the keywords in the order in which they are checked.
func schemaKeywords() []schemaKeyword {
	return []schemaKeyword{
		{name: "title", parse: parseLabel},
		{name: "description", parse: parseLabel},
		{name: "type", parse: parseSchemaType},
		{name: "bsonType", parse: parseSchemaType},
		{name: "enum", parse: parseEnum},
		{name: "allOf", parse: parseLogicRule},
		{name: "anyOf", parse: parseLogicRule},
		{name: "oneOf", parse: parseLogicRule},
		{name: "not", parse: parseLogicRule},
		{name: "maximum", parse: parseBound},
		{name: "exclusiveMaximum", parse: parseExclusive},
		{name: "minimum", parse: parseBound},
		{name: "exclusiveMinimum", parse: parseExclusive},
		{name: "multipleOf", parse: parseMultiple},
		{name: "maxLength", parse: parseCount},
		{name: "minLength", parse: parseCount},
		{name: "pattern", parse: parsePattern},
		{name: "maxItems", parse: parseCount},
		{name: "minItems", parse: parseCount},
		{name: "uniqueItems", parse: parseUnique},
		{name: "items", parse: parseItems},
		{name: "additionalItems", parse: parseAdditional},
		{name: "maxProperties", parse: parseCount},
		{name: "minProperties", parse: parseCount},
		{name: "required", parse: parseRequired},
		{name: "properties", parse: parseProperties},
		{name: "patternProperties", parse: parsePatternProperties},
		{name: "additionalProperties", parse: parseAdditional},
		{name: "dependencies", parse: parseDependencies},
		{name: "$ref", unsupported: true},
		{name: "$schema", unsupported: true},
		{name: "default", unsupported: true},
		{name: "definitions", unsupported: true},
		{name: "format", unsupported: true},
		{name: "id", unsupported: true},
		{name: "encrypt", unsupported: true},
		{name: "encryptMetadata", unsupported: true},
	}
}

// schemaParser compiles one schema document.
type schemaParser struct {
	doc   bsonval.Doc
	out   *schema
	depth int
}

func parseJSONSchema(p *parser, name string, arg bsonval.Value, at level) (Node, error) {
	if err := p.checkAllowed(FeatureJSONSchema, name, at); err != nil {
		return nil, err
	}
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.TypeMismatch, "$jsonSchema must be an object")
	}
	s, err := parseSchema(arg.Doc(), 0)
	if err != nil {
		return nil, err
	}
	return &JSONSchema{arg, s}, nil
}

func parseSchema(d bsonval.Doc, depth int) (*schema, error) {
	if depth > maxTreeDepth {
		return nil, mongoerr.New(mongoerr.BadValue, "exceeded maximum query tree depth of %d", maxTreeDepth)
	}
	keywords := schemaKeywords()
	if err := checkKeywords(keywords, d); err != nil {
		return nil, err
	}
	p := &schemaParser{doc: d, out: &schema{}, depth: depth}
	for _, k := range keywords {
		arg := d.Lookup(k.name)
		if arg.IsMissing() {
			continue
		}
		r, err := k.parse(p, k.name, arg)
		if err != nil {
			return nil, err
		}
		if r != nil {
			p.out.rules = append(p.out.rules, r)
		}
	}
	return p.out, nil
}

func checkKeywords(keywords []schemaKeyword, d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		known := false
		for _, k := range keywords {
			if k.name != it.KeyStr() {
				continue
			}
			known = true
			if k.unsupported {
				return mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' is not currently supported", k.name)
			}
		}
		if !known {
			return mongoerr.New(mongoerr.FailedToParse, "Unknown $jsonSchema keyword: %s", it.Key())
		}
	}
	if !d.Lookup("type").IsMissing() && !d.Lookup("bsonType").IsMissing() {
		return mongoerr.New(mongoerr.FailedToParse, "Cannot specify both $jsonSchema keywords 'type' and 'bsonType'")
	}
	return nil
}

func wrongType(keyword, want string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "$jsonSchema keyword '%s' must be %s", keyword, want)
}

// nested compiles a schema inside this one.
func (p *schemaParser) nested(k string, v bsonval.Value) (*schema, error) {
	if v.Type() != bsonval.TypeDocument {
		return nil, wrongType(k, "an object")
	}
	return parseSchema(v.Doc(), p.depth+1)
}

func parseLabel(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeString {
		return nil, wrongType(k, "of type string")
	}
	if k == "title" {
		p.out.title = arg
	} else {
		p.out.description = arg
	}
	return nil, nil
}

// jsonTypes are the type names of JSON schema itself.
var jsonTypes = map[string]bsonval.Type{
	"array": bsonval.TypeArray, "boolean": bsonval.TypeBool, "null": bsonval.TypeNull,
	"object": bsonval.TypeDocument, "string": bsonval.TypeString,
}

func parseSchemaType(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	r := &typeRule{spec: spec{k, arg}}
	names := []bsonval.Value{arg}
	if arg.Type() == bsonval.TypeArray {
		names = arg.Doc().Values(nil)
		if len(names) == 0 {
			return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' must name at least one type", k)
		}
	}
	for i, v := range names {
		if v.Type() != bsonval.TypeString {
			return nil, wrongType(k, "either a string or an array of strings")
		}
		for _, w := range names[:i] {
			if w.Str() == v.Str() {
				return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' has duplicate value: %s", k, v.Str())
			}
		}
		if err := addSchemaType(&r.types, k, v); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func addSchemaType(set *TypeSet, k string, v bsonval.Value) error {
	if k == "bsonType" || v.Str() == "number" {
		return addType(set, k, v)
	}
	t, ok := jsonTypes[v.Str()]
	switch {
	case ok:
		set.Add(t)
		return nil
	case v.Str() == "integer":
		return mongoerr.New(mongoerr.BadValue, "$jsonSchema type 'integer' is not currently supported.")
	}
	return mongoerr.New(mongoerr.BadValue, "Unknown type name alias: %s", v.Str())
}

func parseEnum(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeArray {
		return nil, wrongType(k, "an array")
	}
	r := &enumRule{spec: spec{k, arg}}
	for _, v := range arg.Doc().Values(nil) {
		if containsUnordered(r.values, v) {
			return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword 'enum' array cannot contain duplicate values.")
		}
		r.values = append(r.values, v)
	}
	if len(r.values) == 0 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword 'enum' cannot be an empty array")
	}
	return r, nil
}

func parseLogicRule(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	r := &logicRule{spec: spec{k, arg}}
	if k == "not" {
		s, err := p.nested(k, arg)
		r.schemas = []*schema{s}
		return r, err
	}
	if arg.Type() != bsonval.TypeArray {
		return nil, wrongType(k, "an array")
	}
	for _, v := range arg.Doc().Values(nil) {
		s, err := p.nested(k, v)
		if err != nil {
			return nil, err
		}
		r.schemas = append(r.schemas, s)
	}
	if len(r.schemas) == 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "$jsonSchema keyword '%s' must be a non-empty array", k)
	}
	return r, nil
}

func parseBound(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if !arg.IsNumber() {
		return nil, wrongType(k, "a number")
	}
	if k == "minimum" {
		if p.doc.Lookup("exclusiveMinimum").Bool() {
			return &boundRule{spec{k, arg}, Gt}, nil
		}
		return &boundRule{spec{k, arg}, Gte}, nil
	}
	if p.doc.Lookup("exclusiveMaximum").Bool() {
		return &boundRule{spec{k, arg}, Lt}, nil
	}
	return &boundRule{spec{k, arg}, Lte}, nil
}

// parseExclusive checks what parseBound has read.
func parseExclusive(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	base := map[string]string{"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}[k]
	if arg.Type() != bsonval.TypeBool {
		return nil, wrongType(k, "a boolean")
	}
	if p.doc.Lookup(base).IsMissing() {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' must be a present if '%s' is present", base, k)
	}
	return nil, nil
}

func parseMultiple(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if !arg.IsNumber() {
		return nil, wrongType(k, "a number")
	}
	if bsonval.CompareNumbers(arg, bsonval.Int32(0)) <= 0 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' must have a positive value", k)
	}
	return &multipleRule{spec{k, arg}}, nil
}

func parseCount(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	n, ok := arg.AsInt64()
	if !ok || n < 0 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' must be a non-negative integer, but found: %s",
			k, bsonval.Format(arg))
	}
	r := &countRule{spec: spec{k, arg}, limit: n, upper: k[:3] == "max"}
	switch k[3:] {
	case "Length":
		r.typ = bsonval.TypeString
	case "Items":
		r.typ = bsonval.TypeArray
	default:
		r.typ = bsonval.TypeDocument
	}
	return r, nil
}

func parsePattern(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeString {
		return nil, wrongType(k, "a string")
	}
	re, err := regex.Compile(arg.Str(), "")
	if err != nil {
		return nil, err
	}
	return &patternRule{spec{k, arg}, re}, nil
}

func parseUnique(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeBool {
		return nil, wrongType(k, "a boolean")
	}
	if !arg.Bool() {
		return nil, nil
	}
	return &uniqueRule{spec{k, arg}}, nil
}

func parseItems(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	r := &itemsRule{spec: spec{k, arg}}
	var err error
	switch arg.Type() {
	case bsonval.TypeDocument:
		r.rest, err = p.nested(k, arg)
		return r, err
	case bsonval.TypeArray:
		for _, v := range arg.Doc().Values(nil) {
			s, err := p.nested(k, v)
			if err != nil {
				return nil, err
			}
			r.first = append(r.first, s)
		}
	default:
		return nil, wrongType(k, "an array or an object")
	}
	r.rest, r.none, err = p.additional("additionalItems")
	return r, err
}

// additional reads additionalItems or additionalProperties.
func (p *schemaParser) additional(k string) (s *schema, none bool, err error) {
	arg := p.doc.Lookup(k)
	switch arg.Type() {
	case bsonval.TypeMissing:
		return nil, false, nil
	case bsonval.TypeBool:
		return nil, !arg.Bool(), nil
	case bsonval.TypeDocument:
		s, err = p.nested(k, arg)
		return s, false, err
	}
	return nil, false, wrongType(k, "either an object or a boolean")
}

// parseAdditional makes the rule of additionalProperties, and only checks
// additionalItems, which parseItems reads.
func parseAdditional(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	s, none, err := p.additional(k)
	if err != nil || k == "additionalItems" || s == nil && !none {
		return nil, err
	}
	r := &otherPropertiesRule{spec: spec{k, arg}, additional: s, none: none}
	r.names = propertyNames(p.doc.Lookup("properties"))
	if v := p.doc.Lookup("patternProperties"); v.Type() == bsonval.TypeDocument {
		if r.patterns, err = p.patterns(v.Doc()); err != nil {
			return nil, err
		}
		for i := range r.patterns {
			r.patterns[i].schema = &schema{} // checked by the rule of patternProperties
		}
	}
	return r, nil
}

func propertyNames(v bsonval.Value) []string {
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	var names []string
	it := v.Doc().Iter()
	for it.Next() {
		names = append(names, it.KeyStr())
	}
	return names
}

func parseRequired(_ *schemaParser, k string, arg bsonval.Value) (rule, error) {
	names, err := nameList(k, arg)
	if err != nil {
		return nil, err
	}
	return &requiredRule{spec{k, arg}, names}, nil
}

// nameList reads an array of different strings, not empty.
func nameList(k string, arg bsonval.Value) ([]string, error) {
	if arg.Type() != bsonval.TypeArray {
		return nil, wrongType(k, "an array")
	}
	var names []string
	for _, v := range arg.Doc().Values(nil) {
		if v.Type() != bsonval.TypeString {
			return nil, wrongType(k, "an array of strings")
		}
		for _, n := range names {
			if n == v.Str() {
				return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' array cannot contain duplicate values", k)
			}
		}
		names = append(names, v.Str())
	}
	if len(names) == 0 {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$jsonSchema keyword '%s' cannot be an empty array", k)
	}
	return names, nil
}

func parseProperties(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, wrongType(k, "an object")
	}
	r := &propertiesRule{spec: spec{k, arg}}
	it := arg.Doc().Iter()
	for it.Next() {
		s, err := p.nested(k, it.Value())
		if err != nil {
			return nil, err
		}
		r.properties = append(r.properties, property{it.KeyStr(), s})
	}
	return r, nil
}

func parsePatternProperties(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, wrongType(k, "an object")
	}
	patterns, err := p.patterns(arg.Doc())
	if err != nil {
		return nil, err
	}
	return &otherPropertiesRule{spec: spec{k, arg}, patterns: patterns}, nil
}

func (p *schemaParser) patterns(d bsonval.Doc) ([]patternProperty, error) {
	var list []patternProperty
	it := d.Iter()
	for it.Next() {
		s, err := p.nested("patternProperties", it.Value())
		if err != nil {
			return nil, err
		}
		re, err := regex.Compile(it.KeyStr(), "")
		if err != nil {
			return nil, err
		}
		list = append(list, patternProperty{it.KeyStr(), re, s})
	}
	return list, nil
}

func parseDependencies(p *schemaParser, k string, arg bsonval.Value) (rule, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, wrongType(k, "an object")
	}
	r := &dependenciesRule{spec: spec{k, arg}}
	it := arg.Doc().Iter()
	for it.Next() {
		d := dependency{name: it.KeyStr()}
		var err error
		switch it.Value().Type() {
		case bsonval.TypeDocument:
			d.schema, err = p.nested(k, it.Value())
		case bsonval.TypeArray:
			d.needs, err = nameList(k, it.Value())
		default:
			err = wrongType(k, "an object of arrays and objects")
		}
		if err != nil {
			return nil, err
		}
		r.list = append(r.list, d)
	}
	return r, nil
}
