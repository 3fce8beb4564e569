package egress

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// neverCompressed are the commands that are sent as they are, because they carry secrets or come before an agreement on
// compression.
var neverCompressed = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "saslStart": true, "saslContinue": true, "getnonce": true,
	"authenticate": true, "createUser": true, "updateUser": true, "copydbSaslStart": true, "copydbgetnonce": true,
	"copydb": true,
}

// appendCommand appends the command as a whole OP_MSG.
func appendCommand(dst []byte, id int32, flags wire.MsgFlags, cmd *Command) ([]byte, error) {
	start := len(dst)
	if cmd.Name() == "" {
		return dst, localError(mongoerr.BadValue, "", "command document is empty or malformed")
	}
	if cmd.DB == "" {
		return dst, localError(mongoerr.InvalidNamespace, "", "command %q names no database", cmd.Name())
	}
	dst = wire.AppendMsgStart(dst, id, 0, flags)
	dst, at := bsonval.BeginDoc(dst)
	dst, err := appendFields(dst, cmd)
	if err != nil {
		return dst[:start], err
	}
	if !cmd.sentAsIs() {
		dst = bsonval.AppendElement(dst, "$db", bsonval.String(cmd.DB))
	}
	dst = bsonval.EndDoc(dst, at)
	for i := range cmd.Sequences {
		dst = appendSequence(dst, &cmd.Sequences[i])
	}
	if n := len(dst) - start; n > wire.MaxMessageSize {
		return dst[:start], localError(mongoerr.BSONObjectTooLarge, "", "message of %d bytes, the most is %d",
			n, wire.MaxMessageSize)
	}
	return wire.FinishMessage(dst, start), nil
}

// sentAsIs tells that there is nothing to leave out of the body, and no `$db` to add.
func (c *Command) sentAsIs() bool {
	return c.Whole && len(c.Body) >= 5 && (c.apart || len(c.Metadata) == 0)
}

// appendFields appends the elements of body and metadata.
func appendFields(dst []byte, cmd *Command) ([]byte, error) {
	if cmd.sentAsIs() {
		dst = append(dst, cmd.Body[4:len(cmd.Body)-1]...)
		if len(cmd.Metadata) > 0 {
			dst = append(dst, cmd.Metadata[4:len(cmd.Metadata)-1]...)
		}
		return dst, nil
	}
	it := cmd.Body.Iter()
	for it.Next() {
		if key := it.KeyStr(); key == "$db" || len(cmd.Metadata) > 0 && !cmd.Metadata.Lookup(key).IsMissing() {
			continue
		}
		dst = append(dst, it.Raw()...)
	}
	if err := it.Err(); err != nil {
		return dst, localError(mongoerr.InvalidBSON, "", "command document: %v", err)
	}
	if len(cmd.Metadata) == 0 {
		return dst, nil
	}
	meta := cmd.Metadata.Iter()
	for meta.Next() {
		dst = append(dst, meta.Raw()...)
	}
	if err := meta.Err(); err != nil {
		return dst, localError(mongoerr.InvalidBSON, "", "metadata: %v", err)
	}
	return dst, nil
}

func appendSequence(dst []byte, s *Sequence) []byte {
	docs := make([][]byte, len(s.Documents))
	for i, d := range s.Documents {
		docs[i] = d
	}
	return wire.AppendSequence(dst, s.Name, docs...)
}

// parseReply returns the document of a reply, its flags and the ids of its header. The document points into the frame.
func parseReply(frame []byte) (body Doc, flags wire.MsgFlags, h wire.Header, err error) {
	if h, err = wire.ParseHeader(frame); err != nil {
		return nil, 0, h, err
	}
	switch h.OpCode {
	case wire.OpMsg:
		var m wire.Msg
		if err := m.Parse(frame); err != nil {
			return nil, 0, h, err
		}
		if len(m.Sequences()) > 0 {
			return nil, 0, h, protocolError("reply with document sequences")
		}
		body, flags = m.Body, m.Flags
	case wire.OpReply:
		var r wire.Reply
		if err := r.Parse(frame); err != nil {
			return nil, 0, h, err
		}
		if r.Documents.Count != 1 {
			return nil, 0, h, protocolError("OP_REPLY with other than one document")
		}
		body = r.Documents.Bytes
	default:
		return nil, 0, h, protocolError("reply is an " + h.OpCode.String())
	}
	if err := bsonval.ValidateCommand(body); err != nil {
		return nil, 0, h, protocolError("reply: " + err.Error())
	}
	return body, flags, h, nil
}

func protocolError(message string) error {
	return &wire.Error{Code: int32(mongoerr.ProtocolError), Message: message, Fatal: true}
}
