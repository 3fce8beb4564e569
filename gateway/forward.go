package gateway

import (
	"context"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// forward sends a command to the upstream it belongs to.
func (g *Gateway) forward(ctx context.Context, c *call, reply *server.Reply) error {
	t := g.table.Load()
	p, preference, err := g.place(t, c)
	if err != nil {
		return err
	}
	if c.numbered && !c.inTransaction {
		c.unnumbered = p.to.standalone(ctx)
	}
	e := g.edits(ctx, c, p.to)
	c.hop.op = egress.Operation{
		Command:        egress.Command{DB: c.req.DB, Body: e.apply(c.req.Body), Sequences: c.sequences(), Whole: c.whole},
		ReadPreference: preference, Target: p.target,
	}
	if c.hasSession && c.numbered && !c.unnumbered {
		p.txn, p.open = c.txn, c.inTransaction
		g.pins.set(c.session, p)
	}
	r := c.hop.run(ctx, p.to)
	g.settle(c, p, &r)
	if r.Status != nil {
		return c.failure(ctx, p.to, r.Status)
	}
	g.adopt(c, p.to, r.Target, r.Body)
	body := r.Body
	if !r.Clean {
		body = rewriteErrors(body)
	}
	g.finish(c, p.to, body, reply)
	return nil
}

// place decides where a command goes.
func (g *Gateway) place(t *table, c *call) (pin, *egress.ReadPreference, error) {
	ends := c.name == "commitTransaction" || c.name == "abortTransaction"
	pinned, found := pin{}, false
	if c.hasSession && c.numbered && !c.starts {
		pinned, found = g.pins.find(c.session, c.txn)
	}
	if ends {
		if !found {
			var err error
			if pinned, err = recoverPin(t, c); err != nil {
				return pin{}, nil, err
			}
		}
		return pinned, nil, nil
	}
	r := t.find(c.database, c.collection, c.name)
	if r == nil && !found {
		return pin{}, nil, noRoute(c)
	}
	if found {
		if c.inTransaction && r != nil && r.to.name != pinned.to.name {
			return pin{}, nil, mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
				"the transaction runs on upstream %q and %s on %s.%s goes to upstream %q: a transaction cannot span upstreams",
				pinned.to.name, c.name, c.database, c.collection, r.to.name)
		}
		return pinned, c.preference, nil
	}
	if r.to.cfg.Drain {
		e := mongoerr.New(mongoerr.HostUnreachable, "upstream %q takes no new work", r.to.name)
		return pin{}, nil, e.WithLabels(c.labels()...)
	}
	if t.several {
		if err := t.checkForeign(c, r.to); err != nil {
			return pin{}, nil, err
		}
	}
	preference := c.preference
	if preference == nil {
		preference = r.preference
	}
	return pin{to: r.to}, preference, nil
}

func noRoute(c *call) error {
	ns := c.database
	if c.collection != "" {
		ns += "." + c.collection
	}
	return mongoerr.New(mongoerr.CommandNotFound, "no such command: '%s' (no route of the gateway takes it on %s)", c.name, ns)
}

// settle pins a transaction to the router that has answered its first statement, and notes its end.
func (g *Gateway) settle(c *call, p pin, r *egress.ResponseOnAny) {
	if !c.hasSession || !c.inTransaction {
		return
	}
	switch ended := c.name == "commitTransaction" || c.name == "abortTransaction"; {
	case ended && r.Status == nil:
		p.open = false
	case ended:
		p.target = "" // another router can end it, with its recovery token
	case r.Status != nil:
		return
	case hasLabel(r.Body, mongoerr.LabelTransientTransaction):
		p.open = false
	case p.target == "" && p.to.kind() == egress.TopologySharded:
		p.target = r.Target
	case !c.starts:
		return
	}
	g.pins.set(c.session, p)
}

