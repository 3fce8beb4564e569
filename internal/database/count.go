package database

import (
	"context"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/exec"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/plan"
)

// Count counts the documents that a query finds, after its skip and limit. The
// number of all documents of a collection is kept, so that costs nothing.
func (d *DB) Count(ctx context.Context, op *Op, ns Namespace, q *FindQuery) (n int64, err error) {
	coll, err := d.lookUp(ctx, op, ns)
	switch {
	case err != nil:
		return 0, clientError(ctx, err)
	case d.isMade(ns):
		return d.countView(ctx, op, ns, q)
	case coll == nil:
		_, err = op.checkQuery(q)
		return 0, err
	case coll.IsView():
		return d.countView(ctx, op, ns, q)
	case len(q.Filter) <= 5 && q.Hint == nil && op.Txn == nil:
		n, _, err = d.counts(ctx, op, coll)
		return clip(n, q), clientError(ctx, err)
	}
	txn, end, err := d.reading(op)
	if err != nil {
		return 0, err
	}
	defer end()
	var view exec.View
	view.Attach(txn)
	defer view.Detach()
	c, err := op.compilation(coll, q.Collation, q.Let)
	if err != nil {
		return 0, err
	}
	m, err := c.filter(q.Filter, 0)
	if err != nil {
		return 0, err
	}
	ec := c.context()
	scan, _, err := d.openScan(ctx, &view, coll, &plan.Query{
		Filter: m, Collation: c.collation, Hint: q.Hint, Need: []string{},
	}, ec)
	if err != nil {
		return 0, clientError(ctx, err)
	}
	defer scan.Close()
	if q.Limit > 0 && q.Limit <= math.MaxInt64-q.Skip {
		scan.Likely = q.Skip + q.Limit
	}
	n, ok, err := scan.Count(ctx, scan.Likely)
	if ok || err != nil {
		return clip(n, q), clientError(ctx, err)
	}
	for q.Limit == 0 || n < q.Skip+q.Limit {
		_, err := scan.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, clientError(ctx, err)
		}
		n++
	}
	return clip(n, q), nil
}

// clip applies skip and limit to a number of documents.
func clip(n int64, q *FindQuery) int64 {
	n = max(n-q.Skip, 0)
	if q.Limit > 0 {
		n = min(n, q.Limit)
	}
	return n
}

// checkQuery compiles a filter for its errors only.
func (op *Op) checkQuery(q *FindQuery) (*compilation, error) {
	c, err := op.compilation(nil, q.Collation, q.Let)
	if err == nil {
		_, err = c.filter(q.Filter, 0)
	}
	return c, err
}

func (d *DB) countView(ctx context.Context, op *Op, ns Namespace, q *FindQuery) (int64, error) {
	only := *q
	only.Projection, only.Sort = nil, nil
	b := bsonval.NewArrayBuilder().StartDoc("").Str("$count", "n").End()
	cur, err := d.Aggregate(ctx, op, ns, &AggregateQuery{
		Pipeline: concatArrays(findStages(&only), b.Build()), Let: q.Let, Collation: q.Collation,
	})
	if err != nil {
		return 0, err
	}
	defer cur.Close()
	buf, at := bsonval.BeginDoc(nil)
	buf, _, _, err = cur.AppendBatch(ctx, buf, 1)
	if err != nil {
		return 0, err
	}
	first := bsonval.Doc(bsonval.EndDoc(buf, at)).Index(0)
	if first.Type() != bsonval.TypeDocument {
		return 0, nil
	}
	return first.Doc().Lookup("n").TruncInt64(), nil
}

// Distinct lists the different values at a path among the documents that match, arrays
// by their elements, in their order. Of values that are equal it lists the first one found.
func (d *DB) Distinct(ctx context.Context, op *Op, ns Namespace, key string, q *FindQuery) (bsonval.Doc, error) {
	only := &FindQuery{Filter: q.Filter, Let: q.Let, Hint: q.Hint, Collation: q.Collation, Comment: q.Comment, distinct: key}
	cur, err := d.Find(ctx, op, ns, only)
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	if f, ok := cur.out.(*finder); ok && f.scan == nil {
		return bsonval.EmptyDoc, nil
	}
	set := &distinct{path: splitPath(key), seen: map[string]bsonval.Value{}}
	if cur.env != nil {
		set.collator = cur.env.Collator
	}
	var buf []byte
	for {
		buf, err = cur.out.Append(ctx, buf[:0])
		if err == io.EOF {
			return set.build(), nil
		}
		if err != nil {
			return nil, clientError(ctx, err)
		}
		if err := set.add(buf); err != nil {
			return nil, err
		}
	}
}

// distinct collects different values.
type distinct struct {
	path     []string
	collator bsonval.Collator
	seen     map[string]bsonval.Value // by keystring
	size     int                      // of the values, about
	key      []byte
}

// build lists the values in the order of their keys.
func (s *distinct) build() bsonval.Doc {
	out := bsonval.NewArrayBuilder()
	for _, key := range slices.Sorted(maps.Keys(s.seen)) {
		out.Add(s.seen[key])
	}
	return out.Build()
}

func (s *distinct) add(d bsonval.Doc) error { return s.walk(bsonval.Document(d), s.path, true) }

// walk adds the values at a path; an array stands for its elements, once.
func (s *distinct) walk(v bsonval.Value, path []string, expand bool) error {
	if v.Type() == bsonval.TypeArray && (expand || len(path) > 0) {
		if len(path) > 0 {
			if elem, ok := arrayElement(v.Doc(), path[0]); ok {
				if err := s.walk(elem, path[1:], true); err != nil {
					return err
				}
			}
		}
		it := v.Doc().Iter()
		for it.Next() {
			if len(path) > 0 && it.Value().Type() != bsonval.TypeDocument {
				continue
			}
			if err := s.walk(it.Value(), path, false); err != nil {
				return err
			}
		}
		return nil
	}
	if len(path) > 0 {
		if v.Type() != bsonval.TypeDocument {
			return nil
		}
		return s.walk(v.Doc().Lookup(path[0]), path[1:], true)
	}
	if v.IsMissing() {
		return nil
	}
	s.key = keystring.Append(s.key[:0], v, false, s.collator)
	if _, dup := s.seen[string(s.key)]; dup {
		return nil
	}
	s.seen[string(s.key)] = v.Clone()
	if s.size += len(v.Bytes()) + 16; s.size > bsonval.MaxDocumentBytes {
		return errDistinctTooBig
	}
	return nil
}

var errDistinctTooBig = mongoerr.New(17217, "distinct too big, 16mb cap")

func splitPath(path string) []string { return strings.Split(path, ".") }

// arrayElement is the element that a path component names by its position.
func arrayElement(a bsonval.Doc, name string) (bsonval.Value, bool) {
	i := match.Position(name)
	if i < 0 {
		return bsonval.Missing, false
	}
	v := a.Index(i)
	return v, !v.IsMissing()
}
