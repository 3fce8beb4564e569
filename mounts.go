package archelon

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/command"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
	"github.com/archelon-db/archelon/service"
)

// mounted is a mount that answers.
type mounted struct {
	Mount
	handler server.Handler
	close   func() // may be called again; nil for nothing to close

	running, total, failed atomic.Int64

	// leaving is set when the mount takes no new commands, see DB.Unmount.
	leaving atomic.Bool
	// stop ends its loops, and loops tells when they have ended; nil if there are none.
	stop  context.CancelFunc
	loops chan struct{}
}

// runner has loops of its own, such as those of subprocesses.
type runner interface{ Run(ctx context.Context) }

// drainer ends its work in order.
type drainer interface {
	Drain(ctx context.Context) error
}

// accessible says itself who may run its commands.
type accessible interface {
	Access(db, command string) auth.Access
}

// mounts hands commands to who answers them: what is mounted, or the database. It is the handler of the server.
type mounts struct {
	// commands are the database's, next is what answers them.
	commands *command.Commands
	next     server.Handler
	// hostNames are the database's own commands as they are written, by name in lower case.
	hostNames map[string]string
	table     atomic.Pointer[mountTable]

	mu   sync.Mutex // serialises changes of table; guards the fields below
	loop context.Context
	// closed is set when nothing can be mounted any more.
	closed bool
	loops  sync.WaitGroup
}

var (
	_ server.Handler  = (*mounts)(nil)
	_ command.Mounted = (*mounts)(nil)
)

func newMounts() *mounts {
	m := &mounts{}
	m.table.Store(&mountTable{})
	return m
}

// serve makes the mounts stand before the commands of the database.
func (m *mounts) serve(commands *command.Commands, next server.Handler) {
	m.commands, m.next, m.hostNames = commands, next, map[string]string{}
	for _, name := range commands.Names() {
		m.hostNames[strings.ToLower(name)] = name
	}
}

// run runs the loops of what is mounted, now or later, until ctx ends.
func (m *mounts) run(ctx context.Context) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loop = ctx
	for _, x := range m.table.Load().all {
		m.start(ctx, x)
	}
}

// drain refuses new work for what is mounted and lets what runs finish until ctx ends.
func (m *mounts) drain(ctx context.Context) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	all := m.table.Load().all
	errs := make([]error, len(all))
	var work sync.WaitGroup
	for i, x := range all {
		if d, ok := x.handler.(drainer); ok {
			work.Go(func() { errs[i] = d.Drain(ctx) })
		}
	}
	work.Wait()
	return errors.Join(errs...)
}

// end closes what is mounted. It is called once, when nothing is served any more and the context of run has ended.
func (m *mounts) end() {
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.drain(gone) // what was never served
	m.loops.Wait()
	for _, x := range m.table.Load().all {
		if x.close != nil {
			x.close()
		}
	}
}

// Handle implements server.Handler.
func (m *mounts) Handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	t := m.table.Load()
	if len(t.all) == 0 {
		return m.next.Handle(ctx, req, reply)
	}
	x := m.find(t, req)
	if x == nil {
		if req.Command == "endSessions" {
			t.endSessions(ctx, req)
		}
		return m.next.Handle(ctx, req, reply)
	}
	return m.call(ctx, x, req, reply)
}

// find returns the mount that answers a command, nil for the database.
func (m *mounts) find(t *mountTable, req *server.Request) *mounted {
	if x := t.whole[req.DB]; x != nil {
		if ownCommands[req.Command] || x.leaving.Load() && !ofCursor[req.Command] {
			return nil
		}
		return x
	}
	if len(t.commands) == 0 {
		return nil
	}
	switch req.Command {
	case "getMore":
		return t.cursor(req.DB, req.Body.Lookup("collection"))
	case "killCursors":
		return t.cursor(req.DB, req.Body.Lookup("killCursors"))
	case "find":
		return t.legacyFind(req)
	}
	if m.commands.Known(req.Command) {
		return nil
	}
	return t.newCommand(req.DB, req.Command)
}

// ofCursor are the commands about cursors, which a mount that leaves still answers.
var ofCursor = map[string]bool{"getMore": true, "killCursors": true}

