package database

import (
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Limits of indexes, MongoDB's.
const (
	maxIndexes         = 64 // of one collection
	maxIndexFields     = 32
	maxKeyPatternBytes = 2048
	maxExpireSeconds   = math.MaxInt32
)

// codeTooManyFields is the error of a key pattern with more than maxIndexFields.
const codeTooManyFields mongoerr.Code = 13103

// indexVersion is the only version of index specifications that is stored.
const indexVersion = 2

// idIndexSpec is the specification of the index on _id; it has the collection's
// collation.
func idIndexSpec(order *collation.Spec) bsonval.Doc {
	b := bsonval.NewBuilder().Int32("v", indexVersion).StartDoc("key").Int32("_id", 1).End().Str("name", "_id_")
	if order != nil {
		b.Doc("collation", order.Doc())
	}
	return b.Build()
}

// indexOption checks the value of a field of an index specification.
type indexOption func(s *indexSpec, name string, v bsonval.Value) error

// indexOptions are the fields of index specifications.
var indexOptions = map[string]indexOption{
	"key": (*indexSpec).checkKey, "name": (*indexSpec).checkName, "v": (*indexSpec).checkVersion,
	"ns": checkStringOption, "unique": checkBoolOption, "sparse": checkBoolOption, "hidden": checkBoolOption,
	"background": checkBoolOption, "dropDups": checkBoolOption, "prepareUnique": checkBoolOption,
	"clustered": checkBoolOption, "expireAfterSeconds": checkExpire, "collation": checkCollationOption,
	"partialFilterExpression": checkDocOption, "storageEngine": checkDocOption, "weights": checkWeights,
	"wildcardProjection": checkDocOption, "default_language": checkStringOption, "language_override": checkStringOption,
	"textIndexVersion": checkNumberOption, "2dsphereIndexVersion": checkNumberOption, "bits": checkNumberOption,
	"min": checkNumberOption, "max": checkNumberOption, "bucketSize": refuseBucketSize,
	"finestIndexedLevel": checkNumberOption, "coarsestIndexedLevel": checkNumberOption, "columnstoreProjection": checkDocOption,
	"originalSpec": checkDocOption,
}

// idIndexOptions are those that an index on _id may have.
var idIndexOptions = map[string]bool{"key": true, "name": true, "v": true, "ns": true, "collation": true}

// indexSpec is an index specification being checked.
type indexSpec struct {
	given bsonval.Doc
	key   bsonval.Doc
	kind  indexKind
}

// get returns a field of the specification, null ones included.
func (s *indexSpec) get(name string) bsonval.Value { return s.given.Lookup(name) }

// parseIndexSpec checks an index specification for itself.
func parseIndexSpec(given bsonval.Doc) (*indexSpec, error) {
	s := &indexSpec{given: given}
	err := s.check()
	if e := mongoerr.As(err); e != nil {
		return nil, e.Wrap("Error in specification " + bsonval.FormatDoc(given) + " :: caused by :: ")
	}
	return s, err
}

func (s *indexSpec) check() error {
	if v := s.get("key"); v.Type() == bsonval.TypeDocument {
		s.key = v.Doc()
	}
	if isIDPattern(s.key) {
		if err := s.checkIDIndex(); err != nil {
			return err
		}
	}
	it := s.given.Iter()
	for it.Next() {
		name := string(it.Key())
		check, ok := indexOptions[name]
		if !ok {
			return mongoerr.New(mongoerr.InvalidIndexSpecificationOption,
				"The field '%s' is not valid for an index specification. Specification: %s", name, bsonval.FormatDoc(s.given))
		}
		if err := check(s, name, it.Value()); err != nil {
			return err
		}
	}
	for _, name := range []string{"key", "name"} {
		if s.get(name).IsMissing() {
			return mongoerr.New(mongoerr.FailedToParse, "The '%s' field is a required property of an index specification", name)
		}
	}
	return s.checkTogether()
}

// checkTogether checks what concerns several fields.
func (s *indexSpec) checkTogether() error {
	if s.get("name").Str() == "_id_" && !isIDPattern(s.key) {
		return mongoerr.New(mongoerr.BadValue, "The index name '_id_' is reserved for the _id index, which must have key "+
			"pattern {_id: 1}, found key: %s", bsonval.FormatDoc(s.key))
	}
	ttl, partial := s.get("expireAfterSeconds"), s.get("partialFilterExpression")
	switch {
	case !ttl.IsMissing() && s.key.Len() > 1:
		return mongoerr.New(mongoerr.CannotCreateIndex, "TTL indexes are single-field indexes, compound indexes do not "+
			"support TTL. Index spec: %s", bsonval.FormatDoc(s.given))
	case !partial.IsMissing() && s.get("sparse").Truthy():
		return mongoerr.New(mongoerr.CannotCreateIndex, "cannot mix \"partialFilterExpression\" and \"sparse\" options")
	case s.get("clustered").Truthy():
		return mongoerr.New(mongoerr.InvalidOptions,
			"Cannot create a clustered index with 'createIndexes', use 'create' with 'clusteredIndex'")
	}
	if err := s.kind.check(s); err != nil {
		return err
	}
	if !partial.IsMissing() {
		return checkPartialFilter(partial.Doc())
	}
	return nil
}

// isIDPattern tells the key patterns of indexes on _id: one field with a number.
func isIDPattern(key bsonval.Doc) bool {
	name, v, ok := key.First()
	return ok && name == "_id" && key.Len() == 1 && v.IsNumber()
}

// checkIDIndex checks the specification of an index on _id.
func (s *indexSpec) checkIDIndex() error {
	it := s.given.Iter()
	for it.Next() {
		if !idIndexOptions[it.KeyStr()] {
			return mongoerr.New(mongoerr.InvalidIndexSpecificationOption,
				"The field '%s' is not valid for an _id index specification. Specification: %s", it.Key(), bsonval.FormatDoc(s.given))
		}
	}
	if n, ok := s.key.Lookup("_id").AsInt64(); !ok || n != 1 {
		return mongoerr.New(mongoerr.BadValue,
			"The field 'key' for an _id index must be {_id: 1}, but got %s", bsonval.FormatDoc(s.key))
	}
	return nil
}

func wrongIndexOption(name string, v bsonval.Value, want string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "The field '%s' must be %s, but got %s", name, want, v.Type())
}