// finish appends the reply of an upstream. Replies within a transaction get what leads another gateway to its upstream.
func (g *Gateway) finish(c *call, u *upstream, body bsonval.Doc, reply *server.Reply) {
	if !c.inTransaction || !succeeded(body) {
		reply.AppendDoc(body)
		return
	}
	b := bsonval.NewBuilder()
	token := bsonval.NewBuilder().Str(tokenUpstream, u.name)
	for it := body.Iter(); it.Next(); {
		if it.KeyStr() == "recoveryToken" {
			token.Value(tokenInner, it.Value())
			continue
		}
		b.Value(string(it.Key()), it.Value())
	}
	reply.AppendDoc(b.Doc("recoveryToken", token.Build()).Build())
}

// The fields of a gateway's recovery token: the upstream of the transaction, and the token that the upstream gave.
const (
	tokenUpstream = "upstream"
	tokenInner    = "token"
)

// recoverPin finds the upstream of a transaction that this gateway has not seen begin.
func recoverPin(t *table, c *call) (pin, error) {
	if c.token != nil {
		if v := c.token.Lookup(tokenUpstream); v.Type() == bsonval.TypeString {
			if u := t.upstreams[v.Str()]; u != nil {
				return pin{to: u}, nil
			}
		}
	}
	if !t.several {
		for _, u := range t.upstreams {
			return pin{to: u}, nil
		}
	}
	return pin{}, mongoerr.New(mongoerr.NoSuchTransaction, "transaction %d is not known to the gateway", c.txn).
		WithLabels(mongoerr.LabelTransientTransaction)
}

// edits are the changes to a command on its way.
type edits struct {
	dropTime, dropNumber bool
	concern              bsonval.Doc // replaces readConcern
	token                bool        // recoveryToken is replaced by inner, or dropped without one
	inner                bsonval.Value
}

// edits decides what to change. Cluster times are of one deployment: those of others do not reach it. The upstream's own
// is added by egress; a read that has to come after something comes, at the latest, after all that the upstream's primary
// knows of.
func (g *Gateway) edits(ctx context.Context, c *call, u *upstream) edits {
	e := edits{dropNumber: c.unnumbered}
	if c.token != nil {
		e.token, e.inner = true, c.token.Lookup(tokenInner)
	}
	if !g.cfg.ForeignTimes && !g.table.Load().several {
		return e
	}
	e.dropTime = c.hasClusterTime
	if after := c.afterClusterTime; after > u.client.ClusterTime() {
		u.ask(ctx, "admin", bsonval.NewBuilder().Int32("ping", 1).StartDoc("$readPreference").Str("mode", "primary").End().Build(), "")
		if now := u.client.ClusterTime(); after > now {
			e.concern = concernAt(c.readConcern, now)
		}
	}
	return e
}

// concernAt is a read concern with another afterClusterTime; 0 means none.
func concernAt(concern bsonval.Doc, t uint64) bsonval.Doc {
	b := bsonval.NewBuilder()
	for it := concern.Iter(); it.Next(); {
		if it.KeyStr() != "afterClusterTime" {
			b.Value(string(it.Key()), it.Value())
		} else if t != 0 {
			b.Value("afterClusterTime", bsonval.TimestampBits(t))
		}
	}
	return b.Build()
}

// apply returns the changed body; most are not changed.
func (e *edits) apply(body bsonval.Doc) bsonval.Doc {
	if !e.dropTime && !e.dropNumber && !e.token && e.concern == nil {
		return body
	}
	out, at := bsonval.BeginDoc(make([]byte, 0, len(body)))
	for it := body.Iter(); it.Next(); {
		switch key := it.KeyStr(); {
		case key == "$clusterTime" && e.dropTime, key == "txnNumber" && e.dropNumber:
		case key == "recoveryToken" && e.token:
			if e.inner.Type() == bsonval.TypeDocument {
				out = bsonval.AppendElement(out, "recoveryToken", e.inner)
			}
		case key == "readConcern" && e.concern != nil:
			out = bsonval.AppendElement(out, "readConcern", bsonval.Document(e.concern))
		default:
			out = append(out, it.Raw()...)
		}
	}
	return bsonval.EndDoc(out, at)
}
