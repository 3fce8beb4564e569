package conformance

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxDepth bounds the nesting of values that are parsed or decoded; the corpus tests nesting beyond the 180 levels
// that MongoDB allows, so the bound is well above that.
const maxDepth = 2000

// bareNumber is a JSON number outside a wrapper. It is legal only inside a few wrappers, so that one that survives
// parsing is an error.
type bareNumber string

// parseValue parses one JSON text by the corpus's rules: an object is a wrapper exactly when its key set is one of the
// listed and its inner values have the listed forms, field order is kept, and every number stands inside a wrapper.
func parseValue(src []byte) (any, error) {
	p := parser{src: src}
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos != len(src) {
		return nil, p.errorf("text after the value")
	}
	if n, ok := v.(bareNumber); ok {
		return nil, fmt.Errorf("number %s outside a wrapper", n)
	}
	return v, nil
}

type parser struct {
	src []byte
	pos int
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("offset %d: %s", p.pos, fmt.Sprintf(format, args...))
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// peek skips white space and returns the next byte, 0 at the end.
func (p *parser) peek() byte {
	p.space()
	if p.pos == len(p.src) {
		return 0
	}
	return p.src[p.pos]
}

func (p *parser) value(depth int) (any, error) {
	if depth > maxDepth {
		return nil, p.errorf("nested deeper than %d", maxDepth)
	}
	switch c := p.peek(); {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.string()
	case c == 't':
		return true, p.literal("true")
	case c == 'f':
		return false, p.literal("false")
	case c == 'n':
		return nil, p.literal("null")
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	return nil, p.errorf("no value")
}

func (p *parser) literal(word string) error {
	if len(p.src)-p.pos < len(word) || string(p.src[p.pos:p.pos+len(word)]) != word {
		return p.errorf("no value")
	}
	p.pos += len(word)
	return nil
}

func (p *parser) number() (any, error) {
	start := p.pos
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		p.pos++
	}
	if !json.Valid(p.src[start:p.pos]) {
		return nil, p.errorf("bad number %q", p.src[start:p.pos])
	}
	return bareNumber(p.src[start:p.pos]), nil
}

func (p *parser) array(depth int) (any, error) {
	p.pos++
	out := bson.A{}
	if p.peek() == ']' {
		p.pos++
		return out, nil
	}
	for {
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		if n, ok := v.(bareNumber); ok {
			return nil, p.errorf("number %s outside a wrapper", n)
		}
		out = append(out, v)
		switch p.peek() {
		case ',':
			p.pos++
		case ']':
			p.pos++
			return out, nil
		default:
			return nil, p.errorf("no comma or end of array")
		}
	}
}

func (p *parser) object(depth int) (any, error) {
	p.pos++
	d := bson.D{}
	for p.peek() != '}' {
		if len(d) > 0 {
			if p.peek() != ',' {
				return nil, p.errorf("no comma or end of object")
			}
			p.pos++
		}
		if p.peek() != '"' {
			return nil, p.errorf("no key")
		}
		key, err := p.string()
		if err != nil {
			return nil, err
		}
		if p.peek() != ':' {
			return nil, p.errorf("no colon after a key")
		}
		p.pos++
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		d = append(d, bson.E{Key: key, Value: v})
	}
	p.pos++
	if len(d) > 0 && len(d) <= 2 {
		if v, ok := unwrap(d); ok {
			return v, nil
		}
	}
	for _, e := range d {
		// The inner document of $timestamp is judged when its wrapper is complete.
		if n, ok := e.Value.(bareNumber); ok && !isTimestampBody(d) {
			return nil, p.errorf("number %s outside a wrapper", n)
		}
		if inner, ok := e.Value.(bson.D); ok && isTimestampBody(inner) {
			return nil, p.errorf("number outside a wrapper at %q", e.Key)
		}
	}
	return d, nil
}

// isTimestampBody recognises {"t": number, "i": number}.
func isTimestampBody(d bson.D) bool {
	if len(d) != 2 || d[0].Key != "t" || d[1].Key != "i" {
		return false
	}
	_, t := d[0].Value.(bareNumber)
	_, i := d[1].Value.(bareNumber)
	return t && i
}

func (p *parser) string() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; {
		case c == '"':
			s := string(p.src[start:p.pos])
			p.pos++
			return s, nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return "", p.errorf("control character in a string")
		}
		p.pos++
	}
	return "", p.errorf("unterminated string")
}

