package egress

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Client talks to a deployment: a replica set, routers, or a single server. It watches the servers, finds the primary and
// follows failovers, picks a server for each command, and retries what is safe to retry, as the drivers' specifications
// say. It is safe for concurrent use.
//
// Each server has a monitor, which has connections of its own; a monitor's news are applied to the description of the
// deployment, and so is what commands meet: a failed connection, or a server that says it is primary no more.
type Client struct {
	cfg      ClientConfig
	network  Network
	watch    Network // of monitors
	sessions sessionPool
	clock    clusterClock

	work   sync.WaitGroup // monitors
	ctx    context.Context
	cancel context.CancelFunc

	topology atomic.Pointer[TopologyDescription] // is written under mu

	mu sync.Mutex // guards the fields below
	// changed is closed when topology has changed, and replaced.
	changed  chan struct{}
	monitors map[Host]*monitor
	// load counts the commands that run on each server: of two servers the less busy is chosen.
	load   map[Host]int
	closed bool
}

// clearer is the optional power of a Network to drop connections on what a Client learns. It is not called under the
// client's lock: it tells its listener of events.
type clearer interface {
	Clear(host Host, cause error, interrupt bool)
	Ready(host Host)
	Forget(host Host)
}

// Open makes a client of a connection string. It does not wait for a server.
func Open(uri string) (*Client, error) {
	u, err := ParseURI(uri)
	if err != nil {
		return nil, err
	}
	cfg, err := u.ClientConfig()
	if err != nil {
		return nil, err
	}
	return NewClient(cfg)
}

// NewClient makes a client, which begins to look for servers at once. Close ends it.
func NewClient(cfg ClientConfig) (*Client, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("client configuration: %w", err)
	}
	c := &Client{
		cfg: cfg, network: cfg.Network, watch: cfg.Monitors, changed: make(chan struct{}),
		monitors: map[Host]*monitor{}, load: map[Host]int{},
	}
	c.topology.Store(newTopology(cfg.Seeds, cfg.ReplicaSet, cfg.Direct, time.Now()))
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if c.network == nil {
		c.network = NewNetwork(NetworkConfig{Conn: cfg.Conn, Pool: PoolConfig{
			Name: "client", PauseOnClear: true, Listener: c.poolEvent, clearsOnly: cfg.OnPool == nil,
			Controller: NewLimitController(cfg.Limits),
		}})
	}
	if c.watch == nil {
		conn := cfg.Conn
		conn.Credential, conn.Compressors = nil, nil
		// One connection awaits news, the other measures the round trip.
		c.watch = NewNetwork(NetworkConfig{Conn: conn, Pool: PoolConfig{
			Name: "monitor", Controller: NewLimitController(Limits{Max: 2}),
		}})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.startMonitorsLocked()
	return c, nil
}

// poolEvent passes events of the pool on; a pool that is cleared, maybe by a connection that nobody waited for, has its
// host looked at.
func (c *Client) poolEvent(e PoolEvent) {
	if e.Type == EventPoolCleared {
		c.check(e.Host, true)
	}
	if c.cfg.OnPool != nil {
		c.cfg.OnPool(e)
	}
}

// Topology is what is known of the deployment now.
func (c *Client) Topology() *TopologyDescription { return c.topology.Load() }

// ClusterTime is the highest cluster time that any server has told, as the value of a BSON timestamp; 0 if there is none.
func (c *Client) ClusterTime() uint64 { return c.clock.time() }

// Network is what commands run on, for its metrics.
func (c *Client) Network() Network { return c.network }

