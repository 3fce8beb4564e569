package server

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// ErrNoExhaust is returned by Reply.Send if the client does not take several replies to its request.
var ErrNoExhaust = errors.New("client did not allow exhaust replies")

// replyBufferSize is what a reply starts with; it grows as needed. A typical first batch fits.
const replyBufferSize = 4 << 10

// Reply is the reply being written. It is valid until the handler returns.
type Reply struct {
	// Buf is the write buffer. The reply's document is open at its end: a handler appends BSON elements (type, name,
	// value) to it, in one go or in pieces, with whatever functions it likes, and never changes what precedes.
	Buf []byte

	buf   *wire.Buffer
	start int  // of the document in Buf
	ok    bool // the document has its `ok` field

	conn       *Conn
	req        *Request
	responseTo int32 // 0 means the request's ID
}

// AppendDoc appends all fields of d. If `ok` is among them, the server adds none.
func (r *Reply) AppendDoc(d Doc) {
	if len(d) < 5 {
		return
	}
	if !r.ok {
		r.ok = !d.Lookup("ok").IsMissing()
	}
	r.Buf = append(r.Buf, d[4:len(d)-1]...)
}

// OK appends `ok: 1` now, so that fields can follow it. The server does it at the end for replies that lack it.
func (r *Reply) OK() {
	if !r.ok {
		r.ok = true
		r.Buf = appendDouble(r.Buf, "ok", 1)
	}
}

// Len is the number of bytes of the document so far.
func (r *Reply) Len() int { return len(r.Buf) - r.start }

// Elements returns the fields written so far: the inside of the reply's document.
func (r *Reply) Elements() []byte { return r.Buf[r.start+4:] }

// Reset drops everything written since the handler was called, or since the last Send.
func (r *Reply) Reset() {
	r.Buf = r.Buf[:r.start+4]
	r.ok = false
}

// Send sends what has been written as a reply with moreToCome set and starts the next one. It is for exhaust commands:
// the client takes a stream of replies to one request, of which the last is the one that is open when the handler
// returns. It returns ErrNoExhaust if the client did not allow that, and the connection's error if the client is gone.
func (r *Reply) Send() error {
	if r.req == nil || !r.req.ExhaustAllowed() || !r.conn.networked() {
		return ErrNoExhaust
	}
	frame := r.finish(wire.FlagMoreToCome)
	err := r.conn.write(r.req, frame)
	// The client treats each reply as the request of the next.
	r.responseTo = r.conn.lastReplyID
	r.buf.B = r.Buf[:0]
	r.begin()
	return err
}

// begin opens the document of a message.
func (r *Reply) begin() {
	if r.buf == nil {
		r.buf = wire.NewBuffer(replyBufferSize)
	}
	to := r.responseTo
	if to == 0 {
		to = r.req.ID
	}
	r.conn.lastReplyID++
	if r.req.OpCode == wire.OpQuery {
		r.Buf = wire.AppendReplyStart(r.buf.B[:0], r.conn.lastReplyID, to, wire.ReplyAwaitCapable)
	} else {
		r.Buf = wire.AppendMsgStart(r.buf.B[:0], r.conn.lastReplyID, to, 0)
	}
	r.Buf, r.start = bsonval.BeginDoc(r.Buf)
	r.ok = false
}

// finish closes document and message and returns the frame.
func (r *Reply) finish(flags wire.MsgFlags) []byte {
	r.OK()
	if n := r.Len() + 1; n > wire.MaxInternalDocumentSize {
		r.fail(mongoerr.New(10334, "BSONObj size: %d (0x%X) is invalid. Size must be between 0 and %d(16MB)",
			n, n, wire.MaxInternalDocumentSize))
	}
	r.Buf = bsonval.EndDoc(r.Buf, r.start)
	if flags != 0 {
		binary.LittleEndian.PutUint32(r.Buf[wire.HeaderLen:], uint32(flags))
	}
	return wire.FinishMessage(r.Buf, 0)
}

// fail replaces what was written by an error document.
func (r *Reply) fail(err error) {
	r.Reset()
	if err == errOpQueryRemoved {
		binary.LittleEndian.PutUint32(r.Buf[wire.HeaderLen:], wire.ReplyQueryFailure)
		r.Buf = bsonval.AppendElement(r.Buf, "$err", bsonval.String(err.Error()))
		r.Buf = bsonval.AppendElement(r.Buf, "code", bsonval.Int32(int32(errOpQueryRemoved.Code)))
		r.Buf = appendDouble(r.Buf, "ok", 0)
	} else {
		r.Buf = AppendError(r.Buf, err)
	}
	r.ok = true
}

// release gives the buffer back.
func (r *Reply) release() {
	if r.buf != nil {
		r.buf.B = r.Buf
		r.buf.Release()
	}
	*r = Reply{conn: r.conn, req: r.req}
}

// AppendError appends the fields of the error document that a client gets for err: ok, errmsg, code, codeName, further
// fields and labels of the error. An error without a code is an InternalError whose text is kept from the client.
func AppendError(dst []byte, err error) []byte {
	e := mongoerr.As(err)
	if e == nil {
		e = errInternal
	}
	dst = appendDouble(dst, "ok", 0)
	dst = bsonval.AppendElement(dst, "errmsg", bsonval.String(e.Message))
	dst = bsonval.AppendElement(dst, "code", bsonval.Int32(int32(e.Code)))
	dst = bsonval.AppendElement(dst, "codeName", bsonval.String(e.CodeName()))
	if len(e.Extra) >= 5 {
		dst = append(dst, e.Extra[4:len(e.Extra)-1]...)
	}
	if len(e.Labels) > 0 {
		var at int
		dst, at = bsonval.BeginElement(dst, bsonval.TypeArray, "errorLabels")
		for i, l := range e.Labels {
			dst = appendIndexed(dst, i, bsonval.String(l))
		}
		dst = bsonval.EndDoc(dst, at)
	}
	return dst
}

// errInternal is what clients see of errors that are not for them. The log has the rest.
var errInternal = &mongoerr.Error{Code: mongoerr.InternalError, Message: "internal error"}

// appendDouble appends a double element without a detour.
func appendDouble(dst []byte, key string, v float64) []byte {
	dst = append(dst, byte(bsonval.TypeDouble))
	dst = append(append(dst, key...), 0)
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// appendIndexed appends element i of an array.
func appendIndexed(dst []byte, i int, v bsonval.Value) []byte {
	dst = append(dst, byte(v.Type()))
	dst = append(bsonval.AppendIndexKey(dst, i), 0)
	return bsonval.AppendValue(dst, v)
}
