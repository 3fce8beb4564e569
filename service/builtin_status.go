package service

import (
	"os"
	"runtime"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// statusSections are the sections of serverStatus, in its order.
var statusSections = []struct {
	name   string
	append func(s *Service, m *server.Server, b *bsonval.Builder)
}{
	{"connections", appendConnections}, {"network", appendNetwork}, {"opcounters", appendOpcounters}, {"service", appendService},
	{"metrics", appendMetrics},
}

// serverStatus tells the counters. An argument with a section's name and false leaves it out.
func (s *Service) serverStatus(_ *opContext, c *Call, _ bson.Raw) error {
	now := time.Now()
	up := now.Sub(s.started)
	b := bsonval.NewBuilder().Str("host", s.host).Str("version", MongoVersion).Str("process", s.name)
	b.Int64("pid", int64(os.Getpid())).Double("uptime", float64(int64(up/time.Second))).Int64("uptimeMillis", up.Milliseconds()).
		Int64("uptimeEstimate", int64(up/time.Second)).Value("localTime", bsonval.DateTime(now))
	srv := c.req.Conn.Server()
	for _, section := range statusSections {
		if asked := c.args.Lookup(section.name); !asked.IsMissing() && !asked.Truthy() {
			continue
		}
		b.StartDoc(section.name)
		section.append(s, srv, b)
		b.End()
	}
	c.reply.AppendDoc(b.Build())
	return nil
}

func appendConnections(s *Service, srv *server.Server, b *bsonval.Builder) {
	if srv == nil {
		return
	}
	m := srv.Metrics()
	current := m.ConnectionsCurrent.Load()
	b.Int32("current", int32(current)).Int32("available", int32(max(int64(srv.MaxConnections())-current, 0)))
	b.Int32("totalCreated", int32(m.ConnectionsTotal.Load())).Int32("rejected", int32(m.ConnectionsRejected.Load()))
	b.Int32("active", int32(m.ConnectionsActive.Load())).Int32("threaded", int32(current))
	b.Int32("exhaustIsMaster", 0).Int32("exhaustHello", int32(s.hello.Streaming.Load())).Int32("awaitingTopologyChanges", int32(s.hello.Awaiting.Load()))
}

func appendNetwork(_ *Service, srv *server.Server, b *bsonval.Builder) {
	if srv == nil {
		return
	}
	m := srv.Metrics()
	b.Int64("bytesIn", m.BytesIn.Load()).Int64("bytesOut", m.BytesOut.Load()).Int64("numRequests", m.Requests.Load()).
		Int64("numRequestsRefused", m.RequestsRefused.Load()).Int64("requestBytesInFlight", m.RequestBytesInFlight.Load())
}

func appendOpcounters(s *Service, _ *server.Server, b *bsonval.Builder) {
	var commands, getMores int64
	for _, r := range s.table.rows() {
		if r.Name == "getMore" {
			getMores = r.counts.total.Load()
			continue
		}
		commands += r.counts.total.Load()
	}
	b.Int64("insert", 0).Int64("query", 0).Int64("update", 0).Int64("delete", 0).Int64("getmore", getMores).Int64("command", commands)
}

func appendService(s *Service, _ *server.Server, b *bsonval.Builder) {
	b.Str("name", s.name).Str("version", s.cfg.Version).Str("phase", phaseNames[s.phase.Load()]).Int64("active", s.running())
	b.Int64("goroutines", int64(runtime.NumGoroutine()))
}

func appendMetrics(s *Service, _ *server.Server, b *bsonval.Builder) {
	b.StartDoc("commands").Int64(server.UnknownCommand, s.unknown.Load())
	for _, r := range s.sortedRows() {
		n := &r.counts
		b.StartDoc(r.Name).Int64("failed", n.failed.Load()).Int64("total", n.total.Load()).Int64("running", n.running.Load()).
			Int64("latencyMicros", n.micros.Load()).Int64("panics", n.panics.Load())
		if r.Once {
			b.Int64("replayed", n.replayed.Load())
		}
		if r.stream() {
			b.Int64("documents", n.documents.Load())
		}
		b.End()
	}
	b.End()
	b.StartDoc("cursor").Int64("timedOut", s.cursors.timed.Load()).Int64("totalOpened", s.cursors.opened.Load()).
		StartDoc("open").Int64("total", int64(s.cursors.len())).End().End()
}
