package expr

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// compilePath compiles "$a.b" and "$$var.a.b".
func (c *Compiler) compilePath(s string) (Expr, error) {
	if s == "$" {
		return nil, mongoerr.New(16872, "'$' by itself is not a valid FieldPath")
	}
	if !strings.HasPrefix(s, "$$") {
		names, err := fieldpath.Parse(s[1:])
		if err != nil {
			return nil, err
		}
		return c.currentPath(names), nil
	}
	name, rest, dotted := strings.Cut(s[2:], ".")
	var names []string
	if dotted {
		var err error
		if names, err = fieldpath.Parse(rest); err != nil {
			return nil, err
		}
	}
	return c.variable(name, names)
}

// currentPath is a path from $$CURRENT.
func (c *Compiler) currentPath(names []string) Expr {
	if slot, ok := c.lookup("CURRENT"); ok {
		return &varPath{slot: slot, names: names}
	}
	c.Deps.Add(strings.Join(names, "."))
	return &fieldPath{names: names}
}

func (c *Compiler) variable(name string, names []string) (Expr, error) {
	switch name {
	case "":
		return nil, mongoerr.New(mongoerr.FailedToParse, "empty variable names are not allowed")
	case "ROOT":
		return c.rootPath(names), nil
	case "CURRENT":
		if slot, ok := c.lookup(name); ok {
			return &varPath{slot: slot, names: names}, nil
		}
		return c.rootPath(names), nil
	case "REMOVE":
		return constant{bsonval.Missing}, nil
	}
	if slot, ok := c.lookup(name); ok {
		return &varPath{slot: slot, names: names}, nil
	}
	if name == "NOW" || name == "CLUSTER_TIME" {
		return c.clockVariable(name, names)
	}
	if v, ok := c.systemVariable(name); ok {
		return constant{walk(v, names)}, nil
	}
	if err := checkVariableChars(name); err != nil {
		return nil, err
	}
	if c := name[0]; c >= 'A' && c <= 'Z' || !(c >= 'a' && c <= 'z' || c >= 0x80) {
		if !(c >= 'A' && c <= 'Z') {
			return nil, mongoerr.New(mongoerr.FailedToParse,
				"'%s' starts with an invalid character for a user variable name", name)
		}
	}
	return nil, mongoerr.New(17276, "Use of undefined variable: %s", name)
}

func (c *Compiler) systemVariable(name string) (bsonval.Value, bool) {
	switch name {
	case "USER_ROLES":
		if c.Env.UserRoles.IsMissing() {
			return bsonval.Array(bsonval.EmptyDoc), true
		}
		return c.Env.UserRoles, true
	case "SEARCH_META":
		return bsonval.Missing, true
	}
	return bsonval.Missing, false
}

// clockVariable compiles $$NOW and $$CLUSTER_TIME: constants within a command, looked up at each evaluation in what is
// compiled for many.
func (c *Compiler) clockVariable(name string, names []string) (Expr, error) {
	switch {
	case c.NoClock:
		return nil, errNoVariable(name)
	case c.Env.NowMS == 0:
		return &clockPath{name, names}, nil
	}
	v, err := c.Env.clock(name)
	return constant{walk(v, names)}, err
}

func errNoVariable(name string) error {
	return mongoerr.New(51144, "Builtin variable '$$%s' is not available", name)
}

// clock is the value of $$NOW or $$CLUSTER_TIME.
func (e *Env) clock(name string) (bsonval.Value, error) {
	switch {
	case name == "NOW":
		return bsonval.Date(e.NowMS), nil
	case e.ClusterTime == 0:
		return bsonval.Missing, errNoVariable(name)
	}
	return bsonval.TimestampBits(e.ClusterTime), nil
}

// clockPath is $$NOW or $$CLUSTER_TIME of the command that evaluates it.
type clockPath struct {
	name  string
	names []string
}

func (e *clockPath) Eval(c *Context) (bsonval.Value, error) {
	v, err := c.Env.clock(e.name)
	return walk(v, e.names), err
}

func (c *Compiler) rootPath(names []string) Expr {
	if len(names) == 0 {
		c.Deps.AddAll()
		return rootDoc{}
	}
	c.Deps.Add(strings.Join(names, "."))
	return &fieldPath{names: names}
}

// rootDoc is $$ROOT.
type rootDoc struct{}

func (rootDoc) Eval(c *Context) (bsonval.Value, error) { return bsonval.Document(c.Root), nil }

// fieldPath is a path from the document under evaluation.
type fieldPath struct{ names []string }

func (p *fieldPath) Eval(c *Context) (bsonval.Value, error) {
	v := c.Root.Lookup(p.names[0])
	if len(p.names) == 1 {
		return v, nil
	}
	return walk(v, p.names[1:]), nil
}

// varPath is a path from a variable's value.
type varPath struct {
	slot  int
	names []string
}

func (p *varPath) Eval(c *Context) (bsonval.Value, error) {
	return walk(c.Vars[p.slot], p.names), nil
}

// walk follows names from v: through documents, and through each document of an
// array, whose results become an array. Arrays directly inside arrays are not
// followed.
func walk(v bsonval.Value, names []string) bsonval.Value {
	for i, name := range names {
		switch v.Type() {
		case bsonval.TypeDocument:
			v = v.Doc().Lookup(name)
		case bsonval.TypeArray:
			return walkArray(v.Doc(), names[i:])
		default:
			return bsonval.Missing
		}
	}
	return v
}

func walkArray(a bsonval.Doc, names []string) bsonval.Value {
	b := bsonval.NewArrayBuilder()
	it := a.Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			continue
		}
		if v := walk(it.Value(), names); !v.IsMissing() {
			b.Add(v)
		}
	}
	return bsonval.Array(b.Build())
}

// Walk follows dotted names from v as a field path does.
func Walk(v bsonval.Value, names []string) bsonval.Value { return walk(v, names) }

// FieldPath returns the path of an expression that is a plain field path
// ("$a.b"), for planners; ok is false for all others.
func FieldPath(e Expr) (path string, ok bool) {
	p, ok := e.(*fieldPath)
	if !ok {
		return "", false
	}
	return strings.Join(p.names, "."), true
}

// FixedValue returns the value of an expression that is a constant or a variable,
// which is the same for all documents while the context's variables stay, for
// planners; ok is false for all others.
func FixedValue(e Expr, c *Context) (v bsonval.Value, ok bool) {
	switch e := e.(type) {
	case constant:
		return e.v, true
	case *varPath:
		if c != nil && e.slot < len(c.Vars) {
			return walk(c.Vars[e.slot], e.names), true
		}
	}
	return v, false
}

// Deps are the fields of the document that expressions read.
type Deps struct {
	// All says that the whole document is read.
	All bool
	// Fields are dotted paths, with repetitions.
	Fields []string
	// Meta are the names that {$meta: …} asks for, with repetitions.
	Meta []string
}

// AddMeta notes a kind of metadata. It may be called on nil.
func (d *Deps) AddMeta(name string) {
	if d != nil {
		d.Meta = append(d.Meta, name)
	}
}

// Add notes a field. It may be called on nil.
func (d *Deps) Add(path string) {
	if d != nil {
		d.Fields = append(d.Fields, path)
	}
}

// AddAll notes that the whole document is needed. It may be called on nil.
func (d *Deps) AddAll() {
	if d != nil {
		d.All = true
	}
}
