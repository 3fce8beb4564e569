package gateway

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// cursorLife is how long an unused cursor is remembered. Servers drop theirs after ten minutes, those without a timeout
// with their session.
const cursorLife = 40 * time.Minute

// cursor is where a cursor is. Its gateway's id is the key in the table.
type cursor struct {
	to     *upstream
	target egress.Host
	id     int64 // on the server
	// user is whose it is, "" for nobody's.
	user string
	// stream is set for change streams, which drivers resume.
	stream bool
	// list is the rest of a merged result, which no upstream has. to is nil then.
	list *list
	used time.Time
}

// cursors are the open cursors.
type cursors struct {
	mu    sync.Mutex // guards the fields below
	of    map[int64]cursor
	swept time.Time
}

// add gives a cursor an id.
func (t *cursors) add(c cursor) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	c.used = time.Now()
	if c.used.Sub(t.swept) > sweepEvery {
		t.swept = c.used
		for id, old := range t.of {
			if c.used.Sub(old.used) > cursorLife {
				delete(t.of, id)
			}
		}
	}
	for {
		id := rand.Int64()
		if _, taken := t.of[id]; id != 0 && !taken {
			t.of[id] = c
			return id
		}
	}
}

func (t *cursors) find(id int64) (cursor, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, ok := t.of[id]
	if ok {
		c.used = time.Now()
		t.of[id] = c
	}
	return c, ok
}

func (t *cursors) remove(id int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, id)
}

// open counts the cursors of an upstream; nil means all.
func (t *cursors) open(of *upstream) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, c := range t.of {
		if of == nil || c.to == of {
			n++
		}
	}
	return n
}

// cursorID finds the id of the cursor in a reply; the bytes are those of the reply. ok is false if there is no cursor or
// it is exhausted.
func cursorID(reply bsonval.Doc) (at []byte, ok bool) {
	v := reply.Lookup("cursor")
	if v.Type() != bsonval.TypeDocument {
		return nil, false
	}
	for it := v.Doc().Iter(); it.Next(); {
		if it.KeyStr() == "id" && it.Value().Type() == bsonval.TypeInt64 {
			raw := it.Raw()
			at = raw[len(raw)-8:]
			return at, it.Value().Int64() != 0
		}
	}
	return nil, false
}

// adopt gives the cursor of a reply an id of the gateway's own, in place.
func (g *Gateway) adopt(c *call, u *upstream, target egress.Host, reply bsonval.Doc) {
	if at, ok := cursorID(reply); ok {
		id := int64(binary.LittleEndian.Uint64(at))
		binary.LittleEndian.PutUint64(at, uint64(g.cursors.add(cursor{to: u, target: target, id: id, user: userOf(c.req), stream: c.changeStream})))
	}
}

// getMore asks the server that has the cursor. A client that takes a stream of replies gets one. What is no cursor of the
// gateway's is for the upstream of the collection to refuse, since it knows how.
func (g *Gateway) getMore(ctx context.Context, c *call, reply *server.Reply) error {
	_, v, _ := c.req.Body.First()
	id := v.Int64()
	if _, known := g.cursors.find(id); !known || v.Type() != bsonval.TypeInt64 {
		if coll := c.req.Body.Lookup("collection"); coll.Type() == bsonval.TypeString {
			c.collection = coll.Str()
		}
		return g.forward(ctx, c, reply)
	}
	for {
		more, err := g.nextBatch(ctx, c, id, reply)
		if err != nil || !more || !c.req.ExhaustAllowed() {
			return err
		}
		if err := reply.Send(); err != nil {
			return err
		}
	}
}

// getMoreIDOffset is where the id is in a getMore: after the document's length, the type and the name.
const getMoreIDOffset = 4 + 1 + len("getMore") + 1

// nextBatch appends the reply to one getMore; more tells whether the cursor goes on.
func (g *Gateway) nextBatch(ctx context.Context, c *call, id int64, reply *server.Reply) (more bool, err error) {
	cur, ok := g.cursors.find(id)
	if ok && cur.user != userOf(c.req) {
		return false, notYours(id)
	}
	if !ok { // it was killed between two replies of a stream
		return false, mongoerr.New(mongoerr.CursorNotFound, "cursor id %d not found", id)
	}
	if cur.list != nil {
		return g.listBatch(c, id, cur.list, reply)
	}
	c.changeStream = cur.stream
	body := c.req.Body.Clone()
	binary.LittleEndian.PutUint64(body[getMoreIDOffset:], uint64(cur.id))
	e := g.edits(ctx, c, cur.to)
	c.hop.op = egress.Operation{Command: egress.Command{DB: c.req.DB, Body: e.apply(body), Whole: c.whole}, Target: cur.target}
	r := c.hop.run(ctx, cur.to)
	if r.Status != nil {
		if egressGone(r.Status) {
			g.cursors.remove(id)
		}
		return false, c.failure(ctx, cur.to, r.Status)
	}
	if at, open := cursorID(r.Body); open {
		more = true
		binary.LittleEndian.PutUint64(at, uint64(id))
	} else if at != nil || ended(codeIn(r.Body)) {
		g.cursors.remove(id)
	}
	g.finish(c, cur.to, rewriteErrors(r.Body), reply)
	return more, nil
}