func (t *mountTable) command(db, name string) *mounted {
	name = strings.ToLower(name)
	if x := t.commands[db][name]; x != nil {
		return x
	}
	return t.commands[""][name]
}

// newCommand is command for those that begin something.
func (t *mountTable) newCommand(db, name string) *mounted {
	if x := t.command(db, name); x != nil && !x.leaving.Load() {
		return x
	}
	return nil
}

// access says who may run a command of what is mounted, see auth.Services.
func (m *mounts) access(db, command string) auth.Access {
	t := m.table.Load()
	x := t.whole[db]
	switch {
	case len(t.all) == 0, x != nil && ownCommands[command], x == nil && m.commands.Known(command):
		return auth.ByTable
	case x == nil:
		if x = t.command(db, command); x == nil {
			return auth.ByTable
		}
	}
	if s, ok := x.handler.(accessible); ok {
		return s.Access(db, command)
	}
	if !x.whole() {
		return auth.Callable
	}
	return auth.Remote(command)
}

// commandNamespace begins the collection of a command's cursor.
const commandNamespace = "$cmd."

// cursor returns the mount whose command a cursor is of.
func (t *mountTable) cursor(db string, collection bsonval.Value) *mounted {
	if collection.Type() != bsonval.TypeString {
		return nil
	}
	if name, ok := strings.CutPrefix(collection.Str(), commandNamespace); ok {
		return t.command(db, name)
	}
	return nil
}

// legacyFind returns the mount of a command that comes as the filter of a find on the collection `$cmd`.
func (t *mountTable) legacyFind(req *server.Request) *mounted {
	if _, v, _ := req.Body.First(); v.Type() != bsonval.TypeString || v.Str() != "$cmd" {
		return nil
	}
	filter := req.Body.Lookup("filter")
	if filter.Type() != bsonval.TypeDocument {
		return nil
	}
	name, _, _ := filter.Doc().First()
	return t.newCommand(req.DB, name)
}

// endSessions tells what is mounted in this process that sessions end, which may have cursors there. Elsewhere they end by
// themselves.
func (t *mountTable) endSessions(ctx context.Context, req *server.Request) {
	for _, x := range t.all {
		if x.URI == "" {
			// Who does not know the command has no sessions.
			_, _ = server.Call(ctx, x.handler, server.NewRequest(req.Conn, req.DB, req.Body))
		}
	}
}

// call runs a command.
func (m *mounts) call(ctx context.Context, x *mounted, req *server.Request, reply *server.Reply) error {
	if !req.Body.Lookup("autocommit").IsMissing() {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction,
			"Cannot run '%s' in a multi-document transaction: it is mounted, and not a command of the database.", req.Command)
	}
	x.running.Add(1)
	defer x.running.Add(-1)
	x.total.Add(1)
	ctx, end := m.commands.Outside(ctx, req, x)
	defer end()
	err := x.handler.Handle(ctx, req, reply)
	if err != nil {
		x.failed.Add(1)
		if e := command.Killed(ctx); e != nil {
			return e
		}
		return notOurs(err)
	}
	if x.URI != "" {
		dropTimes(reply)
	}
	return nil
}

// stateCodes are the errors by which a server tells of its own state.
var stateCodes = map[mongoerr.Code]bool{
	mongoerr.InterruptedAtShutdown: true, mongoerr.ShutdownInProgress: true, mongoerr.NotWritablePrimary: true,
	mongoerr.NotPrimaryNoSecondaryOk: true, mongoerr.NotPrimaryOrSecondary: true, mongoerr.PrimarySteppedDown: true,
	mongoerr.InterruptedDueToReplStateChange: true,
}

// notOurs rewrites errors by which a mount tells of its own state: drivers would take them for news of this server, and
// give up their connections to it. The labels, by which they try again, stay.
func notOurs(err error) error {
	e := mongoerr.As(err)
	if e == nil || !stateCodes[e.Code] {
		return err
	}
	return mongoerr.New(mongoerr.HostUnreachable, "the mounted service changes its state :: caused by :: %s", e.Message).WithLabels(e.Labels...)
}

