package harness

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The parts of the wire protocol that the tests write by hand, as the protocol's public description has them: what is
// sent must not depend on the code under test.
const (
	headerLen = 16
	opMsg     = 2013
	opQuery   = 2004
	opReply   = 1

	// MoreToCome is the flag of an OP_MSG that wants no reply.
	MoreToCome = 1 << 1

	answering = 30 * time.Second // bounds one exchange
)

// Conn is a connection that sends whatever bytes a test makes.
type Conn struct {
	net.Conn
}

// Dial connects to a server until the test ends.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &Conn{c}
}

// Frame returns a message: a header with the length it really has, and a body.
func Frame(opcode int32, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(headerLen+len(body)))
	b = binary.LittleEndian.AppendUint32(b, 7) // request id
	b = binary.LittleEndian.AppendUint32(b, 0) // response to
	b = binary.LittleEndian.AppendUint32(b, uint32(opcode))
	return append(b, body...)
}

// Sequence is a section of kind 1: documents that stand for an array field of the body.
type Sequence struct {
	Name string
	Docs [][]byte
}

// Msg returns an OP_MSG with a body document and sequences. Nothing is checked.
func Msg(flags uint32, body []byte, sequences ...Sequence) []byte {
	b := binary.LittleEndian.AppendUint32(nil, flags)
	b = append(append(b, 0), body...)
	for _, s := range sequences {
		b = append(b, 1)
		start := len(b)
		b = append(append(b, 0, 0, 0, 0), s.Name...)
		b = append(b, 0)
		for _, d := range s.Docs {
			b = append(b, d...)
		}
		binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start))
	}
	return Frame(opMsg, b)
}

// Query returns an OP_QUERY for one document.
func Query(ns string, body []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0)
	b = append(append(b, ns...), 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0xFFFFFFFF)
	return Frame(opQuery, append(b, body...))
}

// Doc marshals a document.
func Doc(t testing.TB, d any) []byte {
	t.Helper()
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Send writes bytes. An error is not a failure yet: a server may close while a refused message is being written.
func (c *Conn) Send(b []byte) error {
	if err := c.SetDeadline(time.Now().Add(answering)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

// Receive reads a reply and returns its document; io.EOF says that the server has closed the connection.
func (c *Conn) Receive() (bson.Raw, error) {
	if err := c.SetDeadline(time.Now().Add(answering)); err != nil {
		return nil, err
	}
	var header [headerLen]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return nil, err
	}
	body := make([]byte, int(binary.LittleEndian.Uint32(header[:]))-headerLen)
	if _, err := io.ReadFull(c, body); err != nil {
		return nil, err
	}
	skip := 4 + 1 // flags and the kind of the section
	switch opcode := binary.LittleEndian.Uint32(header[12:]); opcode {
	case opMsg:
	case opReply:
		skip = 4 + 8 + 4 + 4
	default:
		return nil, fmt.Errorf("a reply with opcode %d", opcode)
	}
	doc := bson.Raw(body[skip:])
	return doc, doc.Validate()
}

// Call sends a message and returns the document of the reply.
func (c *Conn) Call(message []byte) (bson.Raw, error) {
	if err := c.Send(message); err != nil {
		return nil, err
	}
	return c.Receive()
}

// Run runs a command without arguments on a database.
func (c *Conn) Run(t testing.TB, db, command string) bson.Raw {
	t.Helper()
	reply, err := c.Call(Msg(0, Doc(t, bson.D{{Key: command, Value: 1}, {Key: "$db", Value: db}})))
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return reply
}

// Code is the error code of a reply: that of the command, else that of the first write error, else 0.
func Code(reply bson.Raw) int32 {
	if code, ok := reply.Lookup("code").Int32OK(); ok {
		return code
	}
	if errs, ok := reply.Lookup("writeErrors").ArrayOK(); ok {
		if first, err := bson.Raw(errs).IndexErr(0); err == nil {
			code, _ := first.Value().Document().Lookup("code").Int32OK()
			return code
		}
	}
	return 0
}
