package simnet

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// client is a place from which commands are run.
type client struct {
	net   *Network
	place egress.Host

	ctx    context.Context // of all commands; ends with Close
	cancel context.CancelCauseFunc

	mu      sync.Mutex // guards closed; running grows under it only
	closed  bool
	running sync.WaitGroup
}

var _ egress.Network = (*client)(nil)

var errClosed = errors.New("network was closed")

// From returns the network as seen from a place.
func (n *Network) From(place egress.Host) egress.Network {
	c := &client{net: n, place: place}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	return c
}

// Close implements egress.Network.
func (c *client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel(errClosed)
	c.running.Wait()
}

// Run implements egress.Network. Of several targets the first that is not down or cut off is taken; if all are cut off
// the command hangs, as it does when connections to all of them are being made.
func (c *client) Run(ctx context.Context, req *egress.RequestOnAny) egress.ResponseOnAny {
	start := time.Now()
	out := c.run(ctx, req)
	out.Elapsed = time.Since(start)
	return out
}

func (c *client) run(ctx context.Context, req *egress.RequestOnAny) egress.ResponseOnAny {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return failed("", mongoerr.ShutdownInProgress, egress.PhaseLocal, errClosed)
	}
	c.running.Add(1)
	c.mu.Unlock()
	defer c.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(errClosed) })()
	if req.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, req.Timeout)
		defer stop()
	}
	target, err := c.reach(ctx, req.Targets)
	if err != nil {
		return *err
	}
	body, err := c.exchange(ctx, &egress.Request{Target: target, Command: req.Command})
	if err != nil {
		err.Target = target
		return *err
	}
	return egress.ResponseOnAny{Response: egress.Response{Body: body}, Target: target}
}

// reach finds the first target that takes connections. It waits while some might.
func (c *client) reach(ctx context.Context, targets []egress.Host) (egress.Host, *egress.ResponseOnAny) {
	for {
		var change <-chan struct{}
		waiting := false
		for _, t := range targets {
			var v verdict
			v, _, change = c.net.look(c.place, t)
			switch v {
			case delivered:
				return t, nil
			case swallowed:
				waiting = true
			}
		}
		if !waiting {
			r := failed(first(targets), mongoerr.HostUnreachable, egress.PhaseHandshake, errors.New("connection refused"))
			return "", &r
		}
		select {
		case <-change:
		case <-ctx.Done():
			return "", ended(ctx, first(targets), egress.PhaseHandshake)
		}
	}
}

func first(hosts []egress.Host) egress.Host {
	if len(hosts) == 0 {
		return ""
	}
	return hosts[0]
}

// exchange sends the command, has it run and brings the reply back.
func (c *client) exchange(ctx context.Context, req *egress.Request) (egress.Doc, *egress.ResponseOnAny) {
	if err := c.transfer(ctx, c.place, req.Target); err != nil {
		return nil, err
	}
	handler, err := c.pass(ctx, req.Target)
	if err != nil {
		return nil, err
	}
	type answer struct {
		doc egress.Doc
		ok  bool
	}
	got := make(chan answer, 1)
	work, stop := context.WithCancel(ctx)
	defer stop()
	c.running.Go(func() {
		doc, ok := handler(work, req)
		got <- answer{doc, ok}
	})
	var a answer
	for waiting := true; waiting; {
		v, _, change := c.net.look(c.place, req.Target)
		if v == refused {
			return nil, cut(req.Target)
		}
		select {
		case a = <-got:
			waiting = false
		case <-change:
		case <-ctx.Done():
			return nil, ended(ctx, req.Target, egress.PhaseCommand)
		}
	}
	if !a.ok {
		if ctx.Err() != nil {
			return nil, ended(ctx, req.Target, egress.PhaseCommand)
		}
		return nil, cut(req.Target)
	}
	if err := c.transfer(ctx, req.Target, c.place); err != nil {
		return nil, err
	}
	if _, err := c.pass(ctx, req.Target); err != nil {
		return nil, err
	}
	return a.doc, nil
}

// transfer takes the time of one message.
func (c *client) transfer(ctx context.Context, from, to egress.Host) *egress.ResponseOnAny {
	delay, lost := c.net.travel(from, to)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ended(ctx, to, egress.PhaseCommand)
	}
	if lost {
		return cut(to)
	}
	return nil
}

// pass waits until a message gets through to or from the host.
func (c *client) pass(ctx context.Context, target egress.Host) (Handler, *egress.ResponseOnAny) {
	for {
		v, handler, change := c.net.look(c.place, target)
		switch v {
		case delivered:
			return handler, nil
		case refused:
			return nil, cut(target)
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ended(ctx, target, egress.PhaseCommand)
		}
	}
}

// Stream implements egress.Network. Simulated hosts do not stream: there is one response.
func (c *client) Stream(ctx context.Context, req *egress.RequestOnAny) iter.Seq[egress.ResponseOnAny] {
	return func(yield func(egress.ResponseOnAny) bool) { yield(c.Run(ctx, req)) }
}

func failed(h egress.Host, code egress.Code, phase egress.Phase, err error) egress.ResponseOnAny {
	return egress.ResponseOnAny{Response: egress.Response{
		Status: &egress.StatusError{Code: code, Host: h, Phase: phase, Message: "simulated", Err: err},
	}}
}

func cut(h egress.Host) *egress.ResponseOnAny {
	r := failed(h, mongoerr.HostUnreachable, egress.PhaseCommand, errors.New("connection was cut"))
	return &r
}

// ended says why a context has ended.
func ended(ctx context.Context, h egress.Host, phase egress.Phase) *egress.ResponseOnAny {
	code := mongoerr.NetworkInterfaceExceededTimeLimit
	switch {
	case context.Cause(ctx) == errClosed:
		code = mongoerr.ShutdownInProgress
	case errors.Is(ctx.Err(), context.Canceled):
		code = mongoerr.CallbackCanceled
	}
	r := failed(h, code, phase, context.Cause(ctx))
	return &r
}
