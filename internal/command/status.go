package command

import (
	"context"
	"os"
	"runtime"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
)

// section is a part of serverStatus.
type section struct {
	name string
	// optional sections are shown to those who ask for them only.
	optional bool
	// replicated sections are shown by members of a replica set only.
	replicated bool
	append     func(cs *Commands, b *bsonval.Builder)
}

// statusSections are the sections of serverStatus, in its order.
func statusSections() []section {
	return []section{
		{name: "asserts", append: appendAsserts}, {name: "catalogStats", append: appendCatalogStats},
		{name: "connections", append: appendConnections}, {name: "electionMetrics", replicated: true, append: appendElections},
		{name: "extra_info", append: appendExtraInfo}, {name: "globalLock", append: appendGlobalLock},
		{name: "locks", append: func(*Commands, *bsonval.Builder) {}},
		{name: "logicalSessionRecordCache", append: appendSessionCache},
		{name: "mirroredReads", optional: true, append: func(_ *Commands, b *bsonval.Builder) { b.Int64("seen", 0).Int64("sent", 0) }},
		{name: "network", append: appendNetwork}, {name: "opLatencies", append: appendLatencies},
		{name: "opcounters", append: appendOpcounters}, {name: "opcountersRepl", append: appendOpcountersRepl},
		{name: "oplog", optional: true, replicated: true, append: appendOplog},
		{name: "oplogTruncation", replicated: true, append: appendOplogTruncation},
		{name: "repl", replicated: true, append: appendRepl}, {name: "storageEngine", append: appendStorageEngine},
		{name: "transactions", append: appendTransactions}, {name: "mem", append: appendMemory},
		{name: "metrics", append: appendMetrics},
	}
}

func runServerStatus(_ context.Context, c *Call) error {
	cs := c.Commands
	now := cs.cfg.Now()
	up := now.Sub(cs.started)
	b := bsonval.NewBuilder().Str("host", cs.hostPort()).Str("version", MongoVersion).Str("process", "mongod")
	b.StartArray("service").Add(bsonval.String("shard")).End()
	b.Int64("pid", int64(os.Getpid())).Double("uptime", float64(int64(up/time.Second)))
	b.Int64("uptimeMillis", up.Milliseconds()).Int64("uptimeEstimate", int64(up/time.Second)).Value("localTime", bsonval.DateTime(now))
	for _, s := range statusSections() {
		asked := c.Req.Body.Lookup(s.name)
		switch {
		case s.replicated && !cs.replicated:
			continue
		case s.optional && (asked.IsMissing() || !asked.Truthy()):
			continue
		case !asked.IsMissing() && !asked.Truthy():
			continue
		}
		b.StartDoc(s.name)
		s.append(cs, b)
		b.End()
	}
	b.StartDoc("archelon").Str("version", cs.cfg.Version).Str("gitVersion", cs.cfg.Commit).Int64("goroutines", int64(runtime.NumGoroutine())).End()
	if m := cs.cfg.Mounted; m != nil {
		if mounts := m.Status(); mounts != nil {
			b.Value("services", bsonval.Array(mounts))
		}
	}
	c.Reply.AppendDoc(b.Build())
	return nil
}

// hostPort is the host and, unless it is the usual one, the port.
func (cs *Commands) hostPort() string {
	if cs.cfg.Server != nil {
		if s := cs.cfg.Server(); s != nil {
			return withPort(cs.host, tcpPort(s.Addrs()))
		}
	}
	return cs.host
}

func appendAsserts(cs *Commands, b *bsonval.Builder) {
	b.Int32("regular", 0).Int32("warning", 0).Int32("msg", 0).Int32("user", int32(cs.stats.failed.Load())).
		Int32("tripwire", int32(cs.panics())).Int32("rollovers", 0)
}

func (cs *Commands) panics() int64 {
	if m := cs.serverMetrics(); m != nil {
		return m.HandlerPanics.Load()
	}
	return 0
}

func appendCatalogStats(cs *Commands, b *bsonval.Builder) {
	var collections, capped, clustered, views, internal int32
	snap := cs.cfg.DB.Catalog()
	for _, db := range snap.Databases() {
		for _, coll := range snap.Collections(db) {
			if coll.Capped != nil {
				capped++
			}
			if coll.Clustered {
				clustered++
			}
			switch {
			case coll.Type == catalog.TypeView:
				views++
			case db == "local" || db == "config" || db == "admin":
				internal++
			default:
				collections++
			}
		}
	}
	b.Int32("collections", collections).Int32("capped", capped).Int32("clustered", clustered).Int32("timeseries", 0).Int32("views", views).
		Int32("internalCollections", internal).Int32("internalViews", 0)
}

func appendConnections(cs *Commands, b *bsonval.Builder) {
	m := cs.serverMetrics()
	if m == nil {
		b.Int32("current", 0).Int32("available", 0).Int32("totalCreated", 0)
		return
	}
	current := m.ConnectionsCurrent.Load()
	hello := cs.cfg.Hello
	b.Int32("current", int32(current)).Int32("available", int32(max(int64(cs.cfg.Server().MaxConnections())-current, 0)))
	b.Int32("totalCreated", int32(m.ConnectionsTotal.Load())).Int32("rejected", int32(m.ConnectionsRejected.Load()))
	b.Int32("active", int32(m.ConnectionsActive.Load())).Int32("threaded", int32(current))
	b.Int32("exhaustIsMaster", 0).Int32("exhaustHello", int32(hello.Streaming.Load())).Int32("awaitingTopologyChanges", int32(hello.Awaiting.Load()))
}

