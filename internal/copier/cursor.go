package copier

import (
	"context"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
)

// cursor reads the batches of a command's result.
type cursor struct {
	peer    *peer
	db      string
	coll    string
	id      int64
	host    egress.Host
	batch   int
	maxTime int64 // milliseconds a getMore waits for more, 0: not at all

	first Doc // the first batch, until it has been taken
	token Doc // postBatchResumeToken of the last batch, nil if it had none
	time  uint64
	at    uint64 // the time as of which a snapshot is read
}

// query runs a command that has a cursor in its reply.
func (p *peer) query(ctx context.Context, db string, body Doc, batch int) (*cursor, error) {
	reply, host, err := p.run(ctx, command{db: db, body: body})
	if err != nil {
		return nil, err
	}
	c := &cursor{peer: p, db: db, host: host, batch: batch}
	c.take(reply, "firstBatch")
	return c, nil
}

func (c *cursor) take(reply Doc, name string) {
	d := documentOf(reply.Lookup("cursor"))
	if ns := d.Lookup("ns"); ns.Type() == bsonval.TypeString {
		c.coll = splitNamespace(string(ns.Bytes())).coll
	}
	c.id = d.Lookup("id").Int64()
	c.first = documentOf(d.Lookup(name))
	c.at = timeOf(d.Lookup("atClusterTime"))
	c.token, c.time = nil, timeOf(reply.Lookup("operationTime"))
	if t := d.Lookup("postBatchResumeToken"); t.Type() == bsonval.TypeDocument {
		c.token = t.Doc()
	}
}

// documentOf is a document or array, empty for any other value.
func documentOf(v bsonval.Value) Doc {
	if v.Type() != bsonval.TypeDocument && v.Type() != bsonval.TypeArray {
		return bsonval.EmptyDoc
	}
	return v.Doc()
}

// next returns the next batch, nil at the end. A tailing cursor may return empty ones. The documents are the caller's.
func (c *cursor) next(ctx context.Context) ([]Doc, error) {
	if c.first == nil {
		if c.id == 0 {
			return nil, nil
		}
		b := bsonval.NewBuilder().Int64("getMore", c.id).Str("collection", c.coll)
		if c.batch > 0 {
			b.Int32("batchSize", int32(c.batch))
		}
		if c.maxTime > 0 {
			b.Int64("maxTimeMS", c.maxTime)
		}
		reply, _, err := c.peer.run(ctx, command{db: c.db, body: b.Build(), target: c.host})
		if err != nil {
			return nil, err
		}
		c.take(reply, "nextBatch")
	}
	docs := []Doc{}
	for it := c.first.Iter(); it.Next(); {
		if it.Value().Type() == bsonval.TypeDocument {
			docs = append(docs, it.Value().Doc())
		}
	}
	c.first = nil
	return docs, nil
}

// close ends the cursor on the server.
func (c *cursor) close(ctx context.Context) {
	if c.id == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	body := bsonval.NewBuilder().Str("killCursors", c.coll).StartArray("cursors").Add(bsonval.Int64(c.id)).End().Build()
	_, _, _ = c.peer.run(ctx, command{db: c.db, body: body, target: c.host}) // it times out by itself
	c.id = 0
}

// all reads everything.
func (p *peer) all(ctx context.Context, db string, body Doc) ([]Doc, error) {
	c, err := p.query(ctx, db, body, 0)
	if err != nil {
		return nil, err
	}
	var out []Doc
	for {
		docs, err := c.next(ctx)
		if err != nil || docs == nil {
			return out, err
		}
		out = append(out, docs...)
	}
}
