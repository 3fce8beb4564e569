package database

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
)

// ListCollections describes a database's collections and views as
// listCollections does. With nameOnly it leaves out all but names and types.
func (d *DB) ListCollections(db string, nameOnly bool) []bsonval.Doc {
	var docs []bsonval.Doc
	views := false
	for _, coll := range d.Catalog().Collections(db) {
		views = views || coll.IsView()
		docs = append(docs, describeCollection(coll, nameOnly))
	}
	if views {
		docs = append(docs, describeMade(Namespace{DB: db, Coll: viewsCollection}, nameOnly))
	}
	if d.isMade(retryImagesNS) && db == retryImagesNS.DB {
		docs = append(docs, describeMade(retryImagesNS, nameOnly))
	}
	return docs
}

func describeCollection(coll *catalog.Collection, nameOnly bool) bsonval.Doc {
	b := bsonval.NewBuilder().Str("name", coll.Name).Str("type", coll.Type)
	if nameOnly {
		return b.Build()
	}
	b.Doc("options", coll.Options)
	b.StartDoc("info").Bool("readOnly", coll.IsView())
	if !coll.IsView() {
		b.Value("uuid", coll.UUID.Value())
	}
	b.End()
	if id := coll.IDIndex(); id != nil && !coll.Clustered {
		b.Doc("idIndex", id.Spec)
	}
	return b.Build()
}

// describeMade describes a collection that is not in the catalog and is shown because
// tools look for it: "system.views", where MongoDB keeps the definitions of views,
// which are in the catalog here, and the images of retryable writes. Its UUID is made of
// its database's name.
func describeMade(ns Namespace, nameOnly bool) bsonval.Doc {
	b := bsonval.NewBuilder().Str("name", ns.Coll).Str("type", catalog.TypeCollection)
	if nameOnly {
		return b.Build()
	}
	return b.Doc("options", bsonval.EmptyDoc).StartDoc("info").Bool("readOnly", false).
		Value("uuid", bsonval.Binary(4, madeUUID(ns.DB))).End().Doc("idIndex", idIndexSpec(nil)).Build()
}

// madeUUID is a UUID (version 8) that depends on the name only.
func madeUUID(db string) []byte {
	var u [16]byte
	h := uint64(14695981039346656037)
	for i := range u {
		for _, c := range []byte(db) {
			h = (h ^ uint64(c)) * 1099511628211
		}
		h = (h ^ uint64(i)) * 1099511628211
		u[i] = byte(h >> 32)
	}
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	return u[:]
}

// ShowsRetryImages says whether a collection is that of the images of retryable writes.
func (d *DB) ShowsRetryImages(ns Namespace) bool { return d.isMade(ns) }

// HasViews says whether a database has views.
func (d *DB) HasViews(db string) bool {
	for _, coll := range d.Catalog().Collections(db) {
		if coll.IsView() {
			return true
		}
	}
	return false
}
