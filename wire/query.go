package wire

import (
	"bytes"
	"encoding/binary"
)

// Query is a parsed OP_QUERY. Its slices point into the frame it was parsed from. MongoDB 8 takes it for commands
// only: Collection is then "<database>.$cmd".
//
//	┌────────┬─────────┬──────────────┬────────┬──────────┬──────────┬──────────┐
//	│ header │ flags:4 │ collection\0 │ skip:4 │ return:4 │ document │ [fields] │
//	└────────┴─────────┴──────────────┴────────┴──────────┴──────────┴──────────┘
type Query struct {
	Header     Header
	Flags      uint32
	Collection []byte
	Skip       int32
	Return     int32
	// Document is the query or command document as sent, see Command.
	Document []byte
	// Fields is the projection, nil if there is none.
	Fields []byte
}

var commandSuffix = []byte(".$cmd")

// Parse fills q from a frame.
func (q *Query) Parse(frame []byte) error {
	*q = Query{}
	h, frame, err := parseFrame(frame, OpQuery)
	q.Header = h
	if err != nil {
		return err
	}
	b := frame[HeaderLen:]
	if len(b) < 4 {
		return errTruncatedQuery
	}
	q.Flags = binary.LittleEndian.Uint32(b)
	b = b[4:]
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return errTruncatedQuery
	}
	q.Collection, b = b[:end:end], b[end+1:]
	if len(b) < 8 {
		return errTruncatedQuery
	}
	q.Skip = int32(binary.LittleEndian.Uint32(b))
	q.Return = int32(binary.LittleEndian.Uint32(b[4:]))
	if q.Document, b, err = Document(b[8:]); err != nil {
		return err
	}
	if len(b) == 0 {
		return nil
	}
	if q.Fields, b, err = Document(b); err != nil {
		return err
	}
	if len(b) != 0 {
		return errorf(codeProtocolError, true, "OP_QUERY has %d bytes too many", len(b))
	}
	return nil
}

// Database returns the database a command is for; ok is false if the message is not a command.
func (q *Query) Database() (db []byte, ok bool) { return bytes.CutSuffix(q.Collection, commandSuffix) }

// Command returns the command document: Document, or what it wraps in `$query` (or `query`) when the sender attached
// a read preference that way.
func (q *Query) Command() ([]byte, error) {
	if q.Return != 1 && q.Return != -1 {
		return nil, errorf(codeBadNumberToReturn, false,
			"Bad numberToReturn (%d) for $cmd type ns - can only be 1 or -1", q.Return)
	}
	b := q.Document[4 : len(q.Document)-1]
	for _, wrapper := range []string{"$query", "query"} {
		if len(b) > len(wrapper)+1 && b[0] == 0x03 && string(b[1:len(wrapper)+1]) == wrapper && b[len(wrapper)+1] == 0 {
			doc, _, err := Document(b[len(wrapper)+2:])
			return doc, err
		}
	}
	return q.Document, nil
}

// AppendQuery appends an OP_QUERY with a command for the database.
func AppendQuery(dst []byte, requestID int32, db string, command []byte) []byte {
	start := len(dst)
	dst = AppendHeader(dst, Header{RequestID: requestID, OpCode: OpQuery})
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = append(dst, db...)
	dst = append(dst, ".$cmd\x00"...)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, 0xFFFFFFFF)
	dst = append(dst, command...)
	return FinishMessage(dst, start)
}

const (
	// ReplyQueryFailure is the flag of an OP_REPLY whose document describes an error under `$err`.
	ReplyQueryFailure uint32 = 1 << 1
	// ReplyAwaitCapable is set by all servers of today.
	ReplyAwaitCapable uint32 = 1 << 3

	// ReplyBodyOffset is where the documents of an OP_REPLY start.
	ReplyBodyOffset = HeaderLen + 4 + 8 + 4 + 4
)

// Reply is a parsed OP_REPLY. Its slices point into the frame it was parsed from.
//
//	┌────────┬─────────┬──────────┬──────────┬─────────┬────────────┐
//	│ header │ flags:4 │ cursor:8 │ offset:4 │ count:4 │ documents… │
//	└────────┴─────────┴──────────┴──────────┴─────────┴────────────┘
type Reply struct {
	Header   Header
	Flags    uint32
	CursorID int64
	Offset   int32
	// Documents are the documents, without a name.
	Documents Sequence
}

// Parse fills r from a frame.
func (r *Reply) Parse(frame []byte) error {
	*r = Reply{}
	h, frame, err := parseFrame(frame, OpReply)
	r.Header = h
	if err != nil {
		return err
	}
	if len(frame) < ReplyBodyOffset {
		return errTruncatedReply
	}
	b := frame[HeaderLen:]
	r.Flags = binary.LittleEndian.Uint32(b)
	r.CursorID = int64(binary.LittleEndian.Uint64(b[4:]))
	r.Offset = int32(binary.LittleEndian.Uint32(b[12:]))
	count := int32(binary.LittleEndian.Uint32(b[16:]))
	r.Documents.Bytes = b[20:]
	for rest := r.Documents.Bytes; len(rest) > 0; r.Documents.Count++ {
		if _, rest, err = Document(rest); err != nil {
			return err
		}
	}
	if int(count) != r.Documents.Count {
		return errorf(codeProtocolError, true, "OP_REPLY declares %d documents and has %d", count, r.Documents.Count)
	}
	return nil
}

// AppendReplyStart appends the header and the fixed part of an OP_REPLY with one document: what has to follow is the
// document, then FinishMessage with the length of dst before this call.
func AppendReplyStart(dst []byte, requestID, responseTo int32, flags uint32) []byte {
	dst = AppendHeader(dst, Header{RequestID: requestID, ResponseTo: responseTo, OpCode: OpReply})
	dst = binary.LittleEndian.AppendUint32(dst, flags)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	return binary.LittleEndian.AppendUint32(dst, 1)
}