// dropTimes removes the times of another deployment from a reply: clients would bring them here.
func dropTimes(reply *server.Reply) {
	fields := reply.Elements()
	if !bytes.Contains(fields, []byte("operationTime\x00")) && !bytes.Contains(fields, []byte("$clusterTime\x00")) {
		return
	}
	all, at := bsonval.BeginDoc(make([]byte, 0, len(fields)+5))
	all = bsonval.EndDoc(append(all, fields...), at)
	kept, at := bsonval.BeginDoc(make([]byte, 0, len(all)))
	for it := bsonval.Doc(all).Iter(); it.Next(); {
		if name := it.KeyStr(); name != "operationTime" && name != "$clusterTime" {
			kept = append(kept, it.Raw()...)
		}
	}
	reply.Reset()
	reply.AppendDoc(bsonval.EndDoc(kept, at))
}

// Databases implements command.Mounted.
func (m *mounts) Databases() []string {
	var out []string
	for _, x := range m.table.Load().all {
		if x.Database != "" && !x.leaving.Load() && !slices.Contains(out, x.Database) {
			out = append(out, x.Database)
		}
	}
	return out
}

// describing bounds how long a mount may take to describe its commands.
const describing = 2 * time.Second

// Commands implements command.Mounted: the mounts describe their commands themselves, and those who do not are described
// in short.
func (m *mounts) Commands(ctx context.Context, db string) map[string]bsonval.Doc {
	t := m.table.Load()
	out := map[string]bsonval.Doc{}
	for _, x := range t.all {
		if x.whole() || x.leaving.Load() || x.Database != "" && x.Database != db {
			continue
		}
		described := x.describe(ctx, db)
		for _, name := range x.names() {
			switch d := described[strings.ToLower(name)]; {
			case d.name == "":
				out[name] = bsonval.NewBuilder().Str("help", "A mounted command, answered "+x.kind()+".").Bool("mounted", true).Build()
			default:
				out[d.name] = bsonval.EndDoc(bsonval.AppendElement(bytes.Clone(d.doc[:len(d.doc)-1]), "mounted", bsonval.True), 0)
			}
		}
	}
	return out
}

// description is how a mount describes a command.
type description struct {
	name string
	doc  bsonval.Doc
}

// describe asks a mount for its commands, by name and alias in lower case.
func (x *mounted) describe(ctx context.Context, db string) map[string]description {
	ctx, cancel := context.WithTimeout(ctx, describing)
	defer cancel()
	out := map[string]description{}
	reply, err := server.Call(ctx, x.handler, server.NewRequest(nil, db, bsonval.NewBuilder().Int32("listCommands", 1).Build()))
	commands := reply.Lookup("commands")
	if err != nil || commands.Type() != bsonval.TypeDocument {
		return out
	}
	for it := commands.Doc().Iter(); it.Next(); {
		if it.Value().Type() != bsonval.TypeDocument {
			continue
		}
		d := description{strings.Clone(it.KeyStr()), it.Value().Doc()}
		out[strings.ToLower(d.name)] = d
		if aliases := d.doc.Lookup("aliases"); aliases.Type() == bsonval.TypeArray {
			for a := aliases.Doc().Iter(); a.Next(); {
				if a.Value().Type() == bsonval.TypeString {
					out[strings.ToLower(a.Value().Str())] = d
				}
			}
		}
	}
	return out
}

// Status implements command.Mounted.
func (m *mounts) Status() bsonval.Doc {
	all := m.table.Load().all
	if len(all) == 0 {
		return nil
	}
	b := bsonval.NewArrayBuilder()
	for _, x := range all {
		e := bsonval.NewBuilder().Str("database", x.Database).Str("answered", x.kind())
		e.Int64("total", x.total.Load()).Int64("failed", x.failed.Load()).Int64("running", x.running.Load())
		e.StartDoc("commands")
		names := x.names()
		if svc, ok := x.handler.(*service.Service); ok {
			for _, c := range svc.Metrics() {
				if c.Total+c.Running == 0 && !slices.Contains(names, c.Name) {
					continue
				}
				e.StartDoc(c.Name).Int64("total", c.Total).Int64("failed", c.Failed).Int64("running", c.Running).
					Int64("panics", c.Panics).Int64("latencyMicros", c.Time.Microseconds()).End()
			}
		}
		b.Add(bsonval.Document(e.End().Build()))
	}
	return b.Build()
}
