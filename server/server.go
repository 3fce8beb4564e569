package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// acceptPause is the pause after an accept failed, for example because there are no file descriptors left.
	acceptPause = 50 * time.Millisecond

	// rejectLogEvery is how often rejected connections are logged, so that a flood of them does not flood the log.
	rejectLogEvery = time.Second
)

// ErrForcedStop is the cause of the context of commands that were still running when the time for a graceful shutdown
// was over.
var ErrForcedStop = errors.New("server stopped before the command had finished")

// Server accepts connections and serves them. Make one with Listen.
type Server struct {
	cfg     Config
	log     *slog.Logger
	metrics Metrics

	listeners []net.Listener
	nextID    atomic.Int64
	lastLog   atomic.Int64 // when rejected connections were last logged, in Unix nanoseconds

	// draining is closed when shutdown begins.
	draining chan struct{}
	// done counts accept loops and connections.
	done sync.WaitGroup

	mu sync.Mutex // guards the fields below
	// conns are the open connections.
	conns map[*Conn]struct{}
	// closing is set when shutdown begins; nothing is added to done or conns afterwards.
	closing bool
}

// Listen opens the addresses of cfg. Connections are accepted once Serve runs.
func Listen(cfg Config) (*Server, error) {
	cfg.EnsureDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("server configuration: %w", err)
	}
	s := &Server{cfg: cfg, log: cfg.Logger, draining: make(chan struct{}), conns: map[*Conn]struct{}{}}
	for _, a := range cfg.Addresses {
		l, err := listen(a, cfg.UnixSocketMode)
		if err != nil {
			s.closeListeners()
			return nil, err
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// Addr returns the first address the server listens on.
func (s *Server) Addr() net.Addr { return s.listeners[0].Addr() }

// Addrs returns all addresses the server listens on, in the order of Config.Addresses.
func (s *Server) Addrs() []net.Addr {
	out := make([]net.Addr, len(s.listeners))
	for i, l := range s.listeners {
		out[i] = l.Addr()
	}
	return out
}

// Metrics returns the server's counters.
func (s *Server) Metrics() *Metrics { return &s.metrics }

// EachConn calls f for every open connection, while none can open or close: f must not block.
func (s *Server) EachConn(f func(*Conn)) { s.eachConn(f) }

// MaxConnections returns the bound on open connections.
func (s *Server) MaxConnections() int { return s.cfg.MaxConnections }

// Draining is closed when the server begins to shut down.
func (s *Server) Draining() <-chan struct{} { return s.draining }

// Serve accepts and serves connections until ctx ends or Shutdown is called, and returns when the last connection has
// ended. After the end of ctx, commands that run have Config.ShutdownGrace to finish. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	if !s.startAccepting() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownGrace)
		defer cancel()
		if err := s.Shutdown(grace); err != nil {
			s.log.Warn("connections were closed with commands running", "error", err)
		}
	})
	defer stop()
	<-s.draining
	s.done.Wait()
	return nil
}

func (s *Server) startAccepting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	for _, l := range s.listeners {
		s.done.Go(func() { s.accept(l) })
	}
	return true
}

// Shutdown stops accepting, closes idle connections, lets running commands finish and their replies be sent, and
// returns when all connections have ended. If ctx ends first, the remaining connections are closed, their commands
// cancelled, and the context's error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	if first {
		close(s.draining)
		s.closeListeners()
	}
	s.eachConn((*Conn).closeIfIdle)
	finished := make(chan struct{})
	go func() {
		s.done.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	s.eachConn(func(c *Conn) { c.abort(ErrForcedStop) })
	<-finished
	return ctx.Err()
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// eachConn calls f for every open connection.
func (s *Server) eachConn(f func(*Conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// accept takes connections until its listener is closed.
func (s *Server) accept(l net.Listener) {
	secure := s.cfg.TLS != nil && l.Addr().Network() != "unix"
	for {
		nc, err := l.Accept()
		if err != nil {
			select {
			case <-s.draining:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.log.Error("cannot accept a connection", "address", l.Addr().String(), "error", err)
			s.pause()
			continue
		}
		if s.metrics.ConnectionsCurrent.Load() >= int64(s.cfg.MaxConnections) {
			nc.Close()
			s.logRejected()
			continue
		}
		if secure {
			nc = tls.Server(nc, s.cfg.TLS)
		}
		s.start(nc)
	}
}

// pause waits for acceptPause or the shutdown.
func (s *Server) pause() {
	t := time.NewTimer(acceptPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.draining:
	}
}

// start serves nc in a goroutine of its own.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.metrics.ConnectionsTotal.Add(1)
	s.metrics.ConnectionsCurrent.Add(1)
	s.done.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.metrics.ConnectionsCurrent.Add(-1)
	})
}

// logRejected tells about rejected connections, at most once in rejectLogEvery.
func (s *Server) logRejected() {
	n := s.metrics.ConnectionsRejected.Add(1)
	now, last := time.Now().UnixNano(), s.lastLog.Load()
	if now-last < int64(rejectLogEvery) || !s.lastLog.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("connection closed because there are too many", "max_connections", s.cfg.MaxConnections, "rejected_total", n)
}

// admit reserves n bytes for a request; the caller gives them back with RequestBytesInFlight.Add(-n).
func (s *Server) admit(n int) bool {
	if s.metrics.RequestBytesInFlight.Add(int64(n)) <= s.cfg.MaxRequestBytes {
		return true
	}
	s.metrics.RequestBytesInFlight.Add(-int64(n))
	return false
}
