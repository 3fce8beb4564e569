package service

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/uuid"
)

const (
	// onceAttempts is how often InvokeOnce tries: one failure per instance of a usual fleet.
	onceAttempts = 4
	// maxFreeSessions bounds the sessions that a Client keeps for InvokeOnce.
	maxFreeSessions = 1000
	// farewell bounds how long giving up a stream may take.
	farewell = 2 * time.Second
)

// Client calls the commands of a service. Make one with NewClient; Invoke, InvokeOnce and Follow call.
type Client struct {
	servers *egress.Client
	db      string

	mu sync.Mutex // guards free
	// free are the sessions in which no call runs.
	free []*clientSession
}

// clientSession numbers calls that are to run once.
type clientSession struct {
	id   [16]byte
	txn  int64
	used time.Time
}

// NewClient makes a client of the service behind servers: an instance, a fleet of routers, a replica set. Its commands
// go to the database db, which matters where several services are mounted in one server. The caller closes servers.
func NewClient(servers *egress.Client, db string) *Client { return &Client{servers: servers, db: db} }

// Invoke calls a command. The value of its first field is the request's field of that name, or 1. The time that ctx has
// left is the command's maxTimeMS. Errors of the service are *Error. The call is sent again only if it was not begun.
func Invoke[Req, Resp any](ctx context.Context, c *Client, command string, req Req) (Resp, error) {
	var resp Resp
	body, err := commandOf(ctx, command, req)
	if err != nil {
		return resp, err
	}
	return resp, c.servers.Run(ctx, c.operation(body, nil, "")).Decode(&resp)
}

// InvokeOnce calls a Once command and repeats it if it is not known whether it has run, which the service then tells.
func InvokeOnce[Req, Resp any](ctx context.Context, c *Client, command string, req Req) (Resp, error) {
	var resp Resp
	body, err := commandOf(ctx, command, req)
	if err != nil {
		return resp, err
	}
	s := c.take()
	s.txn++
	meta := bsonval.NewBuilder().StartDoc("lsid").Value("id", bsonval.Binary(4, s.id[:])).End().Int64("txnNumber", s.txn).Build()
	for attempt := 1; ; attempt++ {
		r := c.servers.Run(ctx, c.operation(body, meta, ""))
		err := r.Err()
		if err == nil {
			c.give(s)
			return resp, r.Decode(&resp)
		}
		if r.Status == nil && !egress.HasLabel(err, mongoerr.LabelRetryableWrite) {
			c.give(s) // the service has answered
			return resp, err
		}
		if attempt == onceAttempts || ctx.Err() != nil {
			return resp, err // the call may run still, so the session is not used again
		}
	}
}

// Follow calls a stream and yields its documents as they come, those of a live one until ctx ends or the loop does. The
// last pair has the error if there is one.
func Follow[Req, Item any](ctx context.Context, c *Client, command string, req Req) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		var none Item
		body, err := commandOf(context.WithoutCancel(ctx), command, req)
		if err != nil {
			yield(none, err)
			return
		}
		r := c.servers.Run(ctx, c.operation(body, nil, ""))
		for batch := "firstBatch"; ; batch = "nextBatch" {
			var reply struct {
				Cursor bson.Raw `bson:"cursor"`
			}
			if err := r.Decode(&reply); err != nil {
				yield(none, err)
				return
			}
			cur := bsonval.Doc(reply.Cursor)
			id, ns := cur.Lookup("id"), cur.Lookup("ns")
			if id.Type() != bsonval.TypeInt64 || ns.Type() != bsonval.TypeString || cur.Lookup(batch).Type() != bsonval.TypeArray {
				yield(none, mongoerr.New(mongoerr.CommandResultSchemaViolation, "the reply of %s has no cursor", command))
				return
			}
			coll := collectionOf(ns.Str(), c.db)
			it := cur.Lookup(batch).Doc().Iter()
			for it.Next() {
				var item Item
				err := bson.Unmarshal(it.Value().Doc(), &item)
				if more := yield(item, err); !more || err != nil {
					c.giveUp(ctx, coll, id.Int64(), r.Target)
					return
				}
			}
			if id.Int64() == 0 {
				return
			}
			more := bsonval.NewBuilder().Int64("getMore", id.Int64()).Str("collection", coll).Build()
			target := r.Target
			if r = c.servers.Run(ctx, c.operation(more, nil, target)); r.Status != nil {
				c.giveUp(ctx, coll, id.Int64(), target)
			}
		}
	}
}

// collectionOf is the part of a namespace after the database.
func collectionOf(ns, db string) string {
	if len(ns) > len(db)+1 {
		return ns[len(db)+1:]
	}
	return ns
}

// giveUp closes a cursor that is not wanted any more. If that fails the service closes it in time.
func (c *Client) giveUp(ctx context.Context, coll string, id int64, target egress.Host) {
	if id == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	body := bsonval.NewBuilder().Str("killCursors", coll).StartArray("cursors").Add(bsonval.Int64(id)).End().Build()
	c.servers.Run(ctx, c.operation(body, nil, target))
}

func (c *Client) operation(body, meta bsonval.Doc, target egress.Host) *egress.Operation {
	return &egress.Operation{Command: egress.Command{DB: c.db, Body: body, Metadata: meta}, Target: target}
}

// commandOf is the command document of a request.
func commandOf(ctx context.Context, command string, req any) (bsonval.Doc, error) {
	raw, err := bson.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", command, err)
	}
	d := bsonval.Doc(raw)
	first := d.Lookup(command)
	if first.IsMissing() {
		first = bsonval.Int32(1)
	}
	b, at := bsonval.BeginDoc(make([]byte, 0, len(d)+len(command)+40))
	b = bsonval.AppendElement(b, command, first)
	it := d.Iter()
	for it.Next() {
		if it.KeyStr() != command {
			b = append(b, it.Raw()...)
		}
	}
	if until, ok := ctx.Deadline(); ok {
		b = bsonval.AppendElement(b, "maxTimeMS", bsonval.Int64(max(time.Until(until).Milliseconds(), 1)))
	}
	return bsonval.EndDoc(b, at), nil
}

// take returns a session in which no call runs.
func (c *Client) take() *clientSession {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		s := c.free[n-1]
		c.free = c.free[:n-1]
		if time.Since(s.used) < DefaultResultAge/2 {
			return s
		}
		c.free = nil // those below have not been used for longer
	}
	return &clientSession{id: uuid.New()}
}

func (c *Client) give(s *clientSession) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.used = time.Now(); len(c.free) < maxFreeSessions {
		c.free = append(c.free, s)
	}
}

// egressRunner is a Runner over egress.
type egressRunner struct{ client *egress.Client }

// NewRunner makes a client of a database what a service can store results and leases with.
func NewRunner(client *egress.Client) Runner { return egressRunner{client} }

// RunCommand implements Runner.
func (r egressRunner) RunCommand(ctx context.Context, db string, command bson.Raw) (bson.Raw, error) {
	response := r.client.Run(ctx, &egress.Operation{Command: egress.Command{DB: db, Body: bsonval.Doc(command)}})
	if err := response.Err(); err != nil {
		return nil, err
	}
	return bson.Raw(response.Body), nil
}
