package pipeline

import (
	"context"
	"slices"
	"strconv"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
)

// join finds the foreign documents whose field equals a local one: by an index
// if there is one, else in a hash table of the foreign collection, else, when
// that does not fit into memory, by reading the collection each time.
type join struct {
	r       *run
	s       *lookupStage
	decided bool
	table   *hashTable // nil: queries
	values  []bsonval.Value
	key     []byte
	found   []int32

	leading Query     // what the planner can run of the sub-pipeline, with a query
	rest    *Pipeline // the other stages; nil for none
}

func newJoin(r *run, s *lookupStage) *join {
	j := &join{r: r, s: s, rest: s.sub}
	if s.sub == nil {
		return j
	}
	if q, rest := s.sub.Leading(); q.Matcher == nil || !q.Matcher.HasText() {
		j.leading, j.rest = q, rest
	}
	return j
}

// find returns the foreign documents for a local one, in their natural order, behind the
// sub-pipeline if there is one.
func (j *join) find(ctx context.Context, d bsonval.Doc) (Source, error) {
	if !j.decided {
		if err := j.decide(ctx); err != nil {
			return nil, err
		}
	}
	src, rest, err := j.matching(ctx, d)
	if err != nil || rest == nil {
		return src, err
	}
	return rest.open(ctx, j.r, src)
}

// matching returns the foreign documents for a local one, and the stages that they are to go through.
func (j *join) matching(ctx context.Context, d bsonval.Doc) (Source, *Pipeline, error) {
	j.values = localValues(j.values[:0], d, j.s.local)
	if j.table != nil {
		src, err := j.lookUp()
		return src, j.s.sub, err
	}
	src, err := j.query(ctx, j.values)
	return src, j.rest, err
}

// query asks for the foreign documents that have one of some values.
func (j *join) query(ctx context.Context, values []bsonval.Value) (Source, error) {
	q := j.leading
	filter := equalsAny(j.s.foreign, values)
	m, err := match.Compile(filter, match.Options{Compiler: j.s.c})
	if err != nil {
		return nil, err
	}
	if q.Matcher != nil {
		filter = bsonval.NewBuilder().StartArray("$and").Doc("", filter).Doc("", q.Filter).End().Build()
		m = match.FromNode(match.NewAnd(m.Root(), q.Matcher.Root()))
	}
	q.Filter, q.Matcher, q.Vars, q.Collator = filter, m, j.r.c.Vars, j.r.collator()
	return j.r.env.Data.Open(ctx, j.s.ns, q)
}

func (j *join) decide(ctx context.Context) error {
	j.decided = true
	if j.s.origin != nil || !j.r.env.Data.HasIndex(ctx, j.s.ns, j.s.foreign) {
		t, err := j.build(ctx)
		if err != nil {
			return err
		}
		j.table = t
	}
	return nil
}

// equalsAny is the filter for a field that equals one of some values. Regular
// expressions are values here.
func equalsAny(field string, values []bsonval.Value) bsonval.Doc {
	regex := slices.ContainsFunc(values, func(v bsonval.Value) bool { return v.Type() == bsonval.TypeRegex })
	b := bsonval.NewBuilder()
	switch {
	case len(values) == 1:
		return b.StartDoc(field).Value("$eq", values[0]).Build()
	case !regex:
		return b.StartDoc(field).Value("$in", bsonval.ArrayOf(values...)).Build()
	}
	b.StartArray("$or")
	for _, v := range values {
		b.StartDoc("").StartDoc(field).Value("$eq", v).End().End()
	}
	return b.Build()
}

// localValues appends the values that a foreign document is to have one of.
func localValues(dst []bsonval.Value, d bsonval.Doc, path []string) []bsonval.Value {
	dst = pathValues(dst, d, path)
	if len(dst) == 0 {
		dst = append(dst, bsonval.Null)
	}
	return dst
}

// pathValues appends the values at a dotted path: the elements of an array at
// its end, and of documents in arrays on the way; a number also picks an element.
func pathValues(dst []bsonval.Value, d bsonval.Doc, path []string) []bsonval.Value {
	return appendValuesAt(dst, d.Lookup(path[0]), path[1:])
}

