package shape

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// The codes of faults, as MongoDB's command parsers give them.
const (
	badValue     = mongoerr.BadValue
	typeMismatch = mongoerr.TypeMismatch

	duplicateField mongoerr.Code = 40413
	missingField   mongoerr.Code = 40414
	unknownField   mongoerr.Code = 40415
)

// fault is what is wrong with a value. It learns its path on the way out, so that values without faults cost none.
type fault struct {
	code mongoerr.Code
	// text is what follows "BSON field 'path' " in the message.
	text string
	// path is the way to the value, innermost first.
	path []string
	// err is the error of a type that decodes itself, given through as it is if it has a code.
	err error
}

// in says that the faulty value lies in a field.
func (f *fault) in(name string) *fault {
	f.path = append(f.path, name)
	return f
}

func (f *fault) inIndex(i int) *fault { return f.in(strconv.Itoa(i)) }

// error is the fault for the client; name is that of the whole document.
func (f *fault) error(name string) *mongoerr.Error {
	if e := mongoerr.As(f.err); e != nil {
		return e
	}
	var b strings.Builder
	b.WriteString("BSON field '" + name)
	for i := len(f.path) - 1; i >= 0; i-- {
		b.WriteByte('.')
		b.WriteString(f.path[i])
	}
	b.WriteString("' " + f.text)
	return mongoerr.New(f.code, "%s", b.String())
}

func wrongType(got bsonval.Type, accepts []bsonval.Type) *fault {
	want := "type '"
	if len(accepts) > 1 {
		want = "types '["
	}
	for i, t := range accepts {
		if i > 0 {
			want += ", "
		}
		want += t.String()
	}
	if len(accepts) > 1 {
		want += "]"
	}
	return &fault{code: typeMismatch, text: fmt.Sprintf("is the wrong type '%s', expected %s'", got, want)}
}

func outOfRange(v bsonval.Value, relation string, bound any) *fault {
	return &fault{code: badValue, text: fmt.Sprintf("value must be %s %v, actual value '%s'", relation, bound, bsonval.Format(v))}
}
