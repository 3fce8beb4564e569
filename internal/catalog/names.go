package catalog

import (
	"errors"

	"github.com/archelon-db/archelon/internal/storage"
)

// nameTable tells an engine that shows names which collection a table holds.
func nameTable(txn storage.Txn, coll *Collection) error {
	if n, ok := txn.(storage.Namer); ok && !coll.IsView() {
		return n.NameTable(coll.Table, coll.DB, coll.Name)
	}
	return nil
}

// nameIndex tells it the name of an index that is about to be made.
func nameIndex(txn storage.Txn, x *Index) error {
	if n, ok := txn.(storage.Namer); ok {
		return n.NameIndex(x.ID, x.Name)
	}
	return nil
}

// Names lists what users call the tables and indexes of a catalog that is not open
// yet. An engine asks when it moves a store of an older version to one with names.
func Names(scan storage.MetaScan) ([]storage.Name, error) {
	var out []storage.Name
	var bad error
	err := scan([]byte("C"), func(key, value []byte) bool {
		var coll *Collection
		if coll, bad = decodeCollection(key, value); bad != nil {
			return false
		}
		if coll.IsView() {
			return true
		}
		name := storage.Name{Table: coll.Table, Database: coll.DB, Collection: coll.Name}
		out = append(out, name)
		for _, x := range coll.Indexes {
			name.Index, name.IndexName = x.ID, x.Name
			out = append(out, name)
		}
		return true
	})
	return out, errors.Join(bad, err)
}
