package command

import (
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Kind says which types of value an argument takes. Null and undefined stand for an absent argument in all kinds but
// Any.
type Kind uint8

// The kinds of arguments. Numbers given for Int become integers, see toInt64.
const (
	Any            Kind = iota // every type, null included
	Bool                       // a boolean and nothing else
	SafeBool                   // a boolean or a number
	Int                        // a number
	Long                       // an int64 and nothing else
	Int32                      // an int32 and nothing else
	String                     // a string
	Object                     // a document
	Array                      // an array
	ObjectOrString             // a document or a string
	ObjectOrArray              // a document or an array
	StringOrArray              // a string or an array of strings
	UUID                       // binary data of subtype 4
	Timestamp                  // a timestamp
	BoolOrString               // a boolean or a string
	IntOrString                // a number or a string
	StringOrObjectOrArray
)

type kindRow struct {
	types []bsonval.Type
	text  string // what an error says is expected
}

var kinds = [...]kindRow{
	Any:                   {},
	Bool:                  kindOf(bsonval.TypeBool),
	SafeBool:              kindOf(bsonval.TypeBool, bsonval.TypeInt64, bsonval.TypeInt32, bsonval.TypeDecimal128, bsonval.TypeDouble),
	Int:                   kindOf(bsonval.TypeInt64, bsonval.TypeInt32, bsonval.TypeDecimal128, bsonval.TypeDouble),
	Long:                  kindOf(bsonval.TypeInt64),
	Int32:                 kindOf(bsonval.TypeInt32),
	String:                kindOf(bsonval.TypeString),
	Object:                kindOf(bsonval.TypeDocument),
	Array:                 kindOf(bsonval.TypeArray),
	ObjectOrString:        kindOf(bsonval.TypeDocument, bsonval.TypeString),
	ObjectOrArray:         kindOf(bsonval.TypeDocument, bsonval.TypeArray),
	StringOrArray:         kindOf(bsonval.TypeString, bsonval.TypeArray),
	UUID:                  kindOf(bsonval.TypeBinary),
	Timestamp:             kindOf(bsonval.TypeTimestamp),
	BoolOrString:          kindOf(bsonval.TypeBool, bsonval.TypeString),
	IntOrString:           kindOf(bsonval.TypeInt64, bsonval.TypeInt32, bsonval.TypeDecimal128, bsonval.TypeDouble, bsonval.TypeString),
	StringOrObjectOrArray: kindOf(bsonval.TypeString, bsonval.TypeDocument, bsonval.TypeArray),
}

func kindOf(types ...bsonval.Type) kindRow {
	if len(types) == 1 {
		return kindRow{types, "type '" + types[0].String() + "'"}
	}
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.String()
	}
	return kindRow{types, "types '[" + strings.Join(names, ", ") + "]'"}
}

// accepts says whether a value is of the kind.
func (k Kind) accepts(t bsonval.Type) bool {
	if k == Any {
		return true
	}
	for _, x := range kinds[k].types {
		if x == t {
			return true
		}
	}
	return false
}

// isAbsent says whether a value stands for no value.
func (k Kind) isAbsent(v bsonval.Value) bool {
	return v.IsMissing() || k != Any && (v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined)
}

// Field is an argument of a command or a field of one of its documents.
type Field struct {
	Name     string
	Kind     Kind
	Required bool
	// NonNegative numbers fail below zero.
	NonNegative bool
	// Sequence arguments may also come as a document sequence of the message.
	Sequence bool
	// Unsupported arguments are checked for their type and then refused by name.
	Unsupported bool
}

// check says what is wrong with a present value of the field; path is the name of what holds it.
func (f *Field) check(path string, v bsonval.Value) error {
	if !f.Kind.accepts(v.Type()) {
		return wrongType(path, f.Name, v.Type(), f.Kind)
	}
	switch {
	case f.NonNegative && toInt64(v) < 0:
		return mongoerr.New(mongoerr.BadValue, "BSON field '%s' value must be >= 0, actual value '%d'", f.Name, toInt64(v))
	case f.Kind == UUID && v.BinarySubtype() != 4:
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong binData subtype %d, expected type 'UUID'", path, f.Name, v.BinarySubtype())
	case f.Kind == UUID && len(v.Bytes()) != 16:
		return mongoerr.New(mongoerr.InvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype")
	case f.Unsupported:
		return mongoerr.New(mongoerr.NotImplemented, "'%s.%s' is not implemented", path, f.Name)
	}
	return nil
}

// toInt64 converts a number given for an integer: doubles are cut, decimals rounded to the nearest, ties to even; NaN is
// 0 and what is out of range goes to the end of the range.
func toInt64(v bsonval.Value) int64 {
	n := v.TruncInt64()
	if v.Type() != bsonval.TypeDecimal128 || n == math.MaxInt64 || n == math.MinInt64 || v.IsNaN() {
		return n
	}
	rest := v.Decimal().Sub(bsonval.DecimalFromInt64(n)).Abs()
	if c := rest.Cmp(half); c > 0 || c == 0 && n%2 != 0 {
		if v.Decimal().Negative() {
			return n - 1
		}
		return n + 1
	}
	return n
}

var half = bsonval.DecimalFromDouble(0.5)

func wrongType(path, field string, got bsonval.Type, want Kind) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected %s",
		path, field, got, kinds[want].text)
}

// errUnknownField, errMissingField and errDuplicateField are the errors of documents whose fields are not those they
// should be.
func errUnknownField(path, field string) error {
	return mongoerr.New(40415, "BSON field '%s.%s' is an unknown field.", path, field)
}

func errMissingField(path, field string) error {
	return mongoerr.New(40414, "BSON field '%s.%s' is missing but a required field", path, field)
}

func errDuplicateField(path, field string) error {
	return mongoerr.New(40413, "BSON field '%s.%s' is a duplicate field", path, field)
}

// fieldIndex returns the position of a field in a list, or -1.
func fieldIndex(fields []Field, name []byte) int {
	for i := range fields {
		if fields[i].Name == string(name) {
			return i
		}
	}
	return -1
}

// ParseFields reads a document with a closed set of fields: vals[i] is set to the value of fields[i], missing if the
// document has none. path is the document's name in errors, such as "update.updates". At most 64 fields.
func ParseFields(path string, d bsonval.Doc, fields []Field, vals []bsonval.Value) error {
	for i := range vals {
		vals[i] = bsonval.Missing
	}
	var seen uint64
	it := d.Iter()
	for it.Next() {
		i := fieldIndex(fields, it.Key())
		if i < 0 {
			return errUnknownField(path, string(it.Key()))
		}
		if seen&(1<<i) != 0 {
			return errDuplicateField(path, fields[i].Name)
		}
		seen |= 1 << i
		v := it.Value()
		if fields[i].Kind.isAbsent(v) {
			continue
		}
		if err := fields[i].check(path, v); err != nil {
			return err
		}
		vals[i] = v
	}
	for i := range fields {
		if fields[i].Required && vals[i].IsMissing() {
			return errMissingField(path, fields[i].Name)
		}
	}
	return it.Err()
}