func checkStringOption(_ *indexSpec, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeString {
		return wrongIndexOption(name, v, "a string")
	}
	return nil
}

func checkBoolOption(_ *indexSpec, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeBool && !v.IsNumber() {
		return wrongIndexOption(name, v, "a bool or a number")
	}
	return nil
}

func checkNumberOption(_ *indexSpec, name string, v bsonval.Value) error {
	if !v.IsNumber() {
		return wrongIndexOption(name, v, "a number")
	}
	return nil
}

// refuseBucketSize refuses the option of geoHaystack indexes, which MongoDB 5.0 removed: it would have no effect.
func refuseBucketSize(_ *indexSpec, name string, v bsonval.Value) error {
	if !v.IsNumber() {
		return wrongIndexOption(name, v, "a number")
	}
	return mongoerr.New(mongoerr.NotImplemented, "the index option '%s' is not implemented: there are no geoHaystack indexes", name)
}

func checkDocOption(_ *indexSpec, name string, v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return wrongIndexOption(name, v, "an object")
	}
	return nil
}

// checkWeights checks the type of a text index's weights. That strings and arrays
// are no good either is found later, under another code.
func checkWeights(_ *indexSpec, name string, v bsonval.Value) error {
	switch v.Type() {
	case bsonval.TypeDocument, bsonval.TypeString, bsonval.TypeArray:
		return nil
	}
	return wrongIndexOption(name, v, "an object")
}

func checkCollationOption(_ *indexSpec, name string, v bsonval.Value) error {
	switch {
	case v.Type() != bsonval.TypeDocument:
		return wrongIndexOption(name, v, "an object")
	case v.Doc().IsEmpty():
		return mongoerr.New(mongoerr.BadValue, "The field 'collation' cannot be an empty object.")
	}
	return nil
}

func (s *indexSpec) checkName(name string, v bsonval.Value) error {
	switch {
	case v.Type() != bsonval.TypeString:
		return wrongIndexOption(name, v, "a string")
	case v.Str() == "*":
		return mongoerr.New(mongoerr.BadValue, "The index name '*' is not valid.")
	case v.Str() == "":
		return mongoerr.New(mongoerr.CannotCreateIndex, "index name cannot be empty")
	case strings.ContainsRune(v.Str(), 0):
		return mongoerr.New(mongoerr.CannotCreateIndex, "index name cannot contain NUL bytes")
	}
	return nil
}

func (s *indexSpec) checkVersion(name string, v bsonval.Value) error {
	if !v.IsNumber() {
		return wrongIndexOption(name, v, "a number")
	}
	n, ok := v.AsInt64()
	switch {
	case !ok || n != int64(int32(n)):
		return mongoerr.New(mongoerr.BadValue,
			"Index version must be representable as a 32-bit integer, but got %s", bsonval.Format(v))
	case n != 1 && n != indexVersion:
		return mongoerr.New(mongoerr.CannotCreateIndex, "Invalid index specification %s; cannot create an index with v=%d",
			bsonval.FormatDoc(s.given), n)
	}
	return nil
}

func checkExpire(_ *indexSpec, _ string, v bsonval.Value) error {
	if !v.IsNumber() {
		return mongoerr.New(mongoerr.CannotCreateIndex,
			"TTL index 'expireAfterSeconds' option must be numeric, but received a type of %s", v.Type())
	}
	if _, err := expireSeconds(v, mongoerr.CannotCreateIndex); err != nil {
		return err
	}
	return nil
}

// expireSeconds reads the number of seconds after which documents expire.
func expireSeconds(v bsonval.Value, code mongoerr.Code) (int64, error) {
	n := v.TruncInt64()
	switch {
	case v.IsNaN():
		return 0, mongoerr.New(code, "TTL index 'expireAfterSeconds' option must not be NaN")
	case n < 0:
		return 0, mongoerr.New(code, "TTL index 'expireAfterSeconds' option cannot be less than 0")
	case n > maxExpireSeconds:
		return 0, mongoerr.New(code, "TTL index 'expireAfterSeconds' option must be within an acceptable range, try a lower number")
	}
	return n, nil
}

