package command

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/server"
)

// MongoVersion is the version of MongoDB whose behaviour clients can count on.
const MongoVersion = "8.2.4"

// Config says what the commands work on. DB, Topology, Hello, Sessions and Logger have to be set.
type Config struct {
	DB       *database.DB
	Topology *server.Topology
	Hello    *server.Hello
	Sessions *session.Registry
	Logger   *slog.Logger

	// Server, if set, returns the server that runs the commands, for its numbers and settings.
	Server func() *server.Server

	// LogLevel is the level of the log, which setParameter changes; nil refuses that.
	LogLevel *slog.LevelVar

	// Log is what getLog shows; nil shows nothing.
	Log *LogBuffer

	// Version and Commit are Archelon's own.
	Version, Commit string

	// Args is the command line, and Options its parsed form as getCmdLineOpts shows it, nil for none.
	Args    []string
	Options bsonval.Doc

	// Mounted, if set, is what else is answered at the server's addresses: it is listed beside the commands and databases.
	Mounted Mounted

	// Shutdown ends the process in order; nil refuses the command shutdown.
	Shutdown func()

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Mounted describes what is answered by others than the database.
type Mounted interface {
	// Databases are the names of databases that have something mounted.
	Databases() []string
	// Commands describes the commands mounted in a database as listCommands does.
	Commands(ctx context.Context, db string) map[string]bsonval.Doc
	// Status is an array with the numbers of each mount, nil if there is none.
	Status() bsonval.Doc
}

func (c *Config) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"database": c.DB == nil, "topology": c.Topology == nil, "hello": c.Hello == nil, "sessions": c.Sessions == nil,
		"logger": c.Logger == nil,
	} {
		if missing {
			errs = append(errs, errors.New("command: no "+name))
		}
	}
	return errors.Join(errs...)
}

// Commands answers all commands of the table. It is safe for concurrent use.
type Commands struct {
	cfg     Config
	rows    []*Command
	byName  map[string]*Command
	started time.Time
	host    string
	// replicated is set if the server presents itself as a member of a replica set.
	replicated bool
	// shared is set if other processes have the data, too.
	shared bool
	// process is the server's name in recovery tokens.
	process bsonval.Doc
	// clock is the engine's: times are those of the log.
	clock *clock.Clock
	// catchingUp is held by whoever makes the log reach a time, while it writes.
	catchingUp sync.Mutex
	// testCommands is the parameter enableTestCommands.
	testCommands bool
	fail         failPoints
	defaults     atomic.Pointer[rwDefaults]
	cluster      clusterValues
	operations   running.List[*operation]
	params       *parameters
	stats        stats
	usages       usages
	slow         slowLog
}

var _ server.Handler = (*Commands)(nil)

// New makes the commands of a server. The database's system stages are answered by them from then on.
func New(cfg Config) (*Commands, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = NewLogBuffer(nil)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	rows := Table()
	for _, row := range rows {
		switch row.Name {
		case "insert", "find", "update", "delete", "getMore", "bulkWrite":
			row.ownCounter = true
		}
	}
	cs := &Commands{
		cfg: cfg, rows: rows, byName: index(rows), started: cfg.Now(), host: host,
		replicated: cfg.Topology.State().Posture != server.Standalone, shared: cfg.DB.IsShared(),
		clock: cfg.DB.Engine().Clock(), fail: newFailPoints(),
	}
	cs.params = newParameters(cs)
	if err := cs.loadRWDefaults(context.Background()); err != nil {
		return nil, err
	}
	if err := cs.loadClusterParameters(context.Background()); err != nil {
		return nil, err
	}
	cs.slow.set(slowOperation.Milliseconds(), 1)
	cfg.DB.System = cs.systemStage
	if cfg.DB.HasOplog() {
		cfg.DB.RetryImages = cs.retryImages
	}
	if cs.shared {
		cs.process = bsonval.NewBuilder().Value("process", cfg.DB.NewObjectID()).Build()
		cfg.DB.OnReload(cs.reload)
	}
	cfg.DB.LatencyStats = cs.latencyStats
	cfg.Hello.Again = cs.failHello
	cfg.Sessions.OnEnd = cfg.DB.KillCursorsOf
	cfg.Sessions.OnExpire = cs.interruptExpired
	return cs, nil
}

