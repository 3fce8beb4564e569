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
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
)

// currentOps describes the running operations.
func (cs *Commands) currentOps() []bsonval.Doc {
	now := cs.cfg.Now()
	var list []bsonval.Doc
	cs.operations.Each(func(op *operation) { list = append(list, cs.describe(op, now.Sub(op.started).Microseconds())) })
	return list
}

// opTimeFormat is how $currentOp writes times.
const opTimeFormat = "2006-01-02T15:04:05.000+00:00"

// describeConn begins the description of an operation with its connection.
func (cs *Commands) describeConn(c *server.Conn) *bsonval.Builder {
	b := bsonval.NewBuilder().Str("type", "op").Str("host", cs.host)
	b.Str("desc", fmt.Sprintf("conn%d", c.ID())).Int32("connectionId", int32(c.ID())).Str("client", clientAddress(c.RemoteAddr()))
	if meta := c.Metadata(); meta != nil {
		if app := meta.LookupPath("application", "name"); !app.IsMissing() {
			b.Value("appName", app)
		}
		b.Doc("clientMetadata", meta)
	}
	appendUser(b, c)
	return b
}

// describe is one operation as $currentOp shows it. It copies what belongs to the operation.
func (cs *Commands) describe(op *operation, micros int64) bsonval.Doc {
	b := cs.describeConn(op.conn)
	b.Bool("active", true).Str("currentOpTime", op.started.UTC().Format(opTimeFormat))
	b.Bool("isFromUserConnection", true).Bool("threaded", true).Int32("opid", op.ID)
	if op.lsid != nil {
		b.Doc("lsid", op.wholeLSID())
	}
	if op.transaction != nil {
		cs.appendTransaction(b, op.transaction)
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
	if op.ctx.Killed() {
		b.Bool("killPending", true)
	}
	b.Int32("numYields", 0)
	appendLocks(b, op.transaction)
	b.Bool("waitingForLock", false).StartDoc("lockStats").End()
	b.Bool("waitingForFlowControl", false).StartDoc("flowControlStats").End()
	return b.Build()
}

// wholeLSID is the name of the operation's session with its user, which clients leave out.
func (op *operation) wholeLSID() bsonval.Doc {
	id, err := sessionID("lsid", bsonval.Document(op.lsid), op.conn.User())
	if err != nil {
		return op.lsid
	}
	return bsonval.NewBuilder().Value("id", bsonval.Binary(4, id.UUID[:])).Value("uid", bsonval.Binary(0, id.UID[:])).Build()
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
	for _, d := range append(c.Commands.currentOps(), c.Commands.idleTransactions()...) {
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
	c.Commands.interrupt(running.ErrInterrupted, func(op *operation) bool { return int64(op.ID) == id })
	c.Append("info", bsonval.String("attempting to kill op"))
	return nil
}

// systemStage opens the stages that tell about the server as a whole.
func (cs *Commands) systemStage(_ context.Context, ns database.Namespace, stage string, arg bsonval.Doc) (pipeline.Source, error) {
	switch stage {
	case "$currentOp":
		return cs.currentOpStage(ns, arg)
	case "$listLocalSessions", "$listSessions":
		var of map[[32]byte]bool // nil for everybody's
		if users := arg.Lookup("users"); users.Type() == bsonval.TypeArray && !users.Doc().IsEmpty() {
			var err error
			if of, err = userDigests(stage+".users", users.Doc()); err != nil {
				return nil, err
			}
		}
		return &docSource{docs: cs.sessionDocs(of)}, nil
	}
	if stage == "$querySettings" {
		return &docSource{}, nil // none can be set
	}
	if stage == "$queryStats" {
		// Nothing is recorded, as in MongoDB unless internalQueryStatsRateLimit has been raised.
		return &docSource{}, nil
	}
	return nil, mongoerr.New(mongoerr.NotImplemented, "stage %s is not implemented", stage)
}

func (cs *Commands) currentOpStage(ns database.Namespace, arg bsonval.Doc) (pipeline.Source, error) {
	if ns.DB != "admin" || ns.Coll != "" {
		return nil, mongoerr.New(mongoerr.InvalidNamespace, "$currentOp must be run against the 'admin' database with {aggregate: 1}")
	}
	for _, option := range []string{"backtrace", "targetAllNodes"} {
		if arg.Lookup(option).Truthy() {
			return nil, mongoerr.New(mongoerr.NotImplemented, "'$currentOp.%s' is not implemented", option)
		}
	}
	docs := cs.currentOps()
	if v := arg.Lookup("idleSessions"); v.IsMissing() || v.Truthy() {
		docs = append(docs, cs.idleTransactions()...)
	}
	if v := arg.Lookup("idleConnections"); !v.IsMissing() && v.Truthy() {
		docs = append(docs, cs.idleConnections()...)
	}
	if v := arg.Lookup("idleCursors"); !v.IsMissing() && v.Truthy() {
		docs = append(docs, cs.idleCursors()...)
	}
	return &docSource{docs: docs}, nil
}

// idleConnections describes the connections on which nothing runs.
func (cs *Commands) idleConnections() []bsonval.Doc {
	var srv *server.Server
	if cs.cfg.Server != nil {
		srv = cs.cfg.Server()
	}
	if srv == nil {
		return nil
	}
	busy := map[*server.Conn]bool{}
	cs.operations.Each(func(op *operation) { busy[op.conn] = true })
	now := cs.cfg.Now().UTC().Format(opTimeFormat)
	var docs []bsonval.Doc
	srv.EachConn(func(c *server.Conn) {
		if !busy[c] {
			b := cs.describeConn(c)
			docs = append(docs, b.Bool("active", false).Str("currentOpTime", now).Build())
		}
	})
	return docs
}

// idleCursors describes the cursors that wait for a getMore.
func (cs *Commands) idleCursors() []bsonval.Doc {
	var docs []bsonval.Doc
	for _, c := range cs.cfg.DB.IdleCursors() {
		b := bsonval.NewBuilder().Str("type", "idleCursor").Str("host", cs.host).Str("ns", c.NS.String())
		if len(c.Owner) > 16 {
			b.StartDoc("lsid").Value("id", bsonval.Binary(4, []byte(c.Owner[:16]))).Value("uid", bsonval.Binary(0, []byte(c.Owner[16:]))).End()
		}
		b.StartDoc("cursor").Int64("cursorId", c.ID).Value("lastAccessDate", bsonval.DateTime(c.IdleSince)).
			Bool("noCursorTimeout", c.NoTimeout).Bool("tailable", c.Tailable).Bool("awaitData", c.AwaitData).End()
		docs = append(docs, b.Build())
	}
	return docs
}

// sessionDocs describes the sessions of users, by their digests; nil stands for all.
func (cs *Commands) sessionDocs(of map[[32]byte]bool) []bsonval.Doc {
	var docs []bsonval.Doc
	cs.cfg.Sessions.Each(func(s *session.Session) {
		id := s.ID()
		if of != nil && !of[id.UID] {
			return
		}
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
