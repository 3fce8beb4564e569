package expr

import "github.com/archelon-db/archelon/internal/bsonval"

var literalOperators = []operator{
	{name: "$literal", doc: "Returns a value without parsing it.", compile: compileLiteral},
	{name: "$const", doc: "An older name of $literal.", compile: compileLiteral},
}

func compileLiteral(_ *Compiler, _ *operator, arg bsonval.Value) (Expr, error) {
	return constant{arg.Clone()}, nil
}
