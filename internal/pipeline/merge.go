package pipeline

import (
	"context"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var mergeRows = []row{
	{name: "$merge", doc: "Merges the documents into a collection.", parse: parseMerge, last: true, writes: true, noFacet: true, noLookup: true},
}

type mergeStage struct {
	arg        bsonval.Value
	ns         Namespace
	on         []string
	onDefault  bool
	matched    string // replace, merge, keepExisting, fail, pipeline
	notMatched string // insert, discard, fail

	update  func(*expr.Context, bsonval.Doc) (bsonval.Doc, error) // of pipeline
	letVars []letVar
	newSlot int // of the variable new; -1 if let hides it
}

func parseMerge(p *parser, arg bsonval.Value) ([]stage, error) {
	s := &mergeStage{arg: arg, ns: Namespace{DB: p.ns.DB}, matched: "merge", notMatched: "insert", newSlot: -1}
	var let, whenMatched bsonval.Value
	switch arg.Type() {
	case bsonval.TypeString:
		s.ns.Coll = strings.Clone(arg.Str())
		if s.ns.Coll == "" {
			return nil, checkCollName(s.ns.DB, "")
		}
	case bsonval.TypeDocument:
		var err error
		if let, whenMatched, err = s.read(arg.Doc()); err != nil {
			return nil, err
		}
	default:
		return nil, mongoerr.New(mongoerr.TypeMismatch, "$merge requires a string or object argument, but found %s", arg.Type())
	}
	if s.on == nil {
		s.on, s.onDefault = []string{"_id"}, true
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	if whenMatched.Type() == bsonval.TypeArray {
		return []stage{s}, s.parseUpdate(p, let, whenMatched.Doc())
	}
	if !let.IsMissing() {
		return nil, mongoerr.New(51199, "Cannot use 'let' variables with 'whenMatched: %s' mode", s.matched)
	}
	return []stage{s}, nil
}

func (s *mergeStage) read(d bsonval.Doc) (let, whenMatched bsonval.Value, err error) {
	into := false
	err = fields("$merge", d, func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "into":
			into = true
			err = s.readInto(v)
		case "on":
			s.on, err = readOn(v)
		case "whenMatched":
			whenMatched = v
			err = s.readMatched(v)
		case "whenNotMatched":
			if isNull(v) {
				return true, nil
			}
			s.notMatched, err = fieldString("$merge", name, v)
			if err == nil && !slices.Contains([]string{"insert", "discard", "fail"}, s.notMatched) {
				err = mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '$merge.whenNotMatched' is not a valid value.", s.notMatched)
			}
		case "let":
			if isNull(v) {
				return true, nil
			}
			let = v
			_, err = fieldDoc("$merge", name, v)
		default:
			return false, nil
		}
		return true, err
	})
	if err == nil && !into {
		err = errMissingField("$merge", "into")
	}
	return let, whenMatched, err
}

func (s *mergeStage) readInto(v bsonval.Value) error {
	switch v.Type() {
	case bsonval.TypeString:
		s.ns.Coll = strings.Clone(v.Str())
		if s.ns.Coll == "" {
			return mongoerr.New(5786800, "$merge 'into' field must specify a 'coll' that is not empty, null or undefined")
		}
		return nil
	case bsonval.TypeDocument:
	default:
		return mongoerr.New(51178, "$merge 'into' field  must be either a string or an object, but found %s", v.Type())
	}
	db := s.ns.DB
	err := fields("$merge.into", v.Doc(), func(name string, v bsonval.Value) (known bool, err error) {
		if name != "db" && name != "coll" {
			return false, nil
		}
		if isNull(v) {
			return true, nil
		}
		if name == "db" {
			s.ns.DB, err = fieldString("$merge.into", name, v)
		} else {
			s.ns.Coll, err = fieldString("$merge.into", name, v)
		}
		return true, err
	})
	if s.ns.DB == "" {
		s.ns.DB = db
	}
	if err == nil && s.ns.Coll == "" {
		err = mongoerr.New(5786801, "$merge 'into' field must specify a 'coll' that is not empty, null or undefined")
	}
	return err
}

