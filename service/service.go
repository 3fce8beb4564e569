package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// Defaults of Config.
const (
	DefaultQuiesce       = 2 * time.Second
	DefaultCursorTimeout = 10 * time.Minute // as MongoDB's
	DefaultMaxCursors    = 10_000
)

// Config says how a service behaves. The zero value will do.
type Config struct {
	// Version is the service's own, for buildInfo and serverStatus.
	Version string
	// Logger gets failures that are the service's own. Nil discards them.
	Logger *slog.Logger
	// Topology is what the service presents itself as. Nil means a router: every instance is as good as another, and
	// clients name several of them.
	Topology *server.Topology
	// Auth authenticates clients and lets them call what their roles allow: commands of the service need the role `call` on
	// the database they are sent to, unless they have NoAuth. Nil lets everybody in. A service that is mounted in a
	// database leaves it nil, and is protected by that one's.
	Auth *auth.Guard
	// Authorize decides further who may call what: it runs before every command but those with NoAuth, and its error is
	// the answer; Call.User is who asks. Nil lets everybody call everything.
	Authorize func(ctx context.Context, c *Call) error
	// Results remembers the results of Once commands. Nil means NewMemoryResults, which one instance knows and forgets
	// at its end.
	Results ResultStore
	// CursorTimeout closes cursors that nobody has used for so long. 0 means DefaultCursorTimeout.
	CursorTimeout time.Duration
	// MaxCursors bounds the open cursors; past it a stream is refused with a label that makes drivers retry later. 0
	// means DefaultMaxCursors.
	MaxCursors int
	// Lean is how long, before that, a service that is about to stop lets drivers turn to other instances by themselves:
	// it answers their round-trip probes so slowly that they choose faster ones. It is for those who want to lose no
	// call at all: when hello fails, a driver gives up its connections, and with them the few commands that were about to
	// use one and that it does not retry. Drivers probe with each heartbeat, every 10 seconds by default: 12 seconds do.
	// Without connections it is skipped. 0 means none.
	Lean time.Duration
	// Quiesce is how long a service that is about to stop answers late calls, after hello has told drivers to turn
	// elsewhere. Drivers that stream hello learn it at once, others with their next heartbeat, 10 seconds by default.
	// Without connections it is skipped. 0 means DefaultQuiesce, a negative value none.
	Quiesce time.Duration
}

// Validate reports everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	if c.CursorTimeout < 0 {
		errs = append(errs, fmt.Errorf("cursor timeout is negative: %s", c.CursorTimeout))
	}
	if c.Lean < 0 {
		errs = append(errs, fmt.Errorf("lean is negative: %s", c.Lean))
	}
	if c.MaxCursors < 0 {
		errs = append(errs, fmt.Errorf("max cursors is negative: %d", c.MaxCursors))
	}
	return errors.Join(errs...)
}

func (c *Config) ensureDefaults() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Topology == nil {
		c.Topology = server.NewTopology(server.State{Posture: server.Router})
	}
	if c.Results == nil {
		c.Results = NewMemoryResults(0, 0)
	}
	c.CursorTimeout = cmp.Or(c.CursorTimeout, DefaultCursorTimeout)
	c.MaxCursors = cmp.Or(c.MaxCursors, DefaultMaxCursors)
	c.Quiesce = cmp.Or(c.Quiesce, DefaultQuiesce)
}

// Service is a set of commands. It is a server.Handler: serve it by itself, or mount it, for example under a database's
// name with server.Mux. Commands are registered before it serves.
type Service struct {
	name    string
	cfg     Config
	log     *slog.Logger
	host    string
	started time.Time
	hello   *server.Hello
	table   table
	// protected stands before all commands if the service authenticates; else it is nil.
	protected server.Handler

	ops     running.List[*Call]
	cursors cursors
	unknown atomic.Int64 // commands nobody registered
	// phase is how far the end is; a call is counted by its row before it looks.
	phase atomic.Int32
	// ctx ends when the drain is over; all streams derive from it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	background []func(ctx context.Context)
	// lease is nil for services of which all instances are active.
	lease *leaseHolder

	mu sync.Mutex // guards instance
	// instance is the one that serves, nil for none: a mounted service.
	instance *Instance
}

