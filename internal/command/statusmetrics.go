package command

import "github.com/archelon-db/archelon/internal/bsonval"

// appendMetrics is a section of serverStatus: counters of what was done since the start.
func appendMetrics(cs *Commands, b *bsonval.Builder) {
	m := &cs.cfg.DB.Metrics
	appendChangeStreamMetrics(cs, b)
	b.StartDoc("commands").Int64("<UNKNOWN>", cs.stats.unknown.Load())
	for _, row := range cs.rows {
		b.StartDoc(row.Name).Int64("failed", row.counts.failed.Load()).Int64("total", row.counts.total.Load()).End()
	}
	b.End()
	open, noTimeout, timedOut := cs.cfg.DB.CursorCounts()
	b.StartDoc("cursor").Int64("timedOut", timedOut).StartDoc("open").Int64("noTimeout", noTimeout).Int64("total", open).End().End()
	b.StartDoc("document").Int64("deleted", m.Deleted.Load()).Int64("inserted", m.Inserted.Load()).
		Int64("returned", m.Returned.Load()).Int64("updated", m.Updated.Load()).End()
	b.StartDoc("operation").Int64("writeConflicts", m.WriteConflicts.Load()).End()
	b.StartDoc("queryExecutor").Int64("scanned", m.ScannedKeys.Load()).Int64("scannedObjects", m.ScannedDocs.Load()).
		StartDoc("collectionScans").Int64("total", m.CollectionScans.Load()).End().End()
	if cs.replicated {
		appendReplMetrics(cs, b)
	}
}

func appendChangeStreamMetrics(cs *Commands, b *bsonval.Builder) {
	m := &cs.cfg.DB.Metrics
	b.StartDoc("changeStreams").Int64("largeEventsFailed", m.EventsTooLarge.Load()).Int64("largeEventsSplit", m.EventsSplit.Load()).
		Int64("showExpandedEvents", m.ExpandedStreams.Load())
	b.StartDoc("cursor").Int64("totalOpened", m.ChangeStreams.Load()).
		StartDoc("open").Int64("total", m.OpenStreams.Load()).End().End().End()
}

// appendReplMetrics appends what replication did. A member that is alone fetches and applies nothing; others may read its
// log.
func appendReplMetrics(cs *Commands, b *bsonval.Builder) {
	counted := func(name string, l *latency) {
		b.StartDoc(name).Int64("num", l.ops.Load()).Int64("totalMillis", l.micros.Load()/1000).End()
	}
	b.StartDoc("repl").StartDoc("apply")
	counted("batches", &latency{})
	b.Int64("ops", 0).End()
	b.StartDoc("network").Int64("bytes", 0)
	counted("getmores", &latency{})
	b.Int64("ops", 0)
	counted("oplogGetMoresProcessed", &cs.stats.oplogGetMores)
	b.Int64("readersCreated", 0).End().End()
}
