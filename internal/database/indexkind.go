package database

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/projection"
)

// indexKind is a kind of index, told from the key pattern.
type indexKind struct {
	name string

	// built kinds can be created; others are checked and then refused.
	built bool

	// collated kinds take a collation.
	collated bool

	// checkMore checks the kind's own options; nil for none.
	checkMore func(s *indexSpec) error
}

var (
	btreeKind    = indexKind{name: "btree", built: true, collated: true}
	hashedKind   = indexKind{name: "hashed", built: true, checkMore: checkHashed}
	textKind     = indexKind{name: "text", built: true, checkMore: checkText}
	flatKind     = indexKind{name: "2d", built: true, checkMore: check2D}
	sphereKind   = indexKind{name: "2dsphere", built: true, collated: true, checkMore: checkSphere}
	wildcardKind = indexKind{name: "wildcard", built: true, collated: true, checkMore: checkWildcard}
)

// kindByName finds the kind that a string in a key pattern names.
func kindByName(name string) (indexKind, bool) {
	for _, k := range []indexKind{hashedKind, textKind, flatKind, sphereKind} {
		if k.name == name {
			return k, true
		}
	}
	return indexKind{}, false
}

// check checks the options that depend on the kind.
func (k *indexKind) check(s *indexSpec) error {
	if !s.get("wildcardProjection").IsMissing() && k.name != wildcardKind.name {
		return mongoerr.New(mongoerr.BadValue, "The field 'wildcardProjection' is only allowed in an 'wildcard' index")
	}
	if !s.get("weights").IsMissing() && k.name != textKind.name {
		return mongoerr.New(mongoerr.CannotCreateIndex, "the field 'weights' can only be specified with text indexes")
	}
	if k.checkMore == nil {
		return nil
	}
	return k.checkMore(s)
}

// checkKey checks a key pattern and finds the index's kind.
func (s *indexSpec) checkKey(name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return wrongIndexOption(name, v, "an object")
	}
	key := v.Doc()
	switch n := key.Len(); {
	case n == 0:
		return mongoerr.New(mongoerr.CannotCreateIndex, "Index keys cannot be empty.")
	case len(key) > maxKeyPatternBytes:
		return mongoerr.New(mongoerr.CannotCreateIndex, "Index key pattern too large.")
	}
	s.kind = btreeKind
	seen := map[string]bool{}
	it := key.Iter()
	for it.Next() {
		field, v := string(it.Key()), it.Value()
		if seen[field] {
			return mongoerr.New(mongoerr.BadValue, "The field '%s' appears multiple times in the index key pattern %s",
				field, bsonval.FormatDoc(key))
		}
		seen[field] = true
		if err := s.checkKeyValue(field, v); err != nil {
			return err
		}
		if err := s.checkKeyField(field); err != nil {
			return err
		}
	}
	if s.kind.name == wildcardKind.name {
		return s.checkWildcardKey(key)
	}
	if key.Len() > maxIndexFields {
		return mongoerr.New(codeTooManyFields, "too many compound keys")
	}
	return nil
}

// checkKeyValue checks the value of one field of a key pattern.
func (s *indexSpec) checkKeyValue(field string, v bsonval.Value) error {
	switch {
	case v.IsNumber():
		if v.IsNaN() {
			return mongoerr.New(mongoerr.CannotCreateIndex, "Values in the index key pattern cannot be NaN.")
		}
		if v.IsZero() {
			return mongoerr.New(mongoerr.CannotCreateIndex, "Values in the index key pattern cannot be 0.")
		}
	case v.Type() != bsonval.TypeString:
		return mongoerr.New(mongoerr.CannotCreateIndex, "Values in v:2 index key pattern cannot be of type %s. Only numbers > 0, "+
			"numbers < 0, and strings are allowed.", v.Type())
	case v.Str() == wildcardKind.name && !isWildcardPath(field):
		return mongoerr.New(7246202, "Wildcard indexes cannot be created with the index type 'wildcard'")
	default:
		kind, ok := kindByName(v.Str())
		if !ok {
			return mongoerr.New(mongoerr.CannotCreateIndex, "Unknown index plugin '%s'", v.Str())
		}
		if s.kind.name != btreeKind.name && s.kind.name != kind.name {
			return mongoerr.New(mongoerr.CannotCreateIndex, "Can't use more than one index plugin for a single index.")
		}
		s.kind = kind
	}
	return nil
}

// checkKeyField checks the path of one field of a key pattern.
func (s *indexSpec) checkKeyField(field string) error {
	if field == "" {
		return mongoerr.New(mongoerr.CannotCreateIndex, "Index keys cannot be an empty field.")
	}
	if isWildcardPath(field) {
		if s.kind.name != btreeKind.name && s.kind.name != wildcardKind.name {
			if s.kind.name == textKind.name {
				return nil
			}
			return mongoerr.New(mongoerr.CannotCreateIndex, "Index key contains an illegal field name: wildcard with '%s'", s.kind.name)
		}
		if s.kind.name == btreeKind.name {
			s.kind = wildcardKind
		}
		field = strings.TrimSuffix(strings.TrimSuffix(field, "$**"), ".")
		if field == "" {
			return nil
		}
	}
	for part := range strings.SplitSeq(field, ".") {
		switch {
		case part == "":
			return mongoerr.New(mongoerr.CannotCreateIndex, "Index keys cannot contain an empty field.")
		case part[0] == '$' && part != "$id" && part != "$ref" && part != "$db":
			return mongoerr.New(mongoerr.CannotCreateIndex, "Index key contains an illegal field name: field name starts with '$'.")
		}
	}
	return nil
}

