package importer

import (
	"bytes"
	"fmt"
	"io"
)

// extent finds the end of a JSON object that is fed piece by piece. It looks at strings and brackets only; whether the
// inside is well formed is for the decoder to say.
type extent struct {
	open              []byte // closers still owed, innermost last
	inString, escaped bool
}

// feed scans b and returns how many bytes belong to the object when it ends inside b. reason says why the bytes cannot
// be part of an object.
func (e *extent) feed(b []byte) (n int, done bool, reason string) {
	for i, c := range b {
		switch {
		case e.escaped:
			e.escaped = false
		case e.inString && c == '\\':
			e.escaped = true
		case c == '"':
			e.inString = !e.inString
		case e.inString && c == '\n':
			return i, false, "a string is not closed at the end of its line"
		case e.inString:
		case c == '{':
			e.open = append(e.open, '}')
		case c == '[':
			e.open = append(e.open, ']')
		case c == '}' || c == ']':
			last := len(e.open) - 1
			if last < 0 || e.open[last] != c {
				return i, false, fmt.Sprintf("'%c' closes nothing: a bracket before it is missing", c)
			}
			if e.open = e.open[:last]; last == 0 {
				return i + 1, true, ""
			}
		}
	}
	return len(b), false, ""
}

// jsonSource is an array of documents, or documents one after the other, over any number of lines.
//
// After a document whose brackets do not match it goes on at the next line that begins a document in the same column,
// so that parts of a broken document are never taken for documents.
type jsonSource struct {
	r       io.Reader
	buf     []byte // read and not yet consumed
	readErr error
	line    int64 // of buf[0], 1-based
	column  int   // of buf[0], 0-based, in bytes
	number  int64
	begun   bool
	inArray bool
	resync  int // column to look for, -1 when in step
}

func newJSONSource(r io.Reader) *jsonSource { return &jsonSource{r: r, line: 1, resync: -1} }

// fill reads more; it reports false at the end of the file or at an error.
func (s *jsonSource) fill() bool {
	if s.readErr != nil {
		return false
	}
	if cap(s.buf)-len(s.buf) < 32<<10 {
		grown := make([]byte, len(s.buf), 2*len(s.buf)+128<<10)
		copy(grown, s.buf)
		s.buf = grown
	}
	n, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	s.readErr = err
	return n > 0 || err == nil
}

// peek returns the next byte, false at the end.
func (s *jsonSource) peek() (byte, bool) {
	for len(s.buf) == 0 {
		if !s.fill() {
			return 0, false
		}
	}
	return s.buf[0], true
}

// advance consumes n buffered bytes.
func (s *jsonSource) advance(n int) {
	part := s.buf[:n]
	s.line += int64(bytes.Count(part, []byte{'\n'}))
	if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
		s.column = n - i - 1
	} else {
		s.column += n
	}
	s.buf = s.buf[n:]
}

// end is what next returns when nothing is left.
func (s *jsonSource) end() error {
	if s.readErr != nil && s.readErr != io.EOF {
		return s.readErr
	}
	if s.inArray {
		s.inArray = false
		return &badRecord{s.line, "the file ends inside its array: it may be cut off"}
	}
	return io.EOF
}

func (s *jsonSource) next() (record, error) {
	if s.resync >= 0 {
		s.findDocument()
	}
	for {
		c, ok := s.peek()
		switch {
		case !ok:
			return record{}, s.end()
		case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' && s.inArray:
			s.advance(1)
		case c == '[' && !s.begun:
			s.begun, s.inArray = true, true
			s.advance(1)
		case c == ']' && s.inArray:
			s.inArray = false
			s.advance(1)
		case c == '{':
			s.begun = true
			return s.document()
		default:
			s.begun = true
			return record{}, s.skipGarbage()
		}
	}
}

// document cuts the document at the front of the buffer.
func (s *jsonSource) document() (record, error) {
	var e extent
	s.number++
	for at := 0; ; {
		n, done, reason := e.feed(s.buf[at:])
		at += n
		switch {
		case done:
			rec := record{number: s.number, line: s.line, data: bytes.Clone(s.buf[:at])}
			s.advance(at)
			return rec, nil
		case reason == "" && at > maxText:
			reason = fmt.Sprintf("document longer than %d MiB", maxText>>20)
		case reason == "" && !s.fill():
			if s.readErr != io.EOF {
				return record{}, s.readErr
			}
			reason = "the file ends inside the document"
		}
		if reason != "" {
			bad := &badRecord{s.line, reason}
			s.resync = s.column
			s.skipLine()
			return record{}, bad
		}
	}
}

// skipLine consumes the rest of the line.
func (s *jsonSource) skipLine() {
	for {
		if i := bytes.IndexByte(s.buf, '\n'); i >= 0 {
			s.advance(i + 1)
			return
		}
		s.advance(len(s.buf))
		if !s.fill() {
			return
		}
	}
}

// findDocument skips to the next line that begins a document in the column of the broken one, or closes the array
// before that column.
func (s *jsonSource) findDocument() {
	want := s.resync
	s.resync = -1
	for {
		c, ok := s.peek()
		switch {
		case !ok:
			s.inArray = false // already reported as broken
			return
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ',':
			s.advance(1)
		case c == '{' && s.column == want, c == ']' && s.inArray && s.column < max(want, 1):
			return
		default:
			s.skipLine()
		}
	}
}

// skipGarbage consumes what stands where a document should begin: one byte at least, and all up to the next comma,
// closing bracket or line end.
func (s *jsonSource) skipGarbage() error {
	line := s.line
	text := []byte{s.buf[0]}
	s.advance(1)
	s.number++
	for {
		i := bytes.IndexAny(s.buf, ",]\n")
		part := s.buf
		if i >= 0 {
			part = s.buf[:i]
		}
		if room := 40 - len(text); room > 0 {
			text = append(text, part[:min(room, len(part))]...)
		}
		s.advance(len(part))
		if i >= 0 || !s.fill() {
			break
		}
	}
	return &badRecord{line, fmt.Sprintf("expected a document, found %q", bytes.TrimSpace(text))}
}
