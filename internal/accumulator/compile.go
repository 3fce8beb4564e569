package accumulator

import (
	"sort"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// operator is a row of a family's table. Exactly one of start and compile is
// set.
type operator struct {
	name string // with the dollar
	doc  string // one sentence for the manual

	// start makes an empty collector of operators that take one expression.
	start func(c *expr.Context, n int) (collector, error)

	// compile compiles operators with other arguments.
	compile func(c *expr.Compiler, op *operator, arg bsonval.Value) (*Factory, error)
}

// families are the tables, one for each file.
func families() [][]operator {
	return [][]operator{
		arrayOperators,
		firstLastOperators,
		nOperators,
		numberOperators,
		objectOperators,
		percentileOperators,
		scriptOperators,
		topOperators,
	}
}

var operators = func() map[string]*operator {
	all := map[string]*operator{}
	for _, family := range families() {
		for i := range family {
			op := &family[i]
			if all[op.name] != nil || (op.start == nil) == (op.compile == nil) {
				panic("accumulator: bad table row " + op.name)
			}
			all[op.name] = op
		}
	}
	return all
}()

// Operator describes an accumulator or window function for the manual.
type Operator struct{ Name, Doc string }

// Operators lists the accumulators by name.
func Operators() []Operator {
	list := make([]Operator, 0, len(operators))
	for _, op := range operators {
		list = append(list, Operator{op.name, op.doc})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// CompileField compiles one field of $group or of an output document,
// {name: {$op: arg}}, and checks the field's name.
func CompileField(c *expr.Compiler, name string, spec bsonval.Value) (*Factory, error) {
	switch {
	case strings.Contains(name, "."):
		return nil, mongoerr.New(40235, "The field name '%s' cannot contain '.'", name)
	case strings.HasPrefix(name, "$"):
		return nil, mongoerr.New(40236, "The field name '%s' cannot be an operator name", name)
	case spec.Type() != bsonval.TypeDocument:
		return nil, mongoerr.New(40234, "The field '%s' must be an accumulator object", name)
	}
	return compileNamed(c, name, spec.Doc())
}

// Compile compiles an accumulator object {$op: arg}.
func Compile(c *expr.Compiler, spec bsonval.Doc) (*Factory, error) {
	return compileNamed(c, "accumulator", spec)
}

func compileNamed(c *expr.Compiler, field string, spec bsonval.Doc) (*Factory, error) {
	name, arg, ok := spec.First()
	switch {
	case !ok || !strings.HasPrefix(name, "$"):
		return nil, mongoerr.New(40234, "The field '%s' must be an accumulator object", field)
	case spec.Len() != 1:
		return nil, mongoerr.New(40238, "The field '%s' must specify one accumulator", field)
	case arg.Type() == bsonval.TypeArray:
		return nil, mongoerr.New(40237, "The %s accumulator is a unary operator", name)
	}
	op := operators[name]
	if op == nil {
		return nil, mongoerr.New(15952, "unknown group operator '%s'", name)
	}
	return op.build(c, arg)
}

// build compiles the operator's argument.
func (op *operator) build(c *expr.Compiler, arg bsonval.Value) (*Factory, error) {
	if op.compile != nil {
		return op.compile(c, op, arg)
	}
	input, err := c.Compile(arg)
	if err != nil {
		return nil, err
	}
	return &Factory{name: op.name, input: input, start: op.start}, nil
}

// namedArgument is one field of an operator's argument object.
type namedArgument struct {
	name     string
	required mongoerr.Code // code when it is absent; 0 if it may be
}

// splitArguments finds the named arguments in an operator's object, in order.
func splitArguments(op string, arg bsonval.Value, notObject, unknown mongoerr.Code,
	args ...namedArgument) ([]bsonval.Value, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(notObject, "specification must be an object; found %s: %s", op, bsonval.Format(arg))
	}
	raw := make([]bsonval.Value, len(args))
	it := arg.Doc().Iter()
next:
	for it.Next() {
		for i := range args {
			if args[i].name == it.KeyStr() {
				raw[i] = it.Value()
				continue next
			}
		}
		return nil, mongoerr.New(unknown, "Unknown argument to %s '%s'", op, it.Key())
	}
	for i, a := range args {
		if raw[i].IsMissing() && a.required != 0 {
			return nil, mongoerr.New(a.required, "Missing value for '%s' of %s", a.name, op)
		}
	}
	return raw, nil
}
