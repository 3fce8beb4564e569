package command

import (
	"context"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// diagnosticCommands are the commands that tell about the server.
func diagnosticCommands() []*Command {
	return []*Command{
		{Name: "serverStatus", Help: "Tells the server's counters.", SecondaryOK: true, Loose: true, Run: runServerStatus},
		{Name: "hostInfo", Aliases: []string{"hostinfo"}, Help: "Tells about the machine.", SecondaryOK: true, Run: runHostInfo},
		{Name: "getCmdLineOpts", Help: "Tells how the server was started.", AdminOnly: true, SecondaryOK: true, Run: runGetCmdLineOpts},
		{Name: "getLog", Help: "Shows the last lines of the log.", First: FirstValue, FirstKind: String, AdminOnly: true, SecondaryOK: true, Run: runGetLog},
		{Name: "listCommands", Help: "Lists the commands.", NoAuth: true, SecondaryOK: true, Run: runListCommands},
		{Name: "currentOp", Help: "Lists what the server does right now.", AdminOnly: true, SecondaryOK: true, Loose: true, Run: runCurrentOp},
		{Name: "killOp", Help: "Interrupts an operation.", AdminOnly: true, SecondaryOK: true, Fields: []Field{{Name: "op", Kind: Int, Required: true}}, Run: runKillOp},
		{Name: "features", Help: "Tells what the server was built with.", SecondaryOK: true, Fields: []Field{{Name: "oidReset", Kind: Any}}, Run: runFeatures},
		{Name: "top", Help: "Tells how much each collection is used.", AdminOnly: true, SecondaryOK: true, Run: runTop},
		{
			Name: "profile", Help: "Sets the profiling of a database.", First: FirstValue, FirstKind: Int, SecondaryOK: true, Run: runProfile,
			Fields: []Field{{Name: "slowms", Kind: Int}, {Name: "sampleRate", Kind: Int}, {Name: "filter", Kind: Any}},
		},
	}
}

// runFeatures tells how JavaScript reads strings, and the machine part of this process's ObjectIds.
func runFeatures(_ context.Context, c *Call) error {
	c.Append("js", bsonval.Document(bsonval.NewBuilder().Bool("utf8", true).Build()))
	id := c.Database().NewObjectID().Bytes()
	c.Append("oidMachine", bsonval.Int32(int32(id[4])<<16|int32(id[5])<<8|int32(id[6])))
	return nil
}

// serverInfo names the server in explain replies.
func (cs *Commands) serverInfo() bsonval.Doc {
	port := int32(0)
	if cs.cfg.Server != nil {
		if s := cs.cfg.Server(); s != nil {
			port = tcpPort(s.Addrs())
		}
	}
	return bsonval.NewBuilder().Str("host", cs.host).Int32("port", port).Str("version", MongoVersion).Str("gitVersion", cs.cfg.Commit).Build()
}

func runHostInfo(_ context.Context, c *Call) error {
	total, limit := memoryBytes()
	b := bsonval.NewBuilder().StartDoc("system")
	b.Value("currentTime", bsonval.DateTime(c.Commands.cfg.Now())).Str("hostname", c.Commands.host).Int32("cpuAddrSize", 64)
	b.Int64("memSizeMB", total>>20).Int64("memLimitMB", limit>>20)
	b.Int32("numCores", int32(runtime.NumCPU())).Int32("numCoresAvailableToProcess", int32(runtime.GOMAXPROCS(0)))
	b.Int32("numPhysicalCores", int32(runtime.NumCPU())).Int32("numCpuSockets", 1)
	b.Str("cpuArch", runtime.GOARCH).Bool("numaEnabled", false).Int32("numNumaNodes", 1).End()
	b.StartDoc("os").Str("type", osType()).Str("name", osName()).Str("version", osVersion()).End()
	b.StartDoc("extra").Str("versionString", osVersion()).Int64("pageSize", int64(os.Getpagesize())).End()
	c.Reply.AppendDoc(b.Build())
	return nil
}

func osType() string { return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:] }

