package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// Mode says which of two servers is asked, and which one answers.
type Mode string

// The modes.
const (
	// ModeNormal asks this server alone.
	ModeNormal Mode = "normal"
	// ModeProxy asks the other one alone.
	ModeProxy Mode = "proxy"
	// ModeDiffNormal asks both; this server answers.
	ModeDiffNormal Mode = "diff-normal"
	// ModeDiffProxy asks both; the other one answers.
	ModeDiffProxy Mode = "diff-proxy"
)

func (m Mode) both() bool { return m == ModeDiffNormal || m == ModeDiffProxy }

// otherPatience bounds what the client waits for a server that does not answer it.
const otherPatience = 30 * time.Second

// maxPairs bounds the cursors that are open on both sides.
const maxPairs = 10_000

// CompareConfig says how a Compare works. Mode and Logger have to be set, and URI unless the mode is ModeNormal.
type CompareConfig struct {
	Mode Mode
	// URI is the connection string of the other server.
	URI string
	// Logger gets a message for each reply that differs, and the counts at the end.
	Logger *slog.Logger
	// Recorder gets all commands and replies. Nil: nothing is recorded.
	Recorder *Recorder
}

// Compare runs a server beside another one: as a middleware it asks one or both, answers with the reply of one, and tells
// the differences.
type Compare struct {
	cfg   CompareConfig
	log   *slog.Logger
	proxy *Gateway // nil in ModeNormal
	alike aliases

	mu     sync.Mutex // guards the fields below
	counts map[string]*compareCount
	// pairs are the cursors of the side that does not answer by those of the one that does.
	pairs map[int64]int64
}

type compareCount struct{ compared, different int64 }

// NewCompare makes a Compare. Close ends it.
func NewCompare(cfg CompareConfig) (*Compare, error) {
	c := &Compare{cfg: cfg, log: cfg.Logger, counts: map[string]*compareCount{}, pairs: map[int64]int64{}}
	switch cfg.Mode {
	case ModeNormal:
		if cfg.URI != "" {
			return nil, errors.New("the address of another server has no meaning in mode normal: choose proxy, diff-normal or diff-proxy")
		}
		return c, nil
	case ModeProxy, ModeDiffNormal, ModeDiffProxy:
	default:
		return nil, fmt.Errorf("mode %q is not known: use normal, proxy, diff-normal or diff-proxy", cfg.Mode)
	}
	if cfg.URI == "" {
		return nil, fmt.Errorf("mode %s needs the address of the other server", cfg.Mode)
	}
	var err error
	c.proxy, err = New(Config{
		Table:  Table{Upstreams: map[string]Upstream{"proxy": {URI: cfg.URI}}, Routes: []Route{{Upstream: "proxy"}}},
		Logger: cfg.Logger, ForeignTimes: cfg.Mode == ModeDiffNormal,
	})
	return c, err
}

// Close ends the connections to the other server, finishes the record and logs the counts.
func (c *Compare) Close() error {
	if c.proxy != nil {
		c.proxy.Close()
	}
	if c.cfg.Mode.both() {
		compared, different := int64(0), int64(0)
		for _, n := range c.Counts() {
			compared += n.Compared
			different += n.Different
			if n.Different > 0 {
				c.log.Info("replies differed", "command", n.Command, "compared", n.Compared, "different", n.Different)
			}
		}
		c.log.Info("comparison ended", "compared", compared, "different", different)
	}
	return c.cfg.Recorder.Close()
}

// CompareCount says how often the replies to a command differed.
type CompareCount struct {
	Command             string
	Compared, Different int64
}

// Counts returns the counts of all commands that were compared, sorted by name.
func (c *Compare) Counts() []CompareCount {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []CompareCount
	for name, n := range c.counts {
		out = append(out, CompareCount{name, n.compared, n.different})
	}
	slices.SortFunc(out, func(a, b CompareCount) int { return cmp.Compare(a.Command, b.Command) })
	return out
}

// Middleware puts the other server beside next.
func (c *Compare) Middleware(next server.Handler) server.Handler {
	return server.HandlerFunc(func(ctx context.Context, req *server.Request, reply *server.Reply) error {
		switch {
		case aboutConnection[req.Command]:
			return next.Handle(ctx, req, reply)
		case c.cfg.Mode == ModeProxy:
			return c.one(ctx, forwarder{c.proxy}, req, reply)
		case !c.cfg.Mode.both():
			return c.one(ctx, next, req, reply)
		case req.Command == "serverStatus":
			return c.status(ctx, next, req, reply)
		case isAboutServer(req.Command, req.Body), req.ExhaustAllowed():
			return next.Handle(ctx, req, reply)
		}
		return c.two(ctx, next, req, reply)
	})
}

// forwarder sends even those commands on that a gateway answers itself.
type forwarder struct{ g *Gateway }

func (f forwarder) Handle(ctx context.Context, req *server.Request, reply *server.Reply) error {
	switch req.Command {
	case "getMore", "killCursors":
		return f.g.Handle(ctx, req, reply)
	}
	h := f.g.hopOf(req.Conn)
	defer h.end()
	c, err := h.begin(req)
	if err != nil {
		return err
	}
	return f.g.forward(ctx, c, reply)
}

// one asks one server.
func (c *Compare) one(ctx context.Context, h server.Handler, req *server.Request, reply *server.Reply) error {
	if c.cfg.Recorder == nil || req.ExhaustAllowed() {
		return h.Handle(ctx, req, reply)
	}
	doc, err := server.Call(ctx, h, req)
	if err != nil {
		return err
	}
	c.cfg.Recorder.write(req.DB, wholeCommand(req), doc, nil, "")
	reply.AppendDoc(doc)
	return nil
}

