package database

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Limits of capped collections, MongoDB's.
const (
	maxCappedSize = 1 << 50
	maxCappedDocs = math.MaxInt32
)

// createOptions are the options of a new collection or view.
type createOptions struct {
	given     bsonval.Doc
	ns        Namespace
	collation *collation.Spec
	view      bool
}

// get returns an option; null is as if it were not there.
func (o *createOptions) get(name string) bsonval.Value {
	if v := o.given.Lookup(name); v.Type() != bsonval.TypeNull && v.Type() != bsonval.TypeUndefined {
		return v
	}
	return bsonval.Missing
}

func (o *createOptions) has(name string) bool { return !o.get(name).IsMissing() }

// parseCreateOptions checks the options of a new collection and returns them as
// they are stored and listed. What cannot be done yet is refused at the end, so
// that mistakes are reported first.
func parseCreateOptions(ns Namespace, given bsonval.Doc) (bsonval.Doc, error) {
	o := &createOptions{given: given, ns: ns}
	o.view = o.has("viewOn")
	for _, check := range []func() error{
		o.checkNames, o.checkClustered, o.checkCapped, o.checkTimeseries, o.checkView, o.checkImages, o.checkCollation,
		o.checkIDIndex, o.checkValidation, o.checkEngine, o.checkExpire, o.checkBuilt,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	return o.stored(), nil
}

func (o *createOptions) invalid(format string, args ...any) error {
	return mongoerr.New(mongoerr.InvalidOptions, format, args...)
}

func (o *createOptions) checkNames() error {
	if len(o.ns.Coll) > len(bucketsPrefix) && o.ns.Coll[:len(bucketsPrefix)] == bucketsPrefix && !o.has("timeseries") {
		return mongoerr.New(mongoerr.IllegalOperation,
			"Creation of bucket collection %s is only permitted with the time-series options", o.ns)
	}
	return nil
}

// bucketsPrefix begins the names of collections behind time-series.
const bucketsPrefix = "system.buckets."

func (o *createOptions) checkCapped() error {
	size, most := o.get("size"), o.get("max")
	if !size.IsMissing() {
		if n := size.TruncInt64(); o.get("capped").Truthy() && (n < 1 || n > maxCappedSize) {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'create.size' value must be >= 1 and <= %d, actual value '%d'", maxCappedSize, n)
		}
	}
	if !most.IsMissing() && roundHalf(most) > maxCappedDocs {
		return mongoerr.New(mongoerr.BadValue, "BSON field 'create.max' value must be <= %d, actual value '%s'", maxCappedDocs, bsonval.Format(most))
	}
	switch {
	case o.get("capped").Truthy() && size.IsMissing():
		return o.invalid("the 'size' field is required when 'capped' is true")
	case !o.get("capped").Truthy() && !size.IsMissing() && !o.isClustered():
		return o.invalid("the 'capped' field needs to be true when either the 'size' or 'max' fields are present")
	case !o.get("capped").Truthy() && !most.IsMissing():
		return o.invalid("the 'capped' field needs to be true when either the 'size' or 'max' fields are present")
	}
	return nil
}

// roundHalf is a number as an integer: doubles are cut, decimals rounded half to
// even.
func roundHalf(v bsonval.Value) int64 {
	if v.Type() == bsonval.TypeDecimal128 {
		return bsonval.Double(math.RoundToEven(v.AsDouble())).TruncInt64()
	}
	return v.TruncInt64()
}

// isClustered says whether a clustered index is asked for.
func (o *createOptions) isClustered() bool { return o.given.Lookup("clusteredIndex").Truthy() }

func (o *createOptions) checkClustered() error {
	v := o.given.Lookup("clusteredIndex")
	if v.IsMissing() {
		return nil
	}
	switch {
	case o.get("capped").Truthy():
		return mongoerr.New(6049200, "clusteredIndex is not supported with capped collections")
	case o.view:
		return mongoerr.New(6026500, "clusteredIndex is not supported with views")
	case o.has("timeseries"):
		return o.invalid("clusteredIndex is not supported on a time-series collection")
	case !v.Truthy():
		return nil
	case o.has("idIndex"):
		return o.invalid("The 'clusteredIndex' option is not supported with the 'idIndex' option")
	case o.has("max"):
		return mongoerr.New(6049204, "'max' and 'size' options cannot be used with a clustered collection")
	case v.Type() != bsonval.TypeDocument:
		return mongoerr.New(5979703, "'clusteredIndex' should be an object")
	}
	return checkClusteredSpec(v.Doc())
}

// checkClusteredSpec checks the specification of a clustered index.
func checkClusteredSpec(d bsonval.Doc) error {
	v := d.Lookup("v")
	if key, dir, _ := d.Lookup("key").Doc().First(); key != "_id" || !dir.IsNumber() || d.Lookup("key").Doc().Len() != 1 ||
		bsonval.CompareNumbers(dir, bsonval.Int32(1)) != 0 {
		return mongoerr.New(mongoerr.InvalidIndexSpecificationOption,
			"The field 'key' for a clustered index must be {_id: 1}, but got %s", bsonval.Format(d.Lookup("key")))
	}
	switch {
	case !d.Lookup("unique").Truthy():
		return mongoerr.New(5979700, "The clusteredIndex option requires unique: true to be specified")
	case v.IsNumber() && (v.IsNaN() || roundHalf(v) != indexVersion):
		return mongoerr.New(5979704, "The clusteredIndex option only supports v: %d", indexVersion)
	}
	return nil
}

func (o *createOptions) checkTimeseries() error {
	if !o.has("timeseries") {
		return nil
	}
	for _, name := range []string{"capped", "viewOn", "idIndex", "changeStreamPreAndPostImages", "validator", "validationLevel",
		"validationAction", "encryptedFields", "autoIndexId", "size", "max", "pipeline"} {
		if o.has(name) {
			return o.invalid("timeseries is not compatible with %s", name)
		}
	}
	return nil
}

func (o *createOptions) checkView() error {
	if !o.view {
		if o.has("pipeline") {
			return o.invalid("'pipeline' requires 'viewOn' to also be specified")
		}
		return nil
	}
	if o.get("viewOn").Str() == "" {
		return mongoerr.New(mongoerr.BadValue, "'viewOn' cannot be empty")
	}
	if err := CheckViewName(o.get("viewOn").Str()); err != nil {
		return err
	}
	for _, name := range []string{"capped", "size", "max", "idIndex", "encryptedFields", "expireAfterSeconds", "timeseries"} {
		if v := o.get(name); !v.IsMissing() && (v.Type() != bsonval.TypeBool || v.Truthy()) {
			return o.invalid("%s cannot be specified for a view", name)
		}
	}
	it := o.get("pipeline").Doc().Iter()
	for i := 0; it.Next(); i++ {
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.TypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
	}
	return nil
}

func (o *createOptions) checkImages() error {
	if o.view && wantsImages(o.get("changeStreamPreAndPostImages")) {
		return o.invalid("changeStreamPreAndPostImages option is not supported on views")
	}
	return checkImages(o.ns, o.get("changeStreamPreAndPostImages"))
}

func (o *createOptions) checkCollation() (err error) {
	if v := o.get("collation"); !v.IsMissing() {
		o.collation, err = collation.Parse(v.Doc())
	}
	return err
}

func (o *createOptions) checkIDIndex() error {
	v := o.get("idIndex")
	if v.IsMissing() {
		return nil
	}
	s, err := parseIndexSpec(v.Doc())
	if err != nil {
		return err
	}
	if !isIDPattern(s.key) {
		return mongoerr.New(mongoerr.BadValue,
			"The field 'key' for an _id index must be {_id: 1}, but got %s", bsonval.FormatDoc(s.key))
	}
	_, err = s.normal(o.collation)
	return err
}

// validatorBan are the features that validators may not use.
const validatorBan = match.FeatureWhere | match.FeatureText | match.FeatureNear

func (o *createOptions) checkValidation() error {
	if o.view && (o.has("validator") || o.has("validationLevel") || o.has("validationAction")) {
		if err := checkValidationWords(o.get("validationLevel"), o.get("validationAction")); err != nil {
			return err
		}
		return o.invalid("validator, validationLevel and validationAction cannot be specified for a view")
	}
	if err := checkValidationWords(o.get("validationLevel"), o.get("validationAction")); err != nil {
		return err
	}
	if v := o.get("validator"); !v.IsMissing() {
		return checkValidator(o.ns, v.Doc(), o.collation)
	}
	return nil
}

// checkValidator compiles a validator for its errors.
func checkValidator(ns Namespace, d bsonval.Doc, order *collation.Spec) error {
	if ns.DB == "admin" || ns.DB == "local" || ns.DB == "config" {
		return mongoerr.New(mongoerr.InvalidOptions, "Document validators are not allowed on collection %s in the %s internal database", ns, ns.DB)
	}
	env := &expr.Env{}
	if order != nil {
		env.Collator = order.Collator()
	}
	_, err := match.Compile(d, match.Options{Compiler: expr.NewCompiler(env), Ban: validatorBan})
	return err
}

var (
	validationLevels  = map[string]bool{"off": true, "strict": true, "moderate": true}
	validationActions = map[string]bool{"error": true, "warn": true, "errorAndLog": true}
)

func checkValidationWords(level, action bsonval.Value) error {
	if !level.IsMissing() && !validationLevels[level.Str()] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'validationLevel' is not a valid value.", level.Str())
	}
	if !action.IsMissing() && !validationActions[action.Str()] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'validationAction' is not a valid value.", action.Str())
	}
	return nil
}

