package copier

import (
	"context"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/progress"
	"golang.org/x/sync/errgroup"
)

const (
	// comparisons is how often what differs is compared again after later events: the source may be in use.
	comparisons = 5
	// shown bounds the differences that are printed.
	shown = 20
)

// verify compares source and target.
func (r *run) verify(ctx context.Context) error {
	var found []string
	var only map[string]bool // the collections to look at; none: all
	for i := range comparisons {
		if i > 0 {
			if !r.streams {
				break
			}
			if !sleep(ctx, 200*time.Millisecond) {
				return ctx.Err()
			}
			if err := r.catchUp(ctx); err != nil {
				return err
			}
		}
		var differing map[string]bool
		var err error
		if found, differing, err = r.compare(ctx, only); err != nil {
			return err
		}
		if len(found) == 0 {
			return nil
		}
		only = differing
	}
	for _, text := range found[:min(len(found), shown)] {
		r.rep.Print("different: " + text)
	}
	r.result.Differences = len(found)
	return fmt.Errorf("%w in %s; if the source is still written to, stop that and run the copy again",
		ErrDifferent, counted(len(found), "place", "places"))
}

// compare lists what differs, and the collections in which. Empty only means all of them.
func (r *run) compare(ctx context.Context, only map[string]bool) (found []string, differing map[string]bool, err error) {
	from, err := list(ctx, r.src, &r.filter)
	if err != nil {
		return nil, nil, err
	}
	there, err := list(ctx, r.dst, &filter{})
	if err != nil {
		return nil, nil, err
	}
	have := map[namespace]listed{}
	for _, x := range there.items {
		have[x.namespace] = x
	}
	differing = map[string]bool{}
	for _, x := range from.collections() {
		c := r.st.collection(x.key)
		if c == nil || len(only) > 0 && !only[x.key] {
			continue // made a moment ago, or known to be the same
		}
		texts, err := r.compareCollection(ctx, c, x, have)
		if err != nil {
			return nil, nil, err
		}
		if len(texts) > 0 {
			found, differing[x.key] = append(found, texts...), true
		}
	}
	return found, differing, nil
}

func (r *run) compareCollection(ctx context.Context, c *collection, x listed, have map[namespace]listed) ([]string, error) {
	y, ok := have[c.place()]
	if !ok || c.place() != x.namespace {
		return []string{x.String() + " is not on the target"}, nil
	}
	found := compareIndexes(x, y)
	a, err := countOf(ctx, r.src, x.namespace)
	if err != nil {
		return nil, err
	}
	b, err := countOf(ctx, r.dst, x.namespace)
	switch {
	case err != nil:
		return nil, err
	case a != b && c.natural:
		r.note(fmt.Sprintf("%s is capped and has %s on the source, %s on the target: each server decides what is too old",
			x, counted(int(a), "document", "documents"), progress.Grouped(b)))
		return found, nil
	case a != b:
		found = append(found, fmt.Sprintf("%s has %s on the source, %s on the target", x, counted(int(a), "document", "documents"), progress.Grouped(b)))
	}
	if !r.cfg.Verify {
		return found, nil
	}
	texts, err := r.compareDocuments(ctx, x.namespace)
	return append(found, texts...), err
}

func compareIndexes(x, y listed) (found []string) {
	have := map[string]Doc{}
	for _, d := range y.indexes {
		have[textOf(d.Lookup("name"))] = d
	}
	for _, d := range x.indexes {
		name := textOf(d.Lookup("name"))
		if h, ok := have[name]; !ok || !sameIndex(d, h) {
			found = append(found, fmt.Sprintf("index %s of %s", name, x))
		}
		delete(have, name)
	}
	for name := range have {
		found = append(found, fmt.Sprintf("index %s of %s, which only the target has", name, x))
	}
	return found
}

// countOf counts the documents of a collection: all of them, not what its metadata says.
func countOf(ctx context.Context, p *peer, n namespace) (int64, error) {
	body := bsonval.NewBuilder().Str("aggregate", n.coll).StartArray("pipeline").StartDoc("").Str("$count", "n").End().End().
		StartDoc("cursor").End().Build()
	docs, err := p.all(ctx, n.db, body)
	if err != nil || len(docs) == 0 {
		return 0, err
	}
	return docs[0].Lookup("n").TruncInt64(), nil
}

// compareDocuments compares the documents of a collection, by ranges.
func (r *run) compareDocuments(ctx context.Context, n namespace) ([]string, error) {
	_, size, err := sizeOf(ctx, r.src, n)
	if err != nil {
		return nil, err
	}
	ranges, err := cut(ctx, r.src, n, size)
	if err != nil {
		return nil, err
	}
	found := make([][]string, len(ranges))
	group, comparing := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	for i, s := range ranges {
		group.Go(func() error {
			var err error
			found[i], err = r.compareRange(comparing, n, s)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []string
	for _, texts := range found {
		all = append(all, texts...)
	}
	return all, nil
}

// compareRange compares the documents of a range by hashes of their bytes.
func (r *run) compareRange(ctx context.Context, n namespace, s *span) ([]string, error) {
	seed := maphash.MakeSeed()
	sums := map[string]uint64{}
	err := eachOf(ctx, r.src, n, s, r.cfg.Batch, func(d Doc) {
		sums[exactKey(d.Lookup("_id"))] = maphash.Bytes(seed, d)
	})
	if err != nil {
		return nil, err
	}
	var found []string
	err = eachOf(ctx, r.dst, n, s, r.cfg.Batch, func(d Doc) {
		key := exactKey(d.Lookup("_id"))
		sum, ok := sums[key]
		delete(sums, key)
		switch {
		case !ok:
			found = append(found, fmt.Sprintf("document %s of %s, which only the target has", bsonval.Format(d.Lookup("_id")), n))
		case sum != maphash.Bytes(seed, d):
			found = append(found, fmt.Sprintf("document %s of %s", bsonval.Format(d.Lookup("_id")), n))
		}
	})
	if err != nil {
		return nil, err
	}
	for key := range sums {
		found = append(found, fmt.Sprintf("document %s of %s, which only the source has", bsonval.Format(keyValue(key)), n))
	}
	return found, nil
}

// keyValue is the value of which exactKey has made a key.
func keyValue(key string) bsonval.Value {
	out, at := bsonval.BeginDoc(nil)
	return Doc(bsonval.EndDoc(append(out, key...), at)).Lookup("")
}

func eachOf(ctx context.Context, p *peer, n namespace, s *span, batch int, use func(Doc)) error {
	cur, err := p.query(ctx, n.db, findRange(n.coll, s, batch, nil), batch)
	if err != nil {
		return err
	}
	defer cur.close(ctx)
	for {
		docs, err := cur.next(ctx)
		if err != nil || docs == nil {
			return err
		}
		for _, d := range docs {
			use(d)
		}
	}
}
