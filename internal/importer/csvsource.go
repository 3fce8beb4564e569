package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxRecordLines bounds the lines of one CSV record. A quote that is never closed would otherwise swallow the rest of
// the file; past the bound the quote counts as a mistake of its line.
const maxRecordLines = 1000

// csvSource cuts a CSV file into records. A quoted cell may span lines; a record ends at a line end outside quotes.
type csvSource struct {
	lines  lineReader
	delim  byte
	number int64
	again  []record // lines read ahead of a broken record, to be read once more
}

// line returns the next line, taking back those that were read ahead.
func (s *csvSource) line() ([]byte, int64, error) {
	if len(s.again) > 0 {
		r := s.again[0]
		s.again = s.again[1:]
		return r.data, r.line, nil
	}
	b, err := s.lines.next()
	return b, s.lines.line, err
}

func (s *csvSource) next() (record, error) {
	for {
		first, line, err := s.line()
		if err != nil {
			return record{}, err
		}
		if len(bytes.TrimSpace(first)) == 0 {
			continue
		}
		s.number++
		data, err := s.complete(first, line)
		return record{number: s.number, line: line, data: data}, err
	}
}

// complete adds lines until the quotes match.
func (s *csvSource) complete(data []byte, line int64) ([]byte, error) {
	quotes := bytes.Count(data, []byte{'"'})
	var ahead []record
	for quotes%2 == 1 {
		more, n, err := s.line()
		if err != nil && err != io.EOF && !isBad(err) {
			return nil, err
		}
		if err == nil {
			ahead = append(ahead, record{line: n, data: more})
			quotes += bytes.Count(more, []byte{'"'})
			data = append(append(data[:len(data):len(data)], '\n'), more...)
		}
		if err != nil || len(ahead) >= maxRecordLines || len(data) > maxText {
			s.again = append(ahead, s.again...)
			return nil, &badRecord{line, "a quote is not closed"}
		}
	}
	return data, nil
}

func isBad(err error) bool {
	var bad *badRecord
	return errors.As(err, &bad)
}

// splitCells splits a record into its cells. quoted tells which cells were quoted: a quoted cell is a string whatever
// it looks like only when its type says so, but a quoted empty cell is never a blank.
func splitCells(data []byte, delim byte) (cells []string, quoted []bool, err error) {
	for {
		if len(data) == 0 || data[0] != '"' {
			i := bytes.IndexByte(data, delim)
			cell := data
			if i >= 0 {
				cell = data[:i]
			}
			if bytes.IndexByte(cell, '"') >= 0 {
				return nil, nil, fmt.Errorf("cell %d: a quote inside a cell that is not quoted", len(cells)+1)
			}
			cells, quoted = append(cells, string(cell)), append(quoted, false)
			if i < 0 {
				return cells, quoted, nil
			}
			data = data[i+1:]
			continue
		}
		cell, rest, ok := cutQuoted(data[1:])
		if !ok {
			return nil, nil, fmt.Errorf("cell %d: the quote is not closed", len(cells)+1)
		}
		cells, quoted = append(cells, cell), append(quoted, true)
		if len(rest) == 0 {
			return cells, quoted, nil
		}
		if rest[0] != delim {
			return nil, nil, fmt.Errorf("cell %d: text after the closing quote", len(cells))
		}
		data = rest[1:]
	}
}

// cutQuoted takes a quoted cell; the opening quote is already gone, and a doubled quote stands for one.
func cutQuoted(data []byte) (cell string, rest []byte, ok bool) {
	var out []byte
	for {
		i := bytes.IndexByte(data, '"')
		if i < 0 {
			return "", nil, false
		}
		out = append(out, data[:i]...)
		data = data[i+1:]
		if len(data) == 0 || data[0] != '"' {
			return string(out), data, true
		}
		out = append(out, '"')
		data = data[1:]
	}
}
