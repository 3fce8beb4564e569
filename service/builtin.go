package service

import (
	"context"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// MongoVersion is the version of MongoDB whose protocol clients can count on.
const MongoVersion = "8.2.4"

// addBuiltins registers the commands that clients expect of every server.
func (s *Service) addBuiltins() {
	s.register(&row{
		Command: Command{Name: "hello", Aliases: []string{"isMaster", "ismaster"}, Help: "Tells what the server is and can.", NoAuth: true},
		builtin: true, fixed: true, direct: true, whileDraining: true, apiV1: true,
		run: s.answerHello,
	})
	builtin(s, &row{Command: Command{Name: "ping", Help: "Does nothing: the server is there.", NoAuth: true}, apiV1: true}, func(*opContext, *Call, empty) error { return nil })
	builtin(s, &row{Command: Command{Name: "buildInfo", Help: "Tells the server's version.", NoAuth: true}}, s.buildInfo)
	builtin(s, &row{Command: Command{Name: "connectionStatus", Help: "Tells who is authenticated on the connection.", NoAuth: true}}, s.connectionStatus)
	builtin(s, &row{Command: Command{Name: "whatsmyuri", Help: "Tells the client's address.", NoAuth: true}}, s.whatsMyURI)
	builtin(s, &row{Command: Command{Name: "listCommands", Help: "Lists the commands, with the schemas of their requests and replies.", NoAuth: true}}, s.listCommands)
	builtin(s, &row{Command: Command{Name: "serverStatus", Help: "Tells the server's counters."}, whileDraining: true}, s.serverStatus)
	builtin(s, &row{Command: Command{Name: "currentOp", Help: "Lists the commands that run; further fields are values to look for.", AdminOnly: true}, whileDraining: true}, s.currentOp)
	builtin(s, &row{Command: Command{Name: "killOp", Help: "Interrupts a command.", AdminOnly: true}, whileDraining: true}, s.killOp)
	builtin(s, &row{Command: Command{Name: "getMore", Help: "Returns the next documents of a cursor.", NoAuth: true}, fixed: true, whileDraining: true, apiV1: true}, s.runGetMore)
	builtin(s, &row{Command: Command{Name: "killCursors", Help: "Closes cursors.", NoAuth: true}, fixed: true, whileDraining: true, apiV1: true}, s.killCursors)
	builtin(s, &row{Command: Command{Name: "endSessions", Help: "Ends sessions and closes their cursors.", NoAuth: true}, whileDraining: true, apiV1: true}, s.endSessions)
	builtin(s, &row{Command: Command{Name: "find", Help: "Runs the command that is the filter, on the collection $cmd, as old clients do."}, apiV1: true}, s.find)
	builtin(s, &row{Command: Command{Name: "aggregate", Help: "Lists the commands that run, for the pipeline of one stage $currentOp.", AdminOnly: true}, apiV1: true}, s.aggregate)
}

// empty is a request without arguments.
type empty struct{}

// builtin registers a builtin command with a typed request, which writes its reply itself.
func builtin[Req any](s *Service, r *row, f func(ctx *opContext, c *Call, req Req) error) {
	in := mustShape[Req](r.Command)
	r.builtin = true
	r.run = func(_ context.Context, c *Call) error {
		var req Req
		if err := c.decode(in, reflect.ValueOf(&req)); err != nil {
			return err
		}
		return f(&c.op.ctx, c, req)
	}
	filled := typedRow(r.Command, in, mustShape[bson.Raw](r.Command), r)
	filled.Reply = nil
	s.register(filled)
}

func (s *Service) buildInfo(_ *opContext, c *Call, _ empty) error {
	b := bsonval.NewBuilder().Str("version", MongoVersion).Str("gitVersion", "").StartArray("modules").End()
	b.Str("allocator", "go").Str("javascriptEngine", "none").Str("sysInfo", "deprecated")
	b.StartArray("versionArray").Add(bsonval.Int32(8)).Add(bsonval.Int32(2)).Add(bsonval.Int32(4)).Add(bsonval.Int32(0)).End()
	b.StartDoc("openssl").Str("running", "disabled").Str("compiled", "disabled").End()
	b.StartDoc("buildEnvironment").Str("distarch", runtime.GOARCH).Str("cc", runtime.Version()).Str("target_arch", runtime.GOARCH).
		Str("target_os", runtime.GOOS).End()
	b.Int32("bits", 64).Bool("debug", false).Int32("maxBsonObjectSize", bsonval.MaxDocumentBytes).StartArray("storageEngines").End()
	b.StartDoc("service").Str("name", s.name).Str("version", s.cfg.Version).Str("go", runtime.Version()).End()
	c.reply.AppendDoc(b.Build())
	return nil
}

func (s *Service) connectionStatus(_ *opContext, c *Call, req struct {
	ShowPrivileges any `bson:"showPrivileges,omitempty"`
}) error {
	switch req.ShowPrivileges.(type) {
	case nil, bool, int32, int64, float64, bson.Decimal128:
	default:
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'connectionStatus.showPrivileges' is the wrong type '%s', expected types '[bool, long, int, decimal, double]'",
			c.args.Lookup("showPrivileges").Type())
	}
	c.append("authInfo", bsonval.Document(auth.Info(c.req.Conn, c.args.Lookup("showPrivileges").Truthy())))
	return nil
}

