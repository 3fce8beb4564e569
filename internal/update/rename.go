package update

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// rename is a $rename of one field: its value is looked up before anything is
// written.
type rename struct {
	from, to         string
	fromNames, names []string
}

// renameTo writes a renamed field at its new place, renameFrom removes it from
// the old one. Both do nothing if there is no such field.
type (
	renameTo struct {
		index int
		path  string
	}
	renameFrom struct{ index int }
)

func compileRename(c *compilation, path string, arg bsonval.Value) (leafOp, error) {
	if arg.Type() != bsonval.TypeString {
		return nil, mongoerr.New(mongoerr.BadValue, "The 'to' field for $rename must be a string: %s: %s",
			path, bsonval.Format(arg))
	}
	to := string(arg.Bytes())
	if strings.IndexByte(to, 0) >= 0 {
		return nil, mongoerr.New(mongoerr.BadValue, "The 'to' field for $rename cannot contain an embedded null byte")
	}
	if path == to {
		return nil, mongoerr.New(mongoerr.BadValue, "The source and target field for $rename must differ: %s: \"%s\"", path, to)
	}
	r := rename{strings.Clone(path), to, strings.Split(strings.Clone(path), "."), strings.Split(to, ".")}
	for _, p := range []struct {
		which, path string
		names       []string
	}{{"source", path, r.fromNames}, {"destination", to, r.names}} {
		if err := checkPath(p.path, p.names); err != nil {
			return nil, err
		}
		for _, name := range p.names {
			if name == "$" || strings.HasPrefix(name, "$[") && strings.HasSuffix(name, "]") {
				return nil, mongoerr.New(mongoerr.BadValue, "The %s field for $rename may not be dynamic: %s", p.which, p.path)
			}
		}
	}
	c.p.renames = append(c.p.renames, r)
	return &renameTo{len(c.p.renames) - 1, to}, nil
}

// findRenames looks up what is renamed.
func (a *application) findRenames() error {
	a.moved = make([]bsonval.Value, len(a.p.renames))
	for i, r := range a.p.renames {
		v, array := lookup(a.doc, r.fromNames)
		if array {
			return mongoerr.New(mongoerr.BadValue, "The source field cannot be an array element, '%s' in doc with _id: %s",
				r.from, bsonval.Format(a.doc.Lookup("_id")))
		}
		if v.IsMissing() {
			continue
		}
		if _, array := lookup(a.doc, r.names); array {
			return mongoerr.New(mongoerr.BadValue, "The destination field cannot be an array element, '%s' in doc with _id: %s",
				r.to, bsonval.Format(a.doc.Lookup("_id")))
		}
		a.moved[i] = v
	}
	return nil
}

// lookup follows a path through documents and says whether an array is in the way.
func lookup(d bsonval.Doc, names []string) (v bsonval.Value, array bool) {
	v = bsonval.Document(d)
	for _, name := range names {
		switch v.Type() {
		case bsonval.TypeDocument:
			v = v.Doc().Lookup(name)
		case bsonval.TypeArray:
			return bsonval.Missing, true
		default:
			return bsonval.Missing, false
		}
	}
	return v, false
}

func (o *renameTo) apply(a *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	if v := a.moved[o.index]; !v.IsMissing() {
		return v, set, nil
	}
	return old, keep, nil
}

func (o *renameTo) demand(a *application) (create, viable bool) {
	there := !a.moved[o.index].IsMissing()
	return there, there
}

func (o *renameFrom) apply(a *application, _ *node, old bsonval.Value) (bsonval.Value, action, error) {
	if a.moved[o.index].IsMissing() {
		return old, keep, nil
	}
	return old, remove, nil
}

func (o *renameFrom) demand(*application) (create, viable bool) { return false, false }
