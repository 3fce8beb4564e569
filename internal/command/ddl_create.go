package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func createCommands() []*Command {
	return []*Command{
		{
			Name: "create", Help: "Creates a collection or a view.", First: FirstCollection, APIv1: true, WriteConcern: true,
			InTransaction: true,
			Fields: []Field{
				{Name: "capped", Kind: SafeBool}, {Name: "autoIndexId", Kind: SafeBool}, {Name: "idIndex", Kind: Object},
				{Name: "size", Kind: Int}, {Name: "max", Kind: Int}, {Name: "storageEngine", Kind: Object},
				{Name: "validator", Kind: Object}, {Name: "validationLevel", Kind: String}, {Name: "validationAction", Kind: String},
				{Name: "indexOptionDefaults", Kind: Object}, {Name: "viewOn", Kind: String}, {Name: "pipeline", Kind: Array},
				{Name: "collation", Kind: Object}, {Name: "changeStreamPreAndPostImages", Kind: Object},
				{Name: "timeseries", Kind: Object}, {Name: "clusteredIndex", Kind: Any}, {Name: "expireAfterSeconds", Kind: Int},
				{Name: "encryptedFields", Kind: Object}, {Name: "temp", Kind: SafeBool},
				{Name: "recordIdsReplicated", Kind: Bool, Unsupported: true},
			},
			Run: runCreate,
		},
		{
			Name: "collMod", Help: "Changes the options of a collection, an index or a view.", First: FirstCollection, APIv1: true,
			WriteConcern: true,
			Fields: []Field{
				{Name: "index", Kind: Object}, {Name: "validator", Kind: Object}, {Name: "validationLevel", Kind: String},
				{Name: "validationAction", Kind: String}, {Name: "viewOn", Kind: String}, {Name: "pipeline", Kind: Array},
				{Name: "changeStreamPreAndPostImages", Kind: Object}, {Name: "expireAfterSeconds", Kind: Any},
				{Name: "timeseries", Kind: Object}, {Name: "cappedSize", Kind: Int}, {Name: "cappedMax", Kind: Int},
				{Name: "dryRun", Kind: Bool, Unsupported: true},
			},
			Run: runCollMod,
		},
	}
}

var (
	imagesFields     = []Field{{Name: "enabled", Kind: Bool, Required: true}}
	timeseriesFields = []Field{
		{Name: "timeField", Kind: String, Required: true}, {Name: "metaField", Kind: String}, {Name: "granularity", Kind: String},
		{Name: "bucketMaxSpanSeconds", Kind: Int}, {Name: "bucketRoundingSeconds", Kind: Int},
	}
	clusteredFields = []Field{
		{Name: "v", Kind: Int}, {Name: "key", Kind: Object, Required: true}, {Name: "name", Kind: String},
		{Name: "unique", Kind: SafeBool, Required: true},
	}
	collModIndexFields = []Field{
		{Name: "name", Kind: String}, {Name: "keyPattern", Kind: Object}, {Name: "expireAfterSeconds", Kind: Int},
		{Name: "hidden", Kind: SafeBool}, {Name: "unique", Kind: SafeBool}, {Name: "prepareUnique", Kind: SafeBool},
	}
	collModTimeseriesFields = []Field{
		{Name: "granularity", Kind: String}, {Name: "bucketMaxSpanSeconds", Kind: Int}, {Name: "bucketRoundingSeconds", Kind: Int},
	}
	granularities = map[string]bool{"seconds": true, "minutes": true, "hours": true}
)

// maxBucketSpan is the largest span of a time-series bucket in seconds: a year.
const maxBucketSpan = 31_536_000

// checkFields checks an argument that is a document with a closed set of fields.
func (c *Call) checkFields(name string, fields []Field) error {
	v := c.Arg(name)
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	return ParseFields(c.Cmd.Name+"."+name, v.Doc(), fields, make([]bsonval.Value, len(fields)))
}

// checkTimeseries checks the values of a time-series option.
func (c *Call) checkTimeseries(fields []Field) error {
	if err := c.checkFields("timeseries", fields); err != nil || !c.Has("timeseries") {
		return err
	}
	d := c.Doc("timeseries")
	if v := d.Lookup("granularity"); v.Type() == bsonval.TypeString && !granularities[v.Str()] {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '%s.timeseries.granularity' is not a valid value.", v.Str(), c.Cmd.Name)
	}
	for _, name := range []string{"bucketMaxSpanSeconds", "bucketRoundingSeconds"} {
		if v := d.Lookup(name); v.IsNumber() && (v.IsNaN() || v.TruncInt64() < 1 || v.TruncInt64() > maxBucketSpan) {
			return mongoerr.New(mongoerr.BadValue, "BSON field '%s.timeseries.%s' value must be >= 1 and <= %d, actual value '%s'",
				c.Cmd.Name, name, maxBucketSpan, bsonval.Format(v))
		}
	}
	return nil
}

func runCreate(ctx context.Context, c *Call) error {
	if err := c.checkFields("changeStreamPreAndPostImages", imagesFields); err != nil {
		return err
	}
	if err := c.checkTimeseries(timeseriesFields); err != nil {
		return err
	}
	if v := c.Arg("clusteredIndex"); !v.IsMissing() {
		switch {
		case v.Type() == bsonval.TypeDocument:
			if err := c.checkFields("clusteredIndex", clusteredFields); err != nil {
				return err
			}
		case v.Type() != bsonval.TypeBool && !v.IsNumber():
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'create.clusteredIndex' is the wrong type '%s', expected types "+
				"'[bool, long, int, decimal, double, object]'", v.Type())
		}
	}
	if v := c.Arg("autoIndexId"); !v.IsMissing() && !v.Truthy() {
		return mongoerr.New(mongoerr.InvalidOptions, "The autoIndexId option is not allowed to be false on collections in databases other than local")
	}
	return c.Database().CreateIn(ctx, c.Op(ctx), c.Namespace(), c.options())
}

func runCollMod(ctx context.Context, c *Call) error {
	if err := c.checkFields("index", collModIndexFields); err != nil {
		return err
	}
	if err := c.checkFields("changeStreamPreAndPostImages", imagesFields); err != nil {
		return err
	}
	if err := c.checkTimeseries(collModTimeseriesFields); err != nil {
		return err
	}
	if v := c.Arg("expireAfterSeconds"); !v.IsMissing() && v.Type() != bsonval.TypeString && !v.IsNumber() {
		return wrongType("collMod", "expireAfterSeconds", v.Type(), IntOrString)
	}
	changes, err := c.Database().CollMod(ctx, c.Namespace(), c.options())
	if err == nil {
		c.appendFields(changes)
	}
	return err
}