var _ server.Handler = (*Service)(nil)

// New makes a service with the commands that clients expect of every server.
func New(name string, cfg Config) *Service {
	invalid := cfg.Validate()
	if invalid != nil {
		panic(fmt.Sprintf("service %q: %v", name, invalid))
	}
	cfg.ensureDefaults()
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	s := &Service{name: name, cfg: cfg, log: cfg.Logger, host: host, started: time.Now()}
	hello := server.HelloConfig{Topology: cfg.Topology}
	if cfg.Auth != nil {
		hello.SASLMechanisms, hello.Extend = cfg.Auth.Mechanisms, cfg.Auth.Speculate
		s.protected = cfg.Auth.Protect(server.HandlerFunc(s.handle), s.Access)
	}
	s.hello = server.NewHello(hello)
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	s.cursors.open = map[int64]*stream{}
	s.table = table{exact: map[string]*row{}, folded: map[string]*row{}}
	s.addBuiltins()
	return s
}

// Name is the name given to New.
func (s *Service) Name() string { return s.name }

// Topology is what the service presents itself as.
func (s *Service) Topology() *server.Topology { return s.cfg.Topology }

// Authenticates says whether the service checks by itself who its clients are.
func (s *Service) Authenticates() bool { return s.protected != nil }

// Access says who may call a command. It is for those who protect the service, see auth.Guard.
func (s *Service) Access(_, command string) auth.Access {
	r, _ := s.table.find(command)
	switch {
	case r == nil || r.builtin:
		return auth.ByTable
	case r.NoAuth:
		return auth.Open
	}
	return auth.Callable
}

// Background adds a loop that Run runs. It has to return when its context ends.
func (s *Service) Background(loop func(ctx context.Context)) {
	s.background = append(s.background, loop)
}

// Run runs the service's loops, such as those of subprocesses, until ctx ends. An Instance does it by itself; who mounts
// a service into a server of his own calls it.
func (s *Service) Run(ctx context.Context) {
	var done sync.WaitGroup
	for _, loop := range s.background {
		done.Go(func() { loop(ctx) })
	}
	done.Wait()
}

// table finds commands by name.
type table struct {
	exact  map[string]*row // as registered
	folded map[string]*row // in lower case
}

// find returns the row of a name in any case, nil for none, and whether it was written as registered.
func (t *table) find(name string) (r *row, exact bool) {
	if r := t.exact[name]; r != nil {
		return r, true
	}
	return t.folded[strings.ToLower(name)], false
}

// rows are all commands, each once, in no order.
func (t *table) rows() []*row {
	var out []*row
	for name, r := range t.exact {
		if name == r.Name {
			out = append(out, r)
		}
	}
	return out
}

// Commands are the names and aliases of the service's own commands, sorted: those that it adds to a database it is mounted
// in.
func (s *Service) Commands() []string {
	var out []string
	for name, r := range s.table.exact {
		if !r.builtin {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// register adds a command, or replaces a builtin one.
func (s *Service) register(r *row) {
	switch {
	case r.Name == "" || strings.ContainsAny(r.Name, "$\x00"):
		panic(fmt.Sprintf("service: %q cannot be the name of a command", r.Name))
	case r.Once && r.stream():
		panic(fmt.Sprintf("service: command %q: a stream cannot run once", r.Name))
	case r.Live && !r.stream():
		panic(fmt.Sprintf("service: command %q: only streams are live", r.Name))
	}
	for _, name := range append([]string{r.Name}, r.Aliases...) {
		if old := s.table.folded[strings.ToLower(name)]; old != nil && old != r {
			if !old.builtin || old.fixed {
				panic(fmt.Sprintf("service: command %q registered twice", name))
			}
			s.remove(old)
		}
		s.table.exact[name] = r
		s.table.folded[strings.ToLower(name)] = r
	}
}

// remove forgets a builtin command that is being replaced.
func (s *Service) remove(r *row) {
	for _, name := range append([]string{r.Name}, r.Aliases...) {
		delete(s.table.exact, name)
		delete(s.table.folded, strings.ToLower(name))
	}
}