// escaped finishes a string that contains escapes; the parser stands at the first of them.
func (p *parser) escaped(start int) (string, error) {
	out := append([]byte(nil), p.src[start:p.pos]...)
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < 0x20:
			return "", p.errorf("control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		if p.pos == len(p.src) {
			break
		}
		c = p.src[p.pos]
		p.pos++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, err := p.hex4()
			if err != nil {
				return "", err
			}
			if utf16.IsSurrogate(r) && p.pos+1 < len(p.src) && p.src[p.pos] == '\\' && p.src[p.pos+1] == 'u' {
				p.pos += 2
				low, err := p.hex4()
				if err != nil {
					return "", err
				}
				r = utf16.DecodeRune(r, low)
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", p.errorf("bad escape \\%c", c)
		}
	}
	return "", p.errorf("unterminated string")
}

func (p *parser) hex4() (rune, error) {
	if len(p.src)-p.pos < 4 {
		return 0, p.errorf("short \\u escape")
	}
	n, err := strconv.ParseUint(string(p.src[p.pos:p.pos+4]), 16, 16)
	if err != nil {
		return 0, p.errorf("bad \\u escape")
	}
	p.pos += 4
	return rune(n), nil
}

var errNotWrapper = errors.New("not a wrapper")

// unwrap turns a wrapper object into its value; ok is false when d is a plain document.
func unwrap(d bson.D) (any, bool) {
	if len(d) == 2 {
		code, ok1 := d[0].Value.(string)
		scope, ok2 := d[1].Value.(bson.D)
		if d[0].Key == "$code" && d[1].Key == "$scope" && ok1 && ok2 {
			return bson.CodeWithScope{Code: bson.JavaScript(code), Scope: scope}, true
		}
		return nil, false
	}
	var v any
	var err error
	switch inner := d[0].Value.(type) {
	case string:
		v, err = unwrapString(d[0].Key, inner)
	case bson.D:
		v, err = unwrapDocument(d[0].Key, inner)
	case bareNumber:
		v, err = unwrapNumber(d[0].Key, string(inner))
	case int64:
		if d[0].Key != "$date" {
			return nil, false
		}
		v = bson.DateTime(inner)
	default:
		return nil, false
	}
	return v, err == nil
}

func unwrapString(key, s string) (any, error) {
	switch key {
	case "$numberInt":
		n, err := strconv.ParseInt(s, 10, 32)
		return int32(n), err
	case "$numberLong":
		return strconv.ParseInt(s, 10, 64)
	case "$numberDouble":
		switch s {
		case "NaN":
			return math.NaN(), nil
		case "Infinity":
			return math.Inf(1), nil
		case "-Infinity":
			return math.Inf(-1), nil
		}
		return strconv.ParseFloat(s, 64)
	case "$numberDecimal":
		return bson.ParseDecimal128(s)
	case "$oid":
		var id bson.ObjectID
		if len(s) != 24 {
			return nil, errNotWrapper
		}
		_, err := hex.Decode(id[:], []byte(s))
		return id, err
	case "$code":
		return bson.JavaScript(s), nil
	}
	return nil, errNotWrapper
}

func unwrapNumber(key, n string) (any, error) {
	switch {
	case key == "$minKey" && n == "1":
		return bson.MinKey{}, nil
	case key == "$maxKey" && n == "1":
		return bson.MaxKey{}, nil
	case key == "$cursorId":
		i, err := strconv.Atoi(n)
		return cursorRef(i), err
	}
	return nil, errNotWrapper
}

func unwrapDocument(key string, d bson.D) (any, error) {
	if len(d) != 2 {
		return nil, errNotWrapper
	}
	switch key {
	case "$binary":
		data, ok1 := d[0].Value.(string)
		sub, ok2 := d[1].Value.(string)
		if d[0].Key != "base64" || d[1].Key != "subType" || !ok1 || !ok2 {
			return nil, errNotWrapper
		}
		raw, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(sub, 16, 8)
		return bson.Binary{Subtype: byte(n), Data: raw}, err
	case "$regularExpression":
		pattern, ok1 := d[0].Value.(string)
		options, ok2 := d[1].Value.(string)
		if d[0].Key != "pattern" || d[1].Key != "options" || !ok1 || !ok2 {
			return nil, errNotWrapper
		}
		return bson.Regex{Pattern: pattern, Options: options}, nil
	case "$timestamp":
		if !isTimestampBody(d) {
			return nil, errNotWrapper
		}
		t, err := strconv.ParseUint(string(d[0].Value.(bareNumber)), 10, 32)
		if err != nil {
			return nil, err
		}
		i, err := strconv.ParseUint(string(d[1].Value.(bareNumber)), 10, 32)
		return bson.Timestamp{T: uint32(t), I: uint32(i)}, err
	case "$approx":
		value, ok1 := d[0].Value.(float64)
		tolerance, ok2 := d[1].Value.(float64)
		if d[0].Key != "value" || d[1].Key != "tolerance" || !ok1 || !ok2 {
			return nil, errNotWrapper
		}
		return approx{value, tolerance}, nil
	}
	return nil, errNotWrapper
}
