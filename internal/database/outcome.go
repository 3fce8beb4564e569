package database

// Outcome is what the write transaction that is about to commit will have done, for Op.BeforeCommit. A transaction that
// runs again after a conflict sets it anew.
type Outcome struct {
	// InsertFrom and InsertTo bound the documents of an insert that the transaction has dealt with, by their index in the
	// statement; those in InsertErrors were not inserted.
	InsertFrom, InsertTo int
	InsertErrors         []WriteError

	Update  UpdateResult
	Deleted int64
	Found   FindAndModifyResult
}
