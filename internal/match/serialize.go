package match

import "github.com/archelon-db/archelon/internal/bsonval"

// ToBSON writes a tree as a filter again, as explain shows it: all operators are
// written out, and branches stand in arrays.
func ToBSON(n Node) bsonval.Doc {
	switch n := n.(type) {
	case AlwaysTrue:
		return bsonval.EmptyDoc
	case AlwaysFalse:
		return bsonval.NewBuilder().Int32("$alwaysFalse", 1).Build()
	case *And:
		return branches("$and", n.Nodes)
	case *Or:
		return branches("$or", n.Nodes)
	case *Nor:
		return branches("$nor", n.Nodes)
	case *Not:
		return notToBSON(n)
	case *Expr:
		return bsonval.NewBuilder().Value("$expr", n.Spec).Build()
	case *Where:
		return bsonval.NewBuilder().Value("$where", n.Spec).Build()
	case *JSONSchema:
		return bsonval.NewBuilder().Value("$jsonSchema", n.Spec).Build()
	case *SampleRate:
		return bsonval.NewBuilder().Double("$sampleRate", n.Rate).Build()
	case *Text:
		return bsonval.NewBuilder().StartDoc("$text").Str("$search", n.Search.Text).Str("$language", n.Language).
			Bool("$caseSensitive", n.CaseSensitive).Bool("$diacriticSensitive", n.DiacriticSensitive).Build()
	}
	path, operators := operatorsOf(n)
	return bsonval.NewBuilder().Doc(path, operators).Build()
}

func branches(name string, nodes []Node) bsonval.Doc {
	b := bsonval.NewBuilder().StartArray(name)
	for _, n := range nodes {
		b.Add(bsonval.Document(ToBSON(n)))
	}
	return b.Build()
}

func notToBSON(n *Not) bsonval.Doc {
	if path, operators := operatorsOf(n.Node); operators != nil {
		return bsonval.NewBuilder().StartDoc(path).Doc("$not", operators).Build()
	}
	return branches("$nor", []Node{n.Node})
}

// operatorsOf returns the path of a leaf and the document of operators on it; nil
// for nodes without a path.
func operatorsOf(n Node) (path string, operators bsonval.Doc) {
	b := bsonval.NewBuilder()
	switch n := n.(type) {
	case *Compare:
		return n.Path, b.Value(n.Op.String(), n.Value).Build()
	case *In:
		b.StartArray("$in")
		for _, v := range n.Values {
			b.Add(v)
		}
		for _, r := range n.Regexes {
			b.Add(bsonval.Regex(r.Pattern, r.Options))
		}
		return n.Path, b.Build()
	case *Regex:
		b.Str("$regex", n.Pattern)
		if n.Options != "" {
			b.Str("$options", n.Options)
		}
		return n.Path, b.Build()
	case *Exists:
		return n.Path, b.Bool("$exists", true).Build()
	case *Type:
		return n.Path, b.Value("$type", n.Spec).Build()
	case *Size:
		return n.Path, b.Int32("$size", int32(n.Size)).Build()
	case *Mod:
		return n.Path, b.StartArray("$mod").Int64("", n.Divisor).Int64("", n.Remainder).Build()
	case *Bits:
		b.StartArray(n.Op.String())
		for _, p := range n.Positions {
			b.Int32("", int32(p))
		}
		return n.Path, b.Build()
	case *ElemMatchObject:
		return n.Path, b.Doc("$elemMatch", ToBSON(n.Node)).Build()
	case *ElemMatchValue:
		b.StartDoc("$elemMatch")
		for _, c := range n.Nodes {
			if not, ok := c.(*Not); ok {
				_, inner := operatorsOf(not.Node)
				b.Doc("$not", inner)
				continue
			}
			_, inner := operatorsOf(c)
			if it := inner.Iter(); it.Next() {
				b.Value(it.KeyStr(), it.Value())
			}
		}
		return n.Path, b.Build()
	case *GeoWithin:
		return n.Path, b.Value("$geoWithin", n.Spec).Build()
	case *GeoIntersects:
		return n.Path, b.Value("$geoIntersects", n.Spec).Build()
	case *GeoNear:
		return n.Path, n.Spec
	}
	return "", nil
}
