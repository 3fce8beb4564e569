package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/server"
)

// serveCommand runs the database. Each flag has an environment variable and,
// under the same name, a key in the config file.
type serveCommand struct {
	Listen  []string `default:"127.0.0.1:27017" env:"ARCHELON_LISTEN" placeholder:"ADDR" help:"Addresses to listen on: host:port, or the path of a Unix socket. Repeat or separate by commas."`
	Data    string   `default:"./archelon-data" env:"ARCHELON_DATA" placeholder:"DIR" help:"Folder of the data; created if missing."`
	Storage string   `default:"pebble" env:"ARCHELON_STORAGE" help:"Where documents live: pebble (in the data folder), memory (gone at exit) or postgres://user@host/database (which several servers can share)."`

	proxyFlags `embed:""`

	Standalone bool   `env:"ARCHELON_STANDALONE" help:"Present a stand-alone server instead of a replica set of one member."`
	SetName    string `default:"rs0" env:"ARCHELON_SET_NAME" placeholder:"NAME" help:"Name of the replica set."`
	Advertise  string `env:"ARCHELON_ADVERTISE" placeholder:"HOST:PORT" help:"Address that clients are told to use, for servers behind NAT or in containers. Default: the one each client reached."`

	OplogSizeMB            int     `name:"oplog-size-mb" env:"ARCHELON_OPLOG_SIZE_MB" placeholder:"MB" help:"How large a new log of changes (oplog) may become. Default: 5 % of the free disk, 256 MB to 2 GB; 64 in memory."`
	OplogMinRetentionHours float64 `name:"oplog-min-retention-hours" env:"ARCHELON_OPLOG_MIN_RETENTION_HOURS" placeholder:"HOURS" help:"Keep changes in the oplog for at least so long, even if it becomes larger. Default: no such promise."`

	TLSCert     string `name:"tls-cert" env:"ARCHELON_TLS_CERT" placeholder:"FILE" help:"TLS certificate chain (PEM). With a certificate, TCP clients must use TLS."`
	TLSKey      string `name:"tls-key" env:"ARCHELON_TLS_KEY" placeholder:"FILE" help:"Key of the certificate (PEM)."`
	TLSClientCA string `name:"tls-client-ca" env:"ARCHELON_TLS_CLIENT_CA" placeholder:"FILE" help:"Authorities whose client certificates are required (PEM)."`

	userFlags `embed:""`

	Cache           int64         `env:"ARCHELON_CACHE" placeholder:"BYTES" help:"Block cache. Default: an eighth of the memory, 32 MB to 1 GB."`
	JournalInterval time.Duration `env:"ARCHELON_JOURNAL_INTERVAL" placeholder:"DURATION" help:"Acknowledge writes before they are on disk and sync this often; a crash may lose the last ones. Default 0: acknowledged means on disk."`
	MaxConnections  int           `env:"ARCHELON_MAX_CONNECTIONS" placeholder:"N" help:"Connections at a time. Default 10000."`
	IdleTimeout     time.Duration `env:"ARCHELON_IDLE_TIMEOUT" placeholder:"DURATION" help:"Close connections that are idle for so long. Default: never."`
	ShutdownGrace   time.Duration `default:"15s" env:"ARCHELON_SHUTDOWN_GRACE" placeholder:"DURATION" help:"How long running commands may go on after SIGTERM."`

	SetParameter map[string]string `env:"ARCHELON_SET_PARAMETER" mapsep:"," placeholder:"NAME=VALUE" help:"Set a server parameter, as the setParameter command does. May be repeated."`

	Services serviceList `hidden:"" help:"Services and remote databases to mount. They are listed in the config file only."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"ARCHELON_LOG_LEVEL" help:"Least level logged: debug, info, warn or error."`
	LogFormat string `default:"text" enum:"text,json" env:"ARCHELON_LOG_FORMAT" help:"Form of log lines: text or json."`
}

// Help is shown by `archelon serve --help` above the flags.
func (*serveCommand) Help() string {
	return `Runs the database until SIGTERM or Ctrl-C, then lets running commands finish and exits with 0.

  archelon serve                                   data in ./archelon-data, on 127.0.0.1:27017
  archelon serve --storage memory                  nothing on disk, for tests
  archelon serve --listen 0.0.0.0:27017 --advertise db.example.net:27017
  archelon serve --config archelon.yaml            flags from a file: "listen: 0.0.0.0:27017"

Then: mongosh mongodb://127.0.0.1:27017/

Every flag can be given as an environment variable (in parentheses below) or as a key of the config file; the
command line wins over the environment, and that over the file. Without --users everybody who can connect may do
everything: listen on addresses that only trusted clients reach.`
}

// Run opens the database and serves it.
func (s *serveCommand) Run(ctx context.Context, c *cli) error {
	limitMemory()
	log, level, err := newLogger(s.LogLevel, s.LogFormat)
	if err != nil {
		return err
	}
	mounts, err := s.Services.mounts()
	if err != nil {
		return err
	}
	users, err := s.load()
	if err != nil {
		return err
	}
	cfg := archelon.Config{
		Listen: s.Listen, Data: s.Data, Storage: s.Storage, Standalone: s.Standalone, SetName: s.SetName,
		Advertise: s.Advertise, OplogSizeMB: s.OplogSizeMB,
		OplogMinRetention: time.Duration(s.OplogMinRetentionHours * float64(time.Hour)),
		TLS: server.TLSFiles{
			CertFile: s.TLSCert, KeyFile: s.TLSKey, ClientCAFile: s.TLSClientCA, RequireClientCert: s.TLSClientCA != "",
		},
		CacheBytes: s.Cache, JournalInterval: s.JournalInterval, MaxConnections: s.MaxConnections,
		IdleTimeout: s.IdleTimeout, ShutdownGrace: s.ShutdownGrace, Parameters: s.SetParameter, Mounts: mounts,
		Logger: log, LogLevel: level, Version: version, Args: withoutPasswords(os.Args),
	}
	if users != nil {
		cfg.Users = users
	}
	beside, err := s.compare(&cfg, log)
	if err != nil {
		return err
	}
	db, err := archelon.Open(cfg)
	if err != nil {
		return errors.Join(err, beside.Close())
	}
	log.Info("ready", "uri", db.URI(), "try", "mongosh "+db.URI())
	if users != nil {
		go onHangup(ctx, func() { reloadUsers(users, log) })
	}
	if c.Config != "" {
		r, err := newRemounter(db, string(c.Config), s.ShutdownGrace, s.Services, log)
		if err != nil {
			return errors.Join(err, db.Close(), beside.Close())
		}
		go r.watch(ctx)
	}
	err = db.Serve(ctx)
	log.Info("stopping")
	return errors.Join(err, db.Close(), beside.Close())
}

// newLogger makes the log and the level that can be changed while it runs.
func newLogger(least, format string) (*slog.Logger, *slog.LevelVar, error) {
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(strings.ToUpper(least))); err != nil {
		return nil, nil, fmt.Errorf("log level: %w", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), level, nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), level, nil
}

// limitMemory makes the garbage collector honour a container's memory limit, if
// GOMEMLIMIT does not say otherwise.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	var limit int64
	b, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return
	}
	if _, err := fmt.Sscan(string(b), &limit); err == nil && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}
