package copier

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// applyEvents applies events in their order: changes of documents in batches, and those of definitions one by one
// between them.
func (r *run) applyEvents(ctx context.Context, list []Doc) error {
	var p pending
	for _, d := range list {
		e := parseEvent(d)
		change, known := definitions[e.kind]
		if !known {
			r.note("the source has told of an event of type " + e.kind + ", which is not brought over")
			continue
		}
		if change == nil {
			r.take(&p, &e)
			continue
		}
		if e.nsType == "view" || own(e.ns.db) || system(e.ns.coll) {
			continue // views are made in the end
		}
		c := r.st.collection(keyOf(e.uuid, e.ns))
		// The changes so far are noted first: they must not be applied again to what the definitions become.
		if err := r.flush(ctx, &p); err != nil {
			return err
		}
		if p.end != nil {
			if err := r.reached(ctx, p.end); err != nil {
				return err
			}
			p.end = nil
		}
		if err := change(r, ctx, c, &e); err != nil {
			return fmt.Errorf("%s of %s on the source: %w", e.kind, e.ns, err)
		}
		r.rep.applied(1)
		if err := r.reached(ctx, e.token); err != nil {
			return err
		}
	}
	return r.flush(ctx, &p)
}

// take adds the change of a document to what is pending, if it is of a collection that is copied and came after the copy.
func (r *run) take(p *pending, e *event) {
	if c := r.st.collection(keyOf(e.uuid, e.ns)); c != nil && e.time > c.copiedAt(e.id) {
		p.add(c, e)
		p.end = e.token
	}
}

// definitions are the events that are known: what to do with those that change definitions, nil for those of documents.
// c is nil for a collection that is not copied, or not yet.
var definitions = map[string]func(r *run, ctx context.Context, c *collection, e *event) error{
	"insert": nil, "update": nil, "replace": nil, "delete": nil,
	"create":        (*run).created,
	"drop":          (*run).dropped,
	"rename":        (*run).renamed,
	"createIndexes": (*run).indexesCreated,
	"dropIndexes":   (*run).indexesDropped,
	"modify":        (*run).modified,
	"reshardCollection": func(_ *run, _ context.Context, c *collection, _ *event) error {
		if c == nil {
			return nil
		}
		return errors.New("it is another collection now, of which the copy knows nothing: begin again with --restart")
	},
	// Where the documents lie is the target's own matter.
	"shardCollection":          func(*run, context.Context, *collection, *event) error { return nil },
	"refineCollectionShardKey": func(*run, context.Context, *collection, *event) error { return nil },
	// Each collection's drop comes before.
	"dropDatabase": func(*run, context.Context, *collection, *event) error { return nil },
}

// listedBefore tells events that the first listing knows of.
func (r *run) listedBefore(e *event) bool {
	_, since, _ := r.st.now()
	return e.time <= since
}

// laterIndexes tells what becomes of an event of indexes: it is in the listing by which they are built, or has to wait
// until they are, or (false) is to be applied.
func (r *run) laterIndexes(c *collection, e *event) bool {
	if _, _, exact := r.st.now(); c == nil || e.time <= exact {
		return true
	}
	if r.deferring {
		r.deferred = append(r.deferred, deferred{c, *e})
	}
	return r.deferring
}

func (r *run) created(ctx context.Context, c *collection, e *event) error {
	if c != nil || r.listedBefore(e) || !r.filter.follows(e.ns) || r.st.at(e.ns) != nil {
		return nil // the last: it was gone again when the listing was made, which has another in its place
	}
	if e.nsType == "timeseries" {
		r.note(fmt.Sprintf("%s is a time series collection, which is not copied", e.ns))
		return nil
	}
	c = &collection{
		key: keyOf(e.uuid, e.ns), from: e.ns, to: e.ns, split: true, options: e.about, natural: e.about.Lookup("capped").Truthy(),
	}
	if err := r.vacate(ctx, e.ns, r.cfg.Drop); err != nil {
		return err
	}
	if err := r.create(ctx, c); err != nil {
		return err
	}
	return r.st.add(ctx, c)
}

func (r *run) dropped(ctx context.Context, c *collection, e *event) error {
	if c == nil || r.listedBefore(e) {
		return nil
	}
	if err := r.drop(ctx, c.place()); err != nil {
		return err
	}
	return r.st.forget(ctx, c)
}

func (r *run) renamed(ctx context.Context, c *collection, e *event) error {
	wanted := r.filter.follows(e.to) && !own(e.to.db) && !system(e.to.coll)
	switch {
	case r.listedBefore(e) || c == nil && (!wanted || r.filter.follows(e.ns)):
		return nil // not to be copied, or gone when the listing was made
	case c == nil:
		return fmt.Errorf("%s has got the name %s, which is to be copied, but its documents were left out: begin again with --restart",
			e.ns, e.to)
	case !wanted:
		r.note(fmt.Sprintf("%s has got the name %s, which is not to be copied: it is dropped on the target", e.ns, e.to))
		return r.dropped(ctx, c, e)
	case c.place() == e.to:
		return nil
	}
	victim := r.st.at(e.to)
	if victim != nil && keyOf(e.about.Lookup("dropTarget"), e.to) != victim.key {
		return nil // the listing was made later: this collection has moved on by then, as another event tells
	}
	b := bsonval.NewBuilder().Str("renameCollection", c.place().String()).Str("to", e.to.String()).
		Bool("dropTarget", victim != nil || r.cfg.Drop)
	// Killed between the command and the note of it, a copy finds the collection in its new place.
	if err := r.dst.do(ctx, "admin", b.Build()); err != nil && !gone(err) {
		return err
	}
	if victim != nil {
		if err := r.st.forget(ctx, victim); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.from, c.to = e.to, e.to
	c.mu.Unlock()
	return r.st.save(ctx, c.document())
}

func (r *run) indexesCreated(ctx context.Context, c *collection, e *event) error {
	if r.laterIndexes(c, e) {
		return nil
	}
	var specs []Doc
	for it := documentOf(e.about.Lookup("indexes")).Iter(); it.Next(); {
		if d := documentOf(it.Value()); !ofID(d) {
			specs = append(specs, d)
		}
	}
	return r.createIndexes(ctx, c.place(), specs)
}

func (r *run) indexesDropped(ctx context.Context, c *collection, e *event) error {
	if r.laterIndexes(c, e) {
		return nil
	}
	for it := documentOf(e.about.Lookup("indexes")).Iter(); it.Next(); {
		if err := r.dropIndex(ctx, c.place(), textOf(documentOf(it.Value()).Lookup("name"))); err != nil {
			return err
		}
	}
	return nil
}

// modified is collMod on the source. Lifetimes of documents are set in the end.
func (r *run) modified(ctx context.Context, c *collection, e *event) error {
	if c == nil || r.listedBefore(e) {
		return nil
	}
	later := e.about.Lookup("index").IsMissing() || r.laterIndexes(c, e)
	b := bsonval.NewBuilder().Str("collMod", c.place().coll)
	empty := b.Len()
	for it := e.about.Iter(); it.Next(); {
		switch it.KeyStr() {
		case "expireAfterSeconds":
		case "index":
			d := withoutFields(documentOf(it.Value()), "expireAfterSeconds")
			if !later && d.Len() > 1 { // more than its name
				b.Doc("index", d)
			}
		default:
			b.Value(it.KeyStr(), it.Value())
		}
	}
	if b.Len() == empty {
		return nil
	}
	return r.dst.do(ctx, c.place().db, b.Build())
}
