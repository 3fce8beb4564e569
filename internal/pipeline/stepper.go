package pipeline

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// stepper computes the values of a sequence of numbers, or of dates in a unit of
// time.
type stepper struct {
	step bsonval.Value
	add  *dateAdder // nil for numbers
}

func newStepper(c *expr.Compiler, step bsonval.Value, unit string) (*stepper, error) {
	s := &stepper{step: step}
	if unit == "" {
		return s, nil
	}
	if _, ok := wholeNumber(step); !ok {
		return nil, mongoerr.New(6586400, "The step parameter in a range statement must be a whole number when densifying a date range")
	}
	var err error
	s.add, err = newDateAdder(c, unit)
	return s, err
}

// check checks that a value can belong to the sequence.
func (s *stepper) check(v bsonval.Value) error {
	switch {
	case s.add == nil && !v.IsNumber():
		if v.Type() == bsonval.TypeDate {
			return mongoerr.New(6053600, "$densify step must be a date unit if the field is a date")
		}
		return mongoerr.New(5733201, "PlanExecutor error during aggregation :: caused by :: Densify field type must be numeric or date")
	case s.add != nil && v.Type() != bsonval.TypeDate:
		return mongoerr.New(6053600, "$densify range.unit requires date values")
	}
	return nil
}

// at returns base plus n steps.
func (s *stepper) at(c *expr.Context, base bsonval.Value, n int64) (bsonval.Value, error) {
	total, _ := bsonval.Mul(s.step, bsonval.Int64(n))
	if s.add == nil {
		if n <= 1<<31 && s.step.Type() == bsonval.TypeInt32 {
			total, _ = bsonval.Mul(s.step, bsonval.Int32(int32(n)))
		}
		sum, _ := bsonval.Add(base, narrow(total, s.step, base))
		return sum, nil
	}
	amount, _ := wholeNumber(total)
	return s.add.add(c, base, amount)
}

// narrow gives a product the type that repeated addition would have given it.
func narrow(v, step, base bsonval.Value) bsonval.Value {
	if v.Type() == bsonval.TypeInt64 && step.Type() == bsonval.TypeInt32 && base.Type() == bsonval.TypeInt32 {
		if n := v.Int64(); n == int64(int32(n)) {
			return bsonval.Int32(int32(n))
		}
	}
	return v
}

// dateAdder adds amounts of a unit to dates: $dateAdd on two variables of its own.
type dateAdder struct {
	e            expr.Expr
	date, amount int
}

func newDateAdder(c *expr.Compiler, unit string) (*dateAdder, error) {
	a := &dateAdder{}
	closeScope := c.Scope()
	defer closeScope()
	a.date, a.amount = c.Declare("date"), c.Declare("amount")
	spec := bsonval.NewBuilder().StartDoc("$dateAdd").Str("startDate", "$$date").Str("unit", unit).Str("amount", "$$amount").Build()
	e, err := c.Compile(bsonval.Document(spec))
	if err != nil {
		return nil, mongoerr.New(mongoerr.FailedToParse, "unknown time unit value: %s", unit)
	}
	a.e = e
	return a, nil
}

func (a *dateAdder) add(c *expr.Context, date bsonval.Value, amount int64) (bsonval.Value, error) {
	c.Vars[a.date], c.Vars[a.amount] = date, bsonval.Int64(amount)
	return a.e.Eval(c)
}
