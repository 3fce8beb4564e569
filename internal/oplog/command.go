package oplog

import "github.com/archelon-db/archelon/internal/bsonval"

// The functions of this file make o of command entries ("c"), as MongoDB logs
// them. Names are without their database, but for renames.

// Create is {create: coll, <options>, idIndex}; options and idIndex may be nil.
func Create(coll string, options, idIndex bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Str("create", coll)
	spread(b, options)
	if idIndex != nil {
		b.Doc("idIndex", idIndex)
	}
	return b.Build()
}

// CreateIndexes is {createIndexes: coll, <the index's specification>}: of an
// index made on an empty collection.
func CreateIndexes(coll string, spec bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Str("createIndexes", coll)
	spread(b, spec)
	return b.Build()
}

// StartIndexBuild is the beginning of a build over existing documents.
func StartIndexBuild(coll string, build UUID, specs ...bsonval.Doc) bsonval.Doc {
	return indexBuild("startIndexBuild", coll, build, specs)
}

// CommitIndexBuild is the end of a build: its indexes are there.
func CommitIndexBuild(coll string, build UUID, specs ...bsonval.Doc) bsonval.Doc {
	return indexBuild("commitIndexBuild", coll, build, specs)
}

func indexBuild(verb, coll string, build UUID, specs []bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Str(verb, coll)
	b.Value("indexBuildUUID", bsonval.Binary(4, build[:])).StartArray("indexes")
	for _, s := range specs {
		b.Doc("", s)
	}
	return b.Build()
}

// AbortIndexBuild is the end of a build that failed with cause, an error reply's
// fields ({ok: false, code, codeName, errmsg}).
func AbortIndexBuild(coll string, build UUID, cause bsonval.Doc, specs ...bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	spread(b, indexBuild("abortIndexBuild", coll, build, specs))
	return b.Doc("cause", cause).Build()
}

// DropIndexes is {dropIndexes: coll, index: name}; the index's specification
// belongs to o2.
func DropIndexes(coll, name string) bsonval.Doc {
	return bsonval.NewBuilder().Str("dropIndexes", coll).Str("index", name).Build()
}

// Drop is {drop: coll}; NumRecords makes its o2.
func Drop(coll string) bsonval.Doc { return bsonval.NewBuilder().Str("drop", coll).Build() }

// DropDatabase is {dropDatabase: 1}, which comes after its collections' drops.
func DropDatabase() bsonval.Doc { return bsonval.NewBuilder().Int32("dropDatabase", 1).Build() }

// RenameCollection is {renameCollection: from, to, stayTemp, dropTarget} of whole
// namespaces; dropTarget is the UUID of a collection replaced, or zero.
func RenameCollection(from, to string, dropTarget UUID) bsonval.Doc {
	b := bsonval.NewBuilder().Str("renameCollection", from).Str("to", to).Bool("stayTemp", false)
	if dropTarget != (UUID{}) {
		b.Value("dropTarget", bsonval.Binary(4, dropTarget[:]))
	}
	return b.Build()
}

// NumRecords is {numRecords: n}: o2 of drops and of renames that drop.
func NumRecords(n int64) bsonval.Doc { return bsonval.NewBuilder().Int64("numRecords", n).Build() }

// CollMod is {collMod: coll, <options>}.
func CollMod(coll string, options bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Str("collMod", coll)
	spread(b, options)
	return b.Build()
}

// CollModOld is o2 of collMod: what was before. indexOld (expireAfterSeconds_old,
// hidden_old …) may be nil.
func CollModOld(collectionOld, indexOld bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder().Doc("collectionOptions_old", collectionOld)
	if indexOld != nil {
		b.Doc("indexOptions_old", indexOld)
	}
	return b.Build()
}

// ConvertToCapped is {convertToCapped: coll, size}.
func ConvertToCapped(coll string, size bsonval.Value) bsonval.Doc {
	return bsonval.NewBuilder().Str("convertToCapped", coll).Value("size", size).Build()
}

// Message is {msg: text}: o of no-ops.
func Message(text string) bsonval.Doc { return bsonval.NewBuilder().Str("msg", text).Build() }

// spread appends all fields of d.
func spread(b *bsonval.Builder, d bsonval.Doc) {
	if d == nil {
		return
	}
	it := d.Iter()
	for it.Next() {
		b.Value(it.KeyStr(), it.Value())
	}
}
