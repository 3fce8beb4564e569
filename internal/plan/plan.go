package plan

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/sortkey"
)

var nan = math.NaN()

// smallestOf gives, for types with a bracket of their own, a value in it.
var smallestOf = map[bsonval.Type]bsonval.Value{
	bsonval.TypeDouble: bsonval.Double(0), bsonval.TypeInt32: bsonval.Int32(0),
	bsonval.TypeInt64: bsonval.Int64(0), bsonval.TypeDecimal128: bsonval.Int32(0),
	bsonval.TypeString: bsonval.String(""), bsonval.TypeSymbol: bsonval.String(""),
	bsonval.TypeDocument: bsonval.Document(bsonval.EmptyDoc), bsonval.TypeBinary: bsonval.Binary(0, nil),
	bsonval.TypeObjectID: bsonval.ObjectID(make([]byte, 12)), bsonval.TypeBool: bsonval.False,
	bsonval.TypeDate: bsonval.Date(0), bsonval.TypeTimestamp: bsonval.TimestampBits(0),
}

// Query is what is asked of one collection.
type Query struct {
	Filter    *match.Matcher
	Sort      *sortkey.Pattern // nil for none
	Collation *collation.Spec  // of the query; nil means by bytes
	Context   *expr.Context    // has the values of variables; may be nil

	// Need are the paths that whoever reads the results looks at; nil means the
	// whole document. The filter's own are not among them.
	Need []string

	// Hint is the index to use, by name or key pattern, or {$natural: ±1}.
	Hint *Hint

	// Allowed are the indexes that may be used; nil allows all.
	Allowed *IndexSet

	// Min and Max bound the index scan by key pattern; they need a hint.
	Min, Max bsonval.Doc

	// Distinct is the path whose different values are wanted; empty for queries
	// that want documents. One document for each value will do, and those without
	// the path count for nothing.
	Distinct string

	// NaturalReverse asks for the collection backwards ({$natural: -1}).
	NaturalReverse bool
}

// Hint names the index to use.
type Hint struct {
	Name    string
	Key     bsonval.Doc
	Natural int // ±1 for {$natural: ±1}
}

// Plan is one way to find the documents of a query.
type Plan struct {
	// Index is nil for a collection scan or a union.
	Index   *catalog.Index
	Bounds  Bounds
	Reverse bool

	// MinRecord and MaxRecord bound a collection scan by record id; 0 for none.
	MinRecord, MaxRecord int64

	// Push tells which of the clauses of Matcher.Necessary the engine can leave out
	// documents by; nil where it leaves out none.
	Push func(clauses [][][]byte) [][][]byte

	// Lower and Upper are key bounds of min() and max(); nil for none.
	Lower, Upper []byte

	// Union are the plans whose results together, without repetitions, are the
	// answer; nil for others.
	Union []*Plan

	// MergeFrom, if it is not 0, says that the plans of Union scan ranges of one
	// index, each in the query's order, and have to be merged by the components of
	// their keys from this one on.
	MergeFrom int

	// KeyFilter is applied to what the index key tells of a document, Filter to
	// the documents found; nil for none. The bounds decide the rest.
	KeyFilter, Filter *match.Matcher

	// Sorted says that documents come in the query's sort order.
	Sorted bool

	// Covered says that everything needed is in the index key, so documents are
	// not fetched but rebuilt from keys.
	Covered bool

	// KeyOnly says that nothing of the documents is needed at all.
	KeyOnly bool

	// Distinct, if it is not 0, is the number of leading key components of which
	// each combination is wanted once. Null is returned as often as it comes.
	Distinct int

	// Point says that the plan is a look-up of one key of a unique index by all
	// its fields.
	Point bool

	// Repeats says that the scan may meet a document more than once although its
	// index is not multikey.
	Repeats bool

	// Near is the order by distance of a plan over a geo index; nil for others.
	Near *Near

	// Text is the search of a plan over a text index; nil for others.
	Text *TextSearch

	// Nothing says that no document can match.
	Nothing bool
}

// Contains are byte strings, of which the documents that the filters let through hold
// one of each clause; nil where the engine makes no use of it.
func (p *Plan) Contains() [][][]byte {
	if p.Push == nil {
		return nil
	}
	var nodes []match.Node
	for _, m := range []*match.Matcher{p.KeyFilter, p.Filter} {
		if m != nil {
			nodes = append(nodes, m.Root())
		}
	}
	return p.Push(match.FromNode(match.NewAnd(nodes...)).Necessary())
}

// Fetches says whether a plan scans an index and fetches the document of each entry for
// filters to look at.
func (p *Plan) Fetches() bool {
	return p.Index != nil && !p.Covered && !p.Point && !p.Nothing && p.Distinct == 0 && p.Near == nil && p.Text == nil &&
		(p.Filter != nil || p.KeyFilter != nil)
}

// Stage is the name explain gives the plan's access.
func (p *Plan) Stage() string {
	switch {
	case p.Nothing:
		return "EOF"
	case p.MergeFrom > 0:
		return "SORT_MERGE"
	case p.Union != nil:
		return "OR"
	case p.Index == nil:
		return "COLLSCAN"
	case p.Text != nil:
		return "TEXT_MATCH"
	case p.Near != nil && p.Index.Kind == indexkey.Kind2D:
		return "GEO_NEAR_2D"
	case p.Near != nil:
		return "GEO_NEAR_2DSPHERE"
	}
	return "IXSCAN"
}

// Identity tells plans of one query shape apart: the indexes and directions.
func (p *Plan) Identity() string {
	s := p.Stage()
	if p.Index != nil {
		s += ":" + p.Index.Name
		if p.Index.Kind == indexkey.KindWildcard {
			s += ":" + bsonval.FormatDoc(p.Index.Key) // one of several paths
		}
	}
	if p.Reverse {
		s += ":-"
	}
	for i, u := range p.Union {
		if p.MergeFrom > 0 && i > 0 {
			break // of one index and one direction
		}
		s += "|" + u.Identity()
	}
	return s
}
