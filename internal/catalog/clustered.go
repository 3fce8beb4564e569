package catalog

import "github.com/archelon-db/archelon/internal/bsonval"

// isClustered says whether a collection's options ask for a clustered index: its
// natural order is that of _id.
func isClustered(options bsonval.Doc) bool {
	return options.Lookup("clusteredIndex").Type() == bsonval.TypeDocument
}

// NumIndexes is the number of indexes. The clustered index does not count: it is
// the collection.
func (c *Collection) NumIndexes() int {
	if c.Clustered {
		return len(c.Indexes) - 1
	}
	return len(c.Indexes)
}