// Names are the names and aliases of all commands, in no order.
func (cs *Commands) Names() []string { return slices.Collect(maps.Keys(cs.byName)) }

// Known says whether a command has this name.
func (cs *Commands) Known(name string) bool { return cs.byName[name] != nil }

// Handle implements server.Handler.
func (cs *Commands) Handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	cmd := cs.byName[req.Command]
	if cmd == nil || cmd.TestOnly && !cs.testCommands {
		cs.stats.unknown.Add(1)
		return cs.timed(mongoerr.New(mongoerr.CommandNotFound, "no such command: '%s'", req.Command))
	}
	c := newCall(cs, cmd, req, reply)
	defer c.release()
	start := cs.cfg.Now()
	err := cs.run(ctx, c, start)
	cs.finished(c, cs.cfg.Now().Sub(start)-c.waited, err)
	if c.injected.hangUp {
		return server.ErrHangUp
	}
	if err != nil {
		return cs.failure(c, err)
	}
	if cmd.WriteConcern && cs.replicated {
		c.appendWriteConcernError()
	}
	reply.OK()
	if c.inTransaction && cs.shared && c.Cmd.InTransaction {
		reply.Buf = bsonval.AppendElement(reply.Buf, "recoveryToken", bsonval.Document(cs.process))
	}
	if cs.replicated {
		reply.Buf = cs.appendTimes(reply.Buf)
	}
	return nil
}

// finished counts a call that has run, and logs it if it was slow.
func (cs *Commands) finished(c *Call, took time.Duration, err error) {
	cs.stats.count(c.Cmd, took, err)
	if c.Coll != "" && err == nil {
		kind, write := usageKind(c.Cmd.Name)
		cs.usages.add(c.Namespace(), func() bool { return cs.cfg.DB.Catalog().Collection(c.DB, c.Coll) != nil }, kind,
			latencyClass(c.Cmd), write, took)
	}
	millis, sample := cs.slow.get()
	if took.Milliseconds() < millis || c.Cmd.Name == "hello" || sample < 1 && rand.Float64() >= sample {
		return
	}
	cs.cfg.Logger.Info("slow operation", "command", c.Cmd.Name, "ns", c.Namespace().String(), "duration_ms", took.Milliseconds(),
		"connection_id", c.Req.Conn.ID())
}

// run checks and runs a call.
func (cs *Commands) run(ctx context.Context, c *Call, start time.Time) error {
	if c.Cmd.AdminOnly && c.DB != "admin" {
		return mongoerr.New(mongoerr.Unauthorized, "%s may only be run against the admin database.", c.Cmd.Name)
	}
	if err := c.parse(); err != nil {
		return err
	}
	if h := c.generic.help; !h.IsMissing() && h.Truthy() {
		c.Append("help", bsonval.String("help for: "+c.Cmd.Name+" "+c.Cmd.Help))
		return nil
	}
	if c.Cmd.Run == nil {
		return errMissingCommand(c.Cmd)
	}
	deadline, err := c.deadline(start)
	if err != nil {
		return err
	}
	octx := &running.Context{Context: ctx, Limit: deadline}
	c.op = operation{started: start, conn: c.Req.Conn, command: c.Cmd, db: c.DB, coll: c.Coll, body: c.Req.Body,
		lsid: c.generic.lsid.Doc(), ctx: octx}
	if c.inTransaction {
		c.op.transaction = c.Session
	}
	cs.begin(&c.op)
	defer cs.end(&c.op)
	defer octx.Release()
	if cs.fail.command.On() {
		if err := c.failBefore(octx); err != nil {
			return err
		}
	}
	if c.concern.level != "" {
		err := c.beginRead(octx)
		defer c.snapshot.Release()
		if err != nil {
			return err
		}
	}
	if c.inTransaction && c.Cmd.InTransaction {
		return c.runStatement(octx)
	}
	begun := cs.clock.Applied()
	if c.readsDurable() {
		if err := c.noteGeneration(octx); err != nil {
			return err
		}
	}
	if err := c.runUpToDate(octx); err != nil {
		return err
	}
	if c.awaits {
		if err := c.awaitWrites(octx); err != nil || c.late != nil {
			return err
		}
	}
	return c.settle(octx, begun)
}

