package gateway

import (
	"context"
	"fmt"
	"log/slog"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

// Trace returns a function for server.Config.Trace that logs, at level debug, the header and the body of each message.
// Credentials are left out.
func Trace(log *slog.Logger) func(c *server.Conn, frame []byte, reply bool) {
	return func(c *server.Conn, frame []byte, reply bool) {
		if !log.Enabled(context.Background(), slog.LevelDebug) {
			return
		}
		what := "Request"
		if reply {
			what = "Response"
		}
		h, err := wire.ParseHeader(frame)
		if err != nil {
			return
		}
		conn := fmt.Sprintf("%s -> %s", c.RemoteAddr(), c.LocalAddr())
		log.Debug(what+fmt.Sprintf(" header: length: %5d, id: %4d, response_to: %4d, opcode: %s", h.Length, h.RequestID, h.ResponseTo, h.OpCode), //nolint:sloglint // the header is the message
			"conn", conn)
		log.Debug(what+" message", "conn", conn, "message", describeFrame(frame, h.OpCode)) //nolint:sloglint // of two
	}
}

// describeFrame is the body of a message as Extended JSON.
func describeFrame(frame []byte, code wire.OpCode) string {
	var body bson.D
	switch code {
	case wire.OpMsg:
		var m wire.Msg
		if err := m.Parse(frame); err != nil {
			return err.Error()
		}
		sections := bson.A{bson.D{{Key: "Document", Value: withoutSecrets(m.Body)}, {Key: "Kind", Value: 0}}}
		for _, s := range m.Sequences() {
			docs := bson.A{}
			for d := range s.Documents() {
				docs = append(docs, bson.Raw(d))
			}
			sections = append(sections, bson.D{{Key: "Identifier", Value: string(s.Name)}, {Key: "Documents", Value: docs}, {Key: "Kind", Value: 1}})
		}
		body = bson.D{{Key: "FlagBits", Value: int64(m.Flags)}, {Key: "Sections", Value: sections}}
	case wire.OpQuery:
		var q wire.Query
		if err := q.Parse(frame); err != nil {
			return err.Error()
		}
		command, err := q.Command()
		if err != nil {
			return err.Error()
		}
		body = bson.D{{Key: "FullCollectionName", Value: string(q.Collection)}, {Key: "Query", Value: withoutSecrets(command)}}
	case wire.OpReply:
		var r wire.Reply
		if err := r.Parse(frame); err != nil {
			return err.Error()
		}
		docs := bson.A{}
		for d := range r.Documents.Documents() {
			docs = append(docs, withoutSecrets(d))
		}
		body = bson.D{{Key: "NumberReturned", Value: len(docs)}, {Key: "Documents", Value: docs}}
	default:
		return ""
	}
	text, err := bson.MarshalExtJSON(body, false, false)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// secrets are the fields of commands and replies that hold credentials.
var secrets = map[string]bool{"payload": true, "pwd": true, "speculativeAuthenticate": true, "key": true, "nonce": true}

// withoutSecrets is a document without credentials at its top level.
func withoutSecrets(raw []byte) any {
	elements, err := bson.Raw(raw).Elements()
	if err != nil {
		return bson.Raw(raw)
	}
	out := make(bson.D, 0, len(elements))
	for _, e := range elements {
		if secrets[e.Key()] {
			out = append(out, bson.E{Key: e.Key(), Value: "<left out>"})
		} else {
			out = append(out, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	return out
}
