package pipeline

import (
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// fields reads the argument document of a stage whose fields are all known: a
// name that set does not know is an error.
func fields(stage string, d bsonval.Doc, set func(name string, v bsonval.Value) (known bool, err error)) error {
	it := d.Iter()
	for it.Next() {
		known, err := set(it.KeyStr(), it.Value())
		if err != nil {
			return err
		}
		if !known {
			return errUnknownField(stage, it.KeyStr())
		}
	}
	return nil
}

func errUnknownField(stage, name string) error {
	return mongoerr.New(40415, "BSON field '%s.%s' is an unknown field.", stage, name)
}

func errMissingField(stage, name string) error {
	return mongoerr.New(40414, "BSON field '%s.%s' is missing but a required field", stage, name)
}

func errFieldType(stage, name string, v bsonval.Value, want string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'",
		stage, name, v.Type(), want)
}

func fieldString(stage, name string, v bsonval.Value) (string, error) {
	if v.Type() != bsonval.TypeString {
		return "", errFieldType(stage, name, v, "string")
	}
	return strings.Clone(v.Str()), nil
}

func fieldDoc(stage, name string, v bsonval.Value) (bsonval.Doc, error) {
	if v.Type() != bsonval.TypeDocument {
		return nil, errFieldType(stage, name, v, "object")
	}
	return v.Doc(), nil
}

func fieldBool(stage, name string, v bsonval.Value) (bool, error) {
	if v.Type() != bsonval.TypeBool {
		return false, errFieldType(stage, name, v, "bool")
	}
	return v.Bool(), nil
}

// isNull tells a value that counts as absent in arguments that MongoDB checks
// by an interface definition.
func isNull(v bsonval.Value) bool {
	return v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined
}

// wholeNumber reads a number that is an integer in int64's range; doubles and
// decimals count if they have no fraction.
func wholeNumber(v bsonval.Value) (int64, bool) {
	if !v.IsNumber() {
		return 0, false
	}
	if v.Type() == bsonval.TypeDouble {
		f := v.Double()
		if f != math.Trunc(f) || math.Abs(f) >= 1<<63 {
			return 0, false
		}
	}
	return v.AsInt64()
}

// checkCollName checks a collection's name.
func checkCollName(db, coll string) error {
	switch {
	case coll == "":
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified '%s.'", db)
	case strings.IndexByte(coll, 0) >= 0:
		return mongoerr.New(mongoerr.InvalidNamespace, "namespaces cannot have embedded null characters")
	case coll[0] == '.':
		return mongoerr.New(mongoerr.InvalidNamespace, "Collection names cannot start with '.': %s", coll)
	}
	return nil
}

// checkDBName checks a database's name.
func checkDBName(db string) error {
	if db == "" || len(db) > 63 || strings.ContainsAny(db, "/\\. \"$\x00") {
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid database name: '%s'", db)
	}
	return nil
}
