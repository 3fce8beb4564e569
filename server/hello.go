package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// What hello tells about the server's limits and about the protocol it speaks.
const (
	// MaxWireVersion is that of MongoDB 8.2.
	MaxWireVersion = 27
	// MinWireVersion says that old drivers may try.
	MinWireVersion = 0
	// MaxWriteBatchSize is the number of statements in one write command.
	MaxWriteBatchSize = 100_000
	// LogicalSessionTimeoutMinutes is how long sessions live without being used.
	LogicalSessionTimeoutMinutes = 30
)

// OpTime is a position in the oplog.
type OpTime struct {
	// Timestamp is the cluster time: seconds in the upper half, an increment in the lower.
	Timestamp uint64
	Term      int64
}

// LastWrite tells how far a member of a replica set is; drivers use it to judge how stale secondaries are.
type LastWrite struct {
	OpTime         OpTime
	Date           time.Time
	MajorityOpTime OpTime
	MajorityDate   time.Time
}

// HelloConfig says what a Hello answers. Only Topology has to be set.
type HelloConfig struct {
	// Topology is the server's posture.
	Topology *Topology
	// Advertise is the host:port to name instead of the address the client reached. It is for servers behind address
	// translation.
	Advertise string
	// LastWrite tells how far a replica set member is. Nil: hello has no lastWrite.
	LastWrite func() LastWrite
	// SASLMechanisms returns the authentication mechanisms a user can use, nil if there is no such user. Nil: hello never
	// names any.
	SASLMechanisms func(ctx context.Context, db, user string) ([]string, error)
	// Extend appends further fields, such as the answer to speculativeAuthenticate. Nil: there are none.
	Extend func(ctx context.Context, req *Request, dst []byte) ([]byte, error)
	// Now is the clock for localTime. Nil: time.Now.
	Now func() time.Time
}

// Hello answers hello and its old names isMaster and ismaster, including those that wait for a change of the topology
// (maxAwaitTimeMS) and those that are answered in a stream (exhaust).
type Hello struct {
	// Again, if set before serving, is called before each further answer of a stream, as if the client had sent the
	// request again. Its error ends the stream.
	Again func(ctx context.Context, req *Request) error

	cfg HelloConfig
	// Awaiting is the number of hellos that wait for a change of the topology right now.
	Awaiting atomic.Int64
	// Streaming is the number of clients that get their hellos in a stream right now.
	Streaming atomic.Int64
}

var _ Handler = (*Hello)(nil)

