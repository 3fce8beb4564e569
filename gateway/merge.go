package gateway

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// list is a merged result, or what is left of it, that is answered in batches.
type list struct {
	ns string

	mu   sync.Mutex // guards the field below
	docs []bsonval.Doc
}

const (
	// firstBatch is how many documents the first batch has unless the client says.
	firstBatch = 101
	// maxBatchBytes bounds the documents of a batch.
	maxBatchBytes = 16 << 20
)

// take removes a batch from the list; n < 0 means as many as fit.
func (l *list) take(n int) (batch []bsonval.Doc, more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 0
	for len(l.docs) > 0 && len(batch) != n && (len(batch) == 0 || size+len(l.docs[0]) < maxBatchBytes) {
		size += len(l.docs[0])
		batch = append(batch, l.docs[0])
		l.docs = l.docs[1:]
	}
	return batch, len(l.docs) > 0
}

func (l *list) append(reply *server.Reply, name string, id int64, batch []bsonval.Doc) {
	b := bsonval.NewBuilder().StartDoc("cursor").Int64("id", id).Str("ns", l.ns).StartArray(name)
	for _, d := range batch {
		b.Add(bsonval.Document(d))
	}
	reply.AppendDoc(b.End().End().Build())
}

// listBatch answers a getMore on a merged result.
func (g *Gateway) listBatch(c *call, id int64, l *list, reply *server.Reply) (more bool, err error) {
	n := -1
	if v := c.req.Body.Lookup("batchSize"); v.IsNumber() && v.TruncInt64() > 0 {
		n = int(min(v.TruncInt64(), 1<<30))
	}
	batch, more := l.take(n)
	if !more {
		g.cursors.remove(id)
		id = 0
	}
	l.append(reply, "nextBatch", id, batch)
	return more, nil
}

