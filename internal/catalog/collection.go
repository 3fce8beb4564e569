package catalog

import (
	"fmt"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/text"
	"github.com/archelon-db/archelon/internal/uuid"
)

// UUID identifies a collection for its whole life, across renames.
type UUID [16]byte

// NewUUID makes a random UUID.
func NewUUID() UUID { return uuid.New() }

// Value is the UUID as BSON binary, subtype 4.
func (u UUID) Value() bsonval.Value { return bsonval.Binary(4, u[:]) }

// String is the UUID as it is written in messages.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Collection types, as listCollections names them.
const (
	TypeCollection = "collection"
	TypeView       = "view"
)

// Collection is one collection or view. It is immutable once published.
type Collection struct {
	DB, Name string
	UUID     UUID
	Type     string          // TypeCollection or TypeView
	Table    storage.TableID // 0 for views
	Options  bsonval.Doc     // as listCollections shows them
	Indexes  []*Index        // the _id index first; none for views

	// Collation is the default for queries and indexes; nil means by bytes.
	Collation *collation.Spec

	// ViewOn and Pipeline define a view: the collection below and the stages (an
	// array).
	ViewOn   string
	Pipeline bsonval.Doc

	// Capped bounds a capped collection; nil for others.
	Capped *Cap

	// Log says that the table is a log table: records get their ids, which are
	// times, when they are committed, and only the oplog writes them.
	Log bool

	// Images says that documents are kept as they were before a change.
	Images bool

	// Clustered says that the natural order is that of _id.
	Clustered bool

	// Validator is the compiled validator; nil for none.
	Validator *match.Matcher

	// Guard is shared by all versions of this collection.
	Guard *Guard

	ns     string // "db.name"
	stored []byte // as it was encoded last
}

// Namespace is "db.name".
func (c *Collection) Namespace() string { return c.ns }

// IsView tells a view.
func (c *Collection) IsView() bool { return c.Type == TypeView }

// Key is the meta key of the collection's definition.
func (c *Collection) Key() []byte { return collectionKey(c.DB, c.Name) }

// Stored is the collection's definition as it is stored.
func (c *Collection) Stored() []byte { return c.stored }

// IDIndex returns the index on _id, or nil for a view.
func (c *Collection) IDIndex() *Index {
	if len(c.Indexes) == 0 {
		return nil
	}
	return c.Indexes[0]
}

// Index returns the index with a name, or nil.
func (c *Collection) Index(name string) *Index {
	for _, x := range c.Indexes {
		if x.Name == name {
			return x
		}
	}
	return nil
}

// TextIndex returns the collection's text index, or nil. A collection has one at
// most.
func (c *Collection) TextIndex() *Index {
	for _, x := range c.Indexes {
		if x.Kind == indexkey.KindText && x.Ready {
			return x
		}
	}
	return nil
}

// TextSpec says what the collection's text index searches; nil if there is none.
// c may be nil.
func (c *Collection) TextSpec() *text.Spec {
	if c == nil {
		return nil
	}
	if x := c.TextIndex(); x != nil {
		if g, ok := x.Generator.(*indexkey.Text); ok {
			return g.Spec
		}
	}
	return nil
}

// With returns a copy to change before it is published.
func (c *Collection) With(change func(*Collection)) *Collection {
	n := *c
	n.Indexes = append([]*Index(nil), c.Indexes...)
	change(&n)
	n.ns = n.DB + "." + n.Name
	return &n
}

// Field is one part of an index key.
type Field = indexkey.Field

// Index is one index. It is immutable once published, but for the multikey
// mark.
type Index struct {
	ID     storage.IndexID
	Name   string
	Spec   bsonval.Doc // as listIndexes shows it
	Key    bsonval.Doc // the key pattern
	Fields []Field
	Kind   indexkey.Kind

	Unique, Sparse, Hidden bool

	// Clustered tells the index that gives a clustered collection its order.
	Clustered bool

	// Partial is the filter of a partial index; nil for others.
	Partial *match.Matcher

	// Generator makes the keys of documents.
	Generator indexkey.Generator

	// Collation orders the index's strings; nil means by bytes.
	Collation *collation.Spec
	collator  bsonval.Collator

	// Ready is false while the index is being built: writers maintain it,
	// queries do not use it.
	Ready bool

	// Builder is the process that builds an index that is not ready, in a shared store.
	Builder [8]byte

	multikey *atomic.Uint32
	stored   *storedMark // the part of multikey that is known to be stored
	// Uses counts the queries that chose the index, and SinceMS says since when.
	Uses    *atomic.Int64
	SinceMS int64
}

// MultikeyFields returns the set of key fields (bit i for Fields[i]) under which some
// document has had an array. It only grows.
func (x *Index) MultikeyFields() uint32 { return x.multikey.Load() }

// IsMultikey says whether some document has had more than one key.
func (x *Index) IsMultikey() bool { return x.multikey.Load() != 0 }

// IsID tells the index on _id.
func (x *Index) IsID() bool {
	return len(x.Fields) == 1 && x.Fields[0].Path == "_id" && (x.Name == "_id_" || x.Clustered)
}

// Collator returns the string order of the index.
func (x *Index) Collator() bsonval.Collator { return x.collator }
