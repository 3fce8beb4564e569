package sortkey

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// maxParts is the largest number of fields in a specification, MongoDB's limit
// for compound keys.
const maxParts = 32

// Part is one field of a sort specification.
type Part struct {
	// Path is the dotted field; empty where Meta is set.
	Path string
	// Meta is the name of {$meta: name}; empty for fields.
	Meta string
	// Desc says that larger values come first; always true with Meta.
	Desc bool

	names   []string
	indexes []int // names as array positions, -1 where they are none
}

// Pattern is a compiled sort specification.
type Pattern struct {
	parts []Part
}

// Compile checks and compiles a sort specification. Errors are *mongoerr.Error.
func Compile(spec bsonval.Doc) (*Pattern, error) {
	p := &Pattern{}
	it := spec.Iter()
	for it.Next() {
		part, err := compilePart(string(it.Key()), it.Value())
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, part)
	}
	switch {
	case len(p.parts) == 0:
		return nil, mongoerr.New(15976, "$sort stage must have at least one sort key")
	case len(p.parts) > maxParts:
		return nil, mongoerr.New(13103, "too many compound keys")
	}
	return p, nil
}

func compilePart(path string, v bsonval.Value) (Part, error) {
	if v.Type() == bsonval.TypeDocument {
		name, err := compileMeta(v.Doc())
		return Part{Meta: name, Desc: true}, err
	}
	if !v.IsNumber() {
		return Part{}, mongoerr.New(15974, "Illegal key in $sort specification: %s: %s", path, bsonval.Format(v))
	}
	direction := v.TruncInt64()
	if direction != 1 && direction != -1 {
		return Part{}, mongoerr.New(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
	}
	names, err := fieldpath.Parse(path)
	if err != nil {
		return Part{}, err
	}
	part := Part{Path: path, Desc: direction < 0, names: names}
	for _, n := range names {
		part.indexes = append(part.indexes, arrayIndex(n))
	}
	return part, nil
}

// metaSorts are the metadata that can be sorted by.
var metaSorts = map[string]bool{
	"textScore": true, "randVal": true, "searchScore": true, "vectorSearchScore": true,
	"score": true, "geoNearDistance": true,
}

func compileMeta(d bsonval.Doc) (string, error) {
	key, v, _ := d.First()
	switch {
	case key != "$meta":
		return "", mongoerr.New(17312, "$meta is the only expression supported by $sort right now")
	case d.Len() > 1:
		return "", mongoerr.New(mongoerr.FailedToParse, "Cannot have additional keys in a $meta sort specification")
	case v.Type() != bsonval.TypeString:
		return "", mongoerr.New(17307, "$meta only supports string arguments")
	case !metaSorts[v.Str()]:
		return "", mongoerr.New(31138, "Illegal $meta sort: %s", bsonval.Format(v))
	}
	return string(v.Bytes()), nil
}

// arrayIndex reads a name as an array position: digits without leading zeros;
// -1 for other names.
func arrayIndex(name string) int {
	if name == "" || len(name) > 9 || len(name) > 1 && name[0] == '0' {
		return -1
	}
	n := 0
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return -1
		}
		n = n*10 + int(name[i]-'0')
	}
	return n
}

// Parts are the fields of the specification in order. The slice must not be
// changed.
func (p *Pattern) Parts() []Part { return p.parts }

// HasMeta says whether the pattern sorts by metadata.
func (p *Pattern) HasMeta() bool {
	for i := range p.parts {
		if p.parts[i].Meta != "" {
			return true
		}
	}
	return false
}

// UsesMeta says whether the pattern sorts by a kind of metadata.
func (p *Pattern) UsesMeta(name string) bool {
	for i := range p.parts {
		if p.parts[i].Meta == name {
			return true
		}
	}
	return false
}

// Fields are the dotted paths that the pattern reads.
func (p *Pattern) Fields() []string {
	var list []string
	for i := range p.parts {
		if p.parts[i].Meta == "" {
			list = append(list, p.parts[i].Path)
		}
	}
	return list
}