// partialFilterBan are the features that partial filters may not use at all.
const partialFilterBan = match.AllFeatures

// checkPartialFilter checks a partialFilterExpression.
func checkPartialFilter(d bsonval.Doc) error {
	m, err := match.Compile(d, match.Options{Ban: partialFilterBan})
	if err != nil {
		return err
	}
	return checkPartialNode(m.Root())
}

func checkPartialNode(n match.Node) error {
	switch n.(type) {
	case *match.And, *match.Or:
		for _, c := range match.Children(n) {
			if err := checkPartialNode(c); err != nil {
				return err
			}
		}
		return nil
	case *match.Compare, *match.In, *match.Exists, *match.Type, match.AlwaysTrue, match.AlwaysFalse:
		return nil
	}
	return mongoerr.New(mongoerr.CannotCreateIndex, "Expression not supported in partial index")
}

// normal is the specification as it is stored: its fields in order, numbers for
// booleans replaced, with the collation the index gets in a collection whose
// default is order.
func (s *indexSpec) normal(order *collation.Spec) (bsonval.Doc, error) {
	given := order
	if v := s.get("collation"); !v.IsMissing() {
		c, err := collation.Parse(v.Doc())
		if err != nil {
			return nil, err
		}
		given = c
	}
	name := s.get("name")
	if isIDPattern(s.key) {
		if !given.Equal(order) {
			return nil, mongoerr.New(mongoerr.BadValue, "The _id index must have the same collation as the collection. Index "+
				"collation: %s, collection collation: %s", bsonval.FormatDoc(given.Doc()), bsonval.FormatDoc(order.Doc()))
		}
		return idIndexSpec(order), nil
	}
	if given != nil && !s.kind.collated {
		return nil, mongoerr.New(mongoerr.CannotCreateIndex, "Index type '%s' does not support collation: %s",
			s.kind.name, bsonval.FormatDoc(given.Doc()))
	}
	b := bsonval.NewBuilder().Int32("v", indexVersion).Doc("key", s.storedKey()).Value("name", name)
	it := s.given.Iter()
	for it.Next() {
		switch field, v := it.KeyStr(), it.Value(); field {
		case "v", "key", "name", "ns", "dropDups", "collation", "clustered":
		case "unique", "hidden":
			// Stored when set.
			if v.Truthy() {
				b.Bool(string(it.Key()), true)
			}
		case "weights", "default_language", "language_override", "textIndexVersion":
			// Written below, with their defaults; in other indexes they mean nothing.
			if s.kind.name != textKind.name {
				b.Value(string(it.Key()), v)
			}
		case "2dsphereIndexVersion":
			if s.kind.name != sphereKind.name {
				b.Value(string(it.Key()), v)
			}
		case "expireAfterSeconds":
			b.Int32("expireAfterSeconds", int32(v.TruncInt64()))
		default:
			b.Value(string(it.Key()), v)
		}
	}
	switch s.kind.name {
	case textKind.name:
		s.appendText(b)
	case sphereKind.name:
		s.appendSphere(b)
	}
	if given != nil {
		b.Doc("collation", given.Doc())
	}
	return b.Build(), nil
}

// specCollation is the collation of a stored specification.
func specCollation(spec bsonval.Doc) bsonval.Doc {
	if v := spec.Lookup("collation"); v.Type() == bsonval.TypeDocument {
		return v.Doc()
	}
	return nil
}

// relation is how an index specification stands to an existing index.
type relation int

const (
	different  relation = iota // another index
	equivalent                 // the same documents under the same keys, but other options
	identical
)

// relate compares a stored specification with an index, without their names.
func relate(spec bsonval.Doc, x *catalog.Index) relation {
	same := func(name string) bool { return bsonval.Equal(spec.Lookup(name), x.Spec.Lookup(name)) }
	if !sameKeyPattern(spec.Lookup("key").Doc(), x.Key) || !same("partialFilterExpression") || !same("wildcardProjection") ||
		!bsonval.Equal(bsonval.Document(specCollation(spec)), bsonval.Document(specCollation(x.Spec))) ||
		spec.Lookup("unique").Truthy() != x.Spec.Lookup("unique").Truthy() || spec.Lookup("sparse").Truthy() != x.Sparse {
		return different
	}
	for _, name := range comparedOptions {
		if !same(name) {
			return equivalent
		}
	}
	return identical
}

// comparedOptions are the options in which equivalent indexes may differ.
var comparedOptions = []string{"expireAfterSeconds", "storageEngine", "weights", "default_language", "language_override",
	"bits", "min", "max", "prepareUnique"}

// sameKeyPattern compares key patterns field by field: numbers by value.
func sameKeyPattern(a, b bsonval.Doc) bool {
	i, j := a.Iter(), b.Iter()
	for i.Next() {
		if !j.Next() || i.KeyStr() != j.KeyStr() || !bsonval.Equal(i.Value(), j.Value()) {
			return false
		}
	}
	return !j.Next()
}
