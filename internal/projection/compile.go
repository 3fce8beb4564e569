package projection

import (
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// compiler compiles one specification.
type compiler struct {
	o    Options
	p    *Projection
	root *node

	id            idMention
	hasElemMatch  bool
	hasPositional bool
	hasMeta       bool
}

// idMention is what the specification says about _id.
type idMention uint8

const (
	idUnmentioned idMention = iota
	idIncluded
	idExcluded
	idComputed
)

// Compile compiles a specification. An empty one lets everything through, but
// is an error in Aggregate and AddFields mode.
func Compile(spec bsonval.Doc, o Options) (*Projection, error) {
	if o.Compiler == nil {
		o.Compiler = expr.NewCompiler(&expr.Env{})
	}
	spec = spec.Clone()
	c := &compiler{o: o, p: &Projection{}, root: &node{}}
	if spec.IsEmpty() {
		switch o.Mode {
		case Aggregate:
			return nil, mongoerr.New(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
		case AddFields:
			return nil, mongoerr.New(40177, "Invalid $addFields :: caused by :: specification must have at least one field")
		}
		c.p.identity = true
		c.p.kind = exclusion
		c.p.root = c.root
		return c.p, nil
	}
	if o.Mode == AddFields {
		c.p.kind = addition
	}
	outer := o.Compiler.Deps
	o.Compiler.Deps = &c.p.deps
	err := c.document(spec, nil)
	o.Compiler.Deps = outer
	if err != nil {
		return nil, err
	}
	if outer != nil {
		outer.All = outer.All || c.p.deps.All
		outer.Fields = append(outer.Fields, c.p.deps.Fields...)
	}
	c.finish()
	return c.p, nil
}

// CompileExclusion compiles a list of paths to leave out, the $unset stage.
func CompileExclusion(paths []string) (*Projection, error) {
	b := bsonval.NewBuilder()
	for _, p := range paths {
		b.Bool(p, false)
	}
	return Compile(b.Build(), Options{Mode: Aggregate})
}

// finish decides the kind if nothing has, and adds _id to inclusions.
func (c *compiler) finish() {
	p := c.p
	p.root = c.root
	if p.kind == undecided {
		switch {
		case c.hasElemMatch:
			p.kind = inclusion
		case c.hasMeta && c.o.Mode == Aggregate:
			p.kind = inclusion
		case c.id == idIncluded || c.id == idComputed:
			p.kind = inclusion
		default:
			p.kind = exclusion
		}
	}
	switch {
	case p.kind == inclusion && (c.id == idUnmentioned || c.id == idIncluded) && p.root.find("_id") == nil:
		p.root.fields = append(p.root.fields, field{name: "_id"})
	case p.kind == exclusion && c.id == idExcluded:
		p.root.fields = append(p.root.fields, field{name: "_id"})
	}
	p.computes = p.root.markComputes()
	p.positional = c.hasPositional
	p.identity = p.kind == exclusion && len(p.root.fields) == 0
}

// document compiles a document of the specification that stands under prefix.
func (c *compiler) document(d bsonval.Doc, prefix []string) error {
	it := d.Iter()
	for it.Next() {
		if err := c.element(it.KeyStr(), it.Value(), prefix); err != nil {
			return err
		}
	}
	return nil
}

func (c *compiler) element(key string, v bsonval.Value, prefix []string) error {
	if c.p.kind == addition {
		return c.addedField(key, v, prefix)
	}
	if i := strings.Index(key, ".$"); i > 0 && (i+2 == len(key) || key[i+2] == '.') {
		return c.positionalField(key, i, v, prefix)
	}
	names, err := c.path(key, prefix)
	if err != nil {
		return err
	}
	switch {
	case v.Type() == bsonval.TypeDocument:
		return c.object(names, v.Doc())
	case v.IsNumber() || v.Type() == bsonval.TypeBool:
		return c.flag(names, v.Truthy())
	}
	return c.computed(names, v, 31310)
}

func (c *compiler) path(key string, prefix []string) ([]string, error) {
	names, err := fieldpath.Parse(key)
	if err != nil {
		return nil, err
	}
	if len(prefix)+len(names) > bsonval.MaxDepth {
		return nil, mongoerr.New(mongoerr.Overflow, "FieldPath is too long")
	}
	return append(prefix[:len(prefix):len(prefix)], names...), nil
}

// flag compiles an inclusion or exclusion.
func (c *compiler) flag(names []string, include bool) error {
	if len(names) == 1 && names[0] == "_id" {
		if c.id != idUnmentioned {
			return collision(names)
		}
		c.id = idExcluded
		if include {
			c.id = idIncluded
		}
		return nil
	}
	want := exclusion
	if include {
		want = inclusion
	}
	switch {
	case c.p.kind == undecided:
		c.p.kind = want
	case c.p.kind == exclusion && include:
		return mongoerr.New(31253, "Invalid $project :: caused by :: Cannot do inclusion on field %s in exclusion projection",
			strings.Join(names, "."))
	case c.p.kind == inclusion && !include:
		return mongoerr.New(31254, "Invalid $project :: caused by :: Cannot do exclusion on field %s in inclusion projection",
			strings.Join(names, "."))
	}
	return c.add(names, field{})
}

// object compiles an operator or a nested document.
func (c *compiler) object(names []string, d bsonval.Doc) error {
	key, arg, ok := d.First()
	switch {
	case !ok:
		return mongoerr.New(51270, "An empty sub-projection is not a valid value. Found empty object at path %s",
			strings.Join(names, "."))
	case !strings.HasPrefix(key, "$") || d.Len() > 1:
		return c.document(d, names)
	case c.o.Mode == Find && key == "$elemMatch":
		return c.elemMatch(names, arg)
	case c.o.Mode == Find && key == "$slice":
		if c.slice(names, arg) == nil {
			return nil
		}
	case key == "$elemMatch":
		return mongoerr.New(mongoerr.InvalidPipelineOperator, "Unrecognized expression '$elemMatch'")
	case key == "$meta":
		return c.meta(names, d)
	case !expr.IsOperator(key):
		return mongoerr.New(31325, "Unknown expression %s", key)
	}
	return c.computed(names, bsonval.Document(d), 31252)
}

// meta compiles {$meta: …}, which any kind of projection may compute.
func (c *compiler) meta(names []string, d bsonval.Doc) error {
	e, err := c.o.Compiler.Compile(bsonval.Document(d))
	if err != nil {
		return err
	}
	c.hasMeta = true
	return c.add(names, field{kind: fieldComputed, e: e})
}

// computed compiles an expression; code is the error of one in an exclusion.
func (c *compiler) computed(names []string, v bsonval.Value, code mongoerr.Code) error {
	if c.p.kind == exclusion {
		return mongoerr.New(code, "Cannot use an expression %s in an exclusion projection",
			bsonval.Format(v))
	}
	e, err := c.o.Compiler.Compile(v)
	if err != nil {
		return err
	}
	c.p.kind = inclusion
	if len(names) == 1 && names[0] == "_id" {
		if c.id != idUnmentioned {
			return collision(names)
		}
		c.id = idComputed
	}
	return c.add(names, field{kind: fieldComputed, e: e})
}

// addedField compiles a field of $addFields, in which documents nest and all
// other values are expressions.
func (c *compiler) addedField(key string, v bsonval.Value, prefix []string) error {
	if len(prefix) > 0 && strings.Contains(key, ".") {
		return mongoerr.New(40183, "cannot use dotted field name '%s' in a sub object", key)
	}
	names, err := c.path(key, prefix)
	if err != nil {
		return err
	}
	if v.Type() == bsonval.TypeDocument {
		first, _, ok := v.Doc().First()
		switch {
		case !ok:
			return mongoerr.New(40180, "Invalid $addFields :: caused by :: an empty object is not a valid value."+
				" Found empty object at path '%s'", strings.Join(names, "."))
		case !strings.HasPrefix(first, "$"):
			return c.document(v.Doc(), names)
		case v.Doc().Len() > 1:
			return mongoerr.New(40181, "Invalid $addFields :: caused by :: an expression specification must contain"+
				" exactly one field, the name of the expression. Found %d fields", v.Doc().Len())
		}
	}
	e, err := c.o.Compiler.Compile(v)
	if err != nil {
		return err
	}
	if c.add(names, field{kind: fieldComputed, e: e}) != nil {
		return mongoerr.New(40176, "Invalid $addFields :: caused by :: specification contains two conflicting paths."+
			" Cannot specify both '%s' and a parent or child of it", strings.Join(names, "."))
	}
	return nil
}

// elemMatch compiles {$elemMatch: …}: the first element that matches.
func (c *compiler) elemMatch(names []string, arg bsonval.Value) error {
	switch {
	case arg.Type() != bsonval.TypeDocument:
		return mongoerr.New(31274, "elemMatch: Invalid argument, object required, but got %s", arg.Type())
	case c.hasPositional:
		return mongoerr.New(31255, "Cannot specify positional operator and $elemMatch.")
	case len(names) > 1:
		return mongoerr.New(31275, "Cannot use $elemMatch projection on a nested field.")
	}
	filter := bsonval.NewBuilder().StartDoc(names[0]).Value("$elemMatch", arg).Build()
	m, err := match.Compile(filter, match.Options{Compiler: c.o.Compiler, Ban: match.AllFeatures})
	if err != nil {
		return err
	}
	c.hasElemMatch = true
	return c.add(names, field{kind: fieldComputed, elems: m})
}

// slice compiles find's {$slice: n} and {$slice: [skip, n]}; any error means
// that it is the expression of that name.
func (c *compiler) slice(names []string, arg bsonval.Value) error {
	f := field{kind: fieldSlice}
	switch {
	case arg.IsNumber():
		f.limit = clampInt32(arg)
	case arg.Type() == bsonval.TypeArray:
		args := arg.Doc().Values(nil)
		if len(args) != 2 || !args[0].IsNumber() || !args[1].IsNumber() {
			return mongoerr.New(31272, "$slice array argument should be of form [skip, limit]")
		}
		f.hasSkip, f.skip, f.limit = true, clampInt32(args[0]), clampInt32(args[1])
		if f.limit <= 0 {
			return mongoerr.New(31299, "$slice limit must be positive")
		}
	default:
		return mongoerr.New(31273, "$slice only supports numbers and [skip, limit] arrays")
	}
	return c.add(names, f)
}

// clampInt32 cuts a number to an integer of 32 bits.
func clampInt32(v bsonval.Value) int {
	return int(max(min(v.TruncInt64(), math.MaxInt32), math.MinInt32))
}

// positionalField compiles "path.$": i is where the path ends.
func (c *compiler) positionalField(key string, i int, v bsonval.Value, prefix []string) error {
	switch {
	case c.o.Mode != Find:
		return mongoerr.New(31324, "Cannot use positional projection in aggregation projection")
	case v.Type() == bsonval.TypeDocument:
		return mongoerr.New(31271, "positional projection cannot be used with an expression or sub object")
	case !v.IsNumber() && v.Type() != bsonval.TypeBool:
		return mongoerr.New(31308, "positional projection cannot be used with a literal")
	case i+2 != len(key):
		return mongoerr.New(31394, "As of 4.4, it's illegal to specify positional operator in the middle of a path."+
			" Positional projection may only be used at the end, for example: a.b.$. If the query previously used a form"+
			" like a.b.$.d, remove the parts following the '$' and the results will be equivalent.")
	case !v.Truthy():
		return mongoerr.New(31395, "positional projection cannot be used with exclusion")
	case c.hasPositional:
		return mongoerr.New(31276, "Cannot specify more than one positional projection per query.")
	case c.hasElemMatch:
		return mongoerr.New(31256, "Cannot specify positional operator and $elemMatch.")
	}
	names, err := c.path(key[:i], prefix)
	if err != nil {
		return err
	}
	if err := c.checkPositionalFilter(); err != nil {
		return err
	}
	if err := c.flag(names, true); err != nil {
		return err
	}
	c.hasPositional = true
	n := c.root
	for _, name := range names {
		f := n.find(name)
		if f == nil {
			return nil // _id, which is no array
		}
		f.positional = true
		n = f.child
	}
	return nil
}

// checkPositionalFilter refuses filters that the positional operator cannot be
// used with.
func (c *compiler) checkPositionalFilter() error {
	if c.o.Filter == nil {
		return nil
	}
	var err error
	match.Walk(c.o.Filter.Root(), func(n match.Node) bool {
		switch n.(type) {
		case *match.Expr:
			err = mongoerr.New(mongoerr.QueryFeatureNotAllowed, "$expr is not allowed in this context")
		case *match.JSONSchema:
			err = mongoerr.New(mongoerr.QueryFeatureNotAllowed, "$jsonSchema is not allowed in this context")
		case *match.Where:
			err = mongoerr.New(mongoerr.BadValue, "$where is not allowed in this context")
		case *match.Text:
			err = mongoerr.New(mongoerr.BadValue, "$text is not allowed in this context")
		}
		return err == nil
	})
	return err
}

// add puts a leaf into the tree.
func (c *compiler) add(names []string, leaf field) error {
	n := c.root
	for i, name := range names {
		f := n.find(name)
		last := i == len(names)-1
		switch {
		case f == nil && last:
			leaf.name = strings.Clone(name)
			n.fields = append(n.fields, leaf)
		case f == nil:
			n.fields = append(n.fields, field{name: strings.Clone(name), kind: fieldChild, child: &node{}})
			n = n.fields[len(n.fields)-1].child
		case last:
			return collision(names)
		case f.kind != fieldChild:
			return mongoerr.New(31249, "Path collision at %s remaining portion %s",
				strings.Join(names, "."), strings.Join(names[i+1:], "."))
		default:
			n = f.child
		}
	}
	return nil
}

func collision(names []string) error {
	return mongoerr.New(31250, "Path collision at %s", strings.Join(names, "."))
}
