package copier

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/progress"
)

// never is a lifetime of documents that does not end: what indexes with expireAfterSeconds have on the target until the
// end, so that it does not delete by itself what an event may yet change.
const never = 1<<31 - 1

// unportable are options of collections that are of the source's storage, not of the collection.
var unportable = []string{"idIndex", "storageEngine", "autoIndexId", "flags", "usePowerOf2Sizes", "uuid", "expireAfterSeconds"}

// begin lists the source, prepares the target and writes the first state. It is done anew if it was interrupted.
func (r *run) begin(ctx context.Context) error {
	if r.streams {
		token, err := openStream(ctx, r.src)
		switch {
		case unsupportedStream(err):
			r.streams = false
			r.note("the source has no change streams that tell of definitions (MongoDB 6.0 or newer has): " +
				"what changes during the copy is not brought over, so stop writing to the source first")
		case err != nil:
			return err
		}
		r.st.token = token
	} else {
		r.note("the source is a standalone server, which has no change streams: what changes during the copy is not brought over, " +
			"so stop writing to the source first")
	}
	l, err := listAt(ctx, r.src, &r.filter)
	if err != nil {
		return err
	}
	if err := refuse(l); err != nil {
		return err
	}
	if err := r.distinguish(ctx); err != nil {
		return err
	}
	for _, x := range l.items {
		if err := r.vacate(ctx, x.namespace, r.cfg.Drop || r.replaceable[x.namespace.String()]); err != nil {
			return err
		}
	}
	cs := make([]*collection, 0, len(l.items))
	for _, x := range l.collections() {
		c := &collection{key: x.key, options: x.options, from: x.namespace, to: x.namespace}
		c.docs, c.bytes, err = sizeOf(ctx, r.src, x.namespace)
		if err != nil {
			return err
		}
		c.natural = x.options.Lookup("capped").Truthy()
		if err := r.create(ctx, c); err != nil {
			return err
		}
		cs = append(cs, c)
	}
	if err := r.st.add(ctx, cs...); err != nil {
		return err
	}
	r.st.since = l.at
	return r.st.enter(ctx, phaseCopy, 0)
}

// distinguish makes sure that nothing is dropped whose only copy it is: several processes can have the same data (routers
// of a cluster, processes that share a storage), so it writes something to the target and looks for it at the source.
func (r *run) distinguish(ctx context.Context) error {
	mark := "mark/" + rand.Text()
	if err := r.st.save(ctx, bsonval.NewBuilder().Str("_id", mark).Build()); err != nil {
		return err
	}
	body := bsonval.NewBuilder().Str("find", stateNS).StartDoc("filter").Str("_id", mark).End().Build()
	docs, err := r.src.all(ctx, stateDB, body)
	if egress.CodeOf(err) == mongoerr.Unauthorized { // of a user who reads a part of the source
		err = nil
	}
	if err == nil && len(docs) > 0 {
		err = errSame
	}
	return errors.Join(err, r.drop(ctx, namespace{stateDB, stateNS}))
}

// refuse names what cannot be copied.
func refuse(l *listing) error {
	var bad []error
	for _, x := range l.items {
		if x.kind != "collection" && x.kind != "view" {
			bad = append(bad, fmt.Errorf("%s is of type %s, which is not copied: leave it out with --exclude %[1]s", x.namespace, x.kind))
		}
	}
	return errors.Join(bad...)
}

// vacate makes room for a collection or view: what is there must be empty or may be dropped.
func (r *run) vacate(ctx context.Context, n namespace, drop bool) error {
	body := bsonval.NewBuilder().Int32("listCollections", 1).StartDoc("filter").Str("name", n.coll).End().StartDoc("cursor").End().Build()
	docs, err := r.dst.all(ctx, n.db, body)
	if err != nil || len(docs) == 0 {
		return err
	}
	if !drop {
		if textOf(docs[0].Lookup("type")) != "collection" {
			return fmt.Errorf("the target has a view %s: --drop replaces it", n)
		}
		some, err := r.dst.all(ctx, n.db, bsonval.NewBuilder().Str("find", n.coll).Int32("limit", 1).Build())
		if err != nil {
			return err
		}
		if len(some) > 0 {
			return fmt.Errorf("the target's collection %s has documents: --drop replaces it, --exclude %[1]s leaves it alone", n)
		}
	}
	return r.drop(ctx, n)
}