// checkEngine checks the options for storage engines. Only those of MongoDB's
// own engine are known by name, and only its defaults can be had.
func (o *createOptions) checkEngine() error {
	if err := checkStorageEngine(o.get("storageEngine")); err != nil {
		return err
	}
	v := o.get("indexOptionDefaults")
	if v.IsMissing() {
		return nil
	}
	it := v.Doc().Iter()
	for it.Next() {
		if it.KeyStr() != "storageEngine" {
			return mongoerr.New(40415, "BSON field 'create.indexOptionDefaults.%s' is an unknown field.", it.Key())
		}
	}
	return checkStorageEngine(v.Doc().Lookup("storageEngine"))
}

func checkStorageEngine(v bsonval.Value) error {
	if v.IsNullish() || v.IsMissing() {
		return nil
	}
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch, "'storageEngine' has to be a document")
	}
	it := v.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.BadValue, "'storageEngine.%s' has to be an embedded document.", it.Key())
		}
		if it.KeyStr() != "wiredTiger" {
			return mongoerr.New(mongoerr.InvalidOptions, "%s is not a registered storage engine for this server", it.Key())
		}
		inner := it.Value().Doc().Iter()
		for inner.Next() {
			config := inner.Value()
			switch {
			case inner.KeyStr() != "configString":
				return mongoerr.New(mongoerr.InvalidOptions, "'%s' is not a supported option.", inner.Key())
			case config.Type() != bsonval.TypeString:
				return mongoerr.New(mongoerr.TypeMismatch, "'configString' must be a string.")
			case config.Str() != "":
				return mongoerr.New(mongoerr.NotImplemented, "'storageEngine.wiredTiger.configString' is not implemented")
			}
		}
	}
	return nil
}

