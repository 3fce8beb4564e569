package pipeline

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
)

// Where a query is a journey (Data.Gathers), a $lookup by equality alone reads some documents
// ahead, asks for the values of all of them at once, and deals out what it gets. Each document
// gets what a query of its own would have given, in the same order; where that is not certain,
// it has a query of its own.

var errBatchTooLarge = errors.New("batch too large")

const (
	// batchDocs is for how many documents is asked at once. The first batches are smaller, so
	// that a $limit behind does not pay: 1, 4, 16.
	batchDocs   = 32
	batchGrowth = 4

	// batchValues is for about how many values is asked at once: arrays have many.
	batchValues = 256

	// batchBytes bounds the documents that are read ahead, and those that a batch finds.
	batchBytes = 4 << 20
)

// gathers says whether to ask for several documents at once. A number in the path of an array picks an
// element, or names a field of all of them: what an index has of that is its own affair.
func (j *join) gathers(ctx context.Context) bool {
	number := func(name string) bool { return name >= "0" && name < ":" }
	return j.s.sub == nil && j.s.origin == nil && !slices.ContainsFunc(j.s.fnames, number) &&
		j.r.env.Data.Gathers(ctx, j.s.ns, j.s.foreign)
}

// outer is a document that was read ahead.
type outer struct {
	doc, meta bsonval.Doc
	values    []bsonval.Value // that a foreign document is to have one of
	alone     bool            // wants a query of its own
	unsure    bool            // of the order, if it finds more than one document
	found     []bsonval.Doc
}

// batches reads documents ahead and joins them.
type batches struct {
	in   *input
	j    *join
	size int // of the next batch
	most int

	queue   []*outer
	decided int   // of the queue, whose documents are found or who are alone
	err     error // of the input behind the queue
	last    bsonval.Doc
}

func newBatches(in *input, j *join) *batches {
	return &batches{in: in, j: j, size: 1, most: batchDocs}
}

// next returns the next document and a source of those that it is joined with.
func (b *batches) next(ctx context.Context) (bsonval.Doc, Source, error) {
	if len(b.queue) == 0 {
		if err := b.read(ctx); err != nil {
			return nil, nil, err
		}
	}
	if b.decided == 0 {
		if err := b.decide(ctx); err != nil {
			return nil, nil, err
		}
	}
	o := b.queue[0]
	b.queue, b.decided, b.last = b.queue[1:], b.decided-1, o.meta
	if !o.alone {
		return o.doc, NewList(o.found), nil
	}
	src, err := b.j.find(ctx, o.doc)
	return o.doc, src, err
}

// read fills the queue. An error of the input comes when the documents before it are done.
func (b *batches) read(ctx context.Context) error {
	b.queue = nil
	values, held := 0, 0
	for b.err == nil && len(b.queue) < b.size && values < batchValues && held < batchBytes {
		d, err := b.in.next(ctx)
		if err != nil {
			b.err = err
			break
		}
		o := &outer{doc: d.Clone()}
		if b.in.meta != nil {
			o.meta = b.in.meta.Metadata().Clone()
		}
		o.values = localValues(nil, o.doc, b.j.s.local)
		o.alone = slices.ContainsFunc(o.values, isPeculiar)
		b.queue = append(b.queue, o)
		values, held = values+len(o.values), held+len(o.doc)
	}
	if len(b.queue) == 0 {
		return b.err
	}
	return nil
}

// isPeculiar tells values that mean something else in $in than in $eq, or have several keys in an index.
func isPeculiar(v bsonval.Value) bool {
	switch v.Type() {
	case bsonval.TypeRegex, bsonval.TypeUndefined, bsonval.TypeArray:
		return true
	case bsonval.TypeDocument:
		name, _, _ := v.Doc().First()
		return strings.HasPrefix(name, "$")
	}
	return false
}

// decide joins the first documents of the queue.
func (b *batches) decide(ctx context.Context) error {
	for {
		n := min(b.size, len(b.queue))
		if n == 1 {
			b.queue[0].alone = true
		} else if ok, err := b.find(ctx, b.queue[:n]); err != nil {
			return err
		} else if !ok {
			b.most = n / 2
			b.size = b.most
			continue
		}
		b.decided, b.size = n, min(b.size*batchGrowth, b.most)
		return nil
	}
}

