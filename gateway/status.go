package gateway

import (
	"context"
	"os"
	"slices"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// counted are the commands that serverStatus counts under names of their own, all others are `command`.
var counted = map[string]string{
	"insert": "insert", "find": "query", "update": "update", "delete": "delete", "getMore": "getmore",
}

// opcounters are the names in the order of serverStatus.
var opcounters = [...]string{"insert", "query", "update", "delete", "getmore", "command"}

// count counts a command.
func (g *Gateway) count(command string) {
	name, ok := counted[command]
	if !ok {
		name = "command"
	}
	g.counters[slices.Index(opcounters[:], name)].Add(1)
}

// serverStatus tells the counters of the gateway and what it knows of the upstreams. Fields that are 0 or false leave the
// section of their name out.
func (g *Gateway) serverStatus(_ context.Context, c *call, reply *server.Reply) error {
	up := g.uptime()
	b := bsonval.NewBuilder().Str("host", hostname()).Str("version", MongoVersion).Str("process", "archelon-gateway").
		Int64("pid", int64(os.Getpid())).Double("uptime", up.Seconds()).Int64("uptimeMillis", up.Milliseconds()).
		Int64("uptimeEstimate", int64(up.Seconds())).Value("localTime", bsonval.DateTime(g.started.Add(up)))
	for _, section := range []struct {
		name   string
		append func(c *call, b *bsonval.Builder)
	}{
		{"connections", connections}, {"network", network}, {"opcounters", g.opcounters}, {"gateway", g.describe},
	} {
		if v := c.req.Body.Lookup(section.name); v.IsMissing() || v.Truthy() {
			b.StartDoc(section.name)
			section.append(c, b)
			b.End()
		}
	}
	reply.AppendDoc(b.Build())
	return nil
}

func connections(c *call, b *bsonval.Builder) {
	if s := c.req.Conn.Server(); s != nil {
		m := s.Metrics()
		current := m.ConnectionsCurrent.Load()
		b.Int32("current", int32(current)).Int32("available", int32(int64(s.MaxConnections())-current)).
			Int64("totalCreated", m.ConnectionsTotal.Load()).Int64("rejected", m.ConnectionsRejected.Load()).
			Int32("active", int32(m.ConnectionsActive.Load()))
	}
}

func network(c *call, b *bsonval.Builder) {
	if s := c.req.Conn.Server(); s != nil {
		m := s.Metrics()
		b.Int64("bytesIn", m.BytesIn.Load()).Int64("bytesOut", m.BytesOut.Load()).Int64("numRequests", m.Requests.Load())
	}
}

func (g *Gateway) opcounters(_ *call, b *bsonval.Builder) {
	for i, name := range opcounters {
		b.Int64(name, g.counters[i].Load())
	}
}

// describe appends the section on the gateway.
func (g *Gateway) describe(_ *call, b *bsonval.Builder) {
	t := g.table.Load()
	b.Int32("routes", int32(len(t.routes))).Int64("cursors", int64(g.cursors.open(nil))).
		Int64("transactions", int64(g.pins.open(nil))).Int64("running", g.running.Load()).Bool("stopping", g.refusing.Load())
	b.StartDoc("upstreams")
	for _, u := range t.all() {
		b.StartDoc(u.name)
		u.describe(b)
		b.Int64("cursors", int64(g.cursors.open(u))).Int64("transactions", int64(g.pins.open(u))).End()
	}
	b.End()
}

// Cursors counts the cursors that clients have open through the gateway.
func (g *Gateway) Cursors() int { return g.cursors.open(nil) }

// describe appends what is known of an upstream.
func (u *upstream) describe(b *bsonval.Builder) {
	t := u.client.Topology()
	b.Str("topology", string(t.Kind)).Bool("draining", u.cfg.Drain).Int64("running", u.running.Load()).
		Int64("commands", u.total.Load()).Int64("failed", u.failed.Load())
	pools := map[egress.Host]egress.HostMetrics{}
	if n, ok := u.client.Network().(*egress.PooledNetwork); ok {
		for _, m := range n.Pool().Metrics() {
			pools[m.Host] = m
		}
	}
	b.StartDoc("servers")
	for _, h := range t.Hosts() {
		s := t.Servers[h]
		b.StartDoc(string(h)).Str("kind", string(s.Kind)).Bool("healthy", s.Kind != egress.ServerUnknown)
		if s.Err != nil {
			b.Str("error", s.Err.Error())
		} else {
			b.Double("roundTripMillis", s.RTT.Seconds()*1000)
		}
		m := pools[h]
		b.Int32("connectionsInUse", int32(m.InUse)).Int32("connectionsIdle", int32(m.Available)).
			Int32("connectionsPending", int32(m.Connecting+m.Refreshing)).Int32("waiting", int32(m.Waiting)).
			Int64("connectionsCreated", m.Created).End()
	}
	b.End()
}
