package update

import (
	"strings"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Transform is a compiled pipeline: it makes one document of another.
type Transform func(c *expr.Context, d bsonval.Doc) (bsonval.Doc, error)

// Options are the surroundings of an update.
type Options struct {
	// Compiler compiles array filters and gives the collation. Nil means no
	// variables and strings in byte order.
	Compiler *expr.Compiler

	// ArrayFilters are the update's array filters.
	ArrayFilters []bsonval.Doc

	// Multi says that the update is for many documents, which refuses
	// replacements.
	Multi bool

	// Pipeline compiles an update that is an array of stages; nil refuses it.
	Pipeline func(stages bsonval.Doc) (Transform, error)

	// KeepEmptyTimestamps keeps Timestamp(0, 0) at the top level of a replacement,
	// which is else replaced by the time.
	KeepEmptyTimestamps bool
}

// Kind tells the forms of updates apart.
type Kind uint8

// The kinds.
const (
	Operators Kind = iota
	Replacement
	Pipeline
)

// Program is a compiled update.
type Program struct {
	kind        Kind
	root        *node
	renames     []rename
	filters     []arrayFilter
	replacement bsonval.Doc
	transform   Transform
	collator    bsonval.Collator
	env         *expr.Env
	positional  bool
	keepStamps  bool // Options.KeepEmptyTimestamps

	// careful says that the result of operators needs more checks than its size:
	// they may touch _id, make top-level names with a dollar, or nest deeply.
	careful bool

	compilation compilation // of operators
	space       nodeSpace   // of root
}

// Input is what applying an update to one document depends on.
type Input struct {
	// ArrayIndex is the index of the array element that the query matched, for
	// "$"; -1 for none.
	ArrayIndex int
	// Insert says that the document is about to be inserted by an upsert, so that
	// $setOnInsert applies.
	Insert bool
	// Room is where the result of operators may be written, from its start; it grows
	// if need be.
	Room []byte
}

// Compile compiles an update: a document or an array of stages, whose bytes must
// stay as they are as long as the program is used.
func Compile(u bsonval.Value, o Options) (*Program, error) {
	p := &Program{}
	return p, p.Compile(u, o)
}

// Compile is [Compile] into a zero Program.
func (p *Program) Compile(u bsonval.Value, o Options) error {
	if o.Compiler == nil {
		o.Compiler = expr.NewCompiler(&expr.Env{})
	}
	p.env, p.collator, p.keepStamps = o.Compiler.Env, o.Compiler.Env.Collator, o.KeepEmptyTimestamps
	switch u.Type() {
	case bsonval.TypeArray:
		return p.compilePipeline(u.Doc(), o)
	case bsonval.TypeDocument:
	default:
		return mongoerr.New(mongoerr.FailedToParse, "Update argument must be either an object or an array")
	}
	d := u.Doc()
	if key, _, ok := d.First(); ok && strings.HasPrefix(key, "$") {
		return p.compileOperators(d, o)
	}
	return p.compileReplacement(d, o)
}

func (p *Program) compilePipeline(stages bsonval.Doc, o Options) error {
	if len(o.ArrayFilters) > 0 {
		return mongoerr.New(mongoerr.FailedToParse, "arrayFilters may not be specified for pipeline-style updates")
	}
	if o.Pipeline == nil {
		return mongoerr.New(mongoerr.FailedToParse, "pipeline-style updates are not allowed here")
	}
	p.kind = Pipeline
	var err error
	p.transform, err = o.Pipeline(stages)
	return err
}

func (p *Program) compileReplacement(d bsonval.Doc, o Options) error {
	if o.Multi {
		return mongoerr.New(mongoerr.FailedToParse, "multi update is not supported for replacement-style update")
	}
	if len(o.ArrayFilters) > 0 {
		return mongoerr.New(mongoerr.FailedToParse, "arrayFilters may not be specified for replacement-style updates")
	}
	p.kind = Replacement
	p.replacement = d
	return checkTopNames(d)
}

// Kind returns the update's form.
func (p *Program) Kind() Kind { return p.kind }

// Positional says whether Apply needs the index of the array element that the
// query matched.
func (p *Program) Positional() bool { return p.positional }

// NeedsContext says whether Apply needs a context.
func (p *Program) NeedsContext() bool { return p.kind == Pipeline }

// Apply applies the update to a document, which it does not write to. If nothing
// changes it returns the document itself and false; a replacement counts as a
// change even if it is equal. The context is needed by pipelines only.
func (p *Program) Apply(c *expr.Context, d bsonval.Doc, in Input) (out bsonval.Doc, changed bool, err error) {
	switch p.kind {
	case Replacement:
		out, err = p.replace(d)
	case Pipeline:
		out, err = p.pipe(c, d)
	default:
		out, changed, err = p.operate(d, in)
		if err == nil && !changed {
			return d, false, nil
		}
	}
	if err != nil {
		return nil, false, err
	}
	if p.kind == Pipeline && string(out) == string(d) {
		return d, false, nil
	}
	return out, true, p.checkResult(d, out, in)
}

// applications are to use again: one would be allocated for each document otherwise.
var applications = sync.Pool{New: func() any { return new(application) }}

// operate applies operators.
func (p *Program) operate(d bsonval.Doc, in Input) (out bsonval.Doc, changed bool, err error) {
	a := applications.Get().(*application)
	*a = application{p: p, doc: d, in: in}
	out, err = a.run()
	changed = a.changed
	*a = application{}
	applications.Put(a)
	return out, changed, err
}

// replace puts the document's _id first, then the replacement's fields.
func (p *Program) replace(d bsonval.Doc) (bsonval.Doc, error) {
	old, id := d.Lookup("_id"), p.replacement.Lookup("_id")
	switch {
	case old.IsMissing():
	case !id.IsMissing() && !bsonval.Equal(old, id):
		return nil, immutable("_id")
	default:
		id = old
	}
	dst, at := bsonval.BeginDoc(make([]byte, 0, len(p.replacement)+32))
	dst = bsonval.AppendElement(dst, "_id", id)
	it := p.replacement.Iter()
	for it.Next() {
		if it.KeyStr() == "_id" {
			continue
		}
		v := it.Value()
		if v.Type() == bsonval.TypeTimestamp && v.Int64() == 0 && !p.keepStamps {
			v = p.timestamp()
		}
		dst = bsonval.AppendElementBytes(dst, it.Key(), v)
	}
	return bsonval.EndDoc(dst, at), nil
}

// timestamp is the command's time.
func (p *Program) timestamp() bsonval.Value {
	if p.env.ClusterTime != 0 {
		return bsonval.TimestampBits(p.env.ClusterTime)
	}
	return bsonval.Timestamp(uint32(p.env.NowMS/1000), 1)
}

// pipe runs the pipeline; the _id stays if the pipeline drops it.
func (p *Program) pipe(c *expr.Context, d bsonval.Doc) (bsonval.Doc, error) {
	out, err := p.transform(c, d)
	if err != nil {
		return nil, err
	}
	old, id := d.Lookup("_id"), out.Lookup("_id")
	switch {
	case old.IsMissing() || bsonval.Identical(old, id):
		return out, nil
	case !id.IsMissing() && !bsonval.Equal(old, id):
		return nil, immutable("_id")
	}
	dst, at := bsonval.BeginDoc(make([]byte, 0, len(out)+32))
	dst = bsonval.AppendElement(dst, "_id", old)
	it := out.Iter()
	for it.Next() {
		if it.KeyStr() != "_id" {
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
		}
	}
	return bsonval.EndDoc(dst, at), nil
}

// Touches says whether the update may change the value at a dotted path, or
// anything under it.
func (p *Program) Touches(path string) bool {
	if p.kind != Operators {
		return true
	}
	// Asked for each index at each update: short paths are split without
	// allocating.
	var space [4]string
	names := space[:0]
	for name := range strings.SplitSeq(path, ".") {
		names = append(names, name)
	}
	return p.root.touches(names)
}