// find finds the documents of a batch. It returns false if they are too large for one.
func (b *batches) find(ctx context.Context, batch []*outer) (bool, error) {
	t := dealer{b: b, byKey: map[string][]*outer{}}
	for _, o := range batch {
		if o.found, o.unsure = nil, false; !o.alone {
			t.add(o)
		}
	}
	if len(t.values) == 0 {
		return true, nil
	}
	fits, err := t.run(ctx)
	if err != nil || !fits {
		return false, err
	}
	again := 0
	for _, o := range batch {
		if o.unsure && len(o.found) > 1 {
			o.alone, o.found = true, nil
			again++
		}
	}
	if again > len(batch)/2 {
		b.most = max(1, b.most/2)
	}
	return true, nil
}

// dealer asks for the values of a batch, and gives each document those that it has found.
type dealer struct {
	b      *batches
	values []bsonval.Value
	byKey  map[string][]*outer
	nulls  []*outer // whose values have null
	isNull *match.Matcher

	candidates []bsonval.Value
	key        []byte
}

func (t *dealer) add(o *outer) {
	for _, v := range o.values {
		if v.Type() == bsonval.TypeNull {
			if len(t.nulls) == 0 {
				t.values = append(t.values, v)
			}
			t.nulls = appendOuter(t.nulls, o)
			continue
		}
		key := t.keyOf(v)
		list := t.byKey[string(key)]
		if len(list) == 0 {
			t.values = append(t.values, v)
		}
		t.byKey[string(key)] = appendOuter(list, o)
	}
}

// appendOuter appends o, unless it is the last one already.
func appendOuter(list []*outer, o *outer) []*outer {
	if n := len(list); n > 0 && list[n-1] == o {
		return list
	}
	return append(list, o)
}

func (t *dealer) keyOf(v bsonval.Value) []byte {
	t.key = keystring.Append(t.key[:0], v, false, t.b.j.r.collator())
	return t.key
}

// run reads the foreign documents. It returns false if they are too large.
func (t *dealer) run(ctx context.Context) (bool, error) {
	var err error
	if t.isNull, err = t.b.j.s.matchesNull(); err != nil {
		return false, err
	}
	src, err := t.b.j.query(ctx, t.values)
	if err != nil {
		return false, err
	}
	held := 0
	err = drain(ctx, src, func(d bsonval.Doc) error {
		if held += len(d) + 64; held > batchBytes {
			return errBatchTooLarge
		}
		return t.deal(d.Clone())
	})
	if err == errBatchTooLarge {
		return false, nil
	}
	return err == nil, err
}

// deal gives a foreign document to those who have asked for it. They come in the order of the index,
// which is the same for fewer values, unless a document has several keys there.
func (t *dealer) deal(d bsonval.Doc) error {
	names := t.b.j.s.fnames
	t.candidates = appendCandidates(t.candidates[:0], d.Lookup(names[0]), names[1:])
	keys, several := 0, throughArray(d, names)
	for _, v := range t.candidates {
		if list := t.byKey[string(t.keyOf(v))]; len(list) > 0 {
			keys++
			t.give(list, d)
		}
	}
	if len(t.nulls) > 0 {
		ok, err := t.isNull.Match(nil, d)
		if err != nil {
			return err
		}
		if ok {
			t.give(t.nulls, d)
		}
		keys++ // it may have the key of null without being equal to it
	}
	if several && keys > 1 {
		for _, v := range t.candidates {
			doubt(t.byKey[string(t.keyOf(v))])
		}
		doubt(t.nulls)
	}
	return nil
}

// give appends a document, unless it was the last one already: it may have several of the values.
func (t *dealer) give(list []*outer, d bsonval.Doc) {
	for _, o := range list {
		if n := len(o.found); n == 0 || &o.found[n-1][0] != &d[0] {
			o.found = append(o.found, d)
		}
	}
}

func doubt(list []*outer) {
	for _, o := range list {
		o.unsure = true
	}
}

// throughArray says whether there is an array on a path or at its end.
func throughArray(d bsonval.Doc, path []string) bool {
	for i, name := range path {
		v := d.Lookup(name)
		switch {
		case v.Type() == bsonval.TypeArray:
			return true
		case v.Type() != bsonval.TypeDocument || i == len(path)-1:
			return false
		}
		d = v.Doc()
	}
	return false
}
