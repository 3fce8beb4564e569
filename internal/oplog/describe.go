package oplog

import (
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// UpdateDescription is a diff as change events show it:
//
//	{updatedFields: {path: value, …}, removedFields: [path, …],
//	 truncatedArrays: [{field: path, newSize: n}, …]}
//
// and with expanded also disambiguatedPaths: {path: [component, …], …}, the
// components of paths that cannot be told from the dotted form alone: those with
// a dot in a field name, or a number for a field name below the first. Array
// positions are int32 there.
func UpdateDescription(diff bsonval.Doc, expanded bool) (bsonval.Doc, error) {
	d := description{
		updated: bsonval.NewBuilder(), removed: bsonval.NewArrayBuilder(),
		truncated: bsonval.NewArrayBuilder(), paths: bsonval.NewBuilder(),
	}
	if err := bsonval.Validate(diff); err != nil {
		return nil, ErrDiff
	}
	if err := d.document(diff); err != nil {
		return nil, err
	}
	b := bsonval.NewBuilder().Doc("updatedFields", d.updated.Build()).Array("removedFields", d.removed.Build()).
		Array("truncatedArrays", d.truncated.Build())
	if expanded {
		b.Doc("disambiguatedPaths", d.paths.Build())
	}
	return b.Build(), nil
}

type description struct {
	updated, removed, truncated, paths *bsonval.Builder

	path []component // where the walk is
}

// component is a field name, or an array position in decimal.
type component struct {
	name     string
	position bool
}

func (d *description) document(diff bsonval.Doc) error {
	s, err := readSections(diff)
	if err != nil {
		return err
	}
	for it := s.d.doc.Iter(); it.Next(); {
		d.removed.Add(bsonval.String(d.at(it.KeyStr(), false)))
	}
	for it := s.u.doc.Iter(); it.Next(); {
		d.updated.Value(d.at(it.KeyStr(), false), it.Value())
	}
	for it := s.i.doc.Iter(); it.Next(); {
		d.updated.Value(d.at(it.KeyStr(), false), it.Value())
	}
	for it := diff.Iter(); it.Next(); {
		if name := it.KeyStr(); name[0] == 's' {
			if err := d.inside(component{name: name[1:]}, it.Value().Doc()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *description) inside(c component, diff bsonval.Doc) error {
	d.path = append(d.path, c)
	var err error
	if isArrayDiff(diff) {
		err = d.array(diff)
	} else {
		err = d.document(diff)
	}
	d.path = d.path[:len(d.path)-1]
	return err
}

func (d *description) array(diff bsonval.Doc) error {
	it := diff.Iter()
	it.Next() // a
	for {
		e, err := nextElement(&it)
		if err != nil || e.index < 0 {
			return err
		}
		name := strconv.Itoa(e.index)
		switch {
		case e.resize:
			last := d.path[len(d.path)-1]
			d.path = d.path[:len(d.path)-1]
			d.truncated.StartDoc("").Str("field", d.at(last.name, last.position)).Int32("newSize", int32(e.index)).End()
			d.path = append(d.path, last)
		case e.inside:
			err = d.inside(component{name, true}, e.val.Doc())
		default:
			d.updated.Value(d.at(name, true), e.val)
		}
		if err != nil {
			return err
		}
	}
}

// at is the dotted path of a field or element here; if it is ambiguous, its
// components are noted.
func (d *description) at(name string, position bool) string {
	d.path = append(d.path, component{name, position})
	defer func() { d.path = d.path[:len(d.path)-1] }()
	var b strings.Builder
	ambiguous := false
	for i, c := range d.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(c.name)
		ambiguous = ambiguous || !c.position && (strings.Contains(c.name, ".") || i > 0 && isPosition(c.name))
	}
	dotted := b.String()
	if ambiguous {
		d.paths.StartArray(dotted)
		for _, c := range d.path {
			v := bsonval.String(c.name)
			if c.position {
				n, _ := strconv.Atoi(c.name)
				v = bsonval.Int32(int32(n))
			}
			d.paths.Add(v)
		}
		d.paths.End()
	}
	return dotted
}

// isPosition tells a field name that reads like an array position: digits
// without leading zeros.
func isPosition(name string) bool {
	if name == "" || len(name) > 1 && name[0] == '0' {
		return false
	}
	for i := 0; i < len(name); i++ {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
	}
	return true
}
