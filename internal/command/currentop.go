package command

import (
	"context"
	"fmt"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/session"
)

// currentOps describes the running operations.
func (cs *Commands) currentOps() []bsonval.Doc {
	now := cs.cfg.Now()
	var list []bsonval.Doc
	cs.operations.each(func(op *operation) { list = append(list, cs.describe(op, now.Sub(op.started).Microseconds())) })
	return list
}

// describe is one operation as $currentOp shows it. It copies what belongs to the operation.
func (cs *Commands) describe(op *operation, micros int64) bsonval.Doc {
	b := bsonval.NewBuilder()
	b.Str("type", "op").Str("host", cs.host)
	b.Str("desc", fmt.Sprintf("conn%d", op.conn.ID())).Int32("connectionId", int32(op.conn.ID()))
	b.Str("client", clientAddress(op.conn.RemoteAddr()))
	if meta := op.conn.Metadata(); meta != nil {
		if app := meta.LookupPath("application", "name"); !app.IsMissing() {
			b.Value("appName", app)
		}
		b.Doc("clientMetadata", meta)
	}
	b.Bool("active", true).Str("currentOpTime", op.started.UTC().Format("2006-01-02T15:04:05.000+00:00"))
	b.Bool("isFromUserConnection", true).Bool("threaded", true).Int32("opid", op.id)
	if op.lsid != nil {
		b.Doc("lsid", op.lsid)
	}
	b.Int64("secs_running", micros/1e6).Int64("microsecs_running", micros)
	kind := "command"
	switch op.command.Name {
	case "insert", "update", "find", "getMore":
		kind = map[string]string{"insert": "insert", "update": "update", "find": "query", "getMore": "getmore"}[op.command.Name]
	case "delete":
		kind = "remove"
	}
	ns := op.db + ".$cmd"
	if op.coll != "" {
		ns = op.db + "." + op.coll
	}
	b.Str("op", kind).Str("ns", ns).Bool("redacted", false)
	b.StartDoc("command")
	it := op.body.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "$clusterTime", "documents", "updates", "deletes", "ops":
		default:
			b.Value(string(it.Key()), it.Value())
		}
	}
	b.End()
	if op.ctx.killed.Load() != nil {
		b.Bool("killPending", true)
	}
	b.Int32("numYields", 0).StartDoc("locks").End().Bool("waitingForLock", false).StartDoc("lockStats").End()
	b.Bool("waitingForFlowControl", false).StartDoc("flowControlStats").End()
	return b.Build()
}

func runCurrentOp(_ context.Context, c *Call) error {
	// The arguments are a filter on the operations, but for these.
	filter := bsonval.NewBuilder()
	it := c.Req.Body.Iter()
	it.Next()
	for it.Next() {
		v := it.Value()
		var g generic
		if known, _ := g.set(it.Key(), v); known {
			continue
		}
		switch it.KeyStr() {
		case "$all", "$ownOps", "$truncateOps":
		default:
			filter.Value(string(it.Key()), v)
		}
	}
	m, err := match.Compile(filter.Build(), match.Options{})
	if err != nil {
		return err
	}
	b := bsonval.NewBuilder().StartArray("inprog")
	for _, d := range c.Commands.currentOps() {
		ok, err := m.Match(nil, d)
		if err != nil {
			return err
		}
		if ok {
			b.Add(bsonval.Document(d))
		}
	}
	c.Reply.AppendDoc(b.End().Build())
	return nil
}

func runKillOp(_ context.Context, c *Call) error {
	id := c.Int64("op", 0)
	c.Commands.operations.kill(func(op *operation) bool { return int64(op.id) == id })
	c.Append("info", bsonval.String("attempting to kill op"))
	return nil
}

// systemStage opens the stages that tell about the server as a whole.
func (cs *Commands) systemStage(_ context.Context, ns database.Namespace, stage string, arg bsonval.Doc) (pipeline.Source, error) {
	switch stage {
	case "$currentOp":
		return cs.currentOpStage(ns, arg)
	case "$listLocalSessions", "$listSessions":
		if users := arg.Lookup("users"); users.Type() == bsonval.TypeArray && !users.Doc().IsEmpty() {
			return &docSource{}, nil // without authentication no session belongs to a user
		}
		return &docSource{docs: cs.sessionDocs()}, nil
	}
	return nil, mongoerr.New(mongoerr.NotImplemented, "stage %s is not implemented", stage)
}

func (cs *Commands) currentOpStage(ns database.Namespace, arg bsonval.Doc) (pipeline.Source, error) {
	if ns.DB != "admin" || ns.Coll != "" {
		return nil, mongoerr.New(mongoerr.InvalidNamespace, "$currentOp must be run against the 'admin' database with {aggregate: 1}")
	}
	for _, option := range []string{"idleCursors", "backtrace", "targetAllNodes"} {
		if arg.Lookup(option).Truthy() {
			return nil, mongoerr.New(mongoerr.NotImplemented, "'$currentOp.%s' is not implemented", option)
		}
	}
	return &docSource{docs: cs.currentOps()}, nil
}

func (cs *Commands) sessionDocs() []bsonval.Doc {
	var docs []bsonval.Doc
	cs.cfg.Sessions.Each(func(s *session.Session) {
		id := s.ID()
		docs = append(docs, bsonval.NewBuilder().StartDoc("_id").Value("id", bsonval.Binary(4, id.UUID[:])).
			Value("uid", bsonval.Binary(0, id.UID[:])).End().Value("lastUse", bsonval.DateTime(s.LastUse())).Build())
	})
	return docs
}

// docSource is a stream of documents in memory.
type docSource struct{ docs []bsonval.Doc }

func (s *docSource) Next(context.Context) (bsonval.Doc, error) {
	if len(s.docs) == 0 {
		return nil, io.EOF
	}
	d := s.docs[0]
	s.docs = s.docs[1:]
	return d, nil
}

func (s *docSource) Close() error {
	s.docs = nil
	return nil
}
