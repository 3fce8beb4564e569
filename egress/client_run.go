package egress

import (
	"context"
	"iter"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// labelNoWritesPerformed marks errors of retries that have changed nothing, so that the first error tells more.
const labelNoWritesPerformed = "NoWritesPerformed"

// Run runs a command on a suitable server and, if it fails in a way that leaves hope and is safe to repeat, once more on
// another. The response names the server: getMore goes there by Operation.Target.
func (c *Client) Run(ctx context.Context, op *Operation) ResponseOnAny {
	start := time.Now()
	p := c.plan(op)
	r := c.run(ctx, &p, nil)
	r.Elapsed = time.Since(start)
	return r
}

// Call is Run with the memory of a caller: the response's body is valid until Caller.Release or the caller's next Call.
func (c *Client) Call(ctx context.Context, op *Operation, k *Caller) ResponseOnAny {
	start := time.Now()
	k.plan = c.plan(op)
	k.plan.start = start
	r := c.run(ctx, &k.plan, k)
	k.plan, k.req = plan{}, RequestOnAny{}
	r.Elapsed = time.Since(start)
	return r
}

func (c *Client) run(ctx context.Context, p *plan, k *Caller) ResponseOnAny {
	op := p.op
	if op.ReadPreference != nil {
		if err := c.cfg.checkPreference(op.ReadPreference); err != nil {
			return ResponseOnAny{Response: Response{Status: err}}
		}
	}
	defer func() {
		if p.session != nil {
			c.sessions.give(p.session)
		}
	}()
	var last ResponseOnAny
	retries, overloads := 0, 0
	for {
		if retries+overloads > 0 {
			p.start = time.Now()
		}
		r, fatal := c.attempt(ctx, p, k)
		if r.Clean {
			return r
		}
		if retries+overloads > 0 && (fatal || HasLabel(r.Err(), labelNoWritesPerformed)) {
			return last // the first failure tells more than that there was no second try
		}
		if fatal {
			return r
		}
		last = r
		if k != nil {
			last.Body = r.Body.Clone() // the next attempt takes its place
			r.Body = last.Body
		}
		p.selector.avoid = append(p.selector.avoid, r.Target)
		switch {
		case ctx.Err() != nil:
			return r
		case overloaded(&r) && overloads < overloadAttempts && !op.NoRetry:
			overloads++
			if !pause(ctx, overloads) {
				return r
			}
		case retries == 0 && (p.repeatable && c.worthRepeating(p, &r) || p.movable() && unsent(&r)):
			retries++
			p.repeated = true
		default:
			return r
		}
	}
}

// attempt runs the command once. fatal is set if it was not run for want of a server.
func (c *Client) attempt(ctx context.Context, p *plan, k *Caller) (r ResponseOnAny, fatal bool) {
	d, err := c.server(ctx, p)
	if err != nil {
		return ResponseOnAny{Response: Response{Status: err}}, true
	}
	defer c.release(d.Host)
	if p.numbered && p.session == nil {
		if t := c.Topology(); d.Kind == ServerStandalone || !t.sessionsSupported() {
			p.numbered, p.repeatable = false, false
		} else {
			p.session = c.sessions.take(d.Hello.LogicalSessionTimeout)
			p.session.txn++
		}
	}
	if n, ok := c.network.(*PooledNetwork); ok && k != nil {
		r = n.run(ctx, c.request(p, d, k), p.start, k)
	} else {
		r = c.network.Run(ctx, c.request(p, d, nil))
	}
	if r.Target == "" {
		r.Target = d.Host
	}
	c.observe(p, d, &r)
	return r, false
}

// Stream runs a command whose replies may come in a stream, see Network.Stream. It is not repeated.
func (c *Client) Stream(ctx context.Context, op *Operation) iter.Seq[ResponseOnAny] {
	return func(yield func(ResponseOnAny) bool) {
		p := c.plan(op)
		p.repeatable, p.numbered = false, false
		d, err := c.server(ctx, &p)
		if err != nil {
			yield(ResponseOnAny{Response: Response{Status: err}})
			return
		}
		defer c.release(d.Host)
		for r := range c.network.Stream(ctx, c.request(&p, d, nil)) {
			if r.Target == "" {
				r.Target = d.Host
			}
			c.observe(&p, d, &r)
			if !yield(r) {
				return
			}
		}
	}
}

// server picks the server for one attempt.
func (c *Client) server(ctx context.Context, p *plan) (*ServerDescription, error) {
	if p.op.Target == "" {
		return c.acquire(ctx, &p.selector)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.Topology().Servers[p.op.Target]
	switch {
	case c.closed:
		return nil, localError(mongoerr.ShutdownInProgress, "", "client is closed")
	case d == nil:
		return nil, localError(mongoerr.HostNotFound, p.op.Target, "server is not of the deployment")
	}
	c.load[d.Host]++
	return d, nil
}

// observe learns from a response: cluster time, and whether the server is what it was thought to be.
func (c *Client) observe(p *plan, d *ServerDescription, r *ResponseOnAny) {
	if e := statusOf(r.Status); e != nil {
		if p.session != nil && e.Phase == PhaseCommand {
			p.session.broken = true
		}
		p.label(e)
		// A server that is slow to answer a command may be fine; one that is slow to shake hands is not.
		if e.Network() && !e.Stale && (e.Phase == PhaseHandshake || !e.Timeout()) {
			c.distrust(d, e, nil)
		}
		return
	}
	if r.Clean = c.clean(r.Body); r.Clean {
		return
	}
	err, concern := CommandError(r.Body), writeConcernError(r.Body)
	for _, e := range []error{err, concern} {
		if code := CodeOf(e); stateChange(code) {
			version := topologyVersionOf(r.Body.Lookup("topologyVersion"))
			c.distrust(d, e, version)
			if shuttingDown(code) {
				if pool, ok := c.network.(clearer); ok {
					pool.Clear(d.Host, e, false)
				}
			}
		}
	}
}

// clean learns the cluster time of a reply and tells whether that, at a glance, has neither an error nor labels.
func (c *Client) clean(reply Doc) bool {
	ok, clean := false, true
	for it := reply.Iter(); it.Next(); {
		switch it.KeyStr() {
		case "ok":
			ok = it.Value().IsNumber() && it.Value().Truthy()
		case "$clusterTime":
			c.clock.hear(it.Value())
		case "writeConcernError", "errorLabels":
			clean = false
		}
	}
	return ok && clean
}

// label adds the labels that drivers add to network errors.
func (p *plan) label(e *StatusError) {
	if !e.Network() && e.Code != mongoerr.PooledConnectionsDropped {
		return
	}
	add := func(l string) {
		if !slices.Contains(e.Labels, l) {
			e.Labels = append(e.Labels, l)
		}
	}
	switch {
	case p.verb&ends != 0 && p.op.Name() == "commitTransaction":
		add(mongoerr.LabelRetryableWrite)
		add(mongoerr.LabelUnknownTransactionCommit)
	case p.verb&ends != 0:
		add(mongoerr.LabelRetryableWrite)
	case p.inTransaction:
		add(mongoerr.LabelTransientTransaction)
	case p.verb&writes != 0 && p.repeatable:
		add(mongoerr.LabelRetryableWrite)
	}
}

// distrust marks a server unknown, unless what is known of it is newer than the error, and has it looked at.
func (c *Client) distrust(d *ServerDescription, err error, version *TopologyVersion) {
	marked := false
	c.change(func(t *TopologyDescription) *ServerDescription {
		now := t.Servers[d.Host]
		if now == nil || version.olderOrSame(now.TopologyVersion) {
			return nil
		}
		if version == nil && now.Updated.After(d.Updated) && now.TopologyVersion.newerThan(d.TopologyVersion) {
			return nil // it has told news since the command was sent
		}
		marked = true
		return unknownServer(d.Host, err, version, time.Now())
	})
	if marked {
		c.check(d.Host, version == nil)
	}
}

// stateChange tells errors by which a server says that it is not, or not any more, what the client takes it for.
func stateChange(code Code) bool {
	switch code {
	case mongoerr.NotWritablePrimary, mongoerr.NotPrimaryNoSecondaryOk, legacyNotPrimary, mongoerr.NotPrimaryOrSecondary,
		mongoerr.PrimarySteppedDown, mongoerr.InterruptedDueToReplStateChange:
		return true
	}
	return shuttingDown(code)
}

// legacyNotPrimary is the code of old servers.
const legacyNotPrimary Code = 10058

func shuttingDown(code Code) bool {
	return code == mongoerr.InterruptedAtShutdown || code == mongoerr.ShutdownInProgress
}

// retryableRead are the errors after which reads are repeated, besides those of the network.
func retryableRead(code Code) bool {
	switch code {
	case mongoerr.ExceededTimeLimit, mongoerr.ReadConcernMajorityNotAvailableYet, mongoerr.HostNotFound, mongoerr.HostUnreachable,
		mongoerr.NetworkTimeout, mongoerr.SocketException:
		return true
	}
	return stateChange(code)
}

// worthRepeating tells failures that another attempt may not meet.
func (c *Client) worthRepeating(p *plan, r *ResponseOnAny) bool {
	if e := statusOf(r.Status); e != nil {
		return e.Network() || e.Code == mongoerr.PooledConnectionsDropped
	}
	err := CommandError(r.Body)
	if p.verb&reads != 0 {
		return err != nil && retryableRead(CodeOf(err))
	}
	return slices.Contains(labelsIn(r.Body), mongoerr.LabelRetryableWrite)
}

// movable tells operations that any suitable server may run, though they are not safe to repeat.
func (p *plan) movable() bool { return !p.op.NoRetry && p.op.Target == "" && !p.inTransaction }

// unsent tells failures of the way to a server, before the command was sent: whatever the command is, it is safe to turn
// to another server. (The specifications do so for retryable commands only; services have others.)
func unsent(r *ResponseOnAny) bool {
	e := statusOf(r.Status)
	return e != nil && e.Phase != PhaseCommand && (e.Network() || e.Code == mongoerr.PooledConnectionsDropped)
}

// labelsIn are the labels of a reply, whether it tells of an error or of a failed write concern.
func labelsIn(reply Doc) []string { return stringsOf(reply.Lookup("errorLabels")) }

// writeConcernError is the error of a write concern in a reply that is fine otherwise, nil if there is none.
func writeConcernError(reply Doc) error {
	v := reply.Lookup("writeConcernError")
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	code, _ := v.Doc().Lookup("code").AsInt64()
	return mongoerr.New(Code(code), "%s", stringOf(v.Doc().Lookup("errmsg")))
}

// overloaded tells responses of servers that have refused the command for being too busy.
func overloaded(r *ResponseOnAny) bool {
	err := r.Err()
	return HasLabel(err, mongoerr.LabelSystemOverloaded) && HasLabel(err, mongoerr.LabelRetryable)
}

// pause waits before attempt n, by chance up to a bound that doubles each time. It tells whether ctx goes on.
func pause(ctx context.Context, n int) bool {
	most := min(overloadPause<<(n-1), overloadPauseMost)
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
