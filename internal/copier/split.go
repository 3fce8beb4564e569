package copier

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// sampled is how many sampled documents a range is cut by: the more, the more even the ranges.
const sampled = 10

// cut finds ranges of _id of about equal size, in a collection of so many bytes.
func cut(ctx context.Context, p *peer, n namespace, bytes int64) ([]*span, error) {
	want := int(min(maxRanges, bytes/rangeBytes+1))
	if want == 1 {
		return []*span{{}}, nil
	}
	body := bsonval.NewBuilder().Str("aggregate", n.coll).StartArray("pipeline").
		StartDoc("").StartDoc("$sample").Int32("size", int32(want*sampled)).End().End().
		StartDoc("").StartDoc("$project").Int32("_id", 1).End().End().
		StartDoc("").StartDoc("$sort").Int32("_id", 1).End().End().
		End().StartDoc("cursor").End().Bool("allowDiskUse", true).Build()
	docs, err := p.all(ctx, n.db, body)
	if err != nil {
		return nil, err
	}
	return cutAt(docs, sampled), nil
}

// cutAt makes ranges that end at every so many-th of sorted documents.
func cutAt(docs []Doc, every int) []*span {
	ranges := []*span{{}}
	for i := every; i < len(docs); i += every {
		id := docs[i].Lookup("_id")
		open := ranges[len(ranges)-1]
		if id.IsMissing() || bsonval.Equal(id, open.min) {
			continue
		}
		open.max = id.Clone()
		ranges = append(ranges, &span{n: len(ranges), min: open.max})
	}
	return ranges
}

// findRange is the command that reads a range in the order of _id. Bounds are of the index, not of a filter: a filter's
// would hold for values of one type only. The lower one is in the range, the upper one is not. concern may be nil.
func findRange(coll string, r *span, batch int, concern Doc) Doc {
	b := bsonval.NewBuilder().Str("find", coll).StartDoc("sort").Int32("_id", 1).End().StartDoc("hint").Int32("_id", 1).End().
		Int32("batchSize", int32(batch))
	from := r.min
	if !r.last.IsMissing() {
		from = r.last
	}
	if !from.IsMissing() {
		b.StartDoc("min").Value("_id", from).End()
	}
	if !r.max.IsMissing() {
		b.StartDoc("max").Value("_id", r.max).End()
	}
	return withConcern(b, concern)
}

// findNatural is the command that reads a collection in the order in which it keeps its documents.
func findNatural(coll string, batch int, concern Doc) Doc {
	b := bsonval.NewBuilder().Str("find", coll).StartDoc("sort").Int32("$natural", 1).End().Int32("batchSize", int32(batch))
	return withConcern(b, concern)
}

func withConcern(b *bsonval.Builder, concern Doc) Doc {
	if concern != nil {
		b.Doc("readConcern", concern)
	}
	return b.Build()
}

// majority is the concern of reads of what cannot be rolled back.
var majority = bsonval.NewBuilder().Str("level", "majority").Build()
