package archelon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/command"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// DB is an open database with the server that offers it. Its methods are safe for
// concurrent use.
type DB struct {
	cfg      Config
	log      *slog.Logger
	db       *database.DB
	commands *command.Commands
	sessions *session.Registry
	mounts   *mounts
	server   *server.Server
	handler  server.Handler

	stop     context.CancelFunc // ends Serve; used by the shutdown command and Close
	stopping context.Context
	serving  sync.WaitGroup
	once     sync.Once
	closeErr error
}

// Open opens the data and binds the addresses; Serve starts answering. Errors say
// what is in the way and what to do about it.
func Open(cfg Config) (*DB, error) {
	cfg.ensureDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	started := time.Now()
	logs := command.NewLogBuffer(cfg.Logger.Handler())
	log := slog.New(logs)
	engine, err := cfg.openEngine(log)
	if err != nil {
		return nil, err
	}
	kernel, err := database.Open(context.Background(), database.Config{
		Engine: engine, Logger: log, JS: js.New(js.Limits{}), Oplog: cfg.oplog(),
	})
	if err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	db := &DB{cfg: cfg, log: log, db: kernel, mounts: newMounts()}
	db.stopping, db.stop = context.WithCancel(context.Background())
	if err := db.listen(logs); err != nil {
		db.stop()
		return nil, errors.Join(err, kernel.Close())
	}
	logs.Started()
	log.Info("opened", "storage", cfg.engineName(), "data", db.dataDir(), "took_ms", time.Since(started).Milliseconds())
	return db, nil
}

// listen makes the commands and binds the addresses.
func (db *DB) listen(logs *command.LogBuffer) error {
	cfg := db.cfg
	topology := server.NewTopology(server.State{Posture: server.Standalone})
	switch {
	case db.db.IsShared():
		if cfg.Advertise != "" {
			return errors.New("advertise has no meaning for servers that share a PostgreSQL, which are known to clients by the addresses that these are given: leave it out")
		}
		topology = server.NewTopology(server.State{Posture: server.Router})
	case !cfg.Standalone:
		topology = server.NewTopology(server.State{
			Posture: server.ReplicaSet, SetName: cfg.SetName, SetVersion: 1, Role: server.RolePrimary,
		})
	}
	var err error
	db.sessions, err = session.NewRegistry(session.Config{Engine: db.db.Engine(), Logger: db.log})
	if err != nil {
		return err
	}
	hc := server.HelloConfig{Topology: topology, Advertise: cfg.Advertise}
	if !cfg.Standalone && !db.db.IsShared() {
		hc.LastWrite = func() server.LastWrite { return db.commands.LastWrite() }
	}
	var handler server.Handler = db.mounts
	if cfg.Users != nil {
		guard := auth.NewGuard(cfg.Users, db.log)
		hc.SASLMechanisms, hc.Extend = guard.Mechanisms, guard.Speculate
		handler = guard.Protect(handler, db.mounts.access)
	}
	hello := server.NewHello(hc)
	db.commands, err = command.New(command.Config{
		DB: db.db, Topology: topology, Hello: hello, Sessions: db.sessions, Logger: db.log, Log: logs,
		Server: func() *server.Server { return db.server }, Version: Version(cfg.Version), Shutdown: db.stop,
		Args: cfg.Args, Options: cfg.options(), LogLevel: cfg.LogLevel, Mounted: db.mounts,
	})
	if err != nil {
		return err
	}
	db.mounts.serve(db.commands, server.Chain(db.commands, cfg.Middleware...))
	for name, value := range cfg.Parameters {
		if err := db.commands.SetParameter(name, value); err != nil {
			return fmt.Errorf("set parameter %s: %w", name, err)
		}
	}
	db.handler = handler
	sc := server.Config{
		Addresses: cfg.Listen, Handler: handler, Logger: db.log,
		MaxConnections: cfg.MaxConnections, IdleTimeout: cfg.IdleTimeout, ShutdownGrace: cfg.ShutdownGrace, Trace: cfg.Trace,
	}
	if cfg.TLS.CertFile != "" {
		if sc.TLS, err = cfg.TLS.Load(); err != nil {
			return err
		}
	}
	if db.server, err = server.Listen(sc); err != nil {
		return err
	}
	for _, m := range cfg.Mounts {
		if err := db.Mount(m); err != nil {
			db.mounts.end()
			return errors.Join(err, db.server.Shutdown(context.Background()))
		}
	}
	return nil
}

