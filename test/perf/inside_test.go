package perf

import (
	"context"
	"strconv"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/wire"
)

// inside is a connection to a database within the process, without a network.
type inside struct {
	handler server.Handler
	conn    *server.Conn
	msg     wire.Msg
	body    []byte
}

// newInside is a client of a handler.
func newInside(h server.Handler) *client {
	c := newClient()
	c.inside = &inside{handler: h, conn: server.NewLocalConn()}
	return c
}

// answer runs the command of a message. Documents that come as a sequence are put into the
// body, where a program within the process has them.
func (in *inside) answer(frame []byte) (bsonval.Doc, error) {
	if err := in.msg.Parse(frame); err != nil {
		return nil, err
	}
	in.body = append(in.body[:0], in.msg.Body[:len(in.msg.Body)-1]...)
	for _, s := range in.msg.Sequences() {
		var at, n int
		in.body, at = bsonval.BeginElement(in.body, bsonval.TypeArray, string(s.Name))
		for d := range s.Documents() {
			in.body = bsonval.AppendElement(in.body, strconv.Itoa(n), bsonval.Document(d))
			n++
		}
		in.body = bsonval.EndDoc(in.body, at)
	}
	in.body = bsonval.EndDoc(in.body, 0)
	return server.Call(context.Background(), in.handler, server.NewRequest(in.conn, dbName, in.body))
}
