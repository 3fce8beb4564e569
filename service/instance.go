package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// The phases of a service's life.
const (
	phaseServing   int32 = iota
	phaseLeaning         // drivers find other instances faster
	phaseQuiescing       // hello fails, everything else is answered
	phaseRefusing        // new work is refused, what runs may finish
	phaseStopped         // everything has been cancelled
)

var phaseNames = [...]string{"serving", "leaning", "quiescing", "refusing", "stopped"}

// drainPoll is how often a drain looks whether it is over.
const drainPoll = 5 * time.Millisecond

// Instance is a service that listens. Make one with Listen.
type Instance struct {
	service *Service
	srv     *server.Server
	grace   time.Duration
}

// Listen opens the addresses of cfg for the service. Handler is the service; Logger is the service's if there is none.
// TLS, limits and timeouts are the server's. Clients may send any command as OP_QUERY.
func (s *Service) Listen(cfg server.Config) (*Instance, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance != nil || s.phase.Load() != phaseServing {
		return nil, fmt.Errorf("service %q listens already or has stopped", s.name)
	}
	if cfg.Handler != nil {
		return nil, errors.New("the handler of a service is the service itself")
	}
	cfg.Handler, cfg.LegacyCommands = s, true
	if cfg.Logger == nil {
		cfg.Logger = s.log
	}
	cfg.EnsureDefaults()
	srv, err := server.Listen(cfg)
	if err != nil {
		return nil, err
	}
	s.instance = &Instance{service: s, srv: srv, grace: cfg.ShutdownGrace}
	return s.instance, nil
}

// ListenAndServe is Listen and Serve.
func (s *Service) ListenAndServe(ctx context.Context, cfg server.Config) error {
	i, err := s.Listen(cfg)
	if err != nil {
		return err
	}
	return i.Serve(ctx)
}

// Addr is the first address the instance listens on.
func (i *Instance) Addr() string { return i.srv.Addr().String() }

// URI is the connection string of the instance.
func (i *Instance) URI() string { return "mongodb://" + i.Addr() + "/" }

// Server is the server below, for its metrics.
func (i *Instance) Server() *server.Server { return i.srv }

// Serve serves until ctx ends, drains the service and returns when all connections have ended. It is called once.
func (i *Instance) Serve(ctx context.Context) error {
	s := i.service
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	looped := make(chan struct{})
	go func() {
		defer close(looped)
		s.Run(loops)
	}()
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- i.srv.Serve(serving) }()

	select {
	case <-ctx.Done():
	case <-i.srv.Draining():
	}
	drained, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Lean+s.quiesceTime()+i.grace)
	err := s.Drain(drained)
	cancel()
	if err != nil {
		s.log.Warn("service stopped with calls running or cursors open", "service", s.name)
	}
	stopLoops()
	<-looped
	stopServing()
	return <-served
}

func (s *Service) quiesceTime() time.Duration { return max(s.cfg.Quiesce, 0) }

// Drain ends the service in order: it tells drivers to turn elsewhere while it still answers, then refuses new work and
// lets what runs finish, cursors included, until ctx ends; then it cancels the rest. An Instance does it by itself; a
// mounted service is drained by who mounted it. The error is the context's if something had to be cancelled.
func (s *Service) Drain(ctx context.Context) error {
	if !s.phase.CompareAndSwap(phaseServing, phaseLeaning) {
		<-s.ctx.Done()
		return nil
	}
	if s.lease != nil {
		s.lease.retire(ctx)
	} else {
		s.lean(ctx)
	}
	s.phase.Store(phaseQuiescing)
	s.cfg.Topology.Update(func(t *server.State) { t.Quiescing = true })
	s.quiesce(ctx)
	s.phase.Store(phaseRefusing)
	err := s.await(ctx, func() bool { return s.running() == 0 && s.cursors.len() == 0 })
	s.phase.Store(phaseStopped)
	s.cancel(errShutdown)
	s.interrupt(errShutdown, func(*Call) bool { return true })
	return err
}

var errShutdown = mongoerr.New(mongoerr.InterruptedAtShutdown, "interrupted at shutdown").
	WithLabels(mongoerr.LabelRetryableWrite, mongoerr.LabelRetryable)

const (
	// leanDelay is how much slower hello is while the service leans. Drivers choose among servers whose mean round-trip
	// time is at most 15 milliseconds above the fastest one's, and a probe counts for a fifth of the mean.
	leanDelay = 250 * time.Millisecond
	// leanNews is how often drivers are told that something has changed, so that they look at their means.
	leanNews = 500 * time.Millisecond
)

// lean makes drivers prefer other instances for a while, unless there are no clients.
func (s *Service) lean(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lean)
	defer cancel()
	for ctx.Err() == nil && !s.alone() {
		s.cfg.Topology.Update(func(*server.State) {})
		news, done := context.WithTimeout(ctx, leanNews)
		_ = s.await(news, s.alone) // until it is time for news
		done()
	}
}

// answerHello answers hello: at once, but for probes while the service leans.
func (s *Service) answerHello(ctx context.Context, c *Call) error {
	if s.phase.Load() == phaseLeaning && s.lease == nil && c.req.Body.Lookup("topologyVersion").IsMissing() {
		t := time.NewTimer(leanDelay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.req.Conn.Draining():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return s.hello.Handle(ctx, c.req, c.reply)
}

// quiesce answers late calls for a while, unless there is nobody to send any.
func (s *Service) quiesce(ctx context.Context) {
	if s.quiesceTime() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Quiesce)
	defer cancel()
	_ = s.await(ctx, s.alone) // time is up: the next phase begins either way
}

// alone says whether no client is connected.
func (s *Service) alone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instance != nil && s.instance.srv.Metrics().ConnectionsCurrent.Load() == 0
}

// await waits until a condition holds.
func (s *Service) await(ctx context.Context, condition func() bool) error {
	t := time.NewTicker(drainPoll)
	defer t.Stop()
	for !condition() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drainError refuses a call so that drivers retry it elsewhere: the code for those who retry reads and writes, the labels
// for those who retry any command that a server had no room for.
func (s *Service) drainError() error {
	b, at := bsonval.BeginDoc(nil)
	b = s.cfg.Topology.Version().AppendElement(b, "topologyVersion")
	return errDraining.WithExtra(bsonval.EndDoc(b, at))
}

var errDraining = mongoerr.New(mongoerr.ShutdownInProgress, "the service is shutting down").
	WithLabels(mongoerr.LabelRetryableWrite, mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)