func runGetCmdLineOpts(_ context.Context, c *Call) error {
	b := bsonval.NewBuilder().StartArray("argv")
	for _, a := range c.Commands.cfg.Args {
		b.Add(bsonval.String(a))
	}
	b.End()
	options := c.Commands.cfg.Options
	if options == nil {
		options = bsonval.EmptyDoc
	}
	c.Reply.AppendDoc(b.Doc("parsed", options).Build())
	return nil
}

func runGetLog(_ context.Context, c *Call) error {
	b := bsonval.NewBuilder()
	strs := func(name string, lines []string) {
		b.StartArray(name)
		for _, l := range lines {
			b.Add(bsonval.String(l))
		}
		b.End()
	}
	switch name := c.First.Str(); name {
	case "*":
		strs("names", []string{"global", "startupWarnings"})
	case "global":
		lines, total := c.Commands.cfg.Log.Lines()
		b.Int32("totalLinesWritten", int32(total))
		strs("log", lines)
	case "startupWarnings":
		lines := c.Commands.cfg.Log.StartupWarnings()
		b.Int32("totalLinesWritten", int32(len(lines)))
		strs("log", lines)
	default:
		return mongoerr.New(mongoerr.OperationFailed, "No log named '%s'", name)
	}
	c.Reply.AppendDoc(b.Build())
	return nil
}

func runListCommands(ctx context.Context, c *Call) error {
	b := bsonval.NewBuilder().StartDoc("commands")
	for _, row := range c.Commands.rows {
		if row.Missing || row.TestOnly && !c.Commands.testCommands {
			continue
		}
		b.StartDoc(row.Name).Str("help", row.Help).Bool("requiresAuth", !row.NoAuth).
			Bool("secondaryOk", row.SecondaryOK).Bool("secondaryOverrideOk", row.ReadConcern).Bool("adminOnly", row.AdminOnly)
		b.StartArray("apiVersions")
		if row.APIv1 {
			b.Add(bsonval.String("1"))
		}
		b.End().StartArray("deprecatedApiVersions").End().End()
	}
	if m := c.Commands.cfg.Mounted; m != nil {
		mounted := m.Commands(ctx, c.DB)
		for _, name := range slices.Sorted(maps.Keys(mounted)) {
			b.Doc(name, mounted[name])
		}
	}
	c.Reply.AppendDoc(b.End().Build())
	return nil
}

// runProfile sets which operations are slow enough for the log. Nothing is profiled beyond that.
func runProfile(_ context.Context, c *Call) error {
	if v := c.Arg("sampleRate"); !v.IsMissing() && (v.AsDouble() < 0 || v.AsDouble() > 1) {
		return mongoerr.New(mongoerr.BadValue, "'sampleRate' must be between 0.0 and 1.0 inclusive")
	}
	if v := c.Arg("filter"); !v.IsMissing() && v.Type() != bsonval.TypeDocument && (v.Type() != bsonval.TypeString || v.Str() != "unset") {
		return mongoerr.New(mongoerr.BadValue, "Expected an object, or the string 'unset'.")
	}
	level, slow := toInt64(c.First), &c.Commands.slow
	millis, sample := slow.get()
	switch {
	case c.Arg("filter").Type() == bsonval.TypeDocument:
		return mongoerr.New(mongoerr.NotImplemented, "'profile.filter' is not implemented")
	case level == 1 || level == 2:
		return mongoerr.New(mongoerr.NotImplemented, "profiling level %d is not implemented", level)
	}
	rate := sample
	if v := c.Arg("sampleRate"); !v.IsMissing() {
		rate = v.AsDouble()
	}
	slow.set(c.Int64("slowms", millis), rate)
	c.Append("was", bsonval.Int32(0))
	c.Append("slowms", bsonval.Int32(int32(millis)))
	c.Append("sampleRate", bsonval.Double(sample))
	return nil
}
