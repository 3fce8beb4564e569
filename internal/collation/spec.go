package collation

import (
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Version is the only collation version that is known, ICU's.
const Version = "57.1"

// Simple is the locale of binary order.
const Simple = "simple"

// Values of a collation's string options.
const (
	CaseFirstOff    = "off"
	CaseFirstUpper  = "upper"
	CaseFirstLower  = "lower"
	NonIgnorable    = "non-ignorable"
	Shifted         = "shifted"
	MaxVariable     = "punct"
	MaxVariableOnly = "space"
)

// Spec is a whole collation: what a user gave, and defaults for the rest. A nil
// Spec is the simple collation.
type Spec struct {
	Locale          string
	CaseLevel       bool
	CaseFirst       string // off, upper, lower
	Strength        int32  // 1 to 5
	NumericOrdering bool
	Alternate       string // non-ignorable, shifted
	MaxVariable     string // punct, space
	Normalization   bool
	Backwards       bool
}

const (
	codeMissingField   mongoerr.Code = 40414
	codeUnknownField   mongoerr.Code = 40415
	codeDuplicateField mongoerr.Code = 40413
)

// Parse reads a collation document. Locale "simple" gives a nil Spec. Commands
// that take an empty document for none check that before.
func Parse(d bsonval.Doc) (*Spec, error) {
	s := Spec{CaseFirst: CaseFirstOff, Strength: 3, Alternate: NonIgnorable, MaxVariable: MaxVariable}
	locale := d.Lookup("locale")
	if locale.Type() == bsonval.TypeString {
		s.localeDefaults(locale.Str())
	}
	seen := map[string]bool{}
	it := d.Iter()
	for it.Next() {
		name := string(it.Key())
		if seen[name] {
			return nil, mongoerr.New(codeDuplicateField, "BSON field 'collation.%s' is a duplicate field", name)
		}
		seen[name] = true
		read, ok := fields[name]
		if !ok {
			return nil, mongoerr.New(codeUnknownField, "BSON field 'collation.%s' is an unknown field.", name)
		}
		if err := read(&s, name, it.Value()); err != nil {
			return nil, err
		}
	}
	if it.Err() != nil {
		return nil, mongoerr.New(mongoerr.InvalidBSON, "collation: %v", it.Err())
	}
	if s.Locale == "" && !seen["locale"] || locale.Type() == bsonval.TypeNull || locale.Type() == bsonval.TypeUndefined {
		return nil, mongoerr.New(codeMissingField, "BSON field 'collation.locale' is missing but a required field")
	}
	if s.Locale == Simple {
		return nil, nil
	}
	return &s, s.validate(d)
}

// validate checks what depends on several fields.
func (s *Spec) validate(d bsonval.Doc) error {
	if s.Locale == "" {
		return mongoerr.New(mongoerr.BadValue, "Field 'locale' cannot be the empty string in: %s", bsonval.FormatDoc(d))
	}
	if !knownLocale(s.Locale) {
		if like := nearestLocale(s.Locale); like != "" {
			return mongoerr.New(mongoerr.BadValue, "Field 'locale' is invalid in: %s. Did you mean '%s'?", bsonval.FormatDoc(d), like)
		}
		return mongoerr.New(mongoerr.BadValue, "Field 'locale' is invalid in: %s", bsonval.FormatDoc(d))
	}
	if s.Backwards && s.Strength == 1 {
		return mongoerr.New(mongoerr.BadValue, "'backwards' is invalid with 'strength' of 1 in: %s", bsonval.FormatDoc(d))
	}
	if given := d.Lookup("caseFirst"); given.Type() == bsonval.TypeString && s.CaseFirst != CaseFirstOff &&
		!s.CaseLevel && s.Strength < 3 {
		return mongoerr.New(mongoerr.BadValue, "'caseFirst' is invalid unless 'caseLevel' is on or 'strength' is greater than 2 in: %s", bsonval.FormatDoc(d))
	}
	return nil
}

// Doc returns the collation as MongoDB stores and reports it.
func (s *Spec) Doc() bsonval.Doc {
	b := bsonval.NewBuilder()
	if s == nil {
		return b.Str("locale", Simple).Build()
	}
	return b.Str("locale", s.Locale).Bool("caseLevel", s.CaseLevel).Str("caseFirst", s.CaseFirst).
		Int32("strength", s.Strength).Bool("numericOrdering", s.NumericOrdering).Str("alternate", s.Alternate).
		Str("maxVariable", s.MaxVariable).Bool("normalization", s.Normalization).Bool("backwards", s.Backwards).
		Str("version", Version).Build()
}

// Equal says whether two collations are the same. Nil is the simple collation.
func (s *Spec) Equal(o *Spec) bool {
	if s == nil || o == nil {
		return s == o
	}
	return *s == *o
}

// fields are the readers of the document's fields.
var fields = map[string]func(s *Spec, name string, v bsonval.Value) error{
	"locale": func(s *Spec, name string, v bsonval.Value) error {
		return readString(&s.Locale, name, v, nil)
	},
	"caseLevel": func(s *Spec, name string, v bsonval.Value) error { return readBool(&s.CaseLevel, name, v) },
	"caseFirst": func(s *Spec, name string, v bsonval.Value) error {
		return readString(&s.CaseFirst, name, v, []string{CaseFirstUpper, CaseFirstLower, CaseFirstOff})
	},
	"strength": readStrength,
	"numericOrdering": func(s *Spec, name string, v bsonval.Value) error {
		return readBool(&s.NumericOrdering, name, v)
	},
	"alternate": func(s *Spec, name string, v bsonval.Value) error {
		return readString(&s.Alternate, name, v, []string{NonIgnorable, Shifted})
	},
	"maxVariable": func(s *Spec, name string, v bsonval.Value) error {
		return readString(&s.MaxVariable, name, v, []string{MaxVariable, MaxVariableOnly})
	},
	"normalization": func(s *Spec, name string, v bsonval.Value) error { return readBool(&s.Normalization, name, v) },
	"backwards": func(s *Spec, name string, v bsonval.Value) error {
		if v.Type() == bsonval.TypeNull {
			return wrongType(name, v, "type 'bool'")
		}
		return readBool(&s.Backwards, name, v)
	},
	"version": func(s *Spec, name string, v bsonval.Value) error {
		version := Version
		if err := readString(&version, name, v, nil); err != nil || version == Version {
			return err
		}
		return mongoerr.New(mongoerr.IncompatibleCollationVersion,
			"Requested collation version %s but the only available collator version was %s", version, Version)
	},
}

func wrongType(name string, v bsonval.Value, want string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'collation.%s' is the wrong type '%s', expected %s",
		name, v.Type(), want)
}

