package expr

import "github.com/archelon-db/archelon/internal/mongoerr"

// The errors of division by zero. They are values, not made anew, so that
// GroupError knows them.
var (
	errDivideByZero error = mongoerr.New(mongoerr.BadValue, "can't $divide by zero")
	errModByZero    error = mongoerr.New(16610, "can't $mod by zero")

	errGroupDivideByZero error = mongoerr.New(4848401, "can't $divide by zero")
	errGroupModByZero    error = mongoerr.New(4848403, "can't $mod by zero")
)

// GroupError gives an error from evaluating an expression the code that MongoDB
// has for it inside $group, which differs for division by zero.
func GroupError(err error) error {
	switch err {
	case errDivideByZero:
		return errGroupDivideByZero
	case errModByZero:
		return errGroupModByZero
	}
	return err
}
