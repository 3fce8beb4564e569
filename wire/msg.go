package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// MsgFlags are the flag bits of an OP_MSG.
type MsgFlags uint32

const (
	// FlagChecksumPresent says that the message ends with a CRC-32C of everything before it.
	FlagChecksumPresent MsgFlags = 1 << 0
	// FlagMoreToCome says that another message follows without being asked for: in a request, that no reply is
	// wanted; in a reply, that the next reply of an exhaust stream follows.
	FlagMoreToCome MsgFlags = 1 << 1
	// FlagExhaustAllowed says that the client accepts replies with FlagMoreToCome.
	FlagExhaustAllowed MsgFlags = 1 << 16

	// requiredFlags are the bits a receiver must understand; an unknown one among them is an error. The others
	// are optional and an unknown one is ignored.
	requiredFlags MsgFlags = 0xFFFF
	knownRequired          = FlagChecksumPresent | FlagMoreToCome
)

const (
	// MaxSequences is the number of document sequences in one message. bulkWrite uses two; MongoDB takes no more.
	MaxSequences = 2

	// MsgBodyOffset is where the body document of an OP_MSG starts when its section comes first, as all writers of
	// this package put it: after header, flags and section kind.
	MsgBodyOffset = HeaderLen + 4 + 1

	checksumLen = 4

	sectionBody          = 0
	sectionSequence      = 1
	sectionSecurityToken = 2
)

// crc32c is the table of the checksum's polynomial.
var crc32c = crc32.MakeTable(crc32.Castagnoli)

// Msg is a parsed OP_MSG. Its slices point into the frame it was parsed from.
//
//	┌────────┬─────────┬─────────────────────────────────────────────┬────────────┐
//	│ header │ flags:4 │ sections                                    │ crc32c:4   │
//	└────────┴─────────┼─────────────────────────────────────────────┤ if flagged │
//	                   │ kind 0: 1 byte, document                    └────────────┘
//	                   │ kind 1: 1 byte, size:4, name\0, documents… (size counts itself)
type Msg struct {
	Header Header
	Flags  MsgFlags
	// Body is the body document.
	Body []byte

	sequences [MaxSequences]Sequence
	n         int
}

// Sequences returns the document sequences, in the order of the message.
func (m *Msg) Sequences() []Sequence { return m.sequences[:m.n] }

// Sequence returns the document sequence of that name.
func (m *Msg) Sequence(name string) (Sequence, bool) {
	for i := range m.n {
		if string(m.sequences[i].Name) == name {
			return m.sequences[i], true
		}
	}
	return Sequence{}, false
}

// Parse fills m from a frame. On an error that is not fatal, Header and Flags are valid, so that the sender can be
// answered if it expects an answer.
func (m *Msg) Parse(frame []byte) error {
	m.Flags, m.Body, m.n = 0, nil, 0
	h, frame, err := parseFrame(frame, OpMsg)
	m.Header = h
	if err != nil {
		return err
	}
	if len(frame) < HeaderLen+4 {
		return errTruncated
	}
	m.Flags = MsgFlags(binary.LittleEndian.Uint32(frame[HeaderLen:]))
	if unknown := m.Flags & requiredFlags &^ knownRequired; unknown != 0 {
		return errorf(codeIllegalOpMsgFlag, true, "Message contains illegal flags value: Ob%b", uint32(m.Flags))
	}
	sections := frame[HeaderLen+4:]
	if m.Flags&FlagChecksumPresent != 0 {
		if len(sections) < checksumLen {
			return errTruncated
		}
		end := len(frame) - checksumLen
		if crc32.Checksum(frame[:end], crc32c) != binary.LittleEndian.Uint32(frame[end:]) {
			return errorf(codeChecksumMismatch, true, "OP_MSG checksum does not match contents")
		}
		sections = sections[:len(sections)-checksumLen]
	}
	return m.parseSections(sections)
}

// parseSections reads the sections up to the end of b.
func (m *Msg) parseSections(b []byte) error {
	for len(b) > 0 {
		kind := b[0]
		b = b[1:]
		var err error
		switch kind {
		case sectionBody:
			if m.Body != nil {
				return errorf(codeMultipleBodies, false, "Multiple body sections in message")
			}
			if m.Body, b, err = Document(b); err != nil {
				return err
			}
		case sectionSequence:
			if b, err = m.parseSequence(b); err != nil {
				return err
			}
		case sectionSecurityToken:
			return errorf(codeUnauthorized, false, "Unsupported Security Token provided")
		default:
			return errorf(codeUnknownSectionKind, false, "Unknown section kind %d", kind)
		}
	}
	if m.Body == nil {
		return errorf(codeNoBody, false, "OP_MSG messages must have a body")
	}
	for _, s := range m.Sequences() {
		if hasField(m.Body, s.Name) {
			return errorf(codeSequenceAlsoInBody, false, "Duplicate field between body and document sequence %s", s.Name)
		}
	}
	return nil
}

// parseSequence reads a section of kind 1 after its kind and returns what follows it.
func (m *Msg) parseSequence(b []byte) ([]byte, error) {
	if m.n == MaxSequences {
		return nil, errorf(codeTooManyDocumentSequences, true, "Too many document sequences in OP_MSG")
	}
	if len(b) < 4 {
		return nil, errTruncatedBody
	}
	size := int32(binary.LittleEndian.Uint32(b))
	if size < 4 || int(size) > len(b) {
		return nil, errTruncatedBody
	}
	s, err := parseSequence(b[4:size:size])
	if err != nil {
		return nil, err
	}
	if _, dup := m.Sequence(string(s.Name)); dup {
		return nil, errorf(codeDuplicateSequence, false, "Duplicate document sequence: %s", s.Name)
	}
	m.sequences[m.n] = s
	m.n++
	return b[size:], nil
}

// AppendMsgStart appends the header and the flags of an OP_MSG and the kind byte of its body section: what has to
// follow is the body document, then optionally sequences, then FinishMessage with the length of dst before this call
// (or FinishChecksum if flags has FlagChecksumPresent).
func AppendMsgStart(dst []byte, requestID, responseTo int32, flags MsgFlags) []byte {
	dst = AppendHeader(dst, Header{RequestID: requestID, ResponseTo: responseTo, OpCode: OpMsg})
	dst = binary.LittleEndian.AppendUint32(dst, uint32(flags))
	return append(dst, sectionBody)
}

// AppendSequence appends a section of kind 1 with the documents given.
func AppendSequence(dst []byte, name string, docs ...[]byte) []byte {
	dst = append(dst, sectionSequence)
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, name...)
	dst = append(dst, 0)
	for _, d := range docs {
		dst = append(dst, d...)
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start))
	return dst
}

// FinishChecksum ends the OP_MSG that starts at dst[start] with its checksum and patches its length.
func FinishChecksum(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start+checksumLen))
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], crc32c))
}

// AppendMsg appends a whole OP_MSG with a body and nothing else.
func AppendMsg(dst []byte, requestID, responseTo int32, flags MsgFlags, body []byte) []byte {
	start := len(dst)
	dst = AppendMsgStart(dst, requestID, responseTo, flags)
	dst = append(dst, body...)
	if flags&FlagChecksumPresent != 0 {
		return FinishChecksum(dst, start)
	}
	return FinishMessage(dst, start)
}
