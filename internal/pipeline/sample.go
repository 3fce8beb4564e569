package pipeline

import (
	"cmp"
	"container/heap"
	"context"
	"io"
	"math"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var sampleRows = []row{
	{name: "$sample", doc: "Passes random documents, as many as asked for.", parse: parseSample},
}

type sampleStage struct{ size int64 }

func parseSample(_ *parser, arg bsonval.Value) ([]stage, error) {
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(28745, "the $sample stage specification must be an object; found %s", arg.Type())
	}
	size := bsonval.Missing
	it := arg.Doc().Iter()
	for it.Next() {
		if it.KeyStr() != "size" {
			return nil, mongoerr.New(28748, "unrecognized option to $sample: %s", it.KeyStr())
		}
		if size = it.Value(); !size.IsNumber() {
			return nil, mongoerr.New(28746, "size argument to $sample must be a number")
		}
	}
	if size.IsMissing() {
		return nil, mongoerr.New(28749, "$sample stage must specify a size")
	}
	n := size.TruncInt64()
	if size.Type() == bsonval.TypeDecimal128 && !size.IsNaN() {
		n = int64(math.RoundToEven(math.Max(-1<<62, math.Min(size.AsDouble(), 1<<62))))
	}
	if n <= 0 {
		return nil, mongoerr.New(28747, "size argument to $sample must be a positive integer")
	}
	return []stage{&sampleStage{n}}, nil
}

func (s *sampleStage) name() string { return "$sample" }
func (s *sampleStage) explain() bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Int64("size", s.size).Build())
}
func (s *sampleStage) needs() needs { return needs{deps: &expr.Deps{}} }

func (s *sampleStage) open(_ context.Context, r *run, src Source) (Source, error) {
	return newLazy(r, src, s.fill), nil
}

// sampled is a document in the reservoir with its random rank.
type sampled struct {
	rank float64
	doc  bsonval.Doc
	meta bsonval.Doc
}

// reservoir is a heap of documents, the one with the largest rank first.
type reservoir []sampled

func (h reservoir) Len() int           { return len(h) }
func (h reservoir) Less(i, j int) bool { return h[i].rank > h[j].rank }
func (h reservoir) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *reservoir) Push(x any)        { *h = append(*h, x.(sampled)) }

func (h *reservoir) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = sampled{}
	*h = (*h)[:last]
	return x
}

// fill keeps the documents with the smallest random ranks: all documents are
// equally likely, and so are all orders.
func (s *sampleStage) fill(ctx context.Context, in *input) (Source, error) {
	var kept reservoir
	var held int64
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		x := sampled{rank: in.r.env.Expr.Rand()}
		if int64(len(kept)) == s.size && x.rank >= kept[0].rank {
			continue
		}
		x.doc, x.meta = d.Clone(), in.Metadata().Clone()
		held += int64(len(x.doc) + len(x.meta))
		heap.Push(&kept, x)
		if int64(len(kept)) > s.size {
			last := heap.Pop(&kept).(sampled)
			held -= int64(len(last.doc) + len(last.meta))
		}
		if held > in.r.env.memoryLimit() {
			return s.fillOnDisk(ctx, in, kept)
		}
	}
	slices.SortFunc(kept, func(a, b sampled) int { return cmp.Compare(a.rank, b.rank) })
	return &sampledDocs{docs: kept, at: -1}, nil
}

// fillOnDisk goes on with a sample that does not fit into memory: a sort by the
// ranks.
func (s *sampleStage) fillOnDisk(ctx context.Context, in *input, kept []sampled) (Source, error) {
	spec := bsonval.NewBuilder().StartDoc("rand").Str("$meta", "randVal").End().Build()
	sort, err := newSort(spec)
	if err != nil {
		return nil, err
	}
	sorter := NewSorter(sort.pattern, s.size, in.r.env)
	add := func(x sampled) error {
		return sorter.Add(x.doc, bsonval.NewBuilder().Double("randVal", -x.rank).Build())
	}
	for _, x := range kept {
		if err := add(x); err != nil {
			return nil, err
		}
	}
	for {
		d, err := in.next(ctx)
		if err == io.EOF {
			return sorter.Sorted()
		}
		if err == nil {
			err = add(sampled{rank: in.r.env.Expr.Rand(), doc: d})
		}
		if err != nil {
			sorter.Close()
			return nil, err
		}
	}
}

type sampledDocs struct {
	docs []sampled
	at   int
}

func (s *sampledDocs) Next(context.Context) (bsonval.Doc, error) {
	if s.at++; s.at >= len(s.docs) {
		return nil, io.EOF
	}
	return s.docs[s.at].doc, nil
}

func (s *sampledDocs) Metadata() bsonval.Doc { return s.docs[s.at].meta }
func (s *sampledDocs) Close() error          { return nil }
