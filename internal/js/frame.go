package js

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// A frame is a kind, the length of a BSON document in 4 bytes (little-endian),
// and the document. The database sends begin, end and call, and answers a native
// call with a reply; the worker sends native calls, and a reply when it is done.
const (
	frameBegin  = 'B' // {natives: [name], globals, time (ms), heap, depth}: makes a new world
	frameEnd    = 'E' // {}: forgets the world
	frameCall   = 'C' // {source, this, args}
	frameNative = 'N' // {name, args}
	frameReply  = 'R' // {value} or {code, message}
)

// maxFrame bounds a frame: some arguments of the size of a document.
const maxFrame = 256 << 20

var errFrame = errors.New("malformed message between the database and a JavaScript worker")

func writeFrame(w io.Writer, kind byte, d bsonval.Doc) error {
	if len(d) > maxFrame {
		return mongoerr.New(mongoerr.BSONObjectTooLarge, "the arguments of a JavaScript function are larger than %d bytes", maxFrame)
	}
	b := make([]byte, 5, 5+len(d))
	b[0] = kind
	binary.LittleEndian.PutUint32(b[1:], uint32(len(d)))
	_, err := w.Write(append(b, d...))
	return err
}

func readFrame(r io.Reader) (kind byte, d bsonval.Doc, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	if n > maxFrame {
		return 0, nil, errFrame
	}
	d = make(bsonval.Doc, n)
	if _, err := io.ReadFull(r, d); err != nil {
		return 0, nil, err
	}
	return head[0], d, nil
}

// reply is the frame that reports a result.
func reply(v bsonval.Value, err error) bsonval.Doc {
	b := bsonval.NewBuilder()
	if err == nil {
		return b.Value("value", v).Build()
	}
	e := mongoerr.As(err)
	if e == nil {
		e = mongoerr.New(mongoerr.JSInterpreterFailure, "%s", err.Error())
	}
	return b.Int32("code", int32(e.Code)).Str("message", e.Message).Build()
}

// result reads a reply.
func result(d bsonval.Doc) (bsonval.Value, error) {
	if code := d.Lookup("code"); !code.IsMissing() {
		return bsonval.Missing, mongoerr.New(mongoerr.Code(code.Int64()), "%s", d.Lookup("message").Str())
	}
	return d.Lookup("value"), nil
}

// values makes an array of arguments. An array cannot hold what is missing.
func values(args []bsonval.Value) bsonval.Doc {
	b := bsonval.NewArrayBuilder()
	for _, a := range args {
		if a.IsMissing() {
			a = bsonval.Undefined
		}
		b.Add(a)
	}
	return b.Build()
}