// failure turns the error of a call into what the client gets.
func (cs *Commands) failure(c *Call, err error) error {
	e := mongoerr.As(err)
	if e == nil {
		var stale *storage.StaleError
		switch {
		case errors.As(err, &stale): // in a transaction, which cannot be moved
			e = errChangedElsewhere
		case errors.Is(err, context.DeadlineExceeded):
			e = running.ErrTimedOut
		case errors.Is(err, context.Canceled):
			e = running.ErrInterrupted
		default:
			return err
		}
	}
	switch {
	case c.injected.relabel:
		labelled := *e
		labelled.Labels = c.injected.labels
		e = &labelled
	case c.inTransaction:
		e = c.transactionError(e)
	case c.HasTxnNumber && retryableCodes[e.Code]:
		e = e.WithLabels(mongoerr.LabelRetryableWrite)
	case e.Code == mongoerr.ChangeStreamFatalError || e.Code == mongoerr.ChangeStreamHistoryLost:
		e = e.WithLabels(mongoerr.LabelNonResumableChangeStream)
	case c.watches && (retryableCodes[e.Code] || e.Code == mongoerr.QueryPlanKilled):
		e = e.WithLabels(mongoerr.LabelResumableChangeStream)
	}
	if cs.replicated && stateChangeCodes[e.Code] {
		doc, at := bsonval.BeginDoc(nil)
		if len(e.Extra) > 5 {
			doc = append(doc, e.Extra[4:len(e.Extra)-1]...)
		}
		e = e.WithExtra(bsonval.EndDoc(cs.cfg.Topology.Version().AppendElement(doc, "topologyVersion"), at))
	}
	if wc := &c.WriteConcern; c.Cmd.EndsTransaction && e.Code == mongoerr.NoSuchTransaction && !wc.satisfiable() {
		e = e.WithExtra(wc.unsatisfied())
	}
	return cs.timed(e)
}

// errChangedElsewhere is the error of a statement whose transaction goes by what another process has changed.
var errChangedElsewhere = mongoerr.New(mongoerr.WriteConflict, "Caused by :: Write conflict: another process has changed what the "+
	"transaction goes by. :: Please retry your operation or multi-document transaction.")

// stateChangeCodes are the errors of a member that is no primary any more. They come with the topology version, by which
// drivers tell news from what they know.
var stateChangeCodes = map[mongoerr.Code]bool{
	mongoerr.InterruptedAtShutdown: true, mongoerr.ShutdownInProgress: true, mongoerr.NotWritablePrimary: true,
	mongoerr.NotPrimaryNoSecondaryOk: true, mongoerr.NotPrimaryOrSecondary: true, mongoerr.PrimarySteppedDown: true,
	mongoerr.InterruptedDueToReplStateChange: true,
}

// retryableCodes are the errors after which a client should send a retryable write again.
var retryableCodes = map[mongoerr.Code]bool{
	mongoerr.InterruptedAtShutdown: true, mongoerr.ShutdownInProgress: true, mongoerr.NotWritablePrimary: true,
	mongoerr.NotPrimaryNoSecondaryOk: true, mongoerr.NotPrimaryOrSecondary: true, mongoerr.PrimarySteppedDown: true,
	mongoerr.InterruptedDueToReplStateChange: true, mongoerr.ExceededTimeLimit: true, mongoerr.HostNotFound: true,
	mongoerr.HostUnreachable: true, mongoerr.NetworkTimeout: true, mongoerr.SocketException: true,
}

// clientAddress is a connection's peer as "host:port".
func clientAddress(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
