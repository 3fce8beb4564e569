package database

import (
	"strings"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// maxNamespaceBytes is the longest "db.collection".
const maxNamespaceBytes = 255

// viewsCollection shows the definitions of a database's views.
const viewsCollection = "system.views"

// systemCollections are the names below "system." that users may create.
var systemCollections = map[string]bool{"system.js": true, "system.profile": true, "system.users": true, "system.roles": true}

// CheckName says whether a collection or view may be created under a name.
func CheckName(ns Namespace) error {
	invalid := func(reason string) error {
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid collection name: %s", reason)
	}
	switch {
	case ns.Coll == "":
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified '%s.'", ns.DB)
	case strings.ContainsRune(ns.Coll, 0):
		return mongoerr.New(mongoerr.InvalidNamespace, "namespaces cannot have embedded null characters")
	case strings.HasPrefix(ns.Coll, "."):
		return mongoerr.New(mongoerr.InvalidNamespace, "Collection names cannot start with '.': %s", ns.Coll)
	case strings.Contains(ns.Coll, "$") && !(ns.DB == "local" && ns.Coll == "oplog.$main"):
		return invalid(ns.Coll)
	case len(ns.DB)+1+len(ns.Coll) > maxNamespaceBytes:
		return mongoerr.New(mongoerr.InvalidNamespace,
			"Fully qualified namespace is too long. Namespace: %s Max: %d", ns, maxNamespaceBytes)
	case ns.Coll == viewsCollection || ns == retryImagesNS:
		return mongoerr.New(mongoerr.InvalidNamespace, "Cannot create or write to the collection %s", ns)
	case strings.HasPrefix(ns.Coll, "system."):
		if !systemCollections[ns.Coll] {
			return mongoerr.New(mongoerr.InvalidNamespace, "Invalid system namespace: %s", ns)
		}
	}
	return nil
}

// checkDatabaseCase refuses a new database whose name differs from another one's
// in case only.
func checkDatabaseCase(snap *catalog.Snapshot, db string) error {
	if snap.HasDatabase(db) {
		return nil
	}
	for _, other := range snap.Databases() {
		if strings.EqualFold(other, db) {
			return mongoerr.New(mongoerr.DatabaseDifferCase, "db already exists with different case already have: [%s] "+
				"trying to create [%s]", other, db)
		}
	}
	return nil
}

// CheckViewName says whether a view may be defined on a collection of this name.
func CheckViewName(coll string) error {
	if coll == "" || coll[0] == '.' || strings.ContainsAny(coll, "$\x00") {
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace for 'viewOn': %s", coll)
	}
	return nil
}
