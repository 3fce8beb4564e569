package egress

import (
	"context"
	"errors"
	"sync"
	"time"
)

// rttWeight is the weight of a new measurement in the average, as all drivers have it.
const rttWeight = 0.2

// errCheckWanted ends a hello that awaits news because the server has to be looked at at once.
var errCheckWanted = errors.New("the server is to be checked at once")

// monitor watches one server. Once a server has told a topology version, hellos wait at the server until there is news;
// a second goroutine then measures the round trip.
type monitor struct {
	client *Client
	host   Host
	ctx    context.Context
	cancel context.CancelFunc
	wanted chan struct{} // holds one: a check is wanted before the interval is over

	mu sync.Mutex // guards the fields below
	// interrupt ends the hello that awaits news; nil if there is none.
	interrupt context.CancelCauseFunc
	rtt       time.Duration
}

func newMonitor(c *Client, host Host) *monitor {
	m := &monitor{client: c, host: host, wanted: make(chan struct{}, 1)}
	m.ctx, m.cancel = context.WithCancel(c.ctx)
	return m
}

// request has the server looked at soon.
func (m *monitor) request(now bool) {
	select {
	case m.wanted <- struct{}{}:
	default:
	}
	if !now {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.interrupt != nil {
		m.interrupt(errCheckWanted)
	}
}

// run watches until the monitor is canceled.
func (m *monitor) run() {
	defer m.cancel()
	measuring := false
	var last *ServerDescription // the last news
	for m.ctx.Err() == nil {
		began := time.Now()
		awaited := m.awaits(last)
		next := m.look(last, awaited)
		if m.ctx.Err() != nil {
			return
		}
		m.client.learn(next)
		retry := next.Kind == ServerUnknown && last != nil && last.Kind != ServerUnknown
		fresh := !awaited || !next.TopologyVersion.olderOrSame(last.TopologyVersion) || time.Since(began) >= minHeartbeat
		last = next
		if m.awaits(next) && !measuring {
			measuring = true
			m.client.work.Go(m.measure)
		}
		// News may follow at once, and a server that was fine a moment ago gets a second chance at once. A server that
		// does not wait as it was asked to is not asked again and again.
		if retry || m.awaits(next) && fresh {
			continue
		}
		m.pause(began)
	}
}

// awaits tells whether the next hello waits for news.
func (m *monitor) awaits(last *ServerDescription) bool {
	return last != nil && last.Kind != ServerUnknown && last.TopologyVersion != nil && !m.client.cfg.Poll
}

// pause waits for the next interval or until a check is wanted.
func (m *monitor) pause(began time.Time) {
	interval := time.NewTimer(m.client.cfg.HeartbeatInterval)
	defer interval.Stop()
	select {
	case <-m.ctx.Done():
		return
	case <-interval.C:
		return
	case <-m.wanted:
	}
	least := time.NewTimer(minHeartbeat - time.Since(began))
	defer least.Stop()
	select {
	case <-m.ctx.Done():
	case <-least.C:
	}
}

// look asks the server.
func (m *monitor) look(last *ServerDescription, await bool) *ServerDescription {
	cfg := &m.client.cfg
	var known *TopologyVersion
	timeout := cfg.Conn.ConnectTimeout
	ctx := m.ctx
	if await {
		known = last.TopologyVersion
		timeout += cfg.HeartbeatInterval
		var interrupt context.CancelCauseFunc
		ctx, interrupt = context.WithCancelCause(ctx)
		defer interrupt(nil)
		m.setInterrupt(interrupt)
		defer m.setInterrupt(nil)
	}
	select {
	case <-m.wanted: // this is the check that was wanted
	default:
	}
	h, elapsed, err := m.hello(ctx, last, known, timeout)
	now := time.Now()
	if err != nil {
		if context.Cause(ctx) == errCheckWanted && m.ctx.Err() == nil {
			h, elapsed, err = m.hello(m.ctx, last, nil, cfg.Conn.ConnectTimeout)
			now = time.Now()
			await = false
		}
		if err != nil {
			return unknownServer(m.host, err, nil, now)
		}
	}
	rtt := m.average(0)
	if !await {
		rtt = m.average(elapsed)
	}
	return describe(m.host, h, rtt, now)
}

func (m *monitor) setInterrupt(f context.CancelCauseFunc) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.interrupt = f
}

// hello runs one hello. After a failure the monitor's connections are not trusted.
func (m *monitor) hello(ctx context.Context, last *ServerDescription, known *TopologyVersion, timeout time.Duration) (
	*Hello, time.Duration, error,
) {
	helloOK := last != nil && last.Hello != nil && last.Hello.HelloOK
	cmd := HelloCommand(helloOK, known, m.client.cfg.HeartbeatInterval)
	cmd.Timeout = timeout
	r := m.client.watch.Run(ctx, &RequestOnAny{Targets: []Host{m.host}, Command: cmd})
	if r.Status != nil {
		return nil, 0, r.Status
	}
	h, err := ParseHello(r.Body)
	return h, r.Elapsed, err
}

// average adds a measurement, if it is one, to the average round trip and returns that.
func (m *monitor) average(measured time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case measured <= 0:
	case m.rtt == 0:
		m.rtt = measured
	default:
		m.rtt = time.Duration(rttWeight*float64(measured) + (1-rttWeight)*float64(m.rtt))
	}
	return m.rtt
}

// measure measures the round trip at intervals while hellos wait at the server.
func (m *monitor) measure() {
	tick := time.NewTicker(m.client.cfg.HeartbeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-tick.C:
		}
		last := m.client.Topology().Servers[m.host]
		if last == nil || last.Hello == nil {
			continue
		}
		if _, elapsed, err := m.hello(m.ctx, last, nil, m.client.cfg.Conn.ConnectTimeout); err == nil {
			rtt := m.average(elapsed)
			m.client.change(func(t *TopologyDescription) *ServerDescription {
				s := t.Servers[m.host]
				if s == nil || s.Kind == ServerUnknown {
					return nil
				}
				with := *s
				with.RTT = rtt
				return &with
			})
		}
	}
}
