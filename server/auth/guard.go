package auth

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// Guard authenticates clients and lets them do what their roles allow. It is safe for concurrent use.
type Guard struct {
	store Store
	log   *slog.Logger
	// secret makes the salts of users that do not exist.
	secret []byte

	// Succeeded and Failed count attempts to authenticate, Refused commands that roles did not allow.
	Succeeded, Failed, Refused atomic.Int64
}

// NewGuard makes a guard over a store's accounts. The logger gets failed attempts; nil discards them.
func NewGuard(store Store, log *slog.Logger) *Guard {
	if store == nil {
		panic("auth: a guard without a store")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Guard{store: store, log: log, secret: make([]byte, 32)}
	rand.Read(g.secret)
	return g
}

// client is what the guard knows of a connection. It belongs to the connection's goroutine.
type client struct {
	// talk is the conversation that goes on, nil for none.
	talk *talk
	// attempts are the conversations so far.
	attempts int

	// privileges are the user's, as of a version of the store.
	privileges privileges
	version    uint64

	// command and needs are room for the command that is being looked at, so that it costs no allocation.
	command command
	needs   [4]need
}

// client returns what is known of a connection; guards do not share it.
func (g *Guard) client(c *server.Conn) *client {
	if known, ok := c.Value(g).(*client); ok {
		return known
	}
	fresh := &client{}
	c.SetValue(g, fresh)
	return fresh
}

// Protect returns a handler that lets those commands through to next that the client may run. services tells of
// commands that are not MongoDB's; nil stands for none.
func (g *Guard) Protect(next server.Handler, services Services) server.Handler {
	return server.HandlerFunc(func(ctx context.Context, req *server.Request, reply *server.Reply) error {
		switch req.Command {
		case "hello", "isMaster", "ismaster":
			return next.Handle(ctx, req, reply)
		case "saslStart":
			return g.saslStart(ctx, req, reply)
		case "saslContinue":
			return g.saslContinue(ctx, req, reply)
		case "authenticate":
			return g.authenticate(ctx, req, reply)
		case "logout":
			return g.logout(req)
		}
		cut, err := g.authorize(ctx, req, services)
		if err != nil {
			return err
		}
		if userCommands[req.Command] {
			return errNotHere(req)
		}
		if list, ok := g.store.(Lister); ok && req.Command == "usersInfo" {
			return g.usersInfo(list, req, reply)
		}
		switch cut {
		case cutCollections:
			reply.AppendDoc(bsonval.NewBuilder().StartDoc("cursor").Int64("id", 0).Str("ns", req.DB+".$cmd.listCollections").
				StartArray("firstBatch").End().End().Build())
			return nil
		case cutDatabases:
			return g.listDatabases(ctx, next, req, reply)
		}
		return next.Handle(ctx, req, reply)
	})
}

// cut says what is left out of a reply.
type cut uint8

const (
	cutNothing cut = iota
	cutDatabases
	cutCollections
)

// authorize says whether the client may run a command.
func (g *Guard) authorize(ctx context.Context, req *server.Request, services Services) (cut, error) {
	who := g.client(req.Conn)
	c := &who.command
	*c = command{name: req.Command, db: req.DB, body: req.Body, req: req, services: services, list: who.needs[:0]}
	defer func() { *c = command{} }()
	r := c.rule()
	if r.open {
		return cutNothing, nil
	}
	if err := g.refresh(ctx, req.Conn, who); err != nil {
		return cutNothing, err
	}
	user := req.Conn.User()
	if user == nil {
		g.Refused.Add(1)
		return cutNothing, mongoerr.New(mongoerr.Unauthorized, "Command %s requires authentication", req.Command)
	}
	if r.needs != nil {
		c.user = user
		r.needs(c)
	}
	for i := range c.list {
		if !who.privileges.allow(&c.list[i]) {
			g.Refused.Add(1)
			return cutNothing, notAuthorized(req)
		}
	}
	return who.cut(c), nil
}

// cut says what the user is not to see of the reply to a command.
func (who *client) cut(c *command) cut {
	switch c.name {
	case "listDatabases":
		if c.body.Lookup("authorizedDatabases").Truthy() || !who.privileges.allow(&need{action: ListDatabases, cluster: true}) {
			return cutDatabases
		}
	case "listCollections":
		if !who.privileges.allow(&need{action: ListCollections, db: c.db}) {
			return cutCollections
		}
	}
	return cutNothing
}

// maxShown bounds how much of a refused command the error shows.
const maxShown = 2048

// secretFields are not shown in errors.
var secretFields = map[string]bool{"pwd": true, "payload": true, "credentials": true}

func notAuthorized(req *server.Request) error {
	b := bsonval.NewBuilder()
	for it := req.Body.Iter(); it.Next(); {
		if name := string(it.Key()); secretFields[name] {
			b.Str(name, "xxx")
		} else {
			b.Value(name, it.Value())
		}
	}
	shown := bsonval.FormatDoc(b.Build())
	if len(shown) > maxShown {
		shown = shown[:maxShown] + "…"
	}
	return mongoerr.New(mongoerr.Unauthorized, "not authorized on %s to execute command %s", req.DB, shown)
}

// refresh looks again at the connection's user if accounts may have changed. A user that is gone is logged out.
func (g *Guard) refresh(ctx context.Context, c *server.Conn, who *client) error {
	user, version := c.User(), g.store.Version()
	if user == nil || who.version == version {
		return nil
	}
	account, err := g.store.Account(ctx, user.DB, user.Name)
	if err != nil {
		return err
	}
	if account == nil {
		g.log.Info("user is gone", "user", user.String(), "connection_id", c.ID())
		who.privileges = nil
		c.SetUser(nil)
		return nil
	}
	who.accept(c, account, version)
	return nil
}

// accept makes an account the connection's user.
func (who *client) accept(c *server.Conn, a *Account, version uint64) {
	who.privileges, who.version = privilegesOf(a.Roles), version
	c.SetUser(server.NewUser(a.Name, a.DB, a.Roles))
}

// logout forgets the user.
func (g *Guard) logout(req *server.Request) error {
	who := g.client(req.Conn)
	if user := req.Conn.User(); user != nil && user.DB == req.DB {
		who.privileges = nil
		req.Conn.SetUser(nil)
	}
	who.talk = nil
	return nil
}

// listDatabases answers with the databases that the client may know of.
func (g *Guard) listDatabases(ctx context.Context, next server.Handler, req *server.Request, reply *server.Reply) error {
	if err := next.Handle(ctx, req, reply); err != nil {
		return err
	}
	fields := reply.Elements()
	whole, at := bsonval.BeginDoc(make([]byte, 0, len(fields)+5))
	whole = bsonval.EndDoc(append(whole, fields...), at)
	who := g.client(req.Conn)
	b := bsonval.NewBuilder()
	var size int64
	for it := bsonval.Doc(whole).Iter(); it.Next(); {
		switch name := it.KeyStr(); {
		case name == "databases" && it.Value().Type() == bsonval.TypeArray:
			b.StartArray("databases")
			for list := it.Value().Doc().Iter(); list.Next(); {
				d := list.Value()
				if d.Type() == bsonval.TypeDocument && who.privileges.knows(text(d.Doc().Lookup("name"))) {
					size += d.Doc().Lookup("sizeOnDisk").TruncInt64()
					b.Add(d)
				}
			}
			b.End()
		case name == "totalSize":
			b.Int64("totalSize", size)
		case name == "totalSizeMb":
			b.Int64("totalSizeMb", size>>20)
		default:
			b.Value(string(it.Key()), it.Value())
		}
	}
	reply.Reset()
	reply.AppendDoc(b.Build())
	return nil
}
