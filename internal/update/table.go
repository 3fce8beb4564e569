package update

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// operator is a row of the table of update operators.
type operator struct {
	name, doc string
	// compile makes the operation of {name: {path: arg}}.
	compile func(c *compilation, path string, arg bsonval.Value) (leafOp, error)
}

var operators map[string]*operator

// The table in an initialiser would depend on itself through the compiler, so
// it is filled here.
func init() {
	operators = map[string]*operator{}
	for _, op := range table() {
		operators[op.name] = &op
	}
}

func table() []operator {
	return []operator{
		{"$addToSet", "Adds values to an array unless it holds them.", compileAddToSet},
		{"$bit", "Combines an integer with others bit by bit.", compileBit},
		{"$currentDate", "Sets a field to the current date or timestamp.", compileCurrentDate},
		{"$inc", "Adds to a number.", compileInc},
		{"$max", "Sets a field to a value if that is greater.", compileMax},
		{"$min", "Sets a field to a value if that is less.", compileMin},
		{"$mul", "Multiplies a number.", compileMul},
		{"$pop", "Removes the first or last element of an array.", compilePop},
		{"$pull", "Removes the elements of an array that meet a condition.", compilePull},
		{"$pullAll", "Removes all the given values from an array.", compilePullAll},
		{"$push", "Adds values to an array.", compilePush},
		{"$rename", "Renames a field.", compileRename},
		{"$set", "Sets a field.", compileSet},
		{"$setOnInsert", "Sets a field if the update inserts the document.", compileSetOnInsert},
		{"$unset", "Removes a field.", compileUnset},
	}
}

// Operator describes an operator for the manual.
type Operator struct{ Name, Doc string }

// AllOperators lists the update operators.
func AllOperators() []Operator {
	var list []Operator
	for _, op := range table() {
		list = append(list, Operator{op.name, op.doc})
	}
	return list
}

// compilation is the state of compiling the operators of one update.
type compilation struct {
	p     *Program
	o     Options
	names [8]string // room for a path's
}

func (p *Program) compileOperators(d bsonval.Doc, o Options) error {
	if err := p.compileFilters(o); err != nil {
		return err
	}
	p.root = p.space.node("")
	p.root.children = p.space.children[:0]
	p.compilation = compilation{p: p, o: o}
	c := &p.compilation
	it := d.Iter()
	for it.Next() {
		op := operators[it.KeyStr()]
		if op == nil {
			return mongoerr.New(mongoerr.FailedToParse, "Unknown modifier: %s. Expected a valid update modifier or"+
				" pipeline-style update specified as an array", it.Key())
		}
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.FailedToParse, "Modifiers operate on fields but we found type %s instead."+
				" For example: {$mod: {<field>: ...}} not {%s: %s}", it.Value().Type(), op.name, bsonval.Format(it.Value()))
		}
		fields := it.Value().Doc().Iter()
		for fields.Next() {
			if err := c.field(op, fields.KeyStr(), fields.Value()); err != nil {
				return err
			}
		}
	}
	for _, f := range p.filters {
		if !f.used {
			return mongoerr.New(mongoerr.FailedToParse,
				"The array filter for identifier '%s' was not used in the update %s", f.name, bsonval.FormatDoc(d))
		}
	}
	return nil
}

func (c *compilation) field(op *operator, path string, arg bsonval.Value) error {
	leaf, err := op.compile(c, path, arg)
	if err != nil {
		return err
	}
	first, _, _ := strings.Cut(path, ".")
	if first == "_id" || strings.HasPrefix(first, "$") || mayNestDeeply(strings.Count(path, ".")+1, arg) {
		c.p.careful = true
	}
	if to, ok := leaf.(*renameTo); ok {
		c.p.careful = true
		if err := c.add(path, &renameFrom{to.index}); err != nil {
			return err
		}
		path = to.path
	}
	return c.add(path, leaf)
}

// add puts an operation into the tree.
func (c *compilation) add(path string, leaf leafOp) error {
	names := c.names[:0]
	for name := range strings.SplitSeq(path, ".") {
		names = append(names, name)
	}
	if err := checkPath(path, names); err != nil {
		return err
	}
	n, end := c.p.root, -1
	for _, name := range names {
		end += 1 + len(name)
		if n.leaf != nil {
			return conflict(path, n.path)
		}
		filtered := strings.HasPrefix(name, "$[") && strings.HasSuffix(name, "]")
		if filtered && (len(n.children) > 0 || n.positional != nil) || !filtered && len(n.filtered) > 0 {
			return conflict(path, n.path)
		}
		switch {
		case filtered:
			index, err := c.filterIndex(name[2:len(name)-1], path)
			if err != nil {
				return err
			}
			n = n.filter(&c.p.space, index, path[:end])
		case name == "$":
			c.p.positional = true
			if n.positional == nil {
				n.positional = c.p.space.node(path[:end])
			}
			n = n.positional
		default:
			n = n.child(&c.p.space, name, path[:end])
		}
	}
	if !n.isEmpty() {
		return conflict(path, n.path)
	}
	n.leaf = leaf
	return nil
}

func (c *compilation) filterIndex(name, path string) (int, error) {
	if name == "" {
		return -1, nil
	}
	for i := range c.p.filters {
		if c.p.filters[i].name == name {
			c.p.filters[i].used = true
			return i, nil
		}
	}
	return 0, mongoerr.New(mongoerr.BadValue, "No array filter found for identifier '%s' in path '%s'", name, path)
}

func checkPath(path string, names []string) error {
	if path == "" {
		return mongoerr.New(mongoerr.EmptyFieldName, "An empty update path is not valid.")
	}
	if len(names) > bsonval.MaxDepth {
		return mongoerr.New(mongoerr.Overflow, "the update path is too deep")
	}
	positional := 0
	for i, name := range names {
		switch {
		case name == "":
			return mongoerr.New(mongoerr.EmptyFieldName,
				"The update path '%s' contains an empty field name, which is not allowed.", path)
		case name == "$" && i == 0:
			return mongoerr.New(mongoerr.BadValue,
				"Cannot have positional (i.e. '$') element in the first position in path '%s'", path)
		case name == "$":
			if positional++; positional > 1 {
				return mongoerr.New(mongoerr.BadValue,
					"Too many positional (i.e. '$') elements found in path '%s'", path)
			}
		case strings.HasPrefix(name, "$[") && strings.HasSuffix(name, "]"):
			if i == 0 {
				return mongoerr.New(mongoerr.BadValue,
					"Cannot have array filter identifier (i.e. '$[<id>]') element in the first position in path '%s'", path)
			}
		}
	}
	return nil
}