func (o *createOptions) checkExpire() error {
	if o.has("expireAfterSeconds") && !o.has("timeseries") && !o.isClustered() {
		return o.invalid("'expireAfterSeconds' is only supported on time-series collections or when the 'clusteredIndex' option is specified")
	}
	if v := o.get("expireAfterSeconds"); !v.IsMissing() && o.isClustered() {
		_, err := expireSeconds(v, mongoerr.InvalidOptions)
		return err
	}
	return nil
}

// checkBuilt refuses by name what does not exist yet.
func (o *createOptions) checkBuilt() error {
	for _, name := range []string{"timeseries", "encryptedFields", "temp"} {
		if v := o.get(name); !v.IsMissing() && (v.Type() == bsonval.TypeDocument || v.Truthy()) {
			return mongoerr.New(mongoerr.NotImplemented, "'create.%s' is not implemented", name)
		}
	}
	return nil
}

// wantsImages says whether an option asks for documents from before changes.
func wantsImages(v bsonval.Value) bool {
	return v.Type() == bsonval.TypeDocument && v.Doc().Lookup("enabled").Truthy()
}

// checkImages says whether a collection can keep documents from before changes.
func checkImages(ns Namespace, v bsonval.Value) error {
	if wantsImages(v) && (ns.DB == "admin" || ns.DB == "local" || ns.DB == "config") {
		return mongoerr.New(mongoerr.InvalidOptions, "Change stream pre- and post-images collection option is not supported in the '%s' database", ns.DB)
	}
	return nil
}

// stored is the options as they are kept.
func (o *createOptions) stored() bsonval.Doc {
	b := bsonval.NewBuilder()
	if o.view {
		b.Value("viewOn", o.get("viewOn"))
		pipeline := o.get("pipeline")
		if pipeline.IsMissing() {
			pipeline = bsonval.ArrayOf()
		}
		b.Value("pipeline", pipeline)
	}
	if o.get("capped").Truthy() {
		appendCapped(b, o.get("size"), o.get("max"))
	}
	if o.isClustered() {
		o.appendClustered(b)
	}
	if v := o.get("changeStreamPreAndPostImages"); wantsImages(v) && !o.view {
		b.Value("changeStreamPreAndPostImages", v)
	}
	for _, name := range []string{"storageEngine", "indexOptionDefaults", "validator"} {
		if v := o.get(name); v.Type() == bsonval.TypeDocument && !v.Doc().IsEmpty() {
			b.Value(name, v)
		}
	}
	for _, name := range []string{"validationLevel", "validationAction"} {
		if v := o.get(name); !v.IsMissing() {
			b.Value(name, v)
		}
	}
	if o.collation != nil {
		b.Doc("collation", o.collation.Doc())
	}
	return b.Build()
}
