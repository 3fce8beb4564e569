package wire

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// minDocumentLen is the size of the empty document: its length and the closing zero.
const minDocumentLen = 5

// Document returns the document at the start of b and what follows it. It checks the declared length against b and
// against MaxInternalDocumentSize and looks for the closing zero; elements are not examined.
func Document(b []byte) (doc, rest []byte, err error) {
	if len(b) < minDocumentLen {
		return nil, nil, errTruncatedBody
	}
	n := int32(binary.LittleEndian.Uint32(b))
	if n < minDocumentLen || n > MaxInternalDocumentSize {
		return nil, nil, errorf(codeBSONObjectSize, false,
			"BSONObj size: %d (0x%X) is invalid. Size must be between 0 and %d(16MB)", n, uint32(n), MaxInternalDocumentSize)
	}
	if int(n) > len(b) {
		return nil, nil, errTruncatedBody
	}
	if b[n-1] != 0 {
		return nil, nil, errorf(codeInvalidBSON, false, "document of %d bytes does not end with a zero byte", n)
	}
	return b[:n:n], b[n:], nil
}

// Sequence is a document sequence: a section of kind 1 of an OP_MSG. It stands for a field of the body document
// whose value is an array of the documents.
type Sequence struct {
	// Name is the name of the field, without the closing zero.
	Name []byte
	// Bytes are the documents, one after the other. Invariant: the documents fill it exactly.
	Bytes []byte
	// Count is the number of documents.
	Count int
}

// Documents iterates over the documents of the sequence.
func (s Sequence) Documents() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := s.Bytes; len(rest) >= minDocumentLen; {
			n := binary.LittleEndian.Uint32(rest)
			if !yield(rest[:n:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}

// parseSequence reads the content of a section of kind 1, after its size.
func parseSequence(b []byte) (Sequence, error) {
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		return Sequence{}, errUnterminated
	}
	s := Sequence{Name: b[:end:end], Bytes: b[end+1:]}
	for rest := s.Bytes; len(rest) > 0; s.Count++ {
		var err error
		if _, rest, err = Document(rest); err != nil {
			return Sequence{}, err
		}
	}
	return s, nil
}

// hasField tells whether a well-delimited document has a top-level field of that name. It stops at the first
// element it cannot skip: such a document is malformed, which its reader will find out.
func hasField(doc []byte, name []byte) bool {
	b := doc[4 : len(doc)-1]
	for len(b) > 0 {
		kind := b[0]
		end := bytes.IndexByte(b[1:], 0)
		if end < 0 {
			return false
		}
		if bytes.Equal(b[1:1+end], name) {
			return true
		}
		b = b[end+2:]
		n, ok := valueLen(kind, b)
		if !ok || n > len(b) {
			return false
		}
		b = b[n:]
	}
	return false
}

// valueLen returns the length of the BSON value of type kind at the start of b.
func valueLen(kind byte, b []byte) (int, bool) {
	prefixed := func(extra int) (int, bool) {
		if len(b) < 4 {
			return 0, false
		}
		n := int(int32(binary.LittleEndian.Uint32(b)))
		return n + extra, n >= 0 && n+extra >= 4
	}
	switch kind {
	case 0x01, 0x09, 0x11, 0x12: // double, date, timestamp, int64
		return 8, true
	case 0x02, 0x0D, 0x0E: // string, code, symbol
		return prefixed(4)
	case 0x03, 0x04, 0x0F: // document, array, code with scope
		return prefixed(0)
	case 0x05: // binary
		return prefixed(5)
	case 0x06, 0x0A, 0x7F, 0xFF: // undefined, null, maxKey, minKey
		return 0, true
	case 0x07: // objectId
		return 12, true
	case 0x08: // bool
		return 1, true
	case 0x0B: // regular expression: two terminated strings
		pattern := bytes.IndexByte(b, 0)
		if pattern < 0 {
			return 0, false
		}
		options := bytes.IndexByte(b[pattern+1:], 0)
		return pattern + options + 2, options >= 0
	case 0x0C: // dbPointer
		return prefixed(16)
	case 0x10: // int32
		return 4, true
	case 0x13: // decimal128
		return 16, true
	}
	return 0, false
}
