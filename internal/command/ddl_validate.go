package command

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func validateCommands() []*Command {
	return []*Command{
		{
			Name: "validate", Help: "Checks a collection and its indexes for damage.", First: FirstCollection, SecondaryOK: true,
			Loose: true, Run: runValidate,
			// Anything but false, null and zero is true.
			Fields: []Field{
				{Name: "full"}, {Name: "repair"}, {Name: "metadata"}, {Name: "background"}, {Name: "fixMultikey"},
				{Name: "checkBSONConformance"}, {Name: "enforceFastCount"},
			},
		},
		{
			Name: "validateDBMetadata", Help: "Lists what in the databases is not part of the stable API.", First: FirstIgnored,
			SecondaryOK: true, Run: runValidateDBMetadata, APIv1: true,
			Fields: []Field{
				{Name: "apiParameters", Kind: Object, Required: true}, {Name: "db", Kind: String}, {Name: "collection", Kind: String},
			},
		},
		{
			Name: "compact", Help: "Gives the space of deleted documents back.", First: FirstCollection, SecondaryOK: true, Run: runCompact,
			Fields: []Field{
				{Name: "force", Kind: Bool}, {Name: "freeSpaceTargetMB", Kind: Int}, {Name: "dryRun", Kind: Bool},
			},
		},
	}
}

func runValidate(ctx context.Context, c *Call) error {
	repair := c.Bool("repair") || c.Bool("fixMultikey")
	conformance, background := c.Bool("checkBSONConformance"), c.Bool("background")
	invalid := func(text string) error {
		return mongoerr.New(mongoerr.InvalidOptions, "Running the validate command with %s is not supported.", text)
	}
	switch {
	case c.Bool("metadata") && (background || c.Bool("full") || repair || conformance || c.Bool("enforceFastCount")):
		return invalid("{ metadata: true } and any other options")
	case background && (c.Bool("full") || repair || c.Bool("enforceFastCount")):
		return invalid("both { background: true } and { full: true }, { repair: true } or { enforceFastCount: true }")
	case conformance && repair:
		return invalid("both { checkBSONConformance: true } and { repair: true }")
	case repair && c.Commands.replicated:
		return mongoerr.New(mongoerr.InvalidOptions, "Running the validate command with { repair: true } can only be done in standalone mode.")
	case background && !c.Commands.replicated:
		return mongoerr.New(mongoerr.CommandNotSupported, "Running validate on collection %s with { background: true } is not "+
			"supported on standalone", c.Namespace())
	}
	if c.Coll == "system.views" && c.Database().HasViews(c.DB) {
		return mongoerr.New(mongoerr.NotImplemented, "validate of system.views is not implemented")
	}
	out, err := c.Database().Validate(ctx, c.Namespace(), database.ValidateOptions{
		Metadata: c.Bool("metadata"), Conformance: conformance || c.Bool("full"), Repair: repair,
	})
	if err == nil {
		c.appendFields(validationReply(out, c.Bool("metadata")))
	}
	return err
}

func validationReply(out *database.Validation, metadata bool) bsonval.Doc {
	b := bsonval.NewBuilder().Str("ns", out.Coll.Namespace()).Value("uuid", out.Coll.UUID.Value())
	if !metadata {
		b.Value("nInvalidDocuments", number(out.Invalid)).Value("nNonCompliantDocuments", number(out.Unhealthy)).
			Value("nrecords", number(out.Records))
	}
	b.Value("nIndexes", number(int64(len(out.Coll.Indexes))))
	if !metadata {
		b.StartDoc("keysPerIndex")
		for _, x := range out.Coll.Indexes {
			if x.Ready {
				b.Value(x.Name, number(out.Keys[x.Name]))
			}
		}
		b.End()
	}
	b.StartDoc("indexDetails")
	for _, x := range out.Coll.Indexes {
		b.StartDoc(x.Name).Bool("valid", len(out.IndexErrors[x.Name]) == 0).Doc("spec", x.Spec)
		if errs := out.IndexErrors[x.Name]; len(errs) > 0 {
			b.Value("errors", texts(errs))
		}
		b.End()
	}
	b.End().Bool("valid", out.Valid).Bool("repaired", out.Repaired).Value("warnings", texts(out.Warnings)).Value("errors", texts(out.Errors))
	entries := func(name string, list []bsonval.Doc) {
		b.StartArray(name)
		for _, d := range list {
			b.Doc("", d)
		}
		b.End()
	}
	entries("extraIndexEntries", out.Extra)
	entries("missingIndexEntries", out.Missing)
	b.StartArray("corruptRecords")
	for _, id := range out.Corrupt {
		b.Int64("", int64(id))
	}
	return b.End().Build()
}