func isNull(v bsonval.Value) bool {
	return v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined
}

func readBool(to *bool, name string, v bsonval.Value) error {
	switch {
	case v.Type() == bsonval.TypeBool:
		*to = v.Bool()
	case !isNull(v):
		return wrongType(name, v, "type 'bool'")
	}
	return nil
}

func readString(to *string, name string, v bsonval.Value, allowed []string) error {
	switch {
	case isNull(v):
		return nil
	case v.Type() != bsonval.TypeString:
		return wrongType(name, v, "type 'string'")
	case allowed != nil && !slices.Contains(allowed, v.Str()):
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'collation.%s' is not a valid value.", v.Str(), name)
	}
	*to = strings.Clone(v.Str())
	return nil
}

// readStrength cuts doubles and rounds decimals, half even.
func readStrength(s *Spec, name string, v bsonval.Value) error {
	if isNull(v) {
		return nil
	}
	if !v.IsNumber() {
		return wrongType(name, v, "types '[long, int, decimal, double]'")
	}
	if v.Type() == bsonval.TypeDecimal128 {
		v = roundHalfEven(v)
	}
	n := v.TruncInt64()
	if n < 1 || n > 5 {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%d' for field 'collation.%s' is not a valid value.", n, name)
	}
	s.Strength = int32(n)
	return nil
}

func roundHalfEven(v bsonval.Value) bsonval.Value {
	whole := v.TruncInt64()
	rest := v.Decimal().Sub(bsonval.DecimalFromInt64(whole))
	half, _, _ := bsonval.ParseDecimal("0.5")
	switch c := rest.Abs().Cmp(half); {
	case c < 0 || c == 0 && whole%2 == 0 || !v.Decimal().IsFinite():
	case rest.Negative():
		whole--
	default:
		whole++
	}
	return bsonval.Int64(whole)
}
