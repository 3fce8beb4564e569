package copier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Doc is the bytes of a BSON document.
type Doc = bsonval.Doc

// peer is one of the two servers.
type peer struct {
	client *egress.Client
	what   string // "source" or "target"
	hello  *egress.Hello
}

// open makes a client and waits for a server.
func open(ctx context.Context, uri, what string) (*peer, error) {
	u, err := egress.ParseURI(uri)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if u.AppName == "" {
		u.AppName = "archelon copy"
	}
	cfg, err := u.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if u.ServerSelectionTimeout == 0 {
		cfg.ServerSelectionTimeout = 10 * time.Second
	}
	client, err := egress.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	p := &peer{client: client, what: what}
	r := client.Run(ctx, &egress.Operation{Command: egress.Command{DB: "admin", Body: bsonval.NewBuilder().Int32("hello", 1).Build()}})
	if err := r.Err(); err != nil {
		p.close()
		return nil, fmt.Errorf("no %s at %v: %w", what, u.Hosts, err)
	}
	if p.hello, err = egress.ParseHello(r.Body); err != nil {
		p.close()
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return p, nil
}

// close says goodbye, also when the caller's context has ended.
func (p *peer) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	p.client.Close(ctx)
}

// replicated tells servers that have a log and so change streams.
func (p *peer) replicated() bool { return p.hello.SetName != "" || p.hello.Router }

// identity tells one deployment from another.
func (p *peer) identity() string {
	switch {
	case p.hello.SetName != "":
		return fmt.Sprintf("%s/%v", p.hello.SetName, p.hello.Hosts)
	case p.hello.Router:
		return fmt.Sprintf("routers/%v", p.client.Topology().Hosts())
	}
	return fmt.Sprintf("standalone/%v", p.client.Topology().Hosts())
}

// same tells whether two peers are one process.
func (p *peer) same(o *peer) bool {
	a, b := p.hello.TopologyVersion, o.hello.TopologyVersion
	return a != nil && b != nil && a.ProcessID == b.ProcessID
}

// command is a command for a peer.
type command struct {
	db     string
	body   Doc
	docs   []Doc       // of the sequence named list
	list   string      // documents, updates, deletes
	target egress.Host // where the cursor is
}

// run runs a command that may be repeated, and repeats it while the server is gone or in failover. It returns the reply
// and who gave it.
func (p *peer) run(ctx context.Context, c command) (Doc, egress.Host, error) {
	op := &egress.Operation{Command: egress.Command{DB: c.db, Body: c.body}, Target: c.target}
	if c.list != "" {
		op.Sequences = []egress.Sequence{{Name: c.list, Documents: c.docs}}
	}
	since, pause := time.Now(), 50*time.Millisecond
	for {
		r := p.client.Run(ctx, op)
		err := r.Err()
		if err == nil {
			return r.Body, r.Target, nil
		}
		if ctx.Err() != nil {
			return nil, "", ctx.Err()
		}
		if c.target != "" || !passing(err) || time.Since(since) > patience {
			return nil, "", fmt.Errorf("%s: %s: %w", p.what, op.Name(), err)
		}
		if !sleep(ctx, pause) {
			return nil, "", ctx.Err()
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// do is run for commands whose reply does not matter.
func (p *peer) do(ctx context.Context, db string, body Doc) error {
	_, _, err := p.run(ctx, command{db: db, body: body})
	return err
}

// passing tells failures that may pass: of the network, of elections, of servers that are starting or too busy.
func passing(err error) bool {
	var s *egress.StatusError
	if errors.As(err, &s) {
		return s.Code != mongoerr.CallbackCanceled && s.Code != mongoerr.AuthenticationFailed && s.Code != mongoerr.ShutdownInProgress
	}
	if egress.HasLabel(err, mongoerr.LabelRetryableWrite) || egress.HasLabel(err, mongoerr.LabelRetryable) {
		return true
	}
	switch egress.CodeOf(err) {
	case mongoerr.NotWritablePrimary, mongoerr.NotPrimaryNoSecondaryOk, mongoerr.NotPrimaryOrSecondary, mongoerr.PrimarySteppedDown,
		mongoerr.InterruptedDueToReplStateChange, mongoerr.InterruptedAtShutdown, mongoerr.ShutdownInProgress,
		mongoerr.HostUnreachable, mongoerr.HostNotFound, mongoerr.NetworkTimeout, mongoerr.SocketException,
		mongoerr.ReadConcernMajorityNotAvailableYet, mongoerr.WriteConflict:
		return true
	}
	return false
}

// sleep tells whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// now is the source's time: everything that had happened when it was asked. 0: the server has no such time.
func (p *peer) now(ctx context.Context) (uint64, error) {
	reply, _, err := p.run(ctx, command{db: "admin", body: bsonval.NewBuilder().Int32("ping", 1).Build()})
	if err != nil {
		return 0, err
	}
	return timeOf(reply.Lookup("operationTime")), nil
}

// timeOf is a timestamp's bits, 0 for anything else.
func timeOf(v bsonval.Value) uint64 {
	if v.Type() != bsonval.TypeTimestamp {
		return 0
	}
	return uint64(v.Int64())
}

// gone tells errors that say that a collection or an index is not there.
func gone(err error) bool {
	return egress.CodeOf(err) == mongoerr.NamespaceNotFound || egress.CodeOf(err) == mongoerr.IndexNotFound
}

// unknown tells errors of servers that do not have a command or an option of it.
func unknown(err error) bool {
	switch egress.CodeOf(err) {
	case mongoerr.CommandNotFound, mongoerr.NotImplemented, mongoerr.CommandNotSupported, mongoerr.Unauthorized:
		return true
	}
	return false
}
