package pipeline

import (
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var fillRows = []row{
	{name: "$fill", doc: "Fills missing and null fields, by a value or from neighbouring documents.", parse: parseFill, update: true},
}

// parseFill makes $setWindowFields and $addFields of $fill.
func parseFill(p *parser, arg bsonval.Value) ([]stage, error) {
	const stageName = "$fill"
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(6050200, "the $fill stage specification must be an object, found %s", arg.Type())
	}
	var partition, sortBy, output bsonval.Value
	byFields := false
	err := fields(stageName, arg.Doc(), func(name string, v bsonval.Value) (bool, error) {
		switch name {
		case "sortBy":
			sortBy = v
			_, err := fieldDoc(stageName, name, v)
			return true, err
		case "partitionBy":
			if v.Type() != bsonval.TypeString && v.Type() != bsonval.TypeDocument {
				return true, errFieldType(stageName, name, v, "string, object")
			}
			if v.Type() == bsonval.TypeString && !strings.HasPrefix(v.Str(), "$") {
				return true, mongoerr.New(6050203, "Maximum one of 'partitionBy' and 'partitionByFields' can be specified in '$fill'; 'partitionBy' must be an expression")
			}
			if byFields {
				return true, errTwoPartitions()
			}
			partition = v
		case "partitionByFields":
			if !partition.IsMissing() {
				return true, errTwoPartitions()
			}
			byFields = true
			list, err := pathList(stageName, name, v)
			if err != nil {
				return true, err
			}
			partition = partitionOf(list)
		case "output":
			output = v
			_, err := fieldDoc(stageName, name, v)
			return true, err
		default:
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if output.IsMissing() {
		return nil, errMissingField(stageName, "output")
	}
	return p.fillStages(partition, sortBy, output.Doc())
}

func errTwoPartitions() error {
	return mongoerr.New(6050204, "Maximum one of 'partitionBy' and 'partitionByFields can be specified in '$fill'")
}

// partitionOf is an expression whose value tells partitions by fields apart.
func partitionOf(paths [][]string) bsonval.Value {
	b := bsonval.NewBuilder()
	for _, p := range paths {
		b.Str(strings.Join(p, "_"), "$"+joinPath(p))
	}
	return bsonval.Document(b.Build())
}

func (p *parser) fillStages(partition, sortBy bsonval.Value, output bsonval.Doc) ([]stage, error) {
	window, values := bsonval.NewBuilder(), bsonval.NewBuilder()
	var methods []string
	computed := false
	it := output.Iter()
	for it.Next() {
		name := it.KeyStr()
		if _, err := fieldpath.Parse(name); err != nil {
			return nil, err
		}
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, errFieldType("$fill.output", name, it.Value(), "object")
		}
		kind, v, ok := it.Value().Doc().First()
		if !ok || it.Value().Doc().Len() != 1 {
			return nil, mongoerr.New(40415, "BSON field '$fill.output.%s' must have exactly one of 'value' and 'method'", name)
		}
		switch kind {
		case "value":
			computed = true
			values.StartDoc(name).StartArray("$ifNull").Str("", "$"+name).Add(v).End().End()
		case "method":
			if v.Type() != bsonval.TypeString || v.Str() != "locf" && v.Str() != "linear" {
				return nil, mongoerr.New(6050202, "Method must be either locf or linear, found %s", bsonval.Format(v))
			}
			methods = append(methods, v.Str())
			op := map[string]string{"locf": "$locf", "linear": "$linearFill"}[v.Str()]
			window.StartDoc(name).Str(op, "$"+name).End()
		default:
			return nil, errUnknownField("$fill.output", kind)
		}
	}
	if slices.Contains(methods, "linear") && sortBy.IsMissing() {
		return nil, mongoerr.New(605001, "$linearFill must be specified with a top level sortBy expression with exactly one element")
	}
	var list []stage
	if methods != nil {
		spec := bsonval.NewBuilder().Value("partitionBy", partition).Value("sortBy", sortBy).Doc("output", window.Build()).Build()
		ss, err := p.windowStages(spec)
		if err != nil {
			return nil, err
		}
		list = append(list, ss...)
	}
	if computed {
		ss, err := p.expand("$addFields", values.Build())
		if err != nil {
			return nil, err
		}
		list = append(list, ss...)
	}
	return list, nil
}