// number is an int32 if the number fits.
func number(n int64) bsonval.Value {
	if n == int64(int32(n)) {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

func texts(list []string) bsonval.Value {
	b := bsonval.NewArrayBuilder()
	for _, s := range list {
		b.Add(bsonval.String(s))
	}
	return bsonval.Array(b.Build())
}

var apiParameterFields = []Field{
	{Name: "version", Kind: String, Required: true}, {Name: "strict", Kind: Any}, {Name: "deprecationErrors", Kind: Any},
}

// maxAPIErrorBytes bounds the list of a validateDBMetadata reply.
const maxAPIErrorBytes = 5 << 20

func runValidateDBMetadata(_ context.Context, c *Call) error {
	var params [3]bsonval.Value
	if err := ParseFields("validateDBMetadata.apiParameters", c.Doc("apiParameters"), apiParameterFields, params[:]); err != nil {
		return err
	}
	for i, v := range params[1:] {
		if !v.IsMissing() && v.Type() != bsonval.TypeBool {
			return wrongType("validateDBMetadata.apiParameters", apiParameterFields[i+1].Name, v.Type(), Bool)
		}
	}
	if params[0].Str() != "1" {
		return mongoerr.New(mongoerr.APIVersionError, "API version must be \"1\"")
	}
	if err := checkMetadataScope(c.Arg("db"), c.Arg("collection")); err != nil {
		return err
	}
	list := bsonval.NewArrayBuilder()
	more := false
	snap := c.Database().Catalog()
	for _, db := range snap.Databases() {
		if c.Has("db") && db != c.Str("db") {
			continue
		}
		for _, coll := range snap.Collections(db) {
			if c.Has("collection") && coll.Name != c.Str("collection") || !params[1].Truthy() {
				continue
			}
			for _, text := range unstable(coll) {
				if list.Len() > maxAPIErrorBytes {
					more = true
					break
				}
				list.StartDoc("").Str("ns", coll.Namespace()).Int32("code", int32(mongoerr.APIStrictError)).
					Str("codeName", mongoerr.APIStrictError.Name()).Str("errmsg", text).End()
			}
		}
	}
	c.Append("apiVersionErrors", bsonval.Array(list.Build()))
	if more {
		c.Append("hasMoreErrors", bsonval.True)
	}
	return nil
}

func checkMetadataScope(db, coll bsonval.Value) error {
	if !db.IsMissing() {
		switch s := db.Str(); {
		case s == "":
			return mongoerr.New(28539, "db name is empty")
		case len(s) > 63 || strings.ContainsAny(s, ".\x00"):
			return mongoerr.New(mongoerr.InvalidNamespace, "Invalid database name: '%s'", s)
		case strings.ContainsAny(s, "/\\ \""):
			return mongoerr.New(13280, "invalid db name: %s", s)
		}
	}
	if coll.IsMissing() {
		return nil
	}
	return CheckCollectionName("", coll.Str())
}

// unstable says what of a collection is not part of version 1 of the stable API.
func unstable(coll *catalog.Collection) []string {
	var list []string
	for _, x := range coll.Indexes {
		if x.Sparse || x.Kind == indexkey.KindText {
			list = append(list, "The index with name "+x.Name+" is not allowed in API version 1.")
		}
	}
	return list
}

// defaultCompactTarget is how many megabytes a compaction has to give back to be worth it.
const defaultCompactTarget = 20

func runCompact(ctx context.Context, c *Call) error {
	if v := c.Arg("freeSpaceTargetMB"); !v.IsMissing() && (v.IsNaN() || v.TruncInt64() < 1) {
		return mongoerr.New(mongoerr.BadValue, "BSON field 'compact.freeSpaceTargetMB' value must be >= 1, actual value '%s'", bsonval.Format(v))
	}
	if strings.HasPrefix(c.Coll, "system.") && c.Coll != "system.views" {
		return mongoerr.New(mongoerr.BadValue, "can't compact a system namespace")
	}
	if c.Commands.replicated && !c.Bool("force") && !c.Bool("dryRun") {
		return mongoerr.New(mongoerr.CommandFailed, "will not run compact on an active replica set primary as this will slow down "+
			"other running operations. use force:true to force")
	}
	target := c.Int64("freeSpaceTargetMB", defaultCompactTarget) << 20
	field, work := "bytesFreed", c.Database().Compact
	if c.Bool("dryRun") {
		field, work = "estimatedBytesFreed", c.Database().EstimateCompact
	}
	freed := int64(0)
	if c.Coll != "system.views" || !c.Database().HasViews(c.DB) {
		var err error
		if freed, err = work(ctx, c.Namespace(), target); err != nil {
			return err
		}
	}
	c.Append(field, number(freed))
	return nil
}