func readOn(v bsonval.Value) ([]string, error) {
	var on []string
	switch v.Type() {
	case bsonval.TypeString:
		on = []string{strings.Clone(v.Str())}
	case bsonval.TypeArray:
		it := v.Doc().Iter()
		for it.Next() {
			if it.Value().Type() != bsonval.TypeString {
				return nil, mongoerr.New(51134, "$merge 'on' array elements must be strings, but found %s", it.Value().Type())
			}
			on = append(on, strings.Clone(it.Value().Str()))
		}
		if len(on) == 0 {
			return nil, mongoerr.New(51187, "If explicitly specifying $merge 'on', must include at least one field")
		}
	default:
		return nil, mongoerr.New(51186, "$merge 'on' field  must be either a string or an array of strings, but found %s", v.Type())
	}
	for i, f := range on {
		if _, err := fieldpath.Parse(f); err != nil {
			return nil, err
		}
		if slices.Contains(on[:i], f) {
			return nil, mongoerr.New(31465, "Found a duplicate field '%s' in $merge 'on'", f)
		}
	}
	return on, nil
}

func (s *mergeStage) readMatched(v bsonval.Value) error {
	switch v.Type() {
	case bsonval.TypeArray:
		s.matched = "pipeline"
		return nil
	case bsonval.TypeString:
		s.matched = strings.Clone(v.Str())
		if !slices.Contains([]string{"replace", "merge", "keepExisting", "fail"}, s.matched) {
			return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'whenMatched' is not a valid value.", s.matched)
		}
		return nil
	}
	return mongoerr.New(51191, "$merge 'whenMatched' field  must be either a string or an array, but found %s", v.Type())
}

func (s *mergeStage) check() error {
	if err := checkDBName(s.ns.DB); err != nil {
		return err
	}
	if err := checkCollName(s.ns.DB, s.ns.Coll); err != nil {
		return err
	}
	switch {
	case s.ns.DB == "admin" || s.ns.DB == "config" || s.ns.DB == "local":
		return mongoerr.New(31320, "Can't $merge into internal database: %s", s.ns.DB)
	case strings.HasPrefix(s.ns.Coll, "system."):
		return mongoerr.New(31319, "Can't $merge into special collection: %s", s.ns.Coll)
	case s.matched == "fail" && s.notMatched != "insert", s.matched == "keepExisting" && s.notMatched != "insert":
		return mongoerr.New(51181, "Combination of {whenMatched: %s, whenNotMatched: %s} is not supported", s.matched, s.notMatched)
	}
	return nil
}

// parseUpdate compiles the pipeline of whenMatched. Without let the new document
// is the variable new.
func (s *mergeStage) parseUpdate(p *parser, let bsonval.Value, stages bsonval.Doc) error {
	closeScope := p.c.Scope()
	defer closeScope()
	outer := p.c.Deps
	p.c.Deps = nil
	defer func() { p.c.Deps = outer }()
	var err error
	if !let.IsMissing() {
		if !let.Doc().Lookup("new").IsMissing() {
			s.newSlot = -1
		}
		if s.letVars, err = compileLet(p.c, let.Doc()); err != nil {
			return err
		}
	}
	if let.IsMissing() || let.Doc().Lookup("new").IsMissing() {
		s.newSlot = p.c.Declare("new")
	}
	sub, err := Parse(stages, Options{Compiler: p.c, NS: s.ns, Update: true})
	if err == nil {
		s.update, err = sub.Transform()
	}
	if mongoerr.Is(err, mongoerr.InvalidOptions) {
		s.update = func(*expr.Context, bsonval.Doc) (bsonval.Doc, error) { return nil, err }
		return nil
	}
	return err
}