// Close ends the sessions on the server, if one can be reached before ctx ends, cancels all commands and stops. It
// returns when nothing of the client runs any more.
func (c *Client) Close(ctx context.Context) {
	c.endSessions(ctx)
	c.mu.Lock()
	c.closed = true
	for _, m := range c.monitors {
		m.cancel()
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	c.cancel()
	c.watch.Close()
	c.work.Wait()
	c.network.Close()
}

// learn applies what a monitor has seen. A server that answers has its pool made ready before commands can be sent to it;
// one that does not has its connections dropped, and if it is silent, also those that wait for a reply.
func (c *Client) learn(s *ServerDescription) {
	pool, _ := c.network.(clearer)
	if pool != nil && s.Kind != ServerUnknown {
		pool.Ready(s.Host)
	}
	c.change(func(*TopologyDescription) *ServerDescription { return s })
	if pool != nil && s.Kind == ServerUnknown && s.Err != nil {
		e := statusOf(s.Err)
		pool.Clear(s.Host, s.Err, e != nil && e.Timeout())
	}
}

// change applies what f makes of the current description; nil means nothing.
func (c *Client) change(f func(*TopologyDescription) *ServerDescription) {
	for _, gone := range c.changeServers(f) {
		for _, n := range []Network{c.network, c.watch} {
			if pool, ok := n.(clearer); ok {
				pool.Forget(gone)
			}
		}
	}
}

// changeServers is change; it returns the servers that are not of the deployment any more.
func (c *Client) changeServers(f func(*TopologyDescription) *ServerDescription) (gone []Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.topology.Load()
	s := f(old)
	if s == nil || c.closed {
		return nil
	}
	next := old.apply(s)
	if next == old {
		return nil
	}
	c.topology.Store(next)
	close(c.changed)
	c.changed = make(chan struct{})
	gone = c.startMonitorsLocked()
	if c.cfg.OnTopology != nil {
		c.cfg.OnTopology(old, next)
	}
	return gone
}

// startMonitorsLocked makes the monitors those of the known servers, and returns the servers that have lost theirs.
func (c *Client) startMonitorsLocked() (gone []Host) {
	servers := c.topology.Load().Servers
	for h, m := range c.monitors {
		if servers[h] == nil {
			m.cancel()
			delete(c.monitors, h)
			gone = append(gone, h)
		}
	}
	for h := range servers {
		if c.monitors[h] == nil {
			m := newMonitor(c, h)
			c.monitors[h] = m
			c.work.Go(m.run)
		}
	}
	return gone
}

// check has a server looked at soon. If now is set a hello that awaits news is given up for that.
func (c *Client) check(host Host, now bool) {
	c.mu.Lock()
	m := c.monitors[host]
	c.mu.Unlock()
	if m != nil {
		m.request(now)
	}
}

// checkAll has all servers looked at soon.
func (c *Client) checkAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.monitors {
		m.request(false)
	}
}

// acquire picks a server for a command and counts it there; release undoes the counting.
func (c *Client) acquire(ctx context.Context, s *selector) (*ServerDescription, error) {
	var timer *time.Timer
	for {
		c.mu.Lock()
		t, changed := c.topology.Load(), c.changed
		if c.closed {
			c.mu.Unlock()
			return nil, localError(mongoerr.ShutdownInProgress, "", "client is closed")
		}
		if t.Err == nil {
			if d := c.pickLocked(t.suitable(s)); d != nil {
				c.load[d.Host]++
				c.mu.Unlock()
				return d, nil
			}
		}
		c.mu.Unlock()
		if t.Err != nil {
			return nil, t.Err
		}
		c.checkAll()
		if timer == nil {
			timer = time.NewTimer(c.cfg.ServerSelectionTimeout)
			defer timer.Stop()
		}
		select {
		case <-changed:
		case <-timer.C:
			return nil, selectionError(c.Topology(), s)
		case <-ctx.Done():
			e := errorOf(ctx, "", PhaseLocal, "wait for a suitable server", ctx.Err())
			if e.Code != mongoerr.CallbackCanceled {
				return nil, selectionError(c.Topology(), s)
			}
			return nil, e
		}
	}
}

func (c *Client) release(host Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.load[host]--; c.load[host] <= 0 {
		delete(c.load, host)
	}
}

// pickLocked picks the less busy of two servers taken at random.
func (c *Client) pickLocked(from []*ServerDescription) *ServerDescription {
	switch len(from) {
	case 0:
		return nil
	case 1:
		return from[0]
	}
	from = slices.Clone(from)
	rand.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	if c.load[from[1].Host] < c.load[from[0].Host] {
		return from[1]
	}
	return from[0]
}

// selectionError says that no server is suitable, and why.
func selectionError(t *TopologyDescription, s *selector) error {
	what := "a server that takes writes"
	if s.preference != nil {
		what = "a server for read preference " + string(s.preference.mode())
	}
	var why []string
	var cause error
	for _, h := range t.Hosts() {
		d := t.Servers[h]
		note := string(h) + " is " + string(d.Kind)
		if d.Err != nil {
			note += " (" + d.Err.Error() + ")"
			cause = d.Err
		}
		why = append(why, note)
	}
	e := localError(mongoerr.FailedToSatisfyReadPreference, "", "could not find %s in time; topology %s: %s",
		what, t.Kind, strings.Join(why, ", "))
	if len(t.Servers) == 1 {
		e.Err = cause
	}
	return e
}
