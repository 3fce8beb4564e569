package command

import (
	"context"
	"runtime"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/uuid"
	"github.com/archelon-db/archelon/server/auth"
)

// handshakeCommands are the commands clients begin with.
func handshakeCommands() []*Command {
	return []*Command{
		{
			Name: "hello", Aliases: []string{"isMaster", "ismaster"}, Help: "Tells what the server is and can.", Loose: true,
			NoAuth: true, SecondaryOK: true, APIv1: true, NoSession: true, Transient: true, Run: runHello,
		},
		{Name: "ping", Help: "Does nothing: the server is there.", NoAuth: true, SecondaryOK: true, APIv1: true, Transient: true, Run: runPing},
		{
			Name: "buildInfo", Aliases: []string{"buildinfo"}, Help: "Tells the server's version.", SecondaryOK: true,
			Transient: true, Run: runBuildInfo,
		},
		{
			Name: "connectionStatus", Help: "Tells who is authenticated on the connection.", NoAuth: true, SecondaryOK: true,
			Fields: []Field{{Name: "showPrivileges", Kind: SafeBool}}, Run: runConnectionStatus,
		},
		{Name: "whatsmyuri", Help: "Tells the client's address.", NoAuth: true, SecondaryOK: true, Run: runWhatsMyURI},
		{Name: "logout", Help: "Forgets the user of the connection.", NoAuth: true, SecondaryOK: true, Run: runPing},
	}
}

func runPing(context.Context, *Call) error { return nil }

func runHello(ctx context.Context, c *Call) error {
	return c.Commands.cfg.Hello.Handle(ctx, c.Req, c.Reply)
}

func runBuildInfo(_ context.Context, c *Call) error {
	cs := c.Commands
	b := bsonval.NewBuilder()
	b.Str("version", MongoVersion).Str("gitVersion", cs.cfg.Commit).StartArray("modules").End()
	b.Str("allocator", "go").Str("javascriptEngine", "goja").Str("sysInfo", "deprecated")
	b.StartArray("versionArray")
	for _, n := range mongoVersionArray {
		b.Add(bsonval.Int32(n))
	}
	b.End()
	b.StartDoc("openssl").Str("running", "disabled").Str("compiled", "disabled").End()
	b.StartDoc("buildEnvironment").Str("distmod", "").Str("distarch", runtime.GOARCH).Str("cc", runtime.Version()).Str("ccflags", "").
		Str("cxx", "").Str("cxxflags", "").Str("linkflags", "").Str("target_arch", runtime.GOARCH).Str("target_os", runtime.GOOS).
		Str("cppdefines", "").End()
	b.Int32("bits", 64).Bool("debug", false).Int32("maxBsonObjectSize", bsonval.MaxDocumentBytes)
	b.StartArray("storageEngines").Add(bsonval.String("memory")).Add(bsonval.String("pebble")).End()
	b.StartDoc("archelon").Str("version", cs.cfg.Version).Str("gitVersion", cs.cfg.Commit).Str("go", runtime.Version()).End()
	c.Reply.AppendDoc(b.Build())
	return nil
}

var mongoVersionArray = []int32{8, 2, 4, 0}

// connectionUUID is the key of the connection's UUID among its values.
type connectionUUID struct{}

func runConnectionStatus(_ context.Context, c *Call) error {
	id, ok := c.Req.Conn.Value(connectionUUID{}).([16]byte)
	if !ok {
		id = uuid.New()
		c.Req.Conn.SetValue(connectionUUID{}, id)
	}
	c.Append("authInfo", bsonval.Document(auth.Info(c.Req.Conn, c.Bool("showPrivileges"))))
	c.Append("uuid", bsonval.Binary(4, id[:]))
	return nil
}

func runWhatsMyURI(_ context.Context, c *Call) error {
	c.Append("you", bsonval.String(clientAddress(c.Req.Conn.RemoteAddr())))
	return nil
}
