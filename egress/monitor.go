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
	// urgent is set when the next hello must not await news.
	urgent bool
	rtt    time.Duration
}

func newMonitor(c *Client, host Host) *monitor {
	m := &monitor{client: c, host: host, wanted: make(chan struct{}, 1)}
	m.ctx, m.cancel = context.WithCancel(c.ctx)
	return m
}

// request has the server looked at soon, that is, without waiting for the end of an interval or, if now is set, for the
// news that a hello awaits.
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
	m.urgent = true
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
		next, awaited := m.look(last)
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

// look asks the server; awaited tells whether it was asked to wait for news.
func (m *monitor) look(last *ServerDescription) (next *ServerDescription, awaited bool) {
	select {
	case <-m.wanted: // this is the check that was wanted
	default:
	}
	if m.awaits(last) {
		if ctx, end := m.patient(); ctx != nil {
			timeout := m.client.cfg.Conn.ConnectTimeout + m.client.cfg.HeartbeatInterval
			h, _, err := m.hello(ctx, last, last.TopologyVersion, timeout)
			cause := context.Cause(ctx)
			end()
			if err == nil {
				return describe(m.host, h, m.average(0), time.Now()), true
			}
			if cause != errCheckWanted {
				return unknownServer(m.host, err, nil, time.Now()), true
			}
		}
	}
	m.mu.Lock()
	m.urgent = false
	m.mu.Unlock()
	h, elapsed, err := m.hello(m.ctx, last, nil, m.client.cfg.Conn.ConnectTimeout)
	if err != nil {
		return unknownServer(m.host, err, nil, time.Now()), false
	}
	return describe(m.host, h, m.average(elapsed), time.Now()), false
}

// patient returns the context for a hello that awaits news, which an urgent request ends; nil if one is there already.
func (m *monitor) patient() (context.Context, func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.urgent {
		return nil, nil
	}
	ctx, interrupt := context.WithCancelCause(m.ctx)
	m.interrupt = interrupt
	return ctx, func() {
		m.mu.Lock()
		m.interrupt = nil
		m.mu.Unlock()
		interrupt(nil)
	}
}

// hello runs one hello.
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