func appendValuesAt(dst []bsonval.Value, v bsonval.Value, path []string) []bsonval.Value {
	switch {
	case v.IsMissing():
		return dst
	case len(path) == 0:
		if v.Type() == bsonval.TypeArray {
			return v.Doc().Values(dst)
		}
		return append(dst, v)
	case v.Type() == bsonval.TypeDocument:
		return appendValuesAt(dst, v.Doc().Lookup(path[0]), path[1:])
	case v.Type() == bsonval.TypeArray:
		if n, err := strconv.Atoi(path[0]); err == nil && n >= 0 {
			dst = appendValuesAt(dst, v.Doc().Index(n), path[1:])
		}
		it := v.Doc().Iter()
		for it.Next() {
			if it.Value().Type() == bsonval.TypeDocument {
				dst = appendValuesAt(dst, it.Value().Doc().Lookup(path[0]), path[1:])
			}
		}
	}
	return dst
}

// hashTable holds a foreign collection by the values of a field.
type hashTable struct {
	docs  []bsonval.Doc
	byKey map[string][]int32
	// nulls are the documents that may equal null, to be checked with isNull:
	// arrays on the way make that a matter of the filter language.
	nulls  []int32
	isNull *match.Matcher
}

// build reads the foreign collection; it returns nil if that is too large.
func (j *join) build(ctx context.Context) (*hashTable, error) {
	src, err := j.openForeign(ctx)
	if err != nil {
		return nil, err
	}
	t := &hashTable{byKey: map[string][]int32{}}
	if t.isNull, err = j.s.matchesNull(); err != nil {
		src.Close()
		return nil, err
	}
	var held int64
	fits := true
	err = drain(ctx, src, func(d bsonval.Doc) error {
		if !fits {
			return nil
		}
		j.add(t, d.Clone())
		if held += int64(len(d)) + 64; held > j.r.env.memoryLimit() && j.s.origin == nil {
			fits = false
		}
		return nil
	})
	if err != nil || !fits {
		return nil, err
	}
	return t, nil
}

// matchesNull is the condition that the foreign field equals null.
func (s *lookupStage) matchesNull() (*match.Matcher, error) {
	filter := bsonval.NewBuilder().StartDoc(s.foreign).Null("$eq").Build()
	return match.Compile(filter, match.Options{Compiler: s.c})
}

func (j *join) openForeign(ctx context.Context) (Source, error) {
	if j.s.origin != nil {
		return j.s.origin.open(ctx, j.r, nil)
	}
	return j.r.env.Data.Open(ctx, j.s.ns, Query{Collator: j.r.collator()})
}

func (j *join) add(t *hashTable, d bsonval.Doc) {
	at := int32(len(t.docs))
	t.docs = append(t.docs, d)
	if ok, _ := t.isNull.Match(nil, d); ok {
		t.nulls = append(t.nulls, at)
	}
	values := appendCandidates(nil, d.Lookup(j.s.fnames[0]), j.s.fnames[1:])
	for _, v := range values {
		j.key = keystring.Append(j.key[:0], v, false, j.r.collator())
		list := t.byKey[string(j.key)]
		if len(list) == 0 || list[len(list)-1] != at {
			t.byKey[string(j.key)] = append(list, at)
		}
	}
}

// appendCandidates appends all values that equality on a path compares with:
// those of pathValues, and an array at the end as a whole.
func appendCandidates(dst []bsonval.Value, v bsonval.Value, path []string) []bsonval.Value {
	if len(path) == 0 {
		if v.Type() == bsonval.TypeArray {
			dst = v.Doc().Values(dst)
		}
		if !v.IsMissing() {
			dst = append(dst, v)
		}
		return dst
	}
	switch v.Type() {
	case bsonval.TypeDocument:
		return appendCandidates(dst, v.Doc().Lookup(path[0]), path[1:])
	case bsonval.TypeArray:
		if n, err := strconv.Atoi(path[0]); err == nil && n >= 0 {
			dst = appendCandidates(dst, v.Doc().Index(n), path[1:])
		}
		it := v.Doc().Iter()
		for it.Next() {
			if it.Value().Type() == bsonval.TypeDocument {
				dst = appendCandidates(dst, it.Value().Doc().Lookup(path[0]), path[1:])
			}
		}
	}
	return dst
}

// lookUp finds the documents that equal one of j.values.
func (j *join) lookUp() (Source, error) {
	j.found = j.found[:0]
	for _, v := range j.values {
		switch v.Type() {
		case bsonval.TypeNull:
			j.found = append(j.found, j.table.nulls...)
		case bsonval.TypeUndefined:
		default:
			j.key = keystring.Append(j.key[:0], v, false, j.r.collator())
			j.found = append(j.found, j.table.byKey[string(j.key)]...)
		}
	}
	if len(j.values) > 1 {
		slices.Sort(j.found)
		j.found = slices.Compact(j.found)
	}
	docs := make([]bsonval.Doc, len(j.found))
	for i, n := range j.found {
		docs[i] = j.table.docs[n]
	}
	return NewList(docs), nil
}
