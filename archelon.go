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
)

// DB is an open database with the server that offers it. Its methods are safe for
// concurrent use.
type DB struct {
	cfg      Config
	log      *slog.Logger
	db       *database.DB
	commands *command.Commands
	sessions *session.Registry
	server   *server.Server

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
	db := &DB{cfg: cfg, log: log, db: kernel}
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
	if !cfg.Standalone {
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
	if !cfg.Standalone {
		hc.LastWrite = func() server.LastWrite { return db.commands.LastWrite() }
	}
	hello := server.NewHello(hc)
	db.commands, err = command.New(command.Config{
		DB: db.db, Topology: topology, Hello: hello, Sessions: db.sessions, Logger: db.log, Log: logs,
		Server: func() *server.Server { return db.server }, Version: Version(cfg.Version), Shutdown: db.stop,
		Args: cfg.Args, Options: cfg.options(), LogLevel: cfg.LogLevel,
	})
	if err != nil {
		return err
	}
	for name, value := range cfg.Parameters {
		if err := db.commands.SetParameter(name, value); err != nil {
			return fmt.Errorf("set parameter %s: %w", name, err)
		}
	}
	sc := server.Config{
		Addresses: cfg.Listen, Handler: server.Chain(db.commands, cfg.Middleware...), Logger: db.log,
		MaxConnections: cfg.MaxConnections, IdleTimeout: cfg.IdleTimeout, ShutdownGrace: cfg.ShutdownGrace, Trace: cfg.Trace,
	}
	if cfg.TLS.CertFile != "" {
		if sc.TLS, err = cfg.TLS.Load(); err != nil {
			return err
		}
	}
	db.server, err = server.Listen(sc)
	return err
}

func (db *DB) dataDir() string {
	if db.cfg.Storage != StoragePebble {
		return ""
	}
	return db.cfg.Data
}

// Serve answers clients until ctx ends, a client sends the shutdown command or
// Close is called. It stops accepting, lets running commands finish for at most
// ShutdownGrace, and returns nil.
func (db *DB) Serve(ctx context.Context) error {
	db.serving.Add(1)
	defer db.serving.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(db.stopping, cancel)()
	var background sync.WaitGroup
	background.Go(func() { db.sessions.Run(ctx) })
	db.log.Info("listening", "addresses", strings.Join(db.addresses(), " "), "posture", db.posture())
	err := db.server.Serve(ctx)
	cancel()
	background.Wait()
	return err
}

func (db *DB) posture() string {
	if db.cfg.Standalone {
		return "standalone"
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
		db.closeErr = errors.Join(db.server.Shutdown(grace), db.db.Close())
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