// NewHello makes a Hello.
func NewHello(cfg HelloConfig) *Hello {
	if cfg.Topology == nil {
		panic("server: hello without a topology")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Hello{cfg: cfg}
}

// Register registers the command under all of its names.
func (h *Hello) Register(m *Mux) {
	m.Register("hello", h)
	m.Alias("isMaster", "hello")
	m.Alias("ismaster", "hello")
}

// errQuiesce answers hellos of a server that shuts down, so that drivers turn elsewhere.
var errQuiesce = mongoerr.New(mongoerr.ShutdownInProgress, "The server is in quiesce mode and will shut down")

// helloArgs is a parsed hello.
type helloArgs struct {
	helloOk     bool
	await       bool // known and timeout are set
	known       TopologyVersion
	timeout     time.Duration
	compression []string
	hasCompress bool
	user, db    string // of saslSupportedMechs
	wantMechs   bool
}

// Handle implements Handler.
func (h *Hello) Handle(ctx context.Context, req *Request, reply *Reply) error {
	args, err := h.parse(req)
	if err != nil {
		return err
	}
	stream := args.await && req.ExhaustAllowed() && req.WantsReply() && req.Conn.networked()
	if stream {
		h.Streaming.Add(1)
		defer h.Streaming.Add(-1)
	}
	for {
		snapshot, err := h.wait(ctx, req.Conn, &args)
		if err != nil {
			return err
		}
		if err := h.answer(ctx, req, reply, &args, snapshot); err != nil {
			return err
		}
		if !stream {
			return nil
		}
		if err := reply.Send(); err != nil {
			return err
		}
		args.known = snapshot.version
		if h.Again != nil {
			if err := h.Again(ctx, req); err != nil {
				return err
			}
		}
	}
}

// wait returns the topology to answer with: the current one, or for a client that knows that one already, the next one
// or the same when the client's patience ends.
func (h *Hello) wait(ctx context.Context, c *Conn, args *helloArgs) (*topologySnapshot, error) {
	select {
	case <-c.Draining():
		return nil, h.quiesceError()
	default:
	}
	now := h.cfg.Topology.current.Load()
	if now.state.Quiescing {
		return nil, h.quiesceError()
	}
	if !args.await || args.known.ProcessID != now.version.ProcessID || args.known.Counter < now.version.Counter {
		return now, nil
	}
	if args.known.Counter > now.version.Counter {
		code, name := mongoerr.Code(31382), "server"
		switch now.state.Posture {
		case Standalone:
			code = 51764
		case Router:
			code, name = 51761, "mongos"
		}
		return nil, mongoerr.New(code, "Received a topology version with counter: %d which is greater than the %s "+
			"topology version counter: %d", args.known.Counter, name, now.version.Counter)
	}
	h.Awaiting.Add(1)
	defer h.Awaiting.Add(-1)
	timer := time.NewTimer(args.timeout)
	defer timer.Stop()
	select {
	case <-now.changed:
	case <-timer.C:
	case <-c.Draining():
		return nil, h.quiesceError()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if now = h.cfg.Topology.current.Load(); now.state.Quiescing {
		return nil, h.quiesceError()
	}
	return now, nil
}

func (h *Hello) quiesceError() error {
	extra, at := bsonval.BeginDoc(nil)
	extra = h.cfg.Topology.Version().AppendElement(extra, "topologyVersion")
	return errQuiesce.WithExtra(bsonval.EndDoc(extra, at))
}

// parse reads the fields of a hello. Unknown ones are for other versions of the protocol, and MongoDB lets them pass.
func (h *Hello) parse(req *Request) (helloArgs, error) {
	var a helloArgs
	var version, timeout, client bsonval.Value
	it := req.Body.Iter()
	for it.Next() {
		v := it.Value()
		var err error
		switch it.KeyStr() {
		case "helloOk":
			if v.Type() != bsonval.TypeBool {
				err = wrongType("helloOk", v, "type 'bool'")
			}
			a.helloOk = v.Truthy()
		case "topologyVersion":
			version = v
		case "maxAwaitTimeMS":
			timeout = v
		case "client":
			client = v
		case "compression":
			a.hasCompress = true
			a.compression, err = stringArray("compression", v)
		case "saslSupportedMechs":
			a.wantMechs = true
			a.db, a.user, err = helloUser(v)
		}
		if err != nil {
			return a, err
		}
	}
	if err := req.Conn.introduce(client); err != nil {
		return a, err
	}
	return a, h.parseAwait(&a, version, timeout)
}

// parseAwait reads the two fields that make a hello wait.
func (h *Hello) parseAwait(a *helloArgs, version, timeout bsonval.Value) error {
	router := h.cfg.Topology.State().Posture == Router
	if version.IsMissing() != timeout.IsMissing() {
		message := "A request with 'maxAwaitTimeMS' must include a 'topologyVersion'"
		if timeout.IsMissing() {
			message = "A request with a 'topologyVersion' must include 'maxAwaitTimeMS'"
		}
		return mongoerr.New(choose[mongoerr.Code](router, 51760, 31368), "%s", message)
	}
	if version.IsMissing() {
		return nil
	}
	var err error
	if a.known, err = parseTopologyVersion(version); err != nil {
		return err
	}
	if !timeout.IsNumber() {
		return wrongType("maxAwaitTimeMS", timeout, "types '[long, int, decimal, double]'")
	}
	if a.known.Counter < 0 {
		return mongoerr.New(choose[mongoerr.Code](router, 51758, 31372), "topologyVersion must have a non-negative counter")
	}
	ms := timeout.TruncInt64()
	if ms < 0 {
		return mongoerr.New(mongoerr.BadValue, "BSON field 'maxAwaitTimeMS' value must be >= 0, actual value '%d'", ms)
	}
	const most = int64(time.Duration(1<<63-1) / time.Millisecond)
	a.await, a.timeout = true, time.Duration(min(ms, most))*time.Millisecond
	return nil
}

func parseTopologyVersion(v bsonval.Value) (TopologyVersion, error) {
	var out TopologyVersion
	if v.Type() != bsonval.TypeDocument {
		return out, wrongType("topologyVersion", v, "type 'object'")
	}
	var hasProcess, hasCounter bool
	it := v.Doc().Iter()
	for it.Next() {
		f := it.Value()
		switch it.KeyStr() {
		case "processId":
			if f.Type() != bsonval.TypeObjectID {
				return out, wrongType("topologyVersion.processId", f, "type 'objectId'")
			}
			hasProcess = true
			copy(out.ProcessID[:], f.Bytes())
		case "counter":
			if f.Type() != bsonval.TypeInt64 {
				return out, wrongType("topologyVersion.counter", f, "type 'long'")
			}
			hasCounter = true
			out.Counter = f.Int64()
		default:
			return out, mongoerr.New(40415, "BSON field 'hello.topologyVersion.%s' is an unknown field.", it.Key())
		}
	}
	for name, has := range map[string]bool{"processId": hasProcess, "counter": hasCounter} {
		if !has {
			return out, mongoerr.New(40414, "BSON field 'hello.topologyVersion.%s' is missing but a required field", name)
		}
	}
	return out, nil
}

func stringArray(field string, v bsonval.Value) ([]string, error) {
	if v.Type() != bsonval.TypeArray {
		return nil, wrongType(field, v, "type 'array'")
	}
	var out []string
	it := v.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeString {
			return nil, wrongType(field+"."+it.KeyStr(), it.Value(), "type 'string'")
		}
		out = append(out, it.Value().Str())
	}
	return out, nil
}

// choose returns a if cond holds, else b.
func choose[T any](cond bool, a, b T) T {
	if cond {
		return a
	}
	return b
}