// answers runs a command on several upstreams at the same time. Upstreams that do not know it have a nil answer.
func (g *Gateway) answers(ctx context.Context, c *call, upstreams []*upstream) ([]bsonval.Doc, error) {
	out := make([]bsonval.Doc, len(upstreams))
	errs := make([]error, len(upstreams))
	var work sync.WaitGroup
	for i, u := range upstreams {
		work.Go(func() {
			e := edits{dropTime: true}
			r := u.run(ctx, &egress.Operation{
				Command: egress.Command{DB: c.req.DB, Body: e.apply(c.req.Body)}, ReadPreference: c.preference,
			}, nil)
			switch err := r.Err(); {
			case r.Status != nil:
				errs[i] = c.failure(ctx, u, r.Status)
			case mongoerr.Is(err, mongoerr.CommandNotFound):
			case err != nil:
				errs[i] = err
			default:
				out[i], errs[i] = g.whole(ctx, c, u, r.Target, r.Body)
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// whole reads a cursor to its end and returns the reply with all documents in firstBatch; a reply without a cursor is
// returned as it is.
func (g *Gateway) whole(ctx context.Context, c *call, u *upstream, target egress.Host, reply bsonval.Doc) (bsonval.Doc, error) {
	v := reply.Lookup("cursor")
	if v.Type() != bsonval.TypeDocument {
		return reply, nil
	}
	ns := v.Doc().Lookup("ns")
	if ns.Type() != bsonval.TypeString {
		return reply, nil
	}
	b := bsonval.NewBuilder().StartArray("firstBatch")
	field := "firstBatch"
	for {
		cur := reply.Lookup("cursor")
		if cur.Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.HostUnreachable, "upstream %q: reply to getMore without a cursor", u.name)
		}
		batch := cur.Doc().Lookup(field)
		if batch.Type() == bsonval.TypeArray {
			for it := batch.Doc().Iter(); it.Next(); {
				b.Add(it.Value())
			}
		}
		id := cur.Doc().Lookup("id").Int64()
		if id == 0 {
			return b.End().Build(), nil
		}
		_, collection, _ := strings.Cut(ns.Str(), ".")
		next := bsonval.NewBuilder().Int64("getMore", id).Str("collection", collection)
		if lsid := c.req.Body.Lookup("lsid"); !lsid.IsMissing() {
			next.Value("lsid", lsid)
		}
		r := u.ask(ctx, c.req.DB, next.Build(), target)
		if r.Status != nil {
			return nil, c.failure(ctx, u, r.Status)
		}
		if err := r.Err(); err != nil {
			return nil, err
		}
		reply, field = r.Body, "nextBatch"
	}
}

// listDatabases merges the databases of the upstreams that have data. Of each upstream those count that routes lead to.
func (g *Gateway) listDatabases(ctx context.Context, c *call, reply *server.Reply) error {
	t := g.table.Load()
	if r := t.find(c.database, "", c.name); r != nil && len(r.commands) > 0 || len(t.stores()) < 2 {
		return g.forward(ctx, c, reply)
	}
	upstreams := t.stores()
	answers, err := g.answers(ctx, c, upstreams)
	if err != nil {
		return err
	}
	type entry struct {
		doc   bsonval.Doc
		size  int64
		empty bool
	}
	found := map[string]entry{}
	sized := false
	for i, a := range answers {
		v := a.Lookup("databases")
		if a == nil || v.Type() != bsonval.TypeArray {
			continue
		}
		sized = sized || !a.Lookup("totalSize").IsMissing()
		for it := v.Doc().Iter(); it.Next(); {
			d := it.Value().Doc()
			name := d.Lookup("name")
			if name.Type() != bsonval.TypeString || !slices.Contains(t.owners(name.Str()), upstreams[i]) {
				continue
			}
			size := d.Lookup("sizeOnDisk").TruncInt64()
			e, again := found[name.Str()]
			if !again {
				e = entry{doc: d, empty: true}
			}
			e.size += size
			e.empty = e.empty && d.Lookup("empty").Truthy()
			found[name.Str()] = e
		}
	}
	b := bsonval.NewBuilder().StartArray("databases")
	total := int64(0)
	for _, name := range sortedNames(found) {
		e := found[name]
		total += e.size
		one := bsonval.NewBuilder()
		for it := e.doc.Iter(); it.Next(); {
			switch it.KeyStr() {
			case "sizeOnDisk":
				one.Int64("sizeOnDisk", e.size)
			case "empty":
				one.Bool("empty", e.empty)
			default:
				one.Value(string(it.Key()), it.Value())
			}
		}
		b.Add(bsonval.Document(one.Build()))
	}
	b.End()
	if sized {
		b.Int64("totalSize", total).Int64("totalSizeMb", total>>20)
	}
	reply.AppendDoc(b.Build())
	return nil
}

// listCollections merges the collections that several upstreams have in a database.
func (g *Gateway) listCollections(ctx context.Context, c *call, reply *server.Reply) error {
	t := g.table.Load()
	owners := t.owners(c.database)
	if r := t.find(c.database, "", c.name); r != nil && len(r.commands) > 0 || len(owners) < 2 || c.inTransaction {
		return g.forward(ctx, c, reply)
	}
	answers, err := g.answers(ctx, c, owners)
	if err != nil {
		return err
	}
	l := &list{ns: c.database + ".$cmd.listCollections"}
	for i, a := range answers {
		v := a.Lookup("firstBatch")
		if a == nil || v.Type() != bsonval.TypeArray {
			continue
		}
		for it := v.Doc().Iter(); it.Next(); {
			d := it.Value().Doc()
			name := d.Lookup("name")
			if name.Type() != bsonval.TypeString {
				continue
			}
			if r := t.find(c.database, name.Str(), "find"); r != nil && r.to == owners[i] {
				l.docs = append(l.docs, d)
			}
		}
	}
	slices.SortFunc(l.docs, func(a, b bsonval.Doc) int { return strings.Compare(a.Lookup("name").Str(), b.Lookup("name").Str()) })
	n := firstBatch
	if v := c.req.Body.Lookup("cursor"); v.Type() == bsonval.TypeDocument {
		if size := v.Doc().Lookup("batchSize"); size.IsNumber() && size.TruncInt64() >= 0 {
			n = int(min(size.TruncInt64(), 1<<30))
		}
	}
	batch, more := l.take(n)
	id := int64(0)
	if more {
		id = g.cursors.add(cursor{list: l, user: userOf(c.req)})
	}
	l.append(reply, "firstBatch", id, batch)
	return nil
}
