package archelon

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// Storage engines.
const (
	StoragePebble = "pebble"
	StorageMemory = "memory"
)

// Defaults of Config.
const (
	DefaultListen  = "127.0.0.1:27017"
	DefaultData    = "./archelon-data"
	DefaultSetName = "rs0"
)

// Config says what to open. The zero Config is what `archelon serve` runs: data
// in ./archelon-data, listening on 127.0.0.1:27017, a replica set of one member.
type Config struct {
	// Listen are the addresses to listen on: "host:port" (port 0 picks a free
	// one) or the path of a Unix socket. Empty means 127.0.0.1:27017.
	Listen []string

	// Data is the folder of the data; created if missing. Empty means
	// ./archelon-data. Not used with StorageMemory.
	Data string

	// Storage is the engine: StoragePebble (the default), StorageMemory, or the
	// address of a PostgreSQL database, postgres://user@host/database, which may
	// have the parameters schema (where the data is; "archelon"), pool_max_conns
	// (connections; 40) and shared (false lets one process only use it; true). Several
	// servers of a PostgreSQL present themselves as routers: clients are given the
	// addresses of all of them.
	Storage string

	// Standalone presents the server as a stand-alone one, which has its storage alone. The default is a
	// replica set of one member, which drivers need for sessions and retries.
	Standalone bool

	// SetName is the replica set's name; empty means "rs0".
	SetName string

	// Advertise is the "host:port" that clients are told to connect to, for
	// servers behind address translation. Empty means the address that each
	// client reached.
	Advertise string

	// TLS, if its CertFile is set, makes all TCP addresses speak TLS only.
	TLS server.TLSFiles

	// Users, if set, has the accounts: clients must authenticate and may do what
	// their roles allow. Users of the database $external authenticate with TLS
	// certificates, see TLS.ClientCAFile. auth.LoadFile makes one of a file.
	Users auth.Store

	// CacheBytes limits the engine's block cache; 0 means an eighth of the memory
	// available to the process, at least 32 MB and at most 1 GB.
	CacheBytes int64

	// JournalInterval 0 acknowledges a write when it is on disk. A positive one
	// acknowledges at once and syncs at most this much later: a crash may lose
	// the last writes.
	JournalInterval time.Duration

	// OplogSizeMB is how large the log of changes of a replica set may become, for a
	// store that has none yet; 0 means 5 % of the free disk space, at least 256 MB
	// and at most 2 GB, and 64 MB in memory. The oldest entries go first.
	OplogSizeMB int

	// OplogMinRetention is how long entries are kept even if the log becomes larger.
	OplogMinRetention time.Duration

	// MaxConnections bounds the open connections; 0 means 10,000.
	MaxConnections int

	// IdleTimeout closes connections on which nothing comes for so long; 0 means
	// never.
	IdleTimeout time.Duration

	// ShutdownGrace is how long running commands may go on when the server stops;
	// 0 means 15 seconds.
	ShutdownGrace time.Duration

	// Middleware wraps the database's commands, the first outermost.
	Middleware []server.Middleware

	// Trace, if set, is called with each message, see server.Config.
	Trace func(c *server.Conn, frame []byte, reply bool)

	// Mounts are services and remote databases that are offered at the same
	// addresses. DB.Mount adds more.
	Mounts []Mount

	// Parameters are set at start as the setParameter command would, by name.
	Parameters map[string]string

	// Logger gets the log; nil discards it.
	Logger *slog.Logger

	// LogLevel is the level of Logger, which the setParameter command can change;
	// nil refuses that.
	LogLevel *slog.LevelVar

	// Args is the command line that the getCmdLineOpts command shows; nil shows
	// none.
	Args []string

	// Version is shown by buildInfo; empty means that of the module.
	Version string
}

