package match

import "github.com/archelon-db/archelon/internal/bsonval"

// explainRule describes a rule that does not allow a value.
func explainRule(r rule, v bsonval.Value) bsonval.Doc {
	b := bsonval.NewBuilder().Str("operatorName", r.keyword())
	switch r := r.(type) {
	case *propertiesRule:
		return r.explain(b, v.Doc())
	case *logicRule:
		return r.explain(b, v)
	case *itemsRule:
		return r.explain(b, v.Doc())
	case *dependenciesRule:
		return r.explain(b, v)
	case *otherPropertiesRule:
		return r.explain(b, v.Doc())
	}
	b.StartDoc("specifiedAs").Value(r.keyword(), r.argument()).End()
	switch r := r.(type) {
	case *typeRule:
		b.Str("reason", "type did not match").Value("consideredValue", v).Str("consideredType", v.Type().String())
	case *enumRule:
		b.Str("reason", "value was not found in enum").Value("consideredValue", v)
	case *boundRule:
		b.Str("reason", "comparison failed").Value("consideredValue", v)
	case *multipleRule:
		b.Str("reason", "considered value is not a multiple of the specified value").Value("consideredValue", v)
	case *patternRule:
		b.Str("reason", "regular expression did not match").Value("consideredValue", v)
	case *uniqueRule:
		b.Str("reason", "found a duplicate item").Value("consideredValue", v).Value("duplicatedValue", firstDuplicate(v.Doc()))
	case *requiredRule:
		names(b.StartArray("missingProperties"), missing(v.Doc(), r.names))
	case *countRule:
		r.explain(b, v)
	}
	return b.Build()
}

func names(b *bsonval.Builder, list []string) *bsonval.Builder {
	for _, n := range list {
		b.Add(bsonval.String(n))
	}
	return b.End()
}

func missing(d bsonval.Doc, wanted []string) []string {
	var list []string
	for _, n := range wanted {
		if d.Lookup(n).IsMissing() {
			list = append(list, n)
		}
	}
	return list
}

func (r *countRule) explain(b *bsonval.Builder, v bsonval.Value) {
	switch r.typ {
	case bsonval.TypeString:
		b.Str("reason", "specified string length was not satisfied").Value("consideredValue", v)
	case bsonval.TypeArray:
		b.Str("reason", "array did not match specified length").Value("consideredValue", v)
	default:
		b.Str("reason", "specified number of properties was not satisfied").Int32("numberOfProperties", int32(v.Doc().Len()))
	}
}

func (r *propertiesRule) explain(b *bsonval.Builder, d bsonval.Doc) bsonval.Doc {
	b.StartArray("propertiesNotSatisfied")
	for _, p := range r.properties {
		if p.fails(d) {
			b.StartDoc("").Str("propertyName", p.name)
			p.schema.describe(b)
			b.Array("details", p.schema.failures(d.Lookup(p.name))).End()
		}
	}
	return b.Build()
}

func (r *otherPropertiesRule) explain(b *bsonval.Builder, d bsonval.Doc) bsonval.Doc {
	if r.name == "patternProperties" {
		b.StartArray("details")
		it := d.Iter()
		for it.Next() {
			for _, p := range r.patterns {
				if p.re.MatchBytes(it.Key()) && !p.schema.allows(it.Value()) {
					b.StartDoc("").Str("propertyName", it.KeyStr()).Str("regexMatched", p.pattern).
						Array("details", p.schema.failures(it.Value())).End()
				}
			}
		}
		return b.Build()
	}
	b.StartDoc("specifiedAs").Value(r.name, r.arg).End()
	var list []string
	it := d.Iter()
	for it.Next() {
		if !r.allowsElement(it.Key(), it.Value()) {
			list = append(list, it.KeyStr())
		}
	}
	if r.none {
		return names(b.StartArray("additionalProperties"), list).Build()
	}
	b.Str("reason", "at least one additional property did not match the subschema").Str("failingProperty", list[0])
	return b.Array("details", r.additional.failures(d.Lookup(list[0]))).Build()
}

func (r *logicRule) explain(b *bsonval.Builder, v bsonval.Value) bsonval.Doc {
	if r.name == "not" {
		return b.Str("reason", "child expression matched").Build()
	}
	failed := bsonval.NewArrayBuilder()
	allowed := bsonval.NewArrayBuilder()
	for i, s := range r.schemas {
		if s.allows(v) {
			allowed.Add(bsonval.Int32(int32(i)))
		} else {
			failed.StartDoc("").Int32("index", int32(i)).Array("details", s.failures(v)).End()
		}
	}
	if list := allowed.Build(); r.name == "oneOf" && !list.IsEmpty() {
		return b.Str("reason", "more than one subschema matched").Array("matchingSchemaIndexes", list).Build()
	}
	return b.Array("schemasNotSatisfied", failed.Build()).Build()
}

func (r *itemsRule) explain(b *bsonval.Builder, a bsonval.Doc) bsonval.Doc {
	i := r.failing(a)
	s := r.rest
	if i < len(r.first) {
		s = r.first[i]
	}
	if s == nil {
		return b.Str("reason", "found additional items").Build()
	}
	return b.Str("reason", "At least one item did not match the sub-schema").Int32("itemIndex", int32(i)).
		Array("details", s.failures(a.Index(i))).Build()
}

func (r *dependenciesRule) explain(b *bsonval.Builder, v bsonval.Value) bsonval.Doc {
	b.StartArray("failingDependencies")
	for _, d := range r.list {
		if !d.fails(v) {
			continue
		}
		b.StartDoc("").Str("conditionalProperty", d.name)
		if d.schema != nil {
			b.Array("details", d.schema.failures(v)).End()
		} else {
			names(b.StartArray("missingProperties"), missing(v.Doc(), d.needs)).End()
		}
	}
	return b.Build()
}
