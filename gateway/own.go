package gateway

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/uuid"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// MongoVersion is the version of MongoDB whose protocol clients can count on.
const MongoVersion = "8.2.4"

// ownCommand answers a command.
type ownCommand = func(g *Gateway, ctx context.Context, c *call, reply *server.Reply) error

// generic are the fields that all commands take, besides those that begin with a dollar sign.
var generic = []string{
	"lsid", "txnNumber", "maxTimeMS", "comment", "readConcern", "writeConcern", "apiVersion", "apiStrict", "apiDeprecationErrors",
}

// strict refuses fields that the command does not have.
func strict(own ownCommand, fields ...string) ownCommand {
	return func(g *Gateway, ctx context.Context, c *call, reply *server.Reply) error {
		it := c.req.Body.Iter()
		for it.Next(); it.Next(); {
			key := it.KeyStr()
			if !strings.HasPrefix(key, "$") && !slices.Contains(generic, key) && !slices.Contains(fields, key) {
				return mongoerr.New(unknownField, "BSON field '%s.%s' is an unknown field.", c.name, key)
			}
		}
		return own(g, ctx, c, reply)
	}
}

// unknownField is the code for fields that a command does not have.
const unknownField mongoerr.Code = 40415

// ownCommands are those that the gateway answers itself, wherever routes would send them; hello is apart.
var ownCommands = map[string]ownCommand{
	"ping":             strict(func(*Gateway, context.Context, *call, *server.Reply) error { return nil }),
	"buildInfo":        strict((*Gateway).buildInfo),
	"buildinfo":        strict((*Gateway).buildInfo),
	"connectionStatus": strict((*Gateway).connectionStatus, "showPrivileges"),
	"whatsmyuri":       strict((*Gateway).whatsMyURI),
	"isdbgrid":         strict((*Gateway).isDBGrid),
	"serverStatus":     (*Gateway).serverStatus,
	"listDatabases":    (*Gateway).listDatabases,
	"listCollections":  (*Gateway).listCollections,
	"getMore":          (*Gateway).getMore,
	"killCursors":      (*Gateway).killCursors,
	"startSession":     (*Gateway).startSession,
	"endSessions":      (*Gateway).endSessions,
	"refreshSessions":  (*Gateway).toAll,
	"killSessions":     (*Gateway).toAll,
	"killAllSessions":  (*Gateway).toAll,
	"bulkWrite":        (*Gateway).bulkWrite,
	"renameCollection": (*Gateway).renameCollection,
	"shutdown":         (*Gateway).shutdown,
	"saslStart":        refuseLogin,
	"saslContinue":     refuseLogin,
	"authenticate":     refuseLogin,
	"logout":           strict(func(*Gateway, context.Context, *call, *server.Reply) error { return nil }),
	"replSetGetStatus": noReplication,
	"replSetGetConfig": noReplication,
}

// refuseLogin refuses credentials, unless Config.Auth takes them: they must not reach connections that all clients share.
func refuseLogin(*Gateway, context.Context, *call, *server.Reply) error {
	return mongoerr.New(mongoerr.AuthenticationFailed,
		"the gateway has no users; it logs in to upstreams with the credentials of their connection strings")
}

// noReplication answers as routers do.
func noReplication(_ *Gateway, _ context.Context, c *call, _ *server.Reply) error {
	return mongoerr.New(mongoerr.CommandNotFound, "no such command: '%s'; this is a router, and not a member of a replica set", c.name)
}

func (g *Gateway) buildInfo(_ context.Context, _ *call, reply *server.Reply) error {
	b := bsonval.NewBuilder().Str("version", MongoVersion).Str("gitVersion", "").StartArray("modules").End()
	b.Str("allocator", "go").Str("javascriptEngine", "none").Str("sysInfo", "deprecated")
	b.StartArray("versionArray").Add(bsonval.Int32(8)).Add(bsonval.Int32(2)).Add(bsonval.Int32(4)).Add(bsonval.Int32(0)).End()
	b.StartDoc("openssl").Str("running", "disabled").Str("compiled", "disabled").End()
	b.Int32("bits", 64).Bool("debug", false).Int32("maxBsonObjectSize", bsonval.MaxDocumentBytes).StartArray("storageEngines").End()
	b.StartDoc("gateway").Str("version", g.cfg.Version).Str("go", runtime.Version()).End()
	reply.AppendDoc(b.Build())
	return nil
}

