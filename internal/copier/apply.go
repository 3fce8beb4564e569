package copier

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"golang.org/x/sync/errgroup"
)

// pending are changes of documents that have not been applied yet, by collection.
type pending struct {
	of    map[*collection]*changes
	count int
	end   Doc // the token of the last one
}

// changes are those of one collection's documents, in the order in which the documents were first met.
type changes struct {
	ids  map[string]*fate
	list []*fate
}

// fate is what becomes of a document.
type fate struct {
	id      bsonval.Value
	doc     Doc   // nil: it is not there, or not known
	known   bool  // doc is what it is, whatever was there before
	deltas  []Doc // else what is to be done with what is there
	existed Doc   // what is there
}

// add notes the change that an event tells of.
func (p *pending) add(c *collection, e *event) {
	p.count++
	f := p.changes(c).fate(e.id)
	switch e.kind {
	case "insert", "replace":
		f.doc, f.known, f.deltas = e.full, true, nil
	case "delete":
		f.doc, f.known, f.deltas = nil, true, nil
	default:
		switch {
		case f.known && f.doc != nil:
			f.doc = applyDelta(f.doc, e.delta)
		case !f.known:
			f.deltas = append(f.deltas, e.delta)
		}
	}
}

// changes finds or makes those of a collection.
func (p *pending) changes(c *collection) *changes {
	all := p.of[c]
	if all == nil {
		all = &changes{ids: map[string]*fate{}}
		if p.of == nil {
			p.of = map[*collection]*changes{}
		}
		p.of[c] = all
	}
	return all
}

// fate finds or makes that of a document. Numbers that are equal but of different types are different here.
func (c *changes) fate(id bsonval.Value) *fate {
	key := exactKey(id)
	f := c.ids[key]
	if f == nil {
		f = &fate{id: id}
		c.ids[key] = f
		c.list = append(c.list, f)
	}
	return f
}

// exactKey tells values apart by type and bytes.
func exactKey(v bsonval.Value) string {
	return string(bsonval.AppendElement(nil, "", v))
}

// flush applies what is pending, and all of it before it returns.
func (r *run) flush(ctx context.Context, p *pending) error {
	if p.count == 0 {
		return nil
	}
	cs := slices.SortedFunc(maps.Keys(p.of), func(a, b *collection) int { return len(p.of[b].list) - len(p.of[a].list) })
	each := func(do func(context.Context, *collection, *changes) error) error {
		group, applying := errgroup.WithContext(ctx)
		group.SetLimit(r.cfg.Jobs)
		for _, c := range cs {
			group.Go(func() error { return do(applying, c, p.of[c]) })
		}
		return group.Wait()
	}
	if err := each(r.settle); err != nil {
		return err
	}
	r.journal.end = p.end
	if err := r.journalize(ctx, p.fragile()); err != nil {
		return err
	}
	err := each(r.apply)
	r.rep.applied(int64(p.count))
	p.of, p.count = nil, 0
	return err
}

// lookups is how many documents are asked for in one command.
const lookups = 200

// apply writes the fates of a collection's documents.
func (r *run) apply(ctx context.Context, c *collection, all *changes) error {
	to := c.place()
	var deletes, upserts, odd []Doc
	empty := false
	for _, f := range all.list {
		switch {
		case f.doc == nil && f.known:
			deletes = append(deletes, removal(f.id))
		case f.doc == nil || f.existed != nil && bytes.Equal(f.doc, f.existed):
		case hasOperator(f.doc):
			deletes = append(deletes, removal(f.id))
			odd = append(odd, f.doc)
		default:
			empty = empty || hasEmptyTime(f.doc)
			upserts = append(upserts, f.doc)
		}
	}
	err := r.parallel(ctx, deletes, c.natural, func(ctx context.Context, part []Doc) error {
		failed, err := r.dst.send(ctx, to, "delete", "deletes", part, c.natural, false)
		if err == nil && len(failed) > 0 {
			err = refusedDelete(to, failed[0])
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := r.upsert(ctx, c, to, upserts, empty); err != nil {
		return err
	}
	return r.parallel(ctx, odd, true, func(ctx context.Context, part []Doc) error { return r.dst.insert(ctx, to, part, true) })
}

// settle finds out what becomes of documents of which only updates are known. One that the target does not have has been
// deleted since, as a later event tells.
func (r *run) settle(ctx context.Context, c *collection, all *changes) error {
	to := c.place()
	var open []*fate
	for _, f := range all.list {
		if !f.known {
			open = append(open, f)
		}
	}
	group, looking := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	for part := range slices.Chunk(open, lookups) {
		group.Go(func() error {
			docs, err := r.fetch(looking, r.dst, to, part)
			if err != nil {
				return err
			}
			for _, d := range docs {
				f := all.ids[exactKey(d.Lookup("_id"))]
				if f == nil {
					continue // equal to one that was asked for, but of another type
				}
				f.existed, f.doc = d, d
				for _, delta := range f.deltas {
					f.doc = applyDelta(f.doc, delta)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// fetch reads documents by their _id.
func (r *run) fetch(ctx context.Context, p *peer, n namespace, part []*fate) ([]Doc, error) {
	b := bsonval.NewBuilder().Str("find", n.coll).StartDoc("filter").StartDoc("_id").StartArray("$in")
	for _, f := range part {
		b.Add(f.id)
	}
	return p.all(ctx, n.db, b.End().End().End().Int32("batchSize", lookups).Build())
}

// least is the least number of statements that are worth a command of their own.
const least = 64

// parallel sends statements in several commands side by side, or in one after the other if their order counts.
func (r *run) parallel(ctx context.Context, docs []Doc, ordered bool, send func(context.Context, []Doc) error) error {
	if ordered {
		return chunks(docs, maxBatch, func(part []Doc) error { return send(ctx, part) })
	}
	group, sending := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	err := chunks(docs, max(least, len(docs)/r.cfg.Jobs+1), func(part []Doc) error {
		group.Go(func() error { return send(sending, part) })
		return nil
	})
	if werr := group.Wait(); werr != nil {
		return werr
	}
	return err
}

// upsert writes documents. Those that are refused for a unique index have to change places with each other.
func (r *run) upsert(ctx context.Context, c *collection, to namespace, docs []Doc, empty bool) error {
	var places conflicts
	err := r.parallel(ctx, docs, c.natural, func(ctx context.Context, part []Doc) error {
		statements := make([]Doc, len(part))
		for i, d := range part {
			statements[i] = replacement(d)
		}
		for len(statements) > 0 {
			failed, err := r.dst.send(ctx, to, "update", "updates", statements, c.natural, empty)
			if err != nil {
				return err
			}
			for _, f := range failed {
				d := part[min(f.index, len(part)-1)]
				if f.code != mongoerr.DuplicateKey && f.code != mongoerr.ImmutableField {
					return refusal(to, d, f)
				}
				places.add(d)
			}
			if len(failed) == 0 || !c.natural {
				return nil
			}
			// An ordered command has stopped there.
			statements, part = statements[failed[0].index+1:], part[failed[0].index+1:]
		}
		return nil
	})
	if err != nil || len(places.docs) == 0 {
		return err
	}
	return r.exchange(ctx, c, to, places.docs)
}
