package changestream

import (
	"encoding/binary"
	"encoding/hex"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// Token is a resume token: an event's place in the log, or (HighWaterMark) a
// place before all events of a time.
//
// # Format
//
// A token is {_data: hex}. Its bytes are laid out like MongoDB's version 2 tokens
// (so that tools which look for the cluster time find it):
//
//	0x82 clusterTime (8)     big endian
//	number                   version: 2
//	number                   type: 128 an event, 0 a high-water mark
//	number                   txnOpIndex: place inside the entry
//	0x6E | 0x6F              fromInvalidate: false, true
//	0x5A 0x10 0x04 uuid (16) | 0x14 (none)
//	[0x46 text 0x00]         identifier: {operationType, documentKey or operationDescription}
//	                         in package keystring's format 1, 0x00 written 0x00 0xFF
//	[number]                 fragmentNum, from 0
//	0x04
//
//	number = 0x29 (zero) | 0x2A+n, value·2 in n bytes without leading zeros
//
// Tokens compare as strings in the order of the log. The identifier takes no
// part in that: a time, txnOpIndex and fromInvalidate belong to one event. It
// tells tokens of other streams apart. What is in it may be of any length.
type Token struct {
	ClusterTime    uint64
	HighWaterMark  bool
	TxnOpIndex     int
	FromInvalidate bool
	UUID           oplog.UUID // zero: none
	identifier     string     // encoded; empty: none

	// Fragment is the number of an event's fragment, from 0; Whole for events
	// that are not split.
	Fragment int
}

// Whole is the Fragment of a whole event.
const Whole = -1

// HighWaterMarkAt is the token of the place before all events of a time.
func HighWaterMarkAt(time uint64) Token {
	return Token{ClusterTime: time, HighWaterMark: true, Fragment: Whole}
}

// The bytes of tokens, which are KeyString type bytes.
const (
	tokenEnd       = 0x04
	tokenNull      = 0x14
	tokenZero      = 0x29
	tokenNumber    = 0x2A // plus the number of bytes
	tokenDocument  = 0x46
	tokenBinary    = 0x5A
	tokenFalse     = 0x6E
	tokenTrue      = 0x6F
	tokenTimestamp = 0x82
	tokenVersion   = 2
	tokenEvent     = 128
)

// maxTokenNumber bounds the numbers read from a token.
const maxTokenNumber = 1 << 31

// identify gives the token of an event its identifier: the document
// {operationType, <name>: what}, without what if that is missing.
func (t *Token) identify(operationType, name string, what bsonval.Value) {
	var room [256]byte
	doc, at := bsonval.BeginDoc(room[:0])
	doc = bsonval.AppendElement(doc, "operationType", bsonval.String(operationType))
	doc = bsonval.EndDoc(bsonval.AppendElement(doc, name, what), at)
	var key [256]byte
	t.identifier = string(keystring.Append(key[:0], bsonval.Document(doc), false, nil))
}

func appendTokenNumber(dst []byte, n uint64) []byte {
	if n == 0 {
		return append(dst, tokenZero)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n<<1)
	i := 0
	for b[i] == 0 {
		i++
	}
	return append(append(dst, byte(tokenNumber+8-i)), b[i:]...)
}

// String is the token's hexadecimal text.
func (t Token) String() string {
	var room [256]byte
	b := binary.BigEndian.AppendUint64(append(room[:0], tokenTimestamp), t.ClusterTime)
	b = appendTokenNumber(b, tokenVersion)
	if t.HighWaterMark {
		b = appendTokenNumber(b, 0)
	} else {
		b = appendTokenNumber(b, tokenEvent)
	}
	b = appendTokenNumber(b, uint64(t.TxnOpIndex))
	if t.FromInvalidate {
		b = append(b, tokenTrue)
	} else {
		b = append(b, tokenFalse)
	}
	if t.UUID == (oplog.UUID{}) {
		b = append(b, tokenNull)
	} else {
		b = append(append(b, tokenBinary, byte(len(t.UUID)), 4), t.UUID[:]...)
	}
	if t.identifier != "" {
		b = append(b, tokenDocument)
		for i := 0; i < len(t.identifier); i++ {
			b = append(b, t.identifier[i])
			if t.identifier[i] == 0 {
				b = append(b, 0xFF)
			}
		}
		b = append(b, 0)
	}
	if t.Fragment != Whole {
		b = appendTokenNumber(b, uint64(t.Fragment))
	}
	b = append(b, tokenEnd)
	var text strings.Builder
	text.Grow(2 * len(b))
	for _, c := range b {
		text.WriteByte(hexDigits[c>>4])
		text.WriteByte(hexDigits[c&15])
	}
	return text.String()
}

const hexDigits = "0123456789ABCDEF"

// Doc is the token as a document: {_data: hex}.
func (t Token) Doc() bsonval.Doc { return bsonval.NewBuilder().Str("_data", t.String()).Build() }

// Compare orders tokens as their texts are ordered; 0 means equal.
func (t Token) Compare(u Token) int { return strings.Compare(t.String(), u.String()) }

// event is the token of the whole event that a fragment's belongs to.
func (t Token) event() Token {
	t.Fragment = Whole
	return t
}

// DecodeDoc reads a token document.
func DecodeDoc(d bsonval.Doc) (Token, error) {
	v := d.Lookup("_data")
	if v.Type() != bsonval.TypeString {
		return Token{}, mongoerr.New(40647, "Bad resume token: _data of missing or of wrong type. Expected string, got %s", v.Type())
	}
	if bits := d.Lookup("_typeBits"); !bits.IsMissing() && bits.Type() != bsonval.TypeBinary {
		return Token{}, mongoerr.New(40648, "Bad resume token: _typeBits of wrong type. Expected binData, got %s", bits.Type())
	}
	return Decode(v.Str())
}

// Decode reads a token's text.
func Decode(text string) (Token, error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return Token{}, mongoerr.New(mongoerr.FailedToParse, "resume token string was not a valid hex string")
	}
	r := tokenReader{b: b}
	t := r.token()
	if r.bad || len(r.b) != 0 || t.String() != strings.ToUpper(text) {
		return Token{}, mongoerr.New(40649, "Bad resume token: malformed _data")
	}
	return t, nil
}

