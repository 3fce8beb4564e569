package pgstore

import (
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// defaultConns is the number of connections of a process: well below the 100
	// that PostgreSQL allows by default, so that two processes and an
	// administrator fit.
	defaultConns = 40

	// defaultAcquireTimeout is how long an operation waits for a connection,
	// another operation's or one to a server that is just starting again.
	defaultAcquireTimeout = 5 * time.Second

	// outageReport is how often is told that PostgreSQL does not answer.
	outageReport = 30 * time.Second

	// pollInterval is how soon commits of other processes are noticed.
	pollInterval = 40 * time.Millisecond

	// idleClose is how long a connection stays open without work.
	idleClose = 2 * time.Minute

	// lockTimeout bounds the waits inside PostgreSQL, for another process.
	lockTimeout = "1000ms"

	defaultSchema = "archelon"
)

// Config says where the store is. It is copied by Open.
type Config struct {
	// URL is a PostgreSQL connection string, several hosts and
	// target_session_attrs included. Parameters of our own: schema (the store's
	// schema), pool_max_conns, shared (which overrides Shared).
	URL string

	// Clock gives commits their times; nil makes one.
	Clock *clock.Clock

	// Shared lets several processes use the store at once. Otherwise Open fails
	// with ErrInUse while another process has it.
	Shared bool

	// Logger gets what happens in the background; nil discards it.
	Logger *slog.Logger

	// Names tells what the tables and indexes of a store are called whose meta keys it
	// can scan: a store of format 1 does not know that by itself. Nil leaves them where
	// they are.
	Names func(storage.MetaScan) ([]storage.Name, error)

	// AcquireTimeout bounds the wait for a connection; 0 means 5 s.
	AcquireTimeout time.Duration
}

// settings are a Config's parts.
type settings struct {
	Config
	schema string
	max    int
	work   *pgconn.Config // connections of transactions
	sync   *pgconn.Config // the syncer's connection
}

func (c Config) parse() (*settings, error) {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.New(time.Now)
	}
	if c.AcquireTimeout <= 0 {
		c.AcquireTimeout = defaultAcquireTimeout
	}
	st := &settings{Config: c, schema: defaultSchema, max: defaultConns}
	raw, err := st.takeParameters(c.URL)
	if err != nil {
		return nil, err
	}
	for _, target := range []**pgconn.Config{&st.work, &st.sync} {
		pc, err := pgconn.ParseConfig(raw)
		if err != nil {
			return nil, fmt.Errorf("storage URL: %w", err)
		}
		if pc.ConnectTimeout == 0 {
			pc.ConnectTimeout = 5 * time.Second
		}
		if pc.RuntimeParams["application_name"] == "" {
			pc.RuntimeParams["application_name"] = "archelon"
		}
		pc.RuntimeParams["client_encoding"] = "UTF8"
		*target = pc
	}
	// Each statement has one right plan: an index scan, and a nested loop from
	// an index to its table.
	st.work.RuntimeParams["synchronous_commit"] = "off"
	st.work.RuntimeParams["lock_timeout"] = lockTimeout
	for k, v := range map[string]string{
		"jit": "off", "plan_cache_mode": "force_generic_plan",
		"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "enable_sort": "off",
		"enable_material": "off", "max_parallel_workers_per_gather": "0", "idle_in_transaction_session_timeout": "0",
	} {
		st.work.RuntimeParams[k], st.sync.RuntimeParams[k] = v, v
	}
	// Neither what holds the store nor a transaction with its claims must outlive its process's host.
	for k, v := range map[string]string{"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"} {
		st.work.RuntimeParams[k], st.sync.RuntimeParams[k] = v, v
	}
	return st, nil
}

// takeParameters removes our own parameters from a URL.
func (st *settings) takeParameters(raw string) (string, error) {
	if !strings.HasPrefix(raw, "postgres://") && !strings.HasPrefix(raw, "postgresql://") {
		return "", fmt.Errorf("storage URL %q: it must begin with postgres://", raw)
	}
	head, query, _ := strings.Cut(raw, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("storage URL: %w", err)
	}
	if values.Has("schema") {
		s := values.Get("schema")
		if s == "" || len(s) > 50 || strings.ContainsAny(s, "\x00\"'") {
			return "", fmt.Errorf("storage URL: schema %q: it must have 1 to 50 bytes, without quotes", s)
		}
		st.schema = s
		values.Del("schema")
	}
	if values.Has("pool_max_conns") {
		s := values.Get("pool_max_conns")
		n, err := strconv.Atoi(s)
		if err != nil || n < 2 {
			return "", fmt.Errorf("storage URL: pool_max_conns %q: it must be a number from 2", s)
		}
		st.max = n
		values.Del("pool_max_conns")
	}
	if values.Has("shared") {
		s := values.Get("shared")
		shared, err := strconv.ParseBool(s)
		if err != nil {
			return "", fmt.Errorf("storage URL: shared %q: it must be true or false", s)
		}
		st.Shared = shared
		values.Del("shared")
	}
	if strings.Contains(hostsOf(head, values), ",") && values.Get("target_session_attrs") == "" {
		values.Set("target_session_attrs", "read-write") // of several servers only the primary will do
	}
	if len(values) == 0 {
		return head, nil
	}
	return head + "?" + values.Encode(), nil
}

// hostsOf is the list of hosts of a URL.
func hostsOf(head string, values url.Values) string {
	if h := values.Get("host"); h != "" {
		return h
	}
	_, rest, _ := strings.Cut(head, "://")
	authority, _, _ := strings.Cut(rest, "/")
	return authority[strings.LastIndexByte(authority, '@')+1:]
}
