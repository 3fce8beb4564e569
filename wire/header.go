package wire

import (
	"encoding/binary"
	"strconv"
)

const (
	// HeaderLen is the size of the header of every message, in bytes.
	HeaderLen = 16

	// MaxMessageSize is the largest frame, header included, in bytes: MongoDB's maxMessageSizeBytes.
	MaxMessageSize = 48_000_000

	// MaxDocumentSize is the largest document a user may store, in bytes: MongoDB's maxBsonObjectSize.
	MaxDocumentSize = 16 << 20

	// MaxInternalDocumentSize is the largest document in a message, in bytes. The 16 KiB above MaxDocumentSize
	// leave room for what surrounds a full-size user document in a command or a reply.
	MaxInternalDocumentSize = MaxDocumentSize + 16<<10
)

// OpCode says how the body of a message is laid out.
type OpCode int32

// The opcodes of the protocol. Servers of today speak OpMsg and OpCompressed; OpQuery and OpReply carry the first
// hello of a connection; the others were removed in MongoDB 5.1 and are known by name only.
const (
	OpReply       OpCode = 1
	OpUpdate      OpCode = 2001
	OpInsert      OpCode = 2002
	OpQuery       OpCode = 2004
	OpGetMore     OpCode = 2005
	OpDelete      OpCode = 2006
	OpKillCursors OpCode = 2007
	OpCompressed  OpCode = 2012
	OpMsg         OpCode = 2013
)

// String returns the opcode's name in the protocol's documentation.
func (c OpCode) String() string {
	switch c {
	case OpReply:
		return "OP_REPLY"
	case OpUpdate:
		return "OP_UPDATE"
	case OpInsert:
		return "OP_INSERT"
	case OpQuery:
		return "OP_QUERY"
	case OpGetMore:
		return "OP_GET_MORE"
	case OpDelete:
		return "OP_DELETE"
	case OpKillCursors:
		return "OP_KILL_CURSORS"
	case OpCompressed:
		return "OP_COMPRESSED"
	case OpMsg:
		return "OP_MSG"
	}
	return "OP_" + strconv.Itoa(int(c))
}

// Header is the first 16 bytes of a message.
type Header struct {
	// Length is the size of the whole frame, this header included.
	Length int32
	// RequestID names the message; its sender chooses it.
	RequestID int32
	// ResponseTo is the RequestID of the message this one answers, 0 in requests.
	ResponseTo int32
	// OpCode decides the layout of the body.
	OpCode OpCode
}

// ParseHeader reads the header at the start of b and checks that the declared length lies in
// [HeaderLen, MaxMessageSize]. It does not require the body to be there.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderLen {
		return Header{}, errTruncated
	}
	h := Header{
		Length:     int32(binary.LittleEndian.Uint32(b)),
		RequestID:  int32(binary.LittleEndian.Uint32(b[4:])),
		ResponseTo: int32(binary.LittleEndian.Uint32(b[8:])),
		OpCode:     OpCode(binary.LittleEndian.Uint32(b[12:])),
	}
	if h.Length < HeaderLen || h.Length > MaxMessageSize {
		return h, errorf(codeProtocolError, true, "recv(): message msgLen %d is invalid. Min: %d Max: %d",
			h.Length, HeaderLen, MaxMessageSize)
	}
	return h, nil
}

// AppendHeader appends h to dst.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.Length))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.RequestID))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.ResponseTo))
	return binary.LittleEndian.AppendUint32(dst, uint32(h.OpCode))
}

// FinishMessage patches the length of the message that starts at dst[start] and ends at the end of dst.
func FinishMessage(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// parseFrame reads the header of a complete frame with the opcode want and returns the frame cut to its length.
func parseFrame(frame []byte, want OpCode) (Header, []byte, error) {
	h, err := ParseHeader(frame)
	if err != nil {
		return h, nil, err
	}
	if int(h.Length) > len(frame) {
		return h, nil, errTruncated
	}
	if h.OpCode != want {
		return h, nil, errorf(codeProtocolError, true, "expected %s, got %s", want, h.OpCode)
	}
	return h, frame[:h.Length], nil
}