// tokenReader reads a token's parts from the front of b.
type tokenReader struct {
	b   []byte
	bad bool
}

func (r *tokenReader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *tokenReader) one() byte { return r.take(1)[0] }

func (r *tokenReader) expect(c byte) { r.bad = r.one() != c || r.bad }

func (r *tokenReader) peek() byte {
	if len(r.b) == 0 {
		return tokenEnd
	}
	return r.b[0]
}

func (r *tokenReader) number() int {
	c := r.one()
	if c == tokenZero {
		return 0
	}
	size := int(c) - tokenNumber
	if size < 1 || size > 8 {
		r.bad = true
		return 0
	}
	var n uint64
	for _, c := range r.take(size) {
		n = n<<8 | uint64(c)
	}
	if n&1 != 0 || n>>1 > maxTokenNumber {
		r.bad = true
	}
	return int(n >> 1)
}

func (r *tokenReader) token() Token {
	t := Token{Fragment: Whole}
	r.expect(tokenTimestamp)
	t.ClusterTime = binary.BigEndian.Uint64(r.take(8))
	if r.number() != tokenVersion {
		r.bad = true
	}
	switch r.number() {
	case 0:
		t.HighWaterMark = true
	case tokenEvent:
	default:
		r.bad = true
	}
	t.TxnOpIndex = r.number()
	switch r.one() {
	case tokenTrue:
		t.FromInvalidate = true
	case tokenFalse:
	default:
		r.bad = true
	}
	if r.peek() == tokenNull {
		r.one()
	} else {
		r.expect(tokenBinary)
		r.expect(byte(len(t.UUID)))
		r.expect(4)
		copy(t.UUID[:], r.take(len(t.UUID)))
	}
	if r.peek() == tokenDocument {
		r.one()
		t.identifier = r.text()
	}
	if r.peek() != tokenEnd {
		t.Fragment = r.number()
	}
	r.expect(tokenEnd)
	return t
}

// text reads bytes up to a zero that no 0xFF follows.
func (r *tokenReader) text() string {
	var b []byte
	for !r.bad {
		c := r.one()
		if c == 0 {
			if r.peek() != 0xFF {
				break
			}
			r.one()
		}
		b = append(b, c)
	}
	return string(b)
}
