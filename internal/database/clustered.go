package database

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// A clustered collection is read in the order of _id: where others are scanned, it
// is scanned along its index on _id (plan), which counts for nothing in lists and
// statistics and cannot be changed or dropped.

// appendClustered appends the option of a clustered index as it is stored.
func (o *createOptions) appendClustered(b *bsonval.Builder) {
	name := "_id_"
	if v := o.get("clusteredIndex").Doc().Lookup("name"); v.Type() == bsonval.TypeString {
		name = v.Str()
	}
	b.StartDoc("clusteredIndex").Int32("v", indexVersion).StartDoc("key").Int32("_id", 1).End().Str("name", name).Bool("unique", true).End()
	if v := o.get("expireAfterSeconds"); !v.IsMissing() {
		b.Int64("expireAfterSeconds", v.TruncInt64())
	}
}

// clusteredIndexSpec is the specification of a clustered index as listIndexes shows it.
func clusteredIndexSpec(coll *catalog.Collection) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := coll.Options.Lookup("clusteredIndex").Doc().Iter()
	for it.Next() {
		b.Value(it.KeyStr(), it.Value())
	}
	b.Bool("clustered", true)
	if coll.Collation != nil {
		b.Doc("collation", coll.Collation.Doc())
	}
	return b.Build()
}

// expiring is a clustered collection's options with another time to live: a number
// of seconds, or "off".
func expiring(options bsonval.Doc, v bsonval.Value) (bsonval.Doc, error) {
	if v.Type() == bsonval.TypeString {
		if v.Str() != "off" {
			return nil, mongoerr.New(mongoerr.InvalidOptions, "Invalid string value for the 'clusteredIndex::expireAfterSeconds' option. "+
				"Got: '%s'. Accepted value is 'off'", v.Str())
		}
		return withField(options, "expireAfterSeconds", bsonval.Missing), nil
	}
	n, err := expireSeconds(v, mongoerr.InvalidOptions)
	if err != nil {
		return nil, err
	}
	return withField(options, "expireAfterSeconds", bsonval.Int64(n)), nil
}

// secondsToLive is when the documents of an index expire, missing for never.
func secondsToLive(coll *catalog.Collection, x *catalog.Index) bsonval.Value {
	if x.Clustered {
		return coll.Options.Lookup("expireAfterSeconds")
	}
	return x.Spec.Lookup("expireAfterSeconds")
}
