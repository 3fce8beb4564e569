package pipeline

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/fieldpath"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var rankFusionRows = []row{
	{name: "$rankFusion", doc: "Combines the ranks that documents have in several sorted pipelines.", parse: parseRankFusion, first: true, noFacet: true},
}

// rankConstant damps the weight of the first ranks: a document of rank r scores
// 1/(60+r).
const rankConstant = 60

type rankFusionStage struct {
	spec    bsonval.Value
	ns      Namespace
	names   []string
	subs    []*Pipeline
	sorts   []*sortStage
	weights []float64
	details bool
}

func parseRankFusion(p *parser, arg bsonval.Value) ([]stage, error) {
	const stageName = "$rankFusion"
	if arg.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "The $rankFusion stage specification must be an object, found %s", arg.Type())
	}
	s := &rankFusionStage{spec: arg, ns: p.ns}
	var inputs, weights bsonval.Value
	err := fields(stageName, arg.Doc(), func(name string, v bsonval.Value) (known bool, err error) {
		switch name {
		case "input":
			inputs, err = onlyField(stageName, name, "pipelines", v)
		case "combination":
			if isNull(v) {
				return true, nil
			}
			weights, err = onlyField(stageName, name, "weights", v)
		case "scoreDetails":
			if !isNull(v) {
				s.details, err = fieldBool(stageName, name, v)
			}
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if inputs.IsMissing() {
		return nil, errMissingField(stageName, "input")
	}
	if err := s.parseInputs(p, inputs.Doc()); err != nil {
		return nil, err
	}
	return []stage{s}, s.parseWeights(weights)
}

// onlyField reads {name: {inner: document}}.
func onlyField(stage, name, inner string, v bsonval.Value) (bsonval.Value, error) {
	if isNull(v) {
		return bsonval.Missing, errMissingField(stage, name)
	}
	d, err := fieldDoc(stage, name, v)
	if err != nil {
		return bsonval.Missing, err
	}
	out := bsonval.Missing
	err = fields(stage+"."+name, d, func(f string, v bsonval.Value) (bool, error) {
		if f != inner {
			return false, nil
		}
		if isNull(v) {
			return true, nil
		}
		_, err := fieldDoc(stage+"."+name, f, v)
		out = v
		return true, err
	})
	if err == nil && out.IsMissing() {
		err = errMissingField(stage+"."+name, inner)
	}
	return out, err
}

func (s *rankFusionStage) parseInputs(p *parser, d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		name, v := strings.Clone(it.KeyStr()), it.Value()
		if v.Type() != bsonval.TypeArray {
			return errFieldType("$rankFusion.input.pipelines", name, v, "array")
		}
		if v.Doc().IsEmpty() {
			return mongoerr.New(9834300, "$rankFusion input pipeline '%s' must not be empty", name)
		}
		if err := fieldpath.Check(name); err != nil {
			return err
		}
		if slices.Contains(s.names, name) {
			return mongoerr.New(9921000, "$rankFusion pipeline names must be unique, but found duplicate name '%s'", name)
		}
		sub, err := p.sub("$rankFusion", p.ns, v.Doc())
		if err != nil {
			return err
		}
		sort, err := rankingSort(name, sub)
		if err != nil {
			return err
		}
		s.names, s.subs, s.sorts = append(s.names, name), append(s.subs, sub), append(s.sorts, sort)
	}
	if len(s.names) == 0 {
		return mongoerr.New(mongoerr.BadValue, "$rankFusion.input.pipelines must have at least one pipeline")
	}
	return nil
}

// rankingSort checks that a pipeline only selects and orders documents, and
// returns the sort that ranks them.
func rankingSort(name string, sub *Pipeline) (sort *sortStage, err error) {
	for _, st := range sub.stages {
		switch st := st.(type) {
		case *sortStage:
			sort = st
		case *matchStage, *limitStage, *skipStage, *sampleStage:
		default:
			return nil, mongoerr.New(9191103, "$rankFusion input pipeline '%s' must only select and order documents, but has the stage %s", name, st.name())
		}
	}
	if sort == nil {
		return nil, mongoerr.New(9191100, "$rankFusion input pipeline '%s' must be a ranked pipeline: it needs a $sort", name)
	}
	return sort, nil
}

func (s *rankFusionStage) parseWeights(v bsonval.Value) error {
	s.weights = slices.Repeat([]float64{1}, len(s.names))
	if v.IsMissing() {
		return nil
	}
	it := v.Doc().Iter()
	for it.Next() {
		at := slices.Index(s.names, it.KeyStr())
		if at < 0 {
			return mongoerr.New(9967500, "$rankFusion stage contained %s in combination.weights, which is not the name of an input pipeline", it.KeyStr())
		}
		if !it.Value().IsNumber() {
			return mongoerr.New(13118, "Pipeline weights must be numbers, but %s is %s", it.KeyStr(), it.Value().Type())
		}
		w := it.Value().AsDouble()
		if w < 0 {
			return mongoerr.New(9460300, "Rank fusion pipeline weight must be non-negative, but given %v", w)
		}
		s.weights[at] = w
	}
	return nil
}

func (s *rankFusionStage) isOrigin()              {}
func (s *rankFusionStage) name() string           { return "$rankFusion" }
func (s *rankFusionStage) explain() bsonval.Value { return s.spec }
func (s *rankFusionStage) needs() needs           { return needsAll }
func (s *rankFusionStage) reads() []Namespace     { return []Namespace{s.ns} }

func (s *rankFusionStage) open(ctx context.Context, r *run, _ Source) (Source, error) {
	docs := map[string]*rankedDoc{}
	var held int64
	for i, sub := range s.subs {
		list, err := s.ranked(ctx, r, i, sub)
		if err != nil {
			return nil, err
		}
		for _, k := range list {
			id := string(keystring.Append(nil, k.doc.Lookup("_id"), false, nil))
			d := docs[id]
			if d == nil {
				d = &rankedDoc{doc: k.doc, ranks: make([]int, len(s.subs))}
				docs[id] = d
				if held += int64(len(k.doc)); held > r.env.memoryLimit() {
					return nil, errDiskUse("$rankFusion", r.env.memoryLimit())
				}
			}
			d.ranks[i] = k.rank
		}
	}
	return &rankFusionSource{docs: s.scored(docs), s: s, at: -1}, nil
}

// rankedDoc is a document with its ranks by pipeline; 0 where it is absent.
type rankedDoc struct {
	doc   bsonval.Doc
	ranks []int
	score float64
}

type keyedDoc struct {
	key  []byte
	doc  bsonval.Doc
	rank int
}

// ranked runs a pipeline and ranks its documents: equal sort keys share a rank.
func (s *rankFusionStage) ranked(ctx context.Context, r *run, i int, sub *Pipeline) ([]keyedDoc, error) {
	src, err := sub.openOn(ctx, r, s.ns)
	if err != nil {
		return nil, err
	}
	var list []keyedDoc
	err = drain(ctx, src, func(d bsonval.Doc) error {
		key, err := s.sorts[i].pattern.Append(nil, d, r.collator())
		list = append(list, keyedDoc{key: key, doc: d.Clone()})
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list, func(a, b keyedDoc) int { return bytes.Compare(a.key, b.key) })
	for i := range list {
		list[i].rank = i + 1
		if i > 0 && bytes.Equal(list[i].key, list[i-1].key) {
			list[i].rank = list[i-1].rank
		}
	}
	return list, nil
}

// scored orders the documents by their scores, and by _id among equal ones.
func (s *rankFusionStage) scored(docs map[string]*rankedDoc) []*rankedDoc {
	list := make([]*rankedDoc, 0, len(docs))
	for _, d := range docs {
		for i, rank := range d.ranks {
			if rank > 0 {
				d.score += s.weights[i] * (1 / float64(rankConstant+rank))
			}
		}
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *rankedDoc) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return bsonval.Compare(a.doc.Lookup("_id"), b.doc.Lookup("_id"))
	})
	return list
}

type rankFusionSource struct {
	docs []*rankedDoc
	s    *rankFusionStage
	at   int
}

func (x *rankFusionSource) Next(context.Context) (bsonval.Doc, error) {
	if x.at++; x.at >= len(x.docs) {
		return nil, io.EOF
	}
	return x.docs[x.at].doc, nil
}

func (x *rankFusionSource) Close() error { return nil }

// Metadata implements MetaSource.
func (x *rankFusionSource) Metadata() bsonval.Doc {
	d := x.docs[x.at]
	b := bsonval.NewBuilder().Double("score", d.score)
	if !x.s.details {
		return b.Build()
	}
	b.StartDoc("scoreDetails").Double("value", d.score).
		Str("description", "value output by reciprocal rank fusion algorithm, computed as sum of (weight * (1 / (60 + rank))) across input pipelines from which this document is output, from:").
		StartArray("details")
	for i, rank := range d.ranks {
		b.StartDoc("").Str("inputPipelineName", x.s.names[i])
		if rank == 0 {
			b.Str("rank", "NA").End()
			continue
		}
		b.Int32("rank", int32(rank)).Double("weight", x.s.weights[i]).StartArray("details").End().End()
	}
	return b.Build()
}
