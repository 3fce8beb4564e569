package storage

// Namer is a [Txn] of an engine that shows its users what it keeps under the names
// by which they know it, not under ids alone. An engine does without it, and no
// table or index needs a name.
type Namer interface {
	// NameTable tells which collection a table holds: before the table is created,
	// and again when the collection has got another name.
	NameTable(t TableID, database, collection string) error

	// NameIndex tells the name of an index that is about to be created.
	NameIndex(x IndexID, name string) error
}

// Name is what users call a table, or an index if Index is not 0.
type Name struct {
	Table      TableID
	Index      IndexID
	Database   string
	Collection string
	IndexName  string
}

// MetaScan calls fn for each meta key with a prefix, as [Txn].ScanMeta does.
type MetaScan func(prefix []byte, fn func(key, value []byte) bool) error
