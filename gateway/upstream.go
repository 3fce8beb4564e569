package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
)

// farewell bounds the end of an upstream's sessions.
const farewell = 2 * time.Second

// upstream is an open Upstream.
type upstream struct {
	name   string
	cfg    Upstream
	client *egress.Client

	running, total, failed atomic.Int64
}

// open makes the client of an upstream. It does not wait for a server.
func open(name string, cfg Upstream, log *slog.Logger) (*upstream, error) {
	cc, err := clientConfig(cfg.URI)
	if err != nil {
		return nil, err
	}
	cc.OnTopology = func(old, now *egress.TopologyDescription) {
		for h, s := range now.Servers {
			if was := old.Servers[h]; was == nil || was.Kind != s.Kind {
				if s.Err != nil {
					log.Warn("upstream server is lost", "upstream", name, "host", string(h), "error", s.Err)
				} else if s.Kind != egress.ServerUnknown {
					log.Info("upstream server is there", "upstream", name, "host", string(h), "kind", string(s.Kind))
				}
			}
		}
	}
	client, err := egress.NewClient(cc)
	if err != nil {
		return nil, err
	}
	return &upstream{name: name, cfg: cfg, client: client}, nil
}

// run runs an operation, with the memory of a caller if k is not nil.
func (u *upstream) run(ctx context.Context, op *egress.Operation, k *egress.Caller) (r egress.ResponseOnAny) {
	u.running.Add(1)
	defer u.running.Add(-1)
	u.total.Add(1)
	if k != nil {
		r = u.client.Call(ctx, op, k)
	} else {
		r = u.client.Run(ctx, op)
	}
	if r.Status != nil {
		u.failed.Add(1)
	}
	return r
}

// ask runs a command of the gateway's own.
func (u *upstream) ask(ctx context.Context, db string, body bsonval.Doc, target egress.Host) egress.ResponseOnAny {
	return u.run(ctx, &egress.Operation{Command: egress.Command{DB: db, Body: body}, Target: target}, nil)
}

// kind is what the upstream has turned out to be.
func (u *upstream) kind() egress.TopologyKind { return u.client.Topology().Kind }

// standalone tells an upstream that knows no numbers of transactions. One that nobody
// has heard of yet is asked.
func (u *upstream) standalone(ctx context.Context) bool {
	kind := u.server()
	if kind == egress.ServerUnknown {
		u.ask(ctx, "admin", bsonval.NewBuilder().Int32("ping", 1).Build(), "")
		kind = u.server()
	}
	return kind == egress.ServerStandalone
}

// server is what an upstream of one server is; ServerUnknown as long as that, or what the
// upstream is, is not known.
func (u *upstream) server() egress.ServerKind {
	t := u.client.Topology()
	if t.Kind != egress.TopologySingle && t.Kind != egress.TopologyUnknown {
		return egress.ServerRouter // which knows them, as members do
	}
	for _, s := range t.Servers {
		return s.Kind
	}
	return egress.ServerUnknown
}

// close ends the upstream.
func (u *upstream) close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	u.client.Close(ctx)
}