func (s *Service) whatsMyURI(_ *opContext, c *Call, _ empty) error {
	c.append("you", bsonval.String(clientAddress(c.req.Conn)))
	return nil
}

// clientAddress is a connection's peer as "host:port".
func clientAddress(conn *server.Conn) string {
	if a := conn.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}

// append appends a field to the reply.
func (c *Call) append(name string, v bsonval.Value) {
	c.reply.Buf = bsonval.AppendElement(c.reply.Buf, name, v)
}

func (s *Service) sortedRows() []*row {
	rows := s.table.rows()
	slices.SortFunc(rows, func(a, b *row) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

func (s *Service) listCommands(_ *opContext, c *Call, _ empty) error {
	b := bsonval.NewBuilder().StartDoc("commands")
	for _, r := range s.sortedRows() {
		b.StartDoc(r.Name).Str("help", r.Help).Bool("requiresAuth", !r.NoAuth).Bool("secondaryOk", !r.needsActive()).
			Bool("secondaryOverrideOk", false).Bool("adminOnly", r.AdminOnly).StartArray("apiVersions")
		if r.apiV1 {
			b.Add(bsonval.String("1"))
		}
		b.End().StartArray("deprecatedApiVersions").End()
		r.describe(b)
		b.End()
	}
	c.reply.AppendDoc(b.End().Build())
	return nil
}

// describe appends what only services tell about their commands.
func (r *row) describe(b *bsonval.Builder) {
	if len(r.Aliases) > 0 {
		b.StartArray("aliases")
		for _, a := range r.Aliases {
			b.Add(bsonval.String(a))
		}
		b.End()
	}
	b.Bool("builtin", r.builtin).Bool("stream", r.stream()).Bool("live", r.Live).Bool("once", r.Once)
	if len(r.Request) > 0 {
		b.Doc("request", bsonval.Doc(r.Request))
	}
	if len(r.Reply) > 0 {
		b.Doc("reply", bsonval.Doc(r.Reply))
	}
}

// help is the answer to a command with help: true.
func (c *row) help() bsonval.Doc {
	b := bsonval.NewBuilder().Str("help", "help for: "+c.Name+" "+c.Help)
	c.describe(b)
	return b.Build()
}

// ownsMaxTime tells commands that give maxTimeMS a meaning of their own.
func (r *row) ownsMaxTime() bool { return r.builtin && r.Name == "getMore" }
