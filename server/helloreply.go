package server

import (
	"context"
	"net"
	"strconv"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/wire"
)

// answer appends the reply of one hello, its fields in MongoDB's order.
func (h *Hello) answer(ctx context.Context, req *Request, reply *Reply, args *helloArgs, t *topologySnapshot) error {
	b := reply.Buf
	if args.helloOk {
		b = bsonval.AppendElement(b, "helloOk", bsonval.True)
	}
	writable := "ismaster"
	if req.Command == "hello" {
		writable = "isWritablePrimary"
	}
	switch t.state.Posture {
	case ReplicaSet:
		b = t.version.AppendElement(b, "topologyVersion")
		b = h.appendMember(b, req.Conn, &t.state, writable)
	case Router:
		b = bsonval.AppendElement(b, writable, bsonval.True)
		b = bsonval.AppendElement(b, "msg", bsonval.String("isdbgrid"))
		b = t.version.AppendElement(b, "topologyVersion")
	default:
		b = bsonval.AppendElement(b, writable, bsonval.True)
		b = t.version.AppendElement(b, "topologyVersion")
	}
	b = bsonval.AppendElement(b, "maxBsonObjectSize", bsonval.Int32(wire.MaxDocumentSize))
	b = bsonval.AppendElement(b, "maxMessageSizeBytes", bsonval.Int32(wire.MaxMessageSize))
	b = bsonval.AppendElement(b, "maxWriteBatchSize", bsonval.Int32(MaxWriteBatchSize))
	b = bsonval.AppendElement(b, "localTime", bsonval.DateTime(h.cfg.Now()))
	b = bsonval.AppendElement(b, "logicalSessionTimeoutMinutes", bsonval.Int32(LogicalSessionTimeoutMinutes))
	b = bsonval.AppendElement(b, "connectionId", bsonval.Int32(int32(req.Conn.ID())))
	b = bsonval.AppendElement(b, "minWireVersion", bsonval.Int32(MinWireVersion))
	b = bsonval.AppendElement(b, "maxWireVersion", bsonval.Int32(MaxWireVersion))
	b = bsonval.AppendElement(b, "readOnly", bsonval.False)
	reply.Buf = h.appendCompression(b, req.Conn, args)
	return h.appendAuth(ctx, req, reply, args)
}

// appendMember appends what hello tells about a replica set.
func (h *Hello) appendMember(b []byte, c *Conn, s *State, writable string) []byte {
	if s.Role == RoleUninitialized {
		b = bsonval.AppendElement(b, writable, bsonval.False)
		b = bsonval.AppendElement(b, "secondary", bsonval.False)
		b = bsonval.AppendElement(b, "info", bsonval.String("Does not have a valid replica set config"))
		return bsonval.AppendElement(b, "isreplicaset", bsonval.True)
	}
	me := s.Me
	if me == "" {
		me = h.address(c)
	}
	hosts, primary := s.Hosts, s.Primary
	if len(hosts) == 0 {
		hosts = []string{me}
	}
	if primary == "" && s.Role == RolePrimary {
		primary = me
	}
	b = appendStrings(b, "hosts", hosts)
	if len(s.Passives) > 0 {
		b = appendStrings(b, "passives", s.Passives)
	}
	if len(s.Arbiters) > 0 {
		b = appendStrings(b, "arbiters", s.Arbiters)
	}
	b = bsonval.AppendElement(b, "setName", bsonval.String(s.SetName))
	b = bsonval.AppendElement(b, "setVersion", bsonval.Int32(s.SetVersion))
	b = bsonval.AppendElement(b, writable, bsonval.Bool(s.Role == RolePrimary))
	b = bsonval.AppendElement(b, "secondary", bsonval.Bool(s.Role == RoleSecondary))
	if primary != "" {
		b = bsonval.AppendElement(b, "primary", bsonval.String(primary))
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"arbiterOnly", s.Role == RoleArbiter}, {"passive", s.Passive}, {"hidden", s.Hidden}} {
		if f.set {
			b = bsonval.AppendElement(b, f.name, bsonval.True)
		}
	}
	if len(s.Tags) > 0 {
		b = bsonval.AppendElement(b, "tags", bsonval.Document(s.Tags))
	}
	b = bsonval.AppendElement(b, "me", bsonval.String(me))
	if s.Role == RolePrimary {
		id := s.ElectionID
		if id == ([12]byte{}) {
			id = ElectionIDForTerm(1)
		}
		b = bsonval.AppendElement(b, "electionId", bsonval.ObjectID(id[:]))
	}
	return h.appendLastWrite(b)
}

func (h *Hello) appendLastWrite(b []byte) []byte {
	if h.cfg.LastWrite == nil {
		return b
	}
	w := h.cfg.LastWrite()
	b, at := bsonval.BeginElement(b, bsonval.TypeDocument, "lastWrite")
	b = appendOpTime(b, "opTime", w.OpTime)
	b = bsonval.AppendElement(b, "lastWriteDate", bsonval.DateTime(w.Date))
	b = appendOpTime(b, "majorityOpTime", w.MajorityOpTime)
	b = bsonval.AppendElement(b, "majorityWriteDate", bsonval.DateTime(w.MajorityDate))
	return bsonval.EndDoc(b, at)
}

func appendOpTime(b []byte, name string, o OpTime) []byte {
	b, at := bsonval.BeginElement(b, bsonval.TypeDocument, name)
	b = bsonval.AppendElement(b, "ts", bsonval.TimestampBits(o.Timestamp))
	b = bsonval.AppendElement(b, "t", bsonval.Int64(o.Term))
	return bsonval.EndDoc(b, at)
}

// address is the host:port a client should use to reach this server: what it did use, unless the configuration says
// otherwise. With TLS the client tells the name it used, to which the certificate belongs.
func (h *Hello) address(c *Conn) string {
	if h.cfg.Advertise != "" {
		return h.cfg.Advertise
	}
	a := c.LocalAddr()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		if a == nil {
			return ""
		}
		return a.String()
	}
	if t := c.TLS(); t != nil && t.ServerName != "" {
		return net.JoinHostPort(t.ServerName, strconv.Itoa(tcp.Port))
	}
	return tcp.String()
}

func (h *Hello) appendCompression(b []byte, c *Conn, args *helloArgs) []byte {
	agreed := c.negotiate(args.compression, args.hasCompress)
	if len(agreed) == 0 {
		return b
	}
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, "compression")
	for i, id := range agreed {
		b = appendIndexed(b, i, bsonval.String(id.String()))
	}
	return bsonval.EndDoc(b, at)
}

// appendAuth appends the mechanisms of the user asked about and what Extend adds.
func (h *Hello) appendAuth(ctx context.Context, req *Request, reply *Reply, args *helloArgs) error {
	if args.wantMechs && h.cfg.SASLMechanisms != nil {
		mechs, err := h.cfg.SASLMechanisms(ctx, args.db, args.user)
		if err != nil {
			return err
		}
		if mechs != nil {
			reply.Buf = appendStrings(reply.Buf, "saslSupportedMechs", mechs)
		}
	}
	if h.cfg.Extend == nil {
		return nil
	}
	b, err := h.cfg.Extend(ctx, req, reply.Buf)
	if err == nil {
		reply.Buf = b
	}
	return err
}

func appendStrings(b []byte, name string, values []string) []byte {
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, name)
	for i, v := range values {
		b = appendIndexed(b, i, bsonval.String(v))
	}
	return bsonval.EndDoc(b, at)
}