// ended tells errors after which there is no cursor any more.
func ended(code mongoerr.Code) bool {
	return code == mongoerr.CursorNotFound || code == mongoerr.CursorKilled || code == mongoerr.QueryPlanKilled
}

// egressGone tells a server that has left its deployment, and its cursors with it.
func egressGone(err error) bool { return egress.CodeOf(err) == mongoerr.HostNotFound }

// killCursors tells each server that has some of the cursors, and puts the answers together. Those that the gateway does
// not know are for the upstream of the collection, and so is a command without any.
func (g *Gateway) killCursors(ctx context.Context, c *call, reply *server.Reply) error {
	ids := c.req.Body.Lookup("cursors")
	if ids.Type() != bsonval.TypeArray || ids.Doc().IsEmpty() {
		return g.forward(ctx, c, reply)
	}
	groups := map[cursorPlace]map[int64]int64{} // the ids on the server to those of the gateway
	var result killed
	var unknown cursorPlace
	for it := ids.Doc().Iter(); it.Next(); {
		id := it.Value().Int64()
		cur, ok := g.cursors.find(id)
		switch {
		case it.Value().Type() != bsonval.TypeInt64:
			return g.forward(ctx, c, reply)
		case ok && cur.user != userOf(c.req) && !auth.KillsAnyCursor(c.req.Conn):
			return notYours(id)
		case ok && cur.list != nil:
			g.cursors.remove(id)
			result.killed = append(result.killed, id)
			continue
		case !ok:
			if unknown.to == nil {
				p, _, err := g.place(g.table.Load(), c)
				if err != nil {
					return err
				}
				unknown.to = p.to
			}
			cur = cursor{to: unknown.to, id: id}
		}
		p := cursorPlace{cur.to, cur.target}
		if groups[p] == nil {
			groups[p] = map[int64]int64{}
		}
		groups[p][cur.id] = id
	}
	for p, group := range groups {
		if err := g.killOn(ctx, c, p, group, &result); err != nil {
			return err
		}
	}
	reply.AppendDoc(result.document())
	return nil
}

// cursorPlace is a server that has cursors.
type cursorPlace struct {
	to     *upstream
	target egress.Host
}

// killed is the result of killCursors.
type killed struct{ killed, missing, alive []int64 }

func (k *killed) document() bsonval.Doc {
	b := bsonval.NewBuilder()
	for _, part := range []struct {
		name string
		ids  []int64
	}{{"cursorsKilled", k.killed}, {"cursorsNotFound", k.missing}, {"cursorsAlive", k.alive}, {"cursorsUnknown", nil}} {
		b.StartArray(part.name)
		for _, id := range part.ids {
			b.Add(bsonval.Int64(id))
		}
		b.End()
	}
	return b.Build()
}

// killOn kills cursors on one server. A server that cannot be asked has lost them, or will drop them in time.
func (g *Gateway) killOn(ctx context.Context, c *call, p cursorPlace, ids map[int64]int64, result *killed) error {
	b := bsonval.NewBuilder()
	for it := c.req.Body.Iter(); it.Next(); {
		switch it.KeyStr() {
		case "cursors":
			b.StartArray("cursors")
			for id := range ids {
				b.Add(bsonval.Int64(id))
			}
			b.End()
		case "$clusterTime":
		default:
			b.Value(string(it.Key()), it.Value())
		}
	}
	r := p.to.ask(ctx, c.req.DB, b.Build(), p.target)
	if r.Status == nil && r.Err() != nil {
		return r.Err()
	}
	take := func(field string, to *[]int64) {
		if v := r.Body.Lookup(field); v.Type() == bsonval.TypeArray {
			for it := v.Doc().Iter(); it.Next(); {
				if id, ok := ids[it.Value().Int64()]; ok {
					*to = append(*to, id)
					delete(ids, it.Value().Int64())
				}
			}
		}
	}
	take("cursorsAlive", &result.alive)
	for _, id := range ids {
		g.cursors.remove(id)
	}
	take("cursorsKilled", &result.killed)
	for _, id := range ids {
		result.missing = append(result.missing, id)
	}
	return nil
}
