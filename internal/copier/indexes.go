package copier

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"golang.org/x/sync/errgroup"
)

// deferred is an event of indexes that waits until they are built.
type deferred struct {
	c *collection
	e event
}

// buildIndexes makes the indexes of the target those of a listing, changed by the events that came after it.
func (r *run) buildIndexes(ctx context.Context, l *listing) error {
	wanted := map[*collection][]Doc{}
	for _, x := range l.collections() {
		if c := r.st.collection(x.key); c != nil {
			wanted[c] = x.indexes
		}
	}
	for _, x := range r.deferred {
		if r.st.collection(x.c.key) == x.c { // still there
			wanted[x.c] = x.e.changeSpecs(slices.Clone(wanted[x.c]))
		}
	}
	group, building := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Jobs)
	for c, specs := range wanted {
		group.Go(func() error { return r.syncIndexes(building, c, specs) })
	}
	return group.Wait()
}

// changeSpecs does to a list of indexes what an event tells of.
func (e *event) changeSpecs(specs []Doc) []Doc {
	without := func(name string) []Doc {
		return slices.DeleteFunc(specs, func(d Doc) bool { return textOf(d.Lookup("name")) == name })
	}
	for it := documentOf(e.about.Lookup("indexes")).Iter(); it.Next(); {
		d := documentOf(it.Value())
		specs = without(textOf(d.Lookup("name")))
		if e.kind == "createIndexes" && !ofID(d) {
			specs = append(specs, d)
		}
	}
	change := documentOf(e.about.Lookup("index"))
	for i, d := range specs {
		if textOf(d.Lookup("name")) != textOf(change.Lookup("name")) {
			continue
		}
		b := bsonval.NewBuilder()
		for it := d.Iter(); it.Next(); {
			if change.Lookup(it.KeyStr()).IsMissing() {
				b.Value(it.KeyStr(), it.Value())
			}
		}
		for it := change.Iter(); it.Next(); {
			if v := it.Value(); v.Type() != bsonval.TypeBool || v.Bool() { // hidden: false is how none are told
				b.Value(it.KeyStr(), v)
			}
		}
		specs[i] = b.Build()
	}
	return specs
}

// syncIndexes builds what is missing and drops what is not wanted, of a run that was killed.
func (r *run) syncIndexes(ctx context.Context, c *collection, specs []Doc) error {
	to := c.place()
	have, err := indexesOf(ctx, r.dst, to)
	if err != nil {
		return err
	}
	wanted := map[string]Doc{}
	for _, d := range specs {
		wanted[textOf(d.Lookup("name"))] = d
	}
	for _, d := range have {
		name := textOf(d.Lookup("name"))
		if w, ok := wanted[name]; ok && sameIndex(w, d) {
			delete(wanted, name)
			continue
		}
		if err := r.dropIndex(ctx, to, name); err != nil {
			return err
		}
	}
	var missing []Doc
	for _, d := range specs {
		if wanted[textOf(d.Lookup("name"))] != nil {
			missing = append(missing, d)
		}
	}
	return r.createIndexes(ctx, to, missing)
}

// sameIndex compares what makes two indexes the same for those who use them.
func sameIndex(a, b Doc) bool {
	for _, field := range []string{"key", "unique", "sparse", "partialFilterExpression", "hidden", "wildcardProjection", "weights"} {
		x, y := bsonval.AppendElement(nil, field, a.Lookup(field)), bsonval.AppendElement(nil, field, b.Lookup(field))
		if !bytes.Equal(x, y) {
			return false
		}
	}
	return a.Lookup("expireAfterSeconds").IsMissing() == b.Lookup("expireAfterSeconds").IsMissing()
}

// createIndexes builds indexes. Those that end the life of documents do not do so yet.
func (r *run) createIndexes(ctx context.Context, to namespace, specs []Doc) error {
	if len(specs) == 0 {
		return nil
	}
	b := bsonval.NewBuilder().Str("createIndexes", to.coll).StartArray("indexes")
	for _, d := range specs {
		out, at := bsonval.BeginDoc(nil)
		for it := d.Iter(); it.Next(); {
			switch it.KeyStr() {
			case "v", "ns":
			case "expireAfterSeconds":
				out = bsonval.AppendElement(out, "expireAfterSeconds", bsonval.Int32(never))
			default:
				out = append(out, it.Raw()...)
			}
		}
		b.Add(bsonval.Document(bsonval.EndDoc(out, at)))
	}
	if err := r.dst.do(ctx, to.db, b.End().Build()); err != nil {
		return fmt.Errorf("build the indexes of %s: %w", to, err)
	}
	return nil
}

func (r *run) dropIndex(ctx context.Context, to namespace, name string) error {
	err := r.dst.do(ctx, to.db, bsonval.NewBuilder().Str("dropIndexes", to.coll).Str("index", name).Build())
	if gone(err) {
		return nil
	}
	return err
}

// setLifetimes gives the target's documents the lifetimes that they have on the source, or endless ones as long as events
// come: a document that expires on the target by itself would miss the change that keeps it alive.
func (r *run) setLifetimes(ctx context.Context, as bool) error {
	l, err := list(ctx, r.src, &r.filter)
	if err != nil {
		return err
	}
	for _, x := range l.collections() {
		c := r.st.collection(x.key)
		if c == nil {
			continue
		}
		to := c.place()
		if as {
			r.result.Indexes += len(x.indexes)
		}
		for _, d := range x.indexes {
			v := d.Lookup("expireAfterSeconds")
			if v.IsMissing() {
				continue
			}
			if !as {
				v = bsonval.Int32(never)
			}
			b := bsonval.NewBuilder().Str("collMod", to.coll).StartDoc("index").Value("name", d.Lookup("name")).Value("expireAfterSeconds", v)
			if err := r.dst.do(ctx, to.db, b.End().Build()); err != nil && !gone(err) {
				return fmt.Errorf("set the lifetime of documents of %s: %w", to, err)
			}
		}
		if v := x.options.Lookup("expireAfterSeconds"); !v.IsMissing() {
			if !as {
				v = bsonval.String("off")
			}
			if err := r.dst.do(ctx, to.db, bsonval.NewBuilder().Str("collMod", to.coll).Value("expireAfterSeconds", v).Build()); err != nil {
				return fmt.Errorf("set the lifetime of documents of %s: %w", to, err)
			}
		}
	}
	return nil
}

// copyViews makes the target's views those of the source.
func (r *run) copyViews(ctx context.Context) error {
	from, err := list(ctx, r.src, &r.filter)
	if err != nil {
		return err
	}
	there, err := list(ctx, r.dst, &r.filter)
	if err != nil {
		return err
	}
	have := map[namespace]listed{}
	for _, x := range there.items {
		have[x.namespace] = x
	}
	for _, x := range from.views() {
		r.result.Views++
		old, ok := have[x.namespace]
		switch {
		case ok && old.kind == "view" && bytes.Equal(old.options, x.options):
			continue
		case ok && old.kind != "view":
			return fmt.Errorf("%s is a view on the source, and a %s on the target", x.namespace, old.kind)
		case ok:
			if err := r.drop(ctx, x.namespace); err != nil {
				return err
			}
		}
		b := bsonval.NewBuilder().Str("create", x.coll)
		for it := x.options.Iter(); it.Next(); {
			b.Value(it.KeyStr(), it.Value())
		}
		if err := r.dst.do(ctx, x.db, b.Build()); err != nil {
			return fmt.Errorf("create view %s: %w", x.namespace, err)
		}
	}
	return nil
}
