package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// listed is a collection or view as a server lists it.
type listed struct {
	namespace
	kind    string // collection, view, timeseries
	key     string
	options Doc
	indexes []Doc // without that of _id
}

// listing is what a server has of what is to be copied, at one moment.
type listing struct {
	at    uint64 // everything up to then is in it, 0 if the server's clock cannot be asked
	items []listed
	left  []string // what is left out, and why
}

// collections are those of kind collection.
func (l *listing) collections() []listed {
	return slices.DeleteFunc(slices.Clone(l.items), func(x listed) bool { return x.kind != "collection" })
}

func (l *listing) views() []listed {
	return slices.DeleteFunc(slices.Clone(l.items), func(x listed) bool { return x.kind != "view" })
}

// list lists what a server has.
func list(ctx context.Context, p *peer, f *filter) (*listing, error) {
	reply, _, err := p.run(ctx, command{db: "admin", body: bsonval.NewBuilder().Int32("listDatabases", 1).Bool("nameOnly", true).Build()})
	if err != nil {
		return nil, err
	}
	out := &listing{}
	for it := documentOf(reply.Lookup("databases")).Iter(); it.Next(); {
		db := textOf(documentOf(it.Value()).Lookup("name"))
		if own(db) {
			continue
		}
		if err := out.database(ctx, p, f, db); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out.items, func(a, b listed) int {
		return cmp.Or(strings.Compare(a.db, b.db), strings.Compare(a.coll, b.coll))
	})
	return out, nil
}

func (l *listing) database(ctx context.Context, p *peer, f *filter, db string) error {
	docs, err := p.all(ctx, db, bsonval.NewBuilder().Int32("listCollections", 1).StartDoc("cursor").End().Build())
	if err != nil {
		return err
	}
	for _, d := range docs {
		x := listed{namespace: namespace{db, textOf(d.Lookup("name"))}, kind: "collection", options: documentOf(d.Lookup("options"))}
		if k := d.Lookup("type"); k.Type() == bsonval.TypeString {
			x.kind = textOf(k)
		}
		switch {
		case system(x.coll):
			continue
		case !f.follows(x.namespace):
			l.left = append(l.left, x.String())
			continue
		}
		x.key = keyOf(documentOf(d.Lookup("info")).Lookup("uuid"), x.namespace)
		if x.kind == "collection" {
			if x.indexes, err = indexesOf(ctx, p, x.namespace); err != nil {
				return err
			}
		}
		l.items = append(l.items, x)
	}
	return nil
}

// indexesOf lists the indexes of a collection, none if it is gone. The index of _id is left out.
func indexesOf(ctx context.Context, p *peer, n namespace) ([]Doc, error) {
	docs, err := p.all(ctx, n.db, bsonval.NewBuilder().Str("listIndexes", n.coll).StartDoc("cursor").End().Build())
	if gone(err) {
		return nil, nil
	}
	var out []Doc
	for _, d := range docs {
		if !ofID(d) {
			out = append(out, withoutFields(d, "ns", "background"))
		}
	}
	return out, err
}

// ofID tells the index of _id, which every collection has by itself.
func ofID(spec Doc) bool {
	return spec.Lookup("clustered").Truthy() || textOf(spec.Lookup("name")) == "_id_"
}

// signature tells whether two listings are of the same definitions.
func (l *listing) signature() string {
	var b strings.Builder
	for _, x := range l.items {
		fmt.Fprintf(&b, "%q %s %s %q", x.String(), x.kind, x.key, []byte(x.options))
		for _, d := range x.indexes {
			fmt.Fprintf(&b, " %q", []byte(d))
		}
	}
	return b.String()
}

var errRestless = errors.New("collections and indexes of the source change all the time: stop that for a moment and run the copy again")

// listAt lists what the source has at a moment: the same twice, since a time before. A change of a definition up to that
// time is in the listing, one behind it may be.
func listAt(ctx context.Context, p *peer, f *filter) (*listing, error) {
	if !p.replicated() {
		return list(ctx, p, f)
	}
	for range listingsAtMost {
		at, err := p.now(ctx)
		if err != nil {
			return nil, err
		}
		if !sleep(ctx, settling) {
			return nil, ctx.Err()
		}
		before, err := list(ctx, p, f)
		if err != nil {
			return nil, err
		}
		after, err := list(ctx, p, f)
		if err != nil {
			return nil, err
		}
		if before.signature() == after.signature() {
			after.at = at
			return after, nil
		}
	}
	return nil, errRestless
}

// withoutFields is a document without some of its fields.
func withoutFields(d Doc, names ...string) Doc {
	out, at := bsonval.BeginDoc(make([]byte, 0, len(d)))
	for it := d.Iter(); it.Next(); {
		if !slices.Contains(names, it.KeyStr()) {
			out = append(out, it.Raw()...)
		}
	}
	return bsonval.EndDoc(out, at)
}

// current is the name that a collection has now on the source, by its key; ok is false if it is gone. A source without
// UUIDs is believed.
func current(ctx context.Context, p *peer, c *collection) (n namespace, ok bool, err error) {
	n = c.source()
	if c.key == n.String() {
		return n, true, nil
	}
	body := bsonval.NewBuilder().Int32("listCollections", 1).StartDoc("filter").Str("name", n.coll).End().StartDoc("cursor").End().Build()
	docs, err := p.all(ctx, n.db, body)
	if err != nil {
		return n, false, err
	}
	for _, d := range docs {
		if keyOf(documentOf(d.Lookup("info")).Lookup("uuid"), n) == c.key {
			return n, true, nil
		}
	}
	// It has another name now, maybe in another database.
	everything, err := list(ctx, p, &filter{})
	if err != nil {
		return n, false, err
	}
	for _, x := range everything.items {
		if x.key == c.key {
			return x.namespace, true, nil
		}
	}
	return n, false, nil
}
