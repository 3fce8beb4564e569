package pipeline

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var countRows = []row{
	{name: "$count", doc: "Counts the documents into one field.", parse: parseCount},
	{name: "$sortByCount", doc: "Counts the documents for each value of an expression, most frequent first.", parse: parseSortByCount},
}

// parseCount makes $group and $project of {$count: field}.
func parseCount(p *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeString {
		return nil, mongoerr.New(40156, "the count field must be a non-empty string")
	}
	f := arg.Str()
	switch {
	case f == "":
		return nil, mongoerr.New(40157, "the count field must be a non-empty string")
	case f[0] == '$':
		return nil, mongoerr.New(40158, "the count field cannot be a $-prefixed path")
	case strings.IndexByte(f, 0) >= 0:
		return nil, mongoerr.New(40159, "the count field cannot contain a null byte")
	case strings.IndexByte(f, '.') >= 0:
		return nil, mongoerr.New(40160, "the count field cannot contain '.'")
	case f == "_id":
		return nil, mongoerr.New(9039800, "the count field cannot be '_id'")
	}
	group := bsonval.NewBuilder().Null("_id").StartDoc(f).Int32("$sum", 1).End().Build()
	project := bsonval.NewBuilder().Bool("_id", false).Build()
	return p.expand("$group", group, "$project", project)
}

// parseSortByCount makes $group and $sort of {$sortByCount: expression}.
func parseSortByCount(p *parser, arg bsonval.Value) ([]stage, error) {
	switch arg.Type() {
	case bsonval.TypeDocument:
		if k, _, _ := arg.Doc().First(); !strings.HasPrefix(k, "$") {
			return nil, mongoerr.New(40147, "the sortByCount field must be defined as a $-prefixed path or an expression inside an object")
		}
	case bsonval.TypeString:
		if !strings.HasPrefix(arg.Str(), "$") {
			return nil, mongoerr.New(40148, "the sortByCount field must be defined as a $-prefixed path or an expression inside an object")
		}
	default:
		return nil, mongoerr.New(40149, "the sortByCount field must be specified as a string or as an object")
	}
	group := bsonval.NewBuilder().Value("_id", arg).StartDoc("count").Int32("$sum", 1).End().Build()
	return p.expand("$group", group, "$sort", bsonval.NewBuilder().Int32("count", -1).Build())
}

// expand parses simpler stages, given as name, argument, name, argument.
func (p *parser) expand(pairs ...any) ([]stage, error) {
	var list []stage
	for i := 0; i < len(pairs); i += 2 {
		ss, err := rows[pairs[i].(string)].parse(p, bsonval.Document(pairs[i+1].(bsonval.Doc)))
		if err != nil {
			return nil, err
		}
		list = append(list, ss...)
	}
	return list, nil
}