// drop drops a collection of the target that may be gone.
func (r *run) drop(ctx context.Context, n namespace) error {
	err := r.dst.do(ctx, n.db, bsonval.NewBuilder().Str("drop", n.coll).Build())
	if gone(err) {
		return nil
	}
	return err
}

// create creates a collection on the target.
func (r *run) create(ctx context.Context, c *collection) error {
	b := bsonval.NewBuilder().Str("create", c.to.coll)
	for it := withoutFields(c.options, unportable...).Iter(); it.Next(); {
		b.Value(it.KeyStr(), it.Value())
	}
	if !c.options.Lookup("storageEngine").IsMissing() {
		r.note(fmt.Sprintf("%s: the option storageEngine is of the source's storage and left out", c.from))
	}
	if err := r.dst.do(ctx, c.to.db, b.Build()); err != nil {
		return fmt.Errorf("create %s: %w", c.to, err)
	}
	return nil
}

// sizeOf is the number of documents of a collection and their bytes.
func sizeOf(ctx context.Context, p *peer, n namespace) (docs, bytes int64, err error) {
	reply, _, err := p.run(ctx, command{db: n.db, body: bsonval.NewBuilder().Str("collStats", n.coll).Build()})
	if gone(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	return reply.Lookup("count").TruncInt64(), reply.Lookup("size").TruncInt64(), nil
}

// describe prints what a copy would do, and returns an error if it could not begin.
func (r *run) describe(ctx context.Context, w io.Writer) error {
	l, err := listAt(ctx, r.src, &r.filter)
	if err != nil {
		return err
	}
	var docs, size int64
	for _, x := range l.items {
		line := x.String()
		switch x.kind {
		case "collection":
			n, b, err := sizeOf(ctx, r.src, x.namespace)
			if err != nil {
				return err
			}
			docs, size = docs+n, size+b
			line += fmt.Sprintf(": %s documents, %s, %s", progress.Grouped(n), bytesText(b), counted(len(x.indexes), "index", "indexes"))
			if o := withoutFields(x.options, unportable...); !o.IsEmpty() {
				line += ", " + bsonval.FormatDoc(o)
			}
		case "view":
			line += ": view of " + x.options.Lookup("viewOn").Str()
		default:
			line += ": " + x.kind + ", cannot be copied"
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "%s, %s documents, %s\n", counted(len(l.collections()), "collection", "collections"), progress.Grouped(docs), bytesText(size))
	if len(l.left) > 0 {
		fmt.Fprintln(w, "left out:", strings.Join(l.left, ", "))
	}
	if !r.streams {
		fmt.Fprintln(w, "the source has no change streams: stop writing to it before you copy")
	}
	problems := []error{refuse(l)}
	if err := r.st.load(ctx); err == nil && !r.cfg.Restart {
		fmt.Fprintf(w, "an earlier copy is in phase %q and would be continued\n", r.st.phase)
		return errors.Join(problems...)
	} else if !errors.Is(err, errNoState) && !r.cfg.Restart {
		problems = append(problems, err)
	}
	if r.cfg.Restart {
		if err := r.findReplaceable(ctx); err != nil {
			return err
		}
	}
	if !r.cfg.Drop {
		problems = append(problems, r.occupied(ctx, l))
	}
	return errors.Join(problems...)
}

// occupied names the collections of the target that are in the way.
func (r *run) occupied(ctx context.Context, l *listing) error {
	there, err := list(ctx, r.dst, &r.filter)
	if err != nil {
		return err
	}
	kinds := map[namespace]string{}
	for _, x := range there.items {
		kinds[x.namespace] = x.kind
	}
	var bad []error
	for _, x := range l.items {
		kind, ok := kinds[x.namespace]
		if !ok || r.replaceable[x.namespace.String()] {
			continue
		}
		n := int64(1)
		if kind == "collection" {
			if n, _, err = sizeOf(ctx, r.dst, x.namespace); err != nil {
				return err
			}
		}
		if n > 0 {
			bad = append(bad, fmt.Errorf("the target has a %s %s already: --drop replaces it", kind, x.namespace))
		}
	}
	return errors.Join(bad...)
}
