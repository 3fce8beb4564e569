package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
)

// record is the text (or BSON) of one document.
type record struct {
	number int64 // 1-based position among the records of the file
	line   int64 // where it begins
	data   []byte
}

// source cuts a file into records. next returns io.EOF at the end, a *badRecord for a piece that is not a record (the
// source goes on after it), and any other error when nothing more can be read. The record's data belongs to the caller.
type source interface {
	next() (record, error)
}

// badRecord is a piece of the file that cannot be loaded.
type badRecord struct {
	line   int64
	reason string
}

func (b *badRecord) Error() string { return fmt.Sprintf("line %d: %s", b.line, b.reason) }

// input is the opened file with its format decided.
type input struct {
	r      *bufio.Reader
	format string
	size   int64        // bytes of the file as stored, 0 when unknown
	read   atomic.Int64 // bytes of the file consumed so far
	closer io.Closer
}

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func open(c *Config) (*input, error) {
	in := &input{format: c.Format}
	var r io.Reader = c.Stdin
	name := c.File
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			in.size = st.Size()
		} else if err == nil && st.IsDir() {
			_ = f.Close()
			return nil, fmt.Errorf("%s is a folder: name one file", name)
		}
		in.closer, r = f, f
	} else if r == nil {
		r = os.Stdin
	}
	in.r = bufio.NewReaderSize(countingReader{r, &in.read}, 1<<20)
	if magic, _ := in.r.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(in.r)
		if err != nil {
			in.close()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		in.r = bufio.NewReaderSize(z, 1<<20)
		name = strings.TrimSuffix(name, ".gz")
	}
	if bom, _ := in.r.Peek(3); string(bom) == "\xef\xbb\xbf" {
		_, _ = in.r.Discard(3)
	}
	if in.format == "auto" {
		in.format = guess(name, in.r)
	}
	return in, nil
}

func (in *input) close() {
	if in.closer != nil {
		_ = in.closer.Close()
	}
}

// extensions is the table of file name endings.
var extensions = []struct{ suffix, format string }{
	{".jsonl", "jsonl"}, {".ndjson", "jsonl"}, {".json", "json"}, {".geojson", "json"}, {".csv", "csv"}, {".tsv", "tsv"},
	{".tab", "tsv"}, {".bson", "bson"},
}

// guess decides the format by the file's extension, then by its first bytes. Text that begins with a brace or a
// bracket is read as json, which takes documents on lines of their own as well.
func guess(name string, r *bufio.Reader) string {
	lower := strings.ToLower(name)
	for _, e := range extensions {
		if strings.HasSuffix(lower, e.suffix) {
			return e.format
		}
	}
	head, _ := r.Peek(512)
	text := bytes.TrimLeft(head, " \t\r\n")
	switch {
	case len(text) > 0 && (text[0] == '{' || text[0] == '['):
		return "json"
	case len(head) >= 5 && head[3] == 0 && binary.LittleEndian.Uint32(head) <= maxDocument:
		return "bson"
	case bytes.IndexByte(bytes.SplitN(text, []byte{'\n'}, 2)[0], '\t') >= 0:
		return "tsv"
	}
	return "csv"
}

// lineReader reads lines without their ends and counts them.
type lineReader struct {
	r    *bufio.Reader
	line int64 // of the last one returned
}

// next returns a line that the caller owns. A line longer than maxText is skipped and reported.
func (l *lineReader) next() ([]byte, error) {
	var out []byte
	l.line++
	for {
		part, err := l.r.ReadSlice('\n')
		out = append(out, part...)
		if len(out) > maxText {
			for err == bufio.ErrBufferFull {
				_, err = l.r.ReadSlice('\n')
			}
			return nil, &badRecord{l.line, fmt.Sprintf("line longer than %d MiB", maxText>>20)}
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(out) == 0:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, err
		}
		out = bytes.TrimSuffix(out, []byte{'\n'})
		return bytes.TrimSuffix(out, []byte{'\r'}), nil
	}
}

// linesSource is a file with one JSON document per line; blank lines do not count.
type linesSource struct {
	lines  lineReader
	number int64
}

func (s *linesSource) next() (record, error) {
	for {
		line, err := s.lines.next()
		if err != nil {
			return record{}, err
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			s.number++
			return record{number: s.number, line: s.lines.line, data: line}, nil
		}
	}
}

// bsonSource is a dump: BSON documents one after the other. Lines are document numbers.
type bsonSource struct {
	r      *bufio.Reader
	number int64
}

func (s *bsonSource) next() (record, error) {
	s.number++
	head, err := s.r.Peek(4)
	if len(head) == 0 && err == io.EOF {
		return record{}, io.EOF
	}
	if len(head) < 4 {
		return record{}, s.end("the file ends inside a document's length", err)
	}
	n := binary.LittleEndian.Uint32(head)
	if n < 5 || n > maxText {
		// A length that cannot be leaves no way to find the next document.
		return record{}, s.end(fmt.Sprintf("document length %d: not a BSON file from here on", n), io.EOF)
	}
	data, err := io.ReadAll(io.LimitReader(s.r, int64(n)))
	if err != nil || len(data) < int(n) {
		return record{}, s.end(fmt.Sprintf("the file ends after %d of the document's %d bytes", len(data), n), err)
	}
	return record{number: s.number, line: s.number, data: data}, nil
}

// end makes the rest of the file unreadable and says why.
func (s *bsonSource) end(reason string, err error) error {
	if err != nil && err != io.EOF {
		return err
	}
	s.r = bufio.NewReader(strings.NewReader(""))
	return &badRecord{s.number, reason}
}
