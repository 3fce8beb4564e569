package pipeline

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/match"
)

// Source is a stream of documents. It is used by one goroutine.
type Source interface {
	// Next returns the next document, or io.EOF at the end. The document is valid
	// until the following call.
	Next(ctx context.Context) (bsonval.Doc, error)
	// Close releases what the source holds. It may be called at any time and more
	// than once.
	Close() error
}

// CountingSource is a source that may know how many documents there are without reading them.
type CountingSource interface {
	Source
	// Count returns how many documents Next would return from the start, which is not to be called any more then.
	// If ok is false nothing has been read, and Next has to tell.
	Count(ctx context.Context) (n int64, ok bool, err error)
}

// MetaSource is a source whose documents carry metadata.
type MetaSource interface {
	Source
	// Metadata returns the metadata of the document that Next returned last, by
	// the names that $meta knows; nil if there is none.
	Metadata() bsonval.Doc
}

// Namespace names a collection. Coll is empty for {aggregate: 1}.
type Namespace struct{ DB, Coll string }

// String is the namespace as MongoDB prints it.
func (n Namespace) String() string {
	if n.Coll == "" {
		return n.DB + ".$cmd.aggregate"
	}
	return n.DB + "." + n.Coll
}

// Query is what a pipeline wants of a collection: all that a planner can do
// better than the pipeline itself. The zero Query is the whole collection.
type Query struct {
	// Filter selects documents; nil selects all. Matcher is Filter compiled; it
	// may use variables.
	Filter  bsonval.Doc
	Matcher *match.Matcher

	// Sort orders them; nil means any order. Skip and Limit apply after it;
	// Limit 0 is no limit.
	Sort        bsonval.Doc
	Skip, Limit int64

	// Sample, if it is not 0, is how many random documents are wanted: others may be left
	// out, if all are equally likely to be among those that are not, in any order.
	Sample int64

	// Deps are the fields that will be read; nil means whole documents. Documents
	// that hold more are fine.
	Deps *expr.Deps

	// IndexKeys says that the documents' metadata is to hold the index key that
	// each was found by, if it was found by one.
	IndexKeys bool

	// Collator orders strings; nil means by bytes.
	Collator bsonval.Collator

	// Vars are the values of the variables in scope, by slot. The slice belongs
	// to the pipeline: whoever evaluates expressions copies it.
	Vars []bsonval.Value
}

// Data is what stages may know of the world beyond their input. The kernel
// implements it; view namespaces are resolved there.
type Data interface {
	// Open reads a collection. One that does not exist is empty.
	Open(ctx context.Context, ns Namespace, q Query) (Source, error)

	// HasIndex says whether equality on a dotted field can use an index.
	HasIndex(ctx context.Context, ns Namespace, field string) bool

	// Gathers says whether one query for several values of such a field is to be preferred to
	// one for each, and the order of its documents is that of the index in both.
	Gathers(ctx context.Context, ns Namespace, field string) bool

	// HasUniqueIndex says whether a unique index has exactly these fields, in any
	// order.
	HasUniqueIndex(ctx context.Context, ns Namespace, fields []string) (bool, error)

	// System opens a stage that reports on the server ($collStats, $indexStats,
	// $currentOp, $changeStream …), by its name. The argument has been checked.
	System(ctx context.Context, ns Namespace, stage string, arg bsonval.Doc) (Source, error)

	// GeoIndexes lists the geo indexes of a collection. It fails with
	// NamespaceNotFound if there is no such collection.
	GeoIndexes(ctx context.Context, ns Namespace) ([]GeoIndex, error)

	// Out opens a writer that replaces a collection.
	Out(ctx context.Context, o OutSpec) (Writer, error)

	// Merge applies some documents of $merge, each by itself, and returns the first failure;
	// the others are done all the same. It does not wait for the disk: Merged does, for all.
	Merge(ctx context.Context, ns Namespace, ops []MergeOp) error
	Merged(ctx context.Context) error
}

// GeoIndex is a geo index: its field and its kind, "2d" or "2dsphere".
type GeoIndex struct{ Field, Kind string }

// OutSpec is $out's target.
type OutSpec struct {
	NS Namespace
	// TimeSeries holds the options of the time-series collection to create; nil
	// for an ordinary one.
	TimeSeries bsonval.Doc
}

// Writer collects the documents of $out. Nothing of them shows before Commit.
type Writer interface {
	Write(ctx context.Context, d bsonval.Doc) error
	Commit(ctx context.Context) error
	// Abort drops everything; it does nothing after Commit.
	Abort()
}

// MergeOp merges one document into a collection, atomically.
type MergeOp struct {
	// Filter finds the existing document: equality on the `on` fields.
	Filter bsonval.Doc

	// Update makes the new version of the existing document; nil leaves it alone.
	// An update that would change _id fails with ImmutableField.
	Update func(existing bsonval.Doc) (bsonval.Doc, error)

	// Insert is what to insert if there is none; nil inserts nothing. A document
	// without _id gets one.
	Insert bsonval.Doc

	// MustMatch fails with MergeStageNoMatchingDocument if there is none.
	MustMatch bool

	// MustInsert inserts without looking: an existing document is a duplicate key.
	MustInsert bool
}

// TempFile is a scratch file for spilling. Close deletes it.
type TempFile interface {
	io.Writer
	io.ReaderAt
	io.Closer
}

// Env is what a run of a pipeline may use.
type Env struct {
	// Expr is what expressions may know.
	Expr *expr.Env

	// Vars are the values of the variables declared before Parse (the command's
	// let), by slot.
	Vars []bsonval.Value

	Data Data

	// AllowDiskUse lets blocking stages spill to TempFile.
	AllowDiskUse bool
	TempFile     func() (TempFile, error)

	// MemoryLimit is the number of bytes a blocking stage may hold; 0 means
	// DefaultMemoryLimit.
	MemoryLimit int64

	// NewObjectID makes 12 bytes for the documents of $merge that lack _id.
	NewObjectID func() []byte
}

// DefaultMemoryLimit is MongoDB's limit for a blocking stage: 100 MiB.
const DefaultMemoryLimit = 100 << 20

func (e *Env) memoryLimit() int64 {
	if e.MemoryLimit > 0 {
		return e.MemoryLimit
	}
	return DefaultMemoryLimit
}