func (g *Gateway) connectionStatus(_ context.Context, c *call, reply *server.Reply) error {
	info := auth.Info(c.req.Conn, c.req.Body.Lookup("showPrivileges").Truthy())
	reply.Buf = bsonval.AppendElement(reply.Buf, "authInfo", bsonval.Document(info))
	return nil
}

func (g *Gateway) whatsMyURI(_ context.Context, c *call, reply *server.Reply) error {
	you := ""
	if a := c.req.Conn.RemoteAddr(); a != nil {
		you = a.String()
	}
	reply.Buf = bsonval.AppendElement(reply.Buf, "you", bsonval.String(you))
	return nil
}

func (g *Gateway) isDBGrid(_ context.Context, _ *call, reply *server.Reply) error {
	reply.AppendDoc(bsonval.NewBuilder().Int32("isdbgrid", 1).Str("hostname", hostname()).Build())
	return nil
}

func (g *Gateway) shutdown(_ context.Context, c *call, _ *server.Reply) error {
	if g.cfg.Shutdown == nil {
		return mongoerr.New(mongoerr.CommandNotFound, "no such command: 'shutdown'")
	}
	if c.req.DB != "admin" {
		return mongoerr.New(mongoerr.Unauthorized, "shutdown may only be run against the admin database.")
	}
	g.cfg.Shutdown()
	return server.ErrHangUp
}

// startSession makes the id of a session; each upstream learns of it when it first sees it.
func (g *Gateway) startSession(_ context.Context, _ *call, reply *server.Reply) error {
	id := uuid.New()
	const uuidSubtype = 4
	b := bsonval.NewBuilder().StartDoc("id").Value("id", bsonval.Binary(uuidSubtype, id[:])).End()
	reply.AppendDoc(b.Int32("timeoutMinutes", server.LogicalSessionTimeoutMinutes).Build())
	return nil
}

// endSessions tells all upstreams, as far as they can be reached soon: sessions end by themselves otherwise.
func (g *Gateway) endSessions(ctx context.Context, c *call, reply *server.Reply) error {
	v := c.req.Body.Lookup("endSessions")
	if v.Type() != bsonval.TypeArray {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'endSessions.endSessions' is the wrong type '%s', expected type 'array'", v.Type())
	}
	var ids []sessionID
	for it := v.Doc().Iter(); it.Next(); {
		if it.Value().Type() == bsonval.TypeDocument {
			if id := it.Value().Doc().Lookup("id"); id.Type() == bsonval.TypeBinary && len(id.Bytes()) == uuidLen {
				ids = append(ids, sessionID(id.Bytes()))
			}
		}
	}
	g.pins.forget(ids)
	soon, cancel := context.WithTimeout(ctx, farewell)
	defer cancel()
	_ = g.broadcast(soon, c)
	return nil
}

// toAll runs a command on all upstreams and fails if it fails on one that knows it.
func (g *Gateway) toAll(ctx context.Context, c *call, _ *server.Reply) error {
	return g.broadcast(ctx, c)
}

// broadcast runs a command on all upstreams at the same time. The error is that of one of them; upstreams that do not know
// the command do not count.
func (g *Gateway) broadcast(ctx context.Context, c *call) error {
	e := edits{dropTime: true}
	body := e.apply(c.req.Body)
	upstreams := g.table.Load().all()
	errs := make([]error, len(upstreams))
	var work sync.WaitGroup
	for i, u := range upstreams {
		work.Go(func() {
			r := u.ask(ctx, c.req.DB, body, "")
			switch err := r.Err(); {
			case r.Status != nil:
				errs[i] = c.failure(ctx, u, r.Status)
			case mongoerr.Is(err, mongoerr.CommandNotFound):
			default:
				errs[i] = err
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// uptime is the time since the start.
func (g *Gateway) uptime() time.Duration { return time.Since(g.started) }