// two asks both servers, one after the other.
func (c *Compare) two(ctx context.Context, normal server.Handler, req *server.Request, reply *server.Reply) error {
	var proxy server.Handler = forwarder{c.proxy}
	first, second := normal, proxy
	if c.cfg.Mode == ModeDiffProxy {
		first, second = proxy, normal
	}
	command := wholeCommand(req)
	a, err := server.Call(ctx, first, req)
	if err != nil {
		return err
	}
	if other := c.forOther(req); other != nil {
		patience, cancel := context.WithTimeout(ctx, otherPatience)
		b, err := server.Call(patience, second, other)
		cancel()
		if err != nil {
			c.log.Warn("the server that does not answer failed", "command", req.Command, "db", req.DB, "error", err)
		}
		c.pair(req.Command, a, b)
		if c.cfg.Mode == ModeDiffProxy {
			c.judge(req, command, b, a, a)
		} else {
			c.judge(req, command, a, b, a)
		}
	}
	reply.AppendDoc(a)
	return nil
}

// judge compares, counts, logs and records.
func (c *Compare) judge(req *server.Request, command, normal, proxy, answer bsonval.Doc) {
	diff := diffWith(command, normal, proxy, &c.alike)
	c.mu.Lock()
	n := c.counts[req.Command]
	if n == nil {
		n = &compareCount{}
		if len(c.counts) < maxCounts {
			c.counts[req.Command] = n
		}
	}
	n.compared++
	if len(diff) > 0 {
		n.different++
	}
	c.mu.Unlock()
	text := FormatDiff(diff, "normal", "proxy")
	other := proxy
	if c.cfg.Mode == ModeDiffProxy {
		other = normal
	}
	c.cfg.Recorder.write(req.DB, command, answer, other, text)
	if len(diff) > 0 {
		_, v, _ := command.First()
		c.log.Warn("replies differ", "command", req.Command, "db", req.DB, "of", bsonval.Format(v), "count", len(diff), "diff", text)
	}
}

// maxCounts bounds the names that are counted: clients can make up any.
const maxCounts = 1000

// forOther is the request for the server that does not answer: with its own cursors. It is nil if that has none of them.
func (c *Compare) forOther(req *server.Request) *server.Request {
	switch req.Command {
	case "getMore":
		_, v, _ := req.Body.First()
		id, ok := c.paired(v.Int64())
		if !ok || v.Type() != bsonval.TypeInt64 {
			return nil
		}
		return server.NewRequest(req.Conn, req.DB, replaceFirst(req.Body, bsonval.Int64(id)))
	case "killCursors":
		ids := req.Body.Lookup("cursors")
		if ids.Type() != bsonval.TypeArray {
			return req
		}
		b := bsonval.NewBuilder()
		for it := req.Body.Iter(); it.Next(); {
			if it.KeyStr() != "cursors" {
				b.Value(string(it.Key()), it.Value())
				continue
			}
			b.StartArray("cursors")
			for v := ids.Doc().Iter(); v.Next(); {
				if other, ok := c.paired(v.Value().Int64()); ok && v.Value().Type() == bsonval.TypeInt64 {
					b.Add(bsonval.Int64(other))
				} else {
					b.Add(v.Value())
				}
			}
			b.End()
		}
		return server.NewRequest(req.Conn, req.DB, b.Build())
	}
	return req
}

// replaceFirst is a document with the value of its first field replaced.
func replaceFirst(d bsonval.Doc, v bsonval.Value) bsonval.Doc {
	b := bsonval.NewBuilder()
	first := true
	for it := d.Iter(); it.Next(); first = false {
		if first {
			b.Value(string(it.Key()), v)
		} else {
			b.Value(string(it.Key()), it.Value())
		}
	}
	return b.Build()
}

func (c *Compare) paired(id int64) (int64, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	other, ok := c.pairs[id]
	return other, ok
}

// pair notes that two cursors belong together, while both are open.
func (c *Compare) pair(command string, a, b bsonval.Doc) {
	x, y := a.LookupPath("cursor", "id"), b.LookupPath("cursor", "id")
	if command == "killCursors" || x.Type() != bsonval.TypeInt64 || x.Int64() == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if y.Type() != bsonval.TypeInt64 || y.Int64() == 0 {
		delete(c.pairs, x.Int64())
		return
	}
	for old := range c.pairs {
		if len(c.pairs) < maxPairs {
			break
		}
		delete(c.pairs, old)
	}
	c.pairs[x.Int64()] = y.Int64()
}

// status adds the counts to this server's serverStatus.
func (c *Compare) status(ctx context.Context, next server.Handler, req *server.Request, reply *server.Reply) error {
	if err := next.Handle(ctx, req, reply); err != nil {
		return err
	}
	b := bsonval.NewBuilder().Str("mode", string(c.cfg.Mode)).StartDoc("commands")
	for _, n := range c.Counts() {
		b.StartDoc(n.Command).Int64("compared", n.Compared).Int64("different", n.Different).End()
	}
	reply.Buf = bsonval.AppendElement(reply.Buf, "diff", bsonval.Document(b.End().Build()))
	return nil
}

// wholeCommand is the command document with its sequences as arrays. It has bytes of its own.
func wholeCommand(req *server.Request) bsonval.Doc {
	if len(req.Sequences()) == 0 {
		return req.Body.Clone()
	}
	b := bsonval.NewBuilder()
	for it := req.Body.Iter(); it.Next(); {
		b.Value(string(it.Key()), it.Value())
	}
	for _, s := range req.Sequences() {
		b.StartArray(string(s.Name))
		for d := range s.Documents() {
			b.Add(bsonval.Document(d))
		}
		b.End()
	}
	return b.Build()
}
