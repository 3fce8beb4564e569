package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/server"
)

// poll is how often a drain or a retirement looks whether it is over.
const poll = 10 * time.Millisecond

// Gateway routes commands to upstreams. It is a server.Handler; Serve listens for it. It is safe for concurrent use.
type Gateway struct {
	cfg      Config
	log      *slog.Logger
	started  time.Time
	topology *server.Topology
	hello    *server.Hello
	// entry is what stands before all commands.
	entry server.Handler

	table   atomic.Pointer[table]
	pins    pins
	cursors cursors
	running atomic.Int64
	// counters count commands, in the order of opcounters.
	counters [len(opcounters)]atomic.Int64
	// refusing is set when new work is refused.
	refusing atomic.Bool

	mu       sync.Mutex     // serialises reloads
	retiring sync.WaitGroup // of removed upstreams; nothing is added once closed is set
	closed   bool
	ended    context.Context // ends with Close
	end      context.CancelFunc
}

var _ server.Handler = (*Gateway)(nil)

// New makes a gateway and begins to look for the upstreams' servers. Close ends it.
func New(cfg Config) (*Gateway, error) {
	cfg.ensureDefaults()
	if cfg.Logger == nil {
		return nil, errors.New("gateway configuration: no logger")
	}
	topology := server.NewTopology(server.State{Posture: server.Router})
	g := &Gateway{
		cfg: cfg, log: cfg.Logger, started: time.Now(), topology: topology,
		pins: pins{of: map[sessionID]pin{}}, cursors: cursors{of: map[int64]cursor{}},
	}
	hello := server.HelloConfig{Topology: topology}
	g.entry = server.HandlerFunc(g.handle)
	if cfg.Auth != nil {
		hello.SASLMechanisms, hello.Extend = cfg.Auth.Mechanisms, cfg.Auth.Speculate
		g.entry = cfg.Auth.Protect(g.entry, access)
	}
	g.hello = server.NewHello(hello)
	g.ended, g.end = context.WithCancel(context.Background())
	g.table.Store(&table{upstreams: map[string]*upstream{}})
	if err := g.Reload(cfg.Table); err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Reload replaces the routes and upstreams while the gateway serves. Upstreams that stay the same keep their connections;
// those that are removed get no new work and are closed when their commands, cursors and transactions have ended, or
// after Config.Retire. On an error everything stays as it was.
func (g *Gateway) Reload(t Table) error {
	if err := t.Validate(); err != nil {
		return fmt.Errorf("gateway configuration: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return errors.New("gateway is closed")
	}
	old := g.table.Load()
	next := &table{upstreams: map[string]*upstream{}}
	var opened []*upstream
	for name, cfg := range t.Upstreams {
		if u := old.upstreams[name]; u != nil && u.cfg == cfg {
			next.upstreams[name] = u
			continue
		}
		u, err := open(name, cfg, g.log)
		if err != nil {
			for _, u := range opened {
				u.close()
			}
			return fmt.Errorf("upstream %q: %w", name, err)
		}
		opened = append(opened, u)
		next.upstreams[name] = u
	}
	for _, r := range t.Routes {
		next.routes = append(next.routes, route{
			databases: r.Database, collections: r.Collection, commands: r.Command,
			to: next.upstreams[r.Upstream], preference: r.ReadPreference.preference(),
		})
	}
	next.several = len(next.upstreams) > 1
	g.table.Store(next)
	for name, u := range old.upstreams {
		if next.upstreams[name] != u {
			g.retiring.Go(func() { g.retire(u) })
		}
	}
	g.log.Info("routes are in force", "upstreams", len(next.upstreams), "routes", len(next.routes), "new", len(opened))
	return nil
}

// retire closes an upstream when nothing needs it any more.
func (g *Gateway) retire(u *upstream) {
	patience, cancel := context.WithTimeout(g.ended, g.cfg.Retire)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for u.running.Load() > 0 || g.cursors.open(u) > 0 || g.pins.open(u) > 0 {
		select {
		case <-patience.Done():
			g.log.Warn("upstream was closed while in use", "upstream", u.name, "cursors", g.cursors.open(u), "transactions", g.pins.open(u))
			u.close()
			return
		case <-tick.C:
		}
	}
	u.close()
	g.log.Info("upstream was closed", "upstream", u.name)
}

// Handle implements server.Handler.
func (g *Gateway) Handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	return g.entry.Handle(ctx, req, reply)
}

// handle answers what the client may ask for.
func (g *Gateway) handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	if req.Command == "hello" || req.Command == "isMaster" || req.Command == "ismaster" {
		return g.hello.Handle(ctx, req, reply)
	}
	g.running.Add(1)
	defer g.running.Add(-1)
	g.count(req.Command)
	isolate(req)
	h := g.hopOf(req.Conn)
	defer h.end()
	c, err := h.begin(req)
	if err != nil {
		return err
	}
	if g.refusing.Load() && !c.continues() {
		return c.drainError()
	}
	if c.maxTime > 0 {
		limited, cancel := context.WithTimeout(ctx, c.maxTime+maxTimeGrace)
		defer cancel()
		ctx = limited
	}
	if own, ok := ownCommands[req.Command]; ok {
		return own(g, ctx, c, reply)
	}
	return g.forward(ctx, c, reply)
}

// maxTimeGrace is how long after maxTimeMS the gateway waits for the upstream to say that the time is over.
const maxTimeGrace = 100 * time.Millisecond

// continues tells commands that end what has begun: they run while the gateway stops.
func (c *call) continues() bool {
	switch c.name {
	case "getMore", "killCursors", "commitTransaction", "abortTransaction", "endSessions", "serverStatus":
		return true
	}
	return c.inTransaction && !c.starts
}

// Drain ends the work of the gateway in order: hello tells drivers to turn elsewhere while everything is still answered,
// for Config.Quiesce; then new work is refused and what has begun goes on until it is done or ctx ends. The error is
// ctx's if something was left.
func (g *Gateway) Drain(ctx context.Context) error {
	g.topology.Update(func(s *server.State) { s.Quiescing = true })
	if g.cfg.Quiesce > 0 {
		wait := time.NewTimer(g.cfg.Quiesce)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	g.refusing.Store(true)
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for g.running.Load() > 0 || g.pins.open(nil) > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Serve listens as cfg says, with the gateway as handler, until ctx ends; then it drains for at most
// server.Config.ShutdownGrace and returns when all connections have ended. ready, if not nil, is called once clients can
// connect.
func (g *Gateway) Serve(ctx context.Context, cfg server.Config, ready func(*server.Server)) error {
	cfg.Handler = g
	if cfg.Logger == nil {
		cfg.Logger = g.log
	}
	cfg.EnsureDefaults()
	srv, err := server.Listen(cfg)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(serving) }()
	if ready != nil {
		ready(srv)
	}
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownGrace+max(g.cfg.Quiesce, 0))
	defer cancel()
	if err := g.Drain(grace); err != nil {
		g.log.Warn("gateway stopped with commands or transactions open")
	}
	stop()
	return <-served
}

// Close closes the upstreams. Commands that run fail.
func (g *Gateway) Close() {
	g.mu.Lock()
	g.closed = true
	t := g.table.Load()
	g.mu.Unlock()
	g.end()
	g.retiring.Wait()
	var work sync.WaitGroup
	for _, u := range t.upstreams {
		work.Go(u.close)
	}
	work.Wait()
}