func (s *mergeStage) name() string           { return "$merge" }
func (s *mergeStage) explain() bsonval.Value { return s.arg }
func (s *mergeStage) needs() needs           { return needsAll }
func (s *mergeStage) target() Namespace      { return s.ns }

func (s *mergeStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

// Check verifies what can only be known at run time, also for explain: that a
// unique index makes $merge's `on` fields identify one document.
func (p *Pipeline) Check(ctx context.Context, data Data) error {
	if len(p.stages) == 0 {
		return nil
	}
	if s, ok := p.stages[len(p.stages)-1].(*mergeStage); ok {
		return s.checkIndex(ctx, data)
	}
	return nil
}

func (s *mergeStage) checkIndex(ctx context.Context, data Data) error {
	if len(s.on) == 1 && s.on[0] == "_id" {
		return nil
	}
	ok, err := data.HasUniqueIndex(ctx, s.ns, s.on)
	if err == nil && !ok {
		err = mongoerr.New(51183, "Cannot find index to verify that join fields will be unique")
	}
	return err
}

func (s *mergeStage) fill(ctx context.Context, in *input) (Source, error) {
	if err := s.checkIndex(ctx, in.r.env.Data); err != nil {
		return nil, err
	}
	failed := s.mergeAll(ctx, in)
	if err := in.r.env.Data.Merged(ctx); failed == nil {
		failed = err
	}
	return NewList(nil), failed
}

func (s *mergeStage) mergeAll(ctx context.Context, in *input) error {
	var failed error
	var ops []MergeOp
	batch, size := 0, 0
	flush := func() {
		if len(ops) > 0 {
			note(&failed, in.r.env.Data.Merge(ctx, s.ns, ops))
		}
		clear(ops)
		ops, size = ops[:0], 0
	}
	for {
		d, err := in.nextBound(ctx)
		if err != nil {
			flush()
			if err != io.EOF {
				return err
			}
			return failed
		}
		op, err := s.merge(in.r, d.Clone())
		if err != nil {
			flush()
			note(&failed, err)
		} else {
			ops, size = append(ops, op), size+len(d)
		}
		if len(ops) >= mergeOps || size >= mergeBytes {
			flush()
		}
		if batch += len(d); batch >= maxMergeBatch {
			if flush(); failed != nil {
				return failed
			}
			batch = 0
		}
	}
}

// note keeps the first error.
func note(first *error, err error) {
	if *first == nil {
		*first = err
	}
}

// mergeOps and mergeBytes bound the documents that are handed over together.
const (
	mergeOps   = 100
	mergeBytes = 1 << 20
)

// maxMergeBatch is the size of a batch of writes in bytes. As MongoDB does, an
// error ends the pipeline at the end of its batch only.
const maxMergeBatch = 16 << 20

// merge is what a document does, which may be kept.
func (s *mergeStage) merge(r *run, d bsonval.Doc) (op MergeOp, err error) {
	complete := d
	if d.Lookup("_id").IsMissing() && r.env.NewObjectID != nil {
		complete = prependID(d, bsonval.ObjectID(r.env.NewObjectID()))
	}
	if slices.Contains(s.on, "_id") {
		d = complete
	}
	filter := bsonval.NewBuilder()
	for _, f := range s.on {
		v := d.LookupPath(strings.Split(f, ".")...)
		if v.IsNullish() && !s.onDefault && f != "_id" || v.Type() == bsonval.TypeArray {
			code := mongoerr.Code(51132)
			if v.Type() == bsonval.TypeArray {
				code = 51185
			}
			return op, mongoerr.New(code, "$merge write error: 'on' field '%s' cannot be missing, null, undefined or an array", f)
		}
		switch v.Type() {
		case bsonval.TypeObjectID, bsonval.TypeString, bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDouble, bsonval.TypeDate:
			filter.Value(f, v)
		default:
			filter.StartDoc(f).Value("$eq", v).End()
		}
	}
	op.Filter = filter.Build()
	switch s.notMatched {
	case "insert":
		op.Insert = complete
		if s.matched == "merge" || s.matched == "keepExisting" {
			op.Insert = s.upserted(complete)
		}
	case "fail":
		op.MustMatch = true
	}
	op.MustInsert = s.matched == "fail"
	op.Update = s.updater(r, d)
	return op, nil
}

// updater is how the existing document changes.
func (s *mergeStage) updater(r *run, d bsonval.Doc) func(bsonval.Doc) (bsonval.Doc, error) {
	switch s.matched {
	case "replace":
		return func(old bsonval.Doc) (bsonval.Doc, error) { return keepID(d, old), nil }
	case "merge":
		return func(old bsonval.Doc) (bsonval.Doc, error) { return overlay(old, d), nil }
	case "pipeline":
		return func(old bsonval.Doc) (bsonval.Doc, error) {
			c := r.c
			c.Root, c.Meta = d, nil
			if s.newSlot >= 0 {
				c.Vars[s.newSlot] = bsonval.Document(d)
			}
			if err := setLet(c, s.letVars); err != nil {
				return nil, err
			}
			out, err := s.update(c, old)
			return keepID(out, old), err
		}
	}
	return nil
}

// keepID gives a replacement without _id that of the old document.
func keepID(d, old bsonval.Doc) bsonval.Doc {
	if d == nil || !d.Lookup("_id").IsMissing() {
		return d
	}
	return prependID(d, old.Lookup("_id"))
}

func prependID(d bsonval.Doc, id bsonval.Value) bsonval.Doc {
	b, at := bsonval.BeginDoc(make([]byte, 0, len(d)+32))
	b = bsonval.AppendElement(b, "_id", id)
	return bsonval.EndDoc(append(b, d[4:len(d)-1]...), at)
}

// overlay sets the fields of d in old: the new ones at the end, in the order of
// updates.
func overlay(old, d bsonval.Doc) bsonval.Doc {
	b, at := bsonval.BeginDoc(make([]byte, 0, len(old)+len(d)))
	it := old.Iter()
	for it.Next() {
		v := it.Value()
		if w := d.Lookup(it.KeyStr()); !w.IsMissing() {
			v = w
		}
		b = bsonval.AppendElementBytes(b, it.Key(), v)
	}
	for _, name := range sortedNames(d) {
		if old.Lookup(name).IsMissing() {
			b = bsonval.AppendElement(b, name, d.Lookup(name))
		}
	}
	return bsonval.EndDoc(b, at)
}

// upserted is the document that an upsert with $set makes: _id, the `on` fields,
// then the rest in the order of updates.
func (s *mergeStage) upserted(d bsonval.Doc) bsonval.Doc {
	b, at := bsonval.BeginDoc(make([]byte, 0, len(d)))
	done := map[string]bool{"_id": true}
	b = bsonval.AppendElement(b, "_id", d.Lookup("_id"))
	names := make([]string, 0, len(s.on))
	for _, f := range s.on {
		first, _, _ := strings.Cut(f, ".")
		names = append(names, first)
	}
	for _, name := range append(names, sortedNames(d)...) {
		if !done[name] {
			done[name] = true
			b = bsonval.AppendElement(b, name, d.Lookup(name))
		}
	}
	return bsonval.EndDoc(b, at)
}

// sortedNames are a document's field names in the order in which updates add
// fields: numbers by value, before other names, which come by bytes.
func sortedNames(d bsonval.Doc) []string {
	var names []string
	it := d.Iter()
	for it.Next() {
		names = append(names, it.KeyStr())
	}
	slices.SortStableFunc(names, func(a, b string) int {
		x, errX := strconv.ParseUint(a, 10, 32)
		y, errY := strconv.ParseUint(b, 10, 32)
		if errX == nil && errY == nil && x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}