func isWildcardPath(field string) bool { return field == "$**" || strings.HasSuffix(field, ".$**") }

// checkWildcardKey checks the key pattern of a wildcard index.
func (s *indexSpec) checkWildcardKey(key bsonval.Doc) error {
	wildcards := 0
	it := key.Iter()
	for it.Next() {
		if isWildcardPath(it.KeyStr()) {
			wildcards++
		}
	}
	switch {
	case wildcards > 1:
		return mongoerr.New(7246201, "wildcard indexes do not allow more than one wildcard field")
	case key.Len() > 1 && s.get("wildcardProjection").IsMissing() && !key.Lookup("$**").IsMissing():
		return mongoerr.New(mongoerr.CannotCreateIndex, "Compound wildcard index must have a 'wildcardProjection' field when "+
			"the wildcard field is on all fields ('$**')")
	}
	return nil
}

func checkHashed(s *indexSpec) error {
	if s.get("unique").Truthy() {
		return mongoerr.New(16764, "Currently hashed indexes cannot guarantee uniqueness. Use a regular index.")
	}
	hashed := 0
	it := s.key.Iter()
	for it.Next() {
		if it.Value().Type() == bsonval.TypeString {
			hashed++
		}
	}
	if hashed > 1 {
		return mongoerr.New(31303, "A maximum of one index field is allowed to be hashed but found %d for 'key' %s",
			hashed, bsonval.FormatDoc(s.key))
	}
	return nil
}

func checkWildcard(s *indexSpec) error {
	if n, _ := s.get("v").AsInt64(); n == 1 {
		return mongoerr.New(mongoerr.CannotCreateIndex, "Index type 'wildcard' needs index version 2")
	}
	for _, option := range []string{"sparse", "unique"} {
		if s.get(option).Truthy() {
			return mongoerr.New(mongoerr.CannotCreateIndex, "Index type 'wildcard' does not support the %s option", option)
		}
	}
	if !s.get("expireAfterSeconds").IsMissing() {
		return mongoerr.New(mongoerr.CannotCreateIndex, "Index type 'wildcard' cannot be a TTL index")
	}
	v := s.get("wildcardProjection")
	switch {
	case v.IsMissing():
		return nil
	case s.key.Lookup("$**").IsMissing():
		return mongoerr.New(mongoerr.FailedToParse,
			"The field 'wildcardProjection' is only allowed when 'key' is '{\"$**\": ±1}' or with one wildcard field on all fields")
	case v.Doc().IsEmpty():
		return mongoerr.New(mongoerr.FailedToParse, "The 'wildcardProjection' field can't be an empty object")
	}
	if err := checkProjectionValues(v.Doc()); err != nil {
		return err
	}
	if err := checkCollisions(v.Doc()); err != nil {
		return err
	}
	if _, err := projection.Compile(v.Doc(), projection.Options{Mode: projection.Aggregate}); err != nil {
		return err
	}
	return s.checkCovered(v.Doc())
}

// checkProjectionValues refuses expressions in a wildcardProjection.
func checkProjectionValues(d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		v := it.Value()
		switch {
		case v.Type() == bsonval.TypeDocument:
			if err := checkProjectionValues(v.Doc()); err != nil {
				return err
			}
		case v.Type() != bsonval.TypeBool && !v.IsNumber():
			return mongoerr.New(51271, "Bad projection specification, cannot use computed fields when parsing a spec in strict mode: %s",
				bsonval.FormatDoc(d))
		}
	}
	return nil
}

// checkCollisions refuses a wildcardProjection that names a path and one under it,
// which counts before anything else that is wrong with it.
func checkCollisions(d bsonval.Doc) error {
	outer := d.Iter()
	for outer.Next() {
		inner := d.Iter()
		for inner.Next() {
			if rest, under := strings.CutPrefix(inner.KeyStr(), outer.KeyStr()+"."); under {
				return mongoerr.New(31249, "Path collision at %s remaining portion %s", inner.KeyStr(), rest)
			}
		}
	}
	return nil
}

// checkCovered says whether the other fields of a compound wildcard index are
// left out of the wildcard's part.
func (s *indexSpec) checkCovered(proj bsonval.Doc) error {
	including := false
	it := proj.Iter()
	for it.Next() {
		including = including || it.KeyStr() != "_id" && (it.Value().Type() == bsonval.TypeDocument || it.Value().Truthy())
	}
	fields := s.key.Iter()
	for fields.Next() {
		field := fields.KeyStr()
		if isWildcardPath(field) {
			continue
		}
		named := false
		it := proj.Iter()
		for it.Next() {
			named = named || it.KeyStr() == field || strings.HasPrefix(field, it.KeyStr()+".")
		}
		if named == including {
			return mongoerr.New(7246209, "wildcardProjection must exclude the regular fields of a compound wildcard index, but '%s' is not", field)
		}
	}
	return nil
}
