package conformance

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	opMsg = 2013

	// maxReply is the largest message accepted from the server: MongoDB's 48,000,000 byte limit.
	maxReply = 48_000_000

	flagChecksum = 1 << 0
	flagMore     = 1 << 1
)

// sequences names, for the commands that drivers send with a document sequence, the field sent that way.
var sequences = map[string]string{"insert": "documents", "update": "updates", "delete": "deletes"}

// client speaks OP_MSG over one connection, one request at a time.
type client struct {
	conn net.Conn
	out  []byte
	in   []byte
	id   int32
}

func dial(ctx context.Context, addr string) (*client, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if deadline, ok := ctx.Deadline(); ok {
		c.deadline(deadline)
	}
	hello := bson.D{
		{Key: "hello", Value: int32(1)},
		{Key: "client", Value: bson.D{
			{Key: "application", Value: bson.D{{Key: "name", Value: "conformance"}}},
			{Key: "driver", Value: bson.D{{Key: "name", Value: "archelon-conformance"}, {Key: "version", Value: "1"}}},
			{Key: "os", Value: bson.D{{Key: "type", Value: "any"}}},
		}},
	}
	reply, err := c.run("admin", hello)
	if err != nil {
		c.close()
		return nil, fmt.Errorf("hello: %w", err)
	}
	if ok, _ := field(reply, "ok"); !isOne(ok) {
		c.close()
		return nil, fmt.Errorf("hello: %s", show(reply, 300))
	}
	return c, nil
}

func (c *client) close() { _ = c.conn.Close() }

func (c *client) deadline(t time.Time) { _ = c.conn.SetDeadline(t) }

// run sends a command to a database and returns the reply. After an error the connection is not usable.
func (c *client) run(db string, command bson.D) (bson.D, error) {
	c.id++
	var err error
	if c.out, err = appendRequest(c.out[:0], c.id, db, command); err != nil {
		return nil, fmt.Errorf("request: %w", err)
	}
	if _, err := c.conn.Write(c.out); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	return c.receive()
}

// appendRequest writes the whole OP_MSG message of a command.
func appendRequest(b []byte, id int32, db string, command bson.D) ([]byte, error) {
	le := binary.LittleEndian
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(id))
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, opMsg)
	b = le.AppendUint32(b, 0)
	body, name, docs := split(command)
	body = append(body, bson.E{Key: "$db", Value: db})
	b = append(b, 0)
	b, err := appendDocument(b, body)
	if err != nil {
		return nil, err
	}
	if docs != nil {
		b = append(b, 1)
		start := len(b)
		b = le.AppendUint32(b, 0)
		b = append(append(b, name...), 0)
		for _, d := range docs {
			if b, err = appendDocument(b, d.(bson.D)); err != nil {
				return nil, err
			}
		}
		le.PutUint32(b[start:], uint32(len(b)-start))
	}
	le.PutUint32(b, uint32(len(b)))
	return b, nil
}

// split separates the document sequence from the body. An array that is empty or holds anything but documents cannot
// be a sequence and stays in the body.
func split(command bson.D) (body bson.D, name string, docs bson.A) {
	body = make(bson.D, 0, len(command)+1)
	if len(command) > 0 {
		name = sequences[command[0].Key]
	}
	for _, e := range command {
		if a, ok := e.Value.(bson.A); ok && e.Key == name && docs == nil && allDocuments(a) {
			docs = a
			continue
		}
		body = append(body, e)
	}
	return body, name, docs
}

func allDocuments(a bson.A) bool {
	for _, v := range a {
		if _, ok := v.(bson.D); !ok {
			return false
		}
	}
	return len(a) > 0
}

func (c *client) receive() (bson.D, error) {
	var header [16]byte
	if _, err := io.ReadFull(c.conn, header[:]); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	le := binary.LittleEndian
	size := le.Uint32(header[:])
	if size < 21 || size > maxReply {
		return nil, fmt.Errorf("reply of %d bytes", size)
	}
	if to := int32(le.Uint32(header[8:])); to != c.id {
		return nil, fmt.Errorf("reply to request %d instead of %d", to, c.id)
	}
	if op := le.Uint32(header[12:]); op != opMsg {
		return nil, fmt.Errorf("reply with opcode %d", op)
	}
	n := int(size) - 16
	if cap(c.in) < n {
		c.in = make([]byte, n)
	}
	c.in = c.in[:n]
	if _, err := io.ReadFull(c.conn, c.in); err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	return parseReply(c.in)
}

// parseReply takes the body document out of an OP_MSG payload.
func parseReply(b []byte) (bson.D, error) {
	if len(b) < 5 {
		return nil, errTruncated
	}
	flags := binary.LittleEndian.Uint32(b)
	if flags&flagChecksum != 0 {
		if len(b) < 9 {
			return nil, errTruncated
		}
		b = b[:len(b)-4]
	}
	if flags&flagMore != 0 {
		return nil, fmt.Errorf("moreToCome in a reply that was not asked for")
	}
	if b[4] != 0 {
		return nil, fmt.Errorf("reply section of kind %d", b[4])
	}
	d, rest, err := decodeDocument(b[5:])
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%d bytes after the reply's body", len(rest))
	}
	return d, nil
}