func appendElections(_ *Commands, b *bsonval.Builder) {
	for _, name := range []string{"stepUpCmd", "priorityTakeover", "catchUpTakeover", "electionTimeout", "freezeTimeout"} {
		b.StartDoc(name).Int64("called", 0).Int64("successful", 0).End()
	}
	b.Int64("numStepDownsCausedByHigherTerm", 0).Int64("numCatchUps", 0)
}

func appendExtraInfo(_ *Commands, b *bsonval.Builder) {
	u := processUsage()
	b.Str("note", "fields vary by platform").Int64("user_time_us", u.userMicros).Int64("system_time_us", u.systemMicros)
	b.Int64("maximum_resident_set_kb", u.maxResident>>10).Int64("page_faults", u.majorFaults).Int64("page_reclaims", u.minorFaults)
	b.Int64("voluntary_context_switches", u.voluntary).Int64("involuntary_context_switches", u.involuntary)
	b.Int64("threads", int64(runtime.NumGoroutine()))
}

func appendGlobalLock(cs *Commands, b *bsonval.Builder) {
	b.Int64("totalTime", cs.cfg.Now().Sub(cs.started).Microseconds())
	b.StartDoc("currentQueue").Int32("total", 0).Int32("readers", 0).Int32("writers", 0).End()
	var readers, writers int32
	cs.operations.Each(func(op *operation) {
		if op.command.Retryable {
			writers++
		} else if op.command.ReadConcern || op.command.Name == "getMore" {
			readers++
		}
	})
	b.StartDoc("activeClients").Int32("total", readers+writers).Int32("readers", readers).Int32("writers", writers).End()
}

func appendSessionCache(cs *Commands, b *bsonval.Builder) {
	n := cs.cfg.Sessions.JobCounts()
	b.Int32("activeSessionsCount", int32(cs.cfg.Sessions.Len())).Int32("sessionsCollectionJobCount", int32(n.Passes))
	if !n.LastStart.IsZero() {
		b.Int32("lastSessionsCollectionJobDurationMillis", int32(n.LastTook.Milliseconds())).
			Value("lastSessionsCollectionJobTimestamp", bsonval.DateTime(n.LastStart)).
			Int32("lastSessionsCollectionJobEntriesEnded", int32(n.LastEnded))
	}
	b.Int32("transactionReaperJobCount", int32(n.RecordPasses)).
		Int32("lastTransactionReaperJobEntriesCleanedUp", int32(n.RecordsRemoved)).
		Int32("sessionCatalogSize", int32(cs.cfg.Sessions.Len()))
}

func appendNetwork(cs *Commands, b *bsonval.Builder) {
	m := cs.serverMetrics()
	if m == nil {
		return
	}
	in, out := m.BytesIn.Load(), m.BytesOut.Load()
	b.Int64("bytesIn", in).Int64("bytesOut", out).Int64("physicalBytesIn", in).Int64("physicalBytesOut", out)
	b.Int64("numSlowDNSOperations", 0).Int64("numSlowSSLOperations", 0).Int64("numRequests", m.Requests.Load())
	b.Int64("numRequestsRefused", m.RequestsRefused.Load()).Int64("requestBytesInFlight", m.RequestBytesInFlight.Load())
}

func appendLatencies(cs *Commands, b *bsonval.Builder) {
	for _, l := range []struct {
		name string
		l    *latency
	}{{"reads", &cs.stats.reads}, {"writes", &cs.stats.writes}, {"commands", &cs.stats.others}} {
		b.StartDoc(l.name).Int64("latency", l.l.micros.Load()).Int64("ops", l.l.ops.Load()).End()
	}
}

func appendOpcounters(cs *Commands, b *bsonval.Builder) {
	s := &cs.stats
	b.Int64("insert", s.inserts.Load()).Int64("query", s.queries.Load()).Int64("update", s.updates.Load()).
		Int64("delete", s.deletes.Load()).Int64("getmore", s.getMores.Load()).Int64("command", s.commands.Load())
}

func appendOpcountersRepl(_ *Commands, b *bsonval.Builder) {
	for _, name := range []string{"insert", "query", "update", "delete", "getmore", "command"} {
		b.Int64(name, 0)
	}
}

func appendStorageEngine(cs *Commands, b *bsonval.Builder) {
	st := cs.cfg.DB.Engine().Stats()
	b.Str("name", st.Engine).Bool("supportsCommittedReads", true).Bool("supportsSnapshotReadConcern", true).
		Bool("readOnly", false).Bool("persistent", st.Engine != "memory")
	b.Int64("cacheBytes", st.CacheBytes).Int64("cacheMaxBytes", st.CacheMaxBytes).Int64("diskBytes", st.DiskBytes)
	b.Int64("commits", st.Commits).Int64("conflicts", st.Conflicts).Int64("openTransactions", st.OpenTxns).Int64("journalSyncs", st.WALSyncs)
}

func appendTransactions(cs *Commands, b *bsonval.Builder) {
	b.Int64("retriedCommandsCount", cs.stats.retriedCommands.Load()).Int64("retriedStatementsCount", cs.stats.retriedStatements.Load())
	n := cs.cfg.Sessions.TransactionCounts()
	b.Int64("transactionsCollectionWriteCount", n.Stored).Int64("currentActive", n.Active).
		Int64("currentInactive", n.Open-n.Active).Int64("currentOpen", n.Open).Int64("totalAborted", n.Aborted).
		Int64("totalCommitted", n.Committed).Int64("totalStarted", n.Started).Int64("totalPrepared", 0)
}

func appendMemory(_ *Commands, b *bsonval.Builder) {
	resident, virtual := processMemory()
	b.Int32("bits", 64).Int32("resident", int32(resident>>20)).Int32("virtual", int32(virtual>>20)).Bool("supported", true)
}
