package egress

import (
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

const (
	// minWireVersion is that of MongoDB 3.6, the first to speak OP_MSG. Older servers are greeted and refused by name.
	minWireVersion = 6

	// maxClientBytes bounds the client document of a hello; servers refuse larger ones.
	maxClientBytes = 512

	driverName    = "archelon-egress"
	driverVersion = "1"
)

// TopologyVersion says how new what a server told about itself is. Counters of one process compare.
type TopologyVersion struct {
	ProcessID [12]byte
	Counter   int64
}

// newerThan tells whether v certainly came after o: same process, higher counter.
func (v *TopologyVersion) newerThan(o *TopologyVersion) bool {
	return v != nil && o != nil && v.ProcessID == o.ProcessID && v.Counter > o.Counter
}

// olderOrSame tells whether v certainly says nothing that o does not.
func (v *TopologyVersion) olderOrSame(o *TopologyVersion) bool {
	return v != nil && o != nil && v.ProcessID == o.ProcessID && v.Counter <= o.Counter
}

// Hello is what a server tells about itself.
type Hello struct {
	// Writable is isWritablePrimary or, of old servers, ismaster.
	Writable, Secondary, ArbiterOnly, Passive, Hidden bool
	// HelloOK says that the server knows hello by its new name.
	HelloOK bool
	// Router is set for `msg: isdbgrid`, ReplicaSetGhost for members without a configuration.
	Router, ReplicaSetGhost bool

	SetName                   string
	SetVersion                int64
	HasSetVersion             bool
	ElectionID                [12]byte // zero if there is none
	Me, Primary               Host
	Hosts, Passives, Arbiters []Host
	Tags                      map[string]string
	LastWrite                 time.Time // zero if there is none
	MinWireVersion            int32
	MaxWireVersion            int32
	MaxMessageSizeBytes       int32
	LogicalSessionTimeout     time.Duration // 0: the server has no sessions
	TopologyVersion           *TopologyVersion
	Compression               []string
	SASLSupportedMechs        []string
	SpeculativeAuthenticate   Doc
	ConnectionID              int64
}

// Members are all hosts the server names: those that vote for primary, passive ones and arbiters.
func (h *Hello) Members() []Host { return slices.Concat(h.Hosts, h.Passives, h.Arbiters) }

// ParseHello reads a reply to hello or isMaster. Fields of an unexpected type count as missing, as in drivers; hosts
// that are none are dropped.
func ParseHello(reply Doc) (*Hello, error) {
	if err := CommandError(reply); err != nil {
		return nil, err
	}
	h := &Hello{MaxMessageSizeBytes: wire.MaxMessageSize}
	it := reply.Iter()
	for it.Next() {
		h.field(it.KeyStr(), it.Value())
	}
	return h, it.Err()
}

// field reads one field of a hello.
func (h *Hello) field(key string, v bsonval.Value) {
	flag := v.Type() == bsonval.TypeBool && v.Bool()
	switch key {
	case "isWritablePrimary", "ismaster":
		h.Writable = h.Writable || flag
	case "secondary":
		h.Secondary = flag
	case "arbiterOnly":
		h.ArbiterOnly = flag
	case "passive":
		h.Passive = flag
	case "hidden":
		h.Hidden = flag
	case "helloOk":
		h.HelloOK = flag
	case "isreplicaset":
		h.ReplicaSetGhost = flag
	case "msg":
		h.Router = stringOf(v) == "isdbgrid"
	case "setName":
		h.SetName = stringOf(v)
	case "setVersion":
		h.SetVersion, h.HasSetVersion = v.AsInt64()
	case "electionId":
		if v.Type() == bsonval.TypeObjectID {
			copy(h.ElectionID[:], v.Bytes())
		}
	case "me":
		h.Me, _ = ParseHost(stringOf(v))
	case "primary":
		h.Primary, _ = ParseHost(stringOf(v))
	case "hosts":
		h.Hosts = hostsOf(v)
	case "passives":
		h.Passives = hostsOf(v)
	case "arbiters":
		h.Arbiters = hostsOf(v)
	case "tags":
		h.Tags = tagsOf(v)
	case "lastWrite":
		h.LastWrite = lastWriteOf(v)
	case "topologyVersion":
		h.TopologyVersion = topologyVersionOf(v)
	case "compression":
		h.Compression = stringsOf(v)
	case "saslSupportedMechs":
		h.SASLSupportedMechs = stringsOf(v)
	case "speculativeAuthenticate":
		if v.Type() == bsonval.TypeDocument {
			h.SpeculativeAuthenticate = v.Doc().Clone()
		}
	default:
		h.number(key, v)
	}
}

func (h *Hello) number(key string, v bsonval.Value) {
	n, ok := v.AsInt64()
	if !ok {
		return
	}
	switch key {
	case "minWireVersion":
		h.MinWireVersion = int32(n)
	case "maxWireVersion":
		h.MaxWireVersion = int32(n)
	case "maxMessageSizeBytes":
		h.MaxMessageSizeBytes = int32(n)
	case "connectionId":
		h.ConnectionID = n
	case "logicalSessionTimeoutMinutes":
		h.LogicalSessionTimeout = time.Duration(min(max(n, 0), 1<<31)) * time.Minute
	}
}

// compatible refuses servers with which there is no common language.
func (h *Hello) compatible(host Host) error {
	if h.MaxWireVersion >= minWireVersion {
		return nil
	}
	return localError(mongoerr.IncompatibleServerVersion, host,
		"server reports wire version %d, but at least %d (MongoDB 3.6) is required", h.MaxWireVersion, minWireVersion)
}

func stringOf(v bsonval.Value) string {
	if v.Type() != bsonval.TypeString {
		return ""
	}
	return string(v.Bytes())
}

func stringsOf(v bsonval.Value) []string {
	if v.Type() != bsonval.TypeArray {
		return nil
	}
	var out []string
	for it := v.Doc().Iter(); it.Next(); {
		if it.Value().Type() == bsonval.TypeString {
			out = append(out, stringOf(it.Value()))
		}
	}
	return out
}

func hostsOf(v bsonval.Value) []Host {
	var out []Host
	for _, s := range stringsOf(v) {
		if h, err := ParseHost(s); err == nil {
			out = append(out, h)
		}
	}
	return out
}

func tagsOf(v bsonval.Value) map[string]string {
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	out := map[string]string{}
	for it := v.Doc().Iter(); it.Next(); {
		out[string(it.Key())] = stringOf(it.Value())
	}
	return out
}

func lastWriteOf(v bsonval.Value) time.Time {
	if v.Type() == bsonval.TypeDocument {
		if d := v.Doc().Lookup("lastWriteDate"); d.Type() == bsonval.TypeDate {
			return d.Time()
		}
	}
	return time.Time{}
}

func topologyVersionOf(v bsonval.Value) *TopologyVersion {
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	id, counter := v.Doc().Lookup("processId"), v.Doc().Lookup("counter")
	n, ok := counter.AsInt64()
	if id.Type() != bsonval.TypeObjectID || !ok {
		return nil
	}
	t := &TopologyVersion{Counter: n}
	copy(t.ProcessID[:], id.Bytes())
	return t
}

// helloOptions are what the first hello of a connection asks for.
type helloOptions struct {
	appName     string
	compressors []wire.CompressorID
	// mechsOf is "db.user" if the user's mechanisms are to be told, empty otherwise.
	mechsOf     string
	speculative Doc
}

// legacyHello is the first hello of a connection, by the name that servers of all versions know.
func legacyHello(o *helloOptions) Doc {
	b := bsonval.NewBuilder().Int32("isMaster", 1).Bool("helloOk", true).Doc("client", clientDoc(o.appName))
	b.StartArray("compression")
	for _, id := range o.compressors {
		b.Add(bsonval.String(id.String()))
	}
	b.End()
	if o.mechsOf != "" {
		b.Str("saslSupportedMechs", o.mechsOf)
	}
	if o.speculative != nil {
		b.Doc("speculativeAuthenticate", o.speculative)
	}
	return b.Build()
}

// clientDoc introduces this client. An application name that does not fit is cut, as drivers do.
func clientDoc(app string) Doc {
	const maxAppName = 128
	if len(app) > maxAppName {
		app = strings.ToValidUTF8(app[:maxAppName], "")
	}
	b := bsonval.NewBuilder()
	if app != "" {
		b.StartDoc("application").Str("name", app).End()
	}
	b.StartDoc("driver").Str("name", driverName).Str("version", driverVersion).End()
	b.StartDoc("os").Str("type", runtime.GOOS).Str("architecture", runtime.GOARCH).End()
	b.Str("platform", runtime.Version())
	doc := b.Build()
	if len(doc) > maxClientBytes {
		return bsonval.NewBuilder().StartDoc("driver").Str("name", driverName).Str("version", driverVersion).End().
			StartDoc("os").Str("type", runtime.GOOS).End().Build()
	}
	return doc
}

// HelloCommand is the hello of an established connection. If known is not nil the server answers when it has something
// newer to tell, or after maxAwait.
func HelloCommand(helloOK bool, known *TopologyVersion, maxAwait time.Duration) Command {
	name := "hello"
	if !helloOK {
		name = "isMaster"
	}
	b := bsonval.NewBuilder().Int32(name, 1).Bool("helloOk", true)
	if known != nil {
		b.StartDoc("topologyVersion").Value("processId", bsonval.ObjectID(known.ProcessID[:])).
			Int64("counter", known.Counter).End()
		b.Int64("maxAwaitTimeMS", maxAwait.Milliseconds())
	}
	return Command{DB: "admin", Body: b.Build()}
}