// ensureDefaults fills zero fields.
func (c *Config) ensureDefaults() {
	if len(c.Listen) == 0 {
		c.Listen = []string{DefaultListen}
	}
	c.Data = cmp.Or(c.Data, DefaultData)
	c.Storage = cmp.Or(c.Storage, StoragePebble)
	c.SetName = cmp.Or(c.SetName, DefaultSetName)
	if c.CacheBytes == 0 {
		c.CacheBytes = min(max(availableMemory()/8, 32<<20), 1<<30)
	}
	c.ShutdownGrace = cmp.Or(c.ShutdownGrace, server.DefaultShutdownGrace)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// validate reports everything that is wrong with c.
func (c *Config) validate() error {
	var errs []error
	if c.Storage != StoragePebble && c.Storage != StorageMemory && !c.isPostgres() {
		errs = append(errs, fmt.Errorf("storage %q is not known: use %q, %q or postgres://…", c.Storage, StoragePebble, StorageMemory))
	}
	if c.isPostgres() && c.JournalInterval != 0 {
		errs = append(errs, errors.New("a journal interval has no meaning with PostgreSQL: set synchronous_commit in its address or configuration"))
	}
	if c.Advertise != "" {
		if _, _, err := net.SplitHostPort(c.Advertise); err != nil {
			errs = append(errs, fmt.Errorf("advertise %q is not host:port", c.Advertise))
		}
		if c.Standalone {
			errs = append(errs, errors.New("advertise has no meaning for a stand-alone server: leave one of the two out"))
		}
	}
	if c.Standalone && (c.OplogSizeMB != 0 || c.OplogMinRetention != 0) {
		errs = append(errs, errors.New("a stand-alone server has no oplog: leave out its size and retention"))
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		errs = append(errs, errors.New("TLS needs both a certificate and a key"))
	}
	if c.OplogSizeMB < 0 || c.OplogMinRetention < 0 || c.CacheBytes < 0 || c.JournalInterval < 0 || c.MaxConnections < 0 || c.IdleTimeout < 0 || c.ShutdownGrace < 0 {
		errs = append(errs, errors.New("sizes and times must not be negative"))
	}
	return errors.Join(errs...)
}

// oplog is the configuration of the log of changes; nil for a stand-alone server.
func (c *Config) oplog() *database.OplogConfig {
	if c.Standalone {
		return nil
	}
	o := &database.OplogConfig{SizeBytes: int64(c.OplogSizeMB) << 20, MinRetention: c.OplogMinRetention}
	switch {
	case o.SizeBytes != 0:
	case c.Storage == StorageMemory:
		o.SizeBytes = 64 << 20
	case c.isPostgres():
		o.SizeBytes = 1 << 30
	default:
		free, err := pebblestore.FreeBytes(c.Data)
		if err != nil {
			free = 0 // the least size will do
		}
		o.SizeBytes = min(max(free/20, 256<<20), 2<<30)
	}
	return o
}

// options are the settings as getCmdLineOpts shows them, by MongoDB's names.
func (c *Config) options() bsonval.Doc {
	var hosts []string
	port := ""
	for _, address := range c.Listen {
		host, p, err := net.SplitHostPort(address)
		if err != nil {
			hosts = append(hosts, address) // a Unix socket
			continue
		}
		hosts = append(hosts, host)
		if port == "" {
			port = p
		}
	}
	b := bsonval.NewBuilder().StartDoc("net").Str("bindIp", strings.Join(hosts, ","))
	if n, err := strconv.ParseInt(port, 10, 32); err == nil {
		b.Int32("port", int32(n))
	}
	b.End()
	if !c.Standalone {
		b.StartDoc("replication").Str("replSet", c.SetName)
		if c.OplogSizeMB != 0 {
			b.Int32("oplogSizeMB", int32(c.OplogSizeMB))
		}
		b.End()
	}
	b.StartDoc("storage").Str("engine", c.engineName())
	if c.Storage == StoragePebble {
		b.Str("dbPath", c.Data)
	}
	return b.End().Build()
}

// availableMemory is the memory this process may use: the container's limit or
// the machine's memory.
func availableMemory() int64 {
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if n, ok := readNumber(name); ok && n > 0 && n < 1<<50 {
			return n
		}
	}
	var total int64
	if b, err := os.ReadFile(filepath.Clean("/proc/meminfo")); err == nil {
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &total); err == nil {
			return total << 10
		}
	}
	return 1 << 30
}

func readNumber(name string) (int64, bool) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, false
	}
	var n int64
	_, err = fmt.Sscan(string(b), &n)
	return n, err == nil
}