func (db *DB) dataDir() string {
	if db.cfg.Storage != StoragePebble {
		return ""
	}
	return db.cfg.Data
}

// Serve answers clients until ctx ends, a client sends the shutdown command or
// Handler is what answers the commands that come over the network, what is mounted and
// authentication included. A program can call it with [server.Call], which costs no network,
// or put it behind a server of its own.
func (db *DB) Handler() server.Handler { return db.handler }

// Close is called. It refuses new work for what is mounted and lets its calls and
// cursors end while everything else is answered; then it stops accepting, lets
// running commands finish, and returns nil. ShutdownGrace bounds it all.
func (db *DB) Serve(ctx context.Context) error {
	db.serving.Add(1)
	defer db.serving.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(db.stopping, cancel)()
	var background sync.WaitGroup
	background.Go(func() { db.sessions.Run(ctx) })
	db.log.Info("listening", "addresses", strings.Join(db.addresses(), " "), "posture", db.posture())
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()
	db.mounts.run(loops)
	background.Go(func() {
		<-ctx.Done()
		db.finish()
	})
	err := db.server.Serve(context.WithoutCancel(ctx))
	cancel()
	background.Wait()
	stopLoops()
	db.mounts.loops.Wait()
	return err
}

// lastReplies is how long calls that were interrupted by the end have to say so.
const lastReplies = time.Second

// finish ends serving in order.
func (db *DB) finish() {
	end := time.Now().Add(db.cfg.ShutdownGrace)
	grace, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	if err := db.mounts.drain(grace); err != nil {
		db.log.Warn("mounted services stopped with calls running or cursors open")
		end = time.Now().Add(lastReplies)
	}
	closing, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	if err := db.server.Shutdown(closing); err != nil {
		db.log.Warn("connections were closed with commands running", "error", err)
	}
}

func (db *DB) posture() string {
	if db.cfg.Standalone {
		return "standalone"
	}
	if db.db.IsShared() {
		return "router: as good as the others that share its storage"
	}
	return "replica set " + db.cfg.SetName + " of one member"
}

func (db *DB) addresses() []string {
	var out []string
	for _, a := range db.server.Addrs() {
		out = append(out, a.String())
	}
	return out
}

// URI is a connection string for the first address.
func (db *DB) URI() string {
	a := db.server.Addr()
	options := ""
	if db.cfg.TLS.CertFile != "" {
		options = "?tls=true"
	}
	if a.Network() == "unix" {
		return "mongodb://" + url.PathEscape(a.String()) + "/" + options
	}
	host, port, err := net.SplitHostPort(a.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "mongodb://" + net.JoinHostPort(host, port) + "/" + options
}

// Close stops serving, writes everything to disk and closes the data.
func (db *DB) Close() error {
	db.once.Do(func() {
		db.stop()
		db.serving.Wait()
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		started := time.Now()
		err := db.server.Shutdown(grace)
		db.mounts.end()
		db.closeErr = errors.Join(err, db.db.Close())
		if db.closeErr == nil {
			db.log.Info("closed", "took_ms", time.Since(started).Milliseconds())
		}
	})
	return db.closeErr
}

// Version is the version given, or that of the module as the Go tool recorded it.
func Version(given string) string {
	if given != "" {
		return given
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Path == "github.com/archelon-db/archelon" && info.Main.Version != "" {
			return info.Main.Version
		}
		for _, dep := range info.Deps {
			if dep.Path == "github.com/archelon-db/archelon" {
				return dep.Version
			}
		}
	}
	return "(devel)"
}
