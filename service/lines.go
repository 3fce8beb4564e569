package service

import (
	"bytes"
	"fmt"
)

// keptLine is how much memory is kept for the next line that comes in parts.
const keptLine = 64 << 10

// lines is an io.Writer that calls a function for each line.
type lines struct {
	// max bounds the bytes of a line; a longer one is an error, or cut short.
	max int
	cut bool
	// each gets a line without its end; it must not keep it. Its error is the writer's.
	each func(line []byte) error
	// failed, if set, hears of the writer's error.
	failed func(error)

	part []byte // the line that has not ended
}

func (l *lines) Write(b []byte) (int, error) {
	n := len(b)
	if err := l.take(b); err != nil {
		if l.failed != nil {
			l.failed(err)
		}
		return 0, err
	}
	return n, nil
}

func (l *lines) take(b []byte) error {
	for {
		line, rest, ended := bytes.Cut(b, []byte{'\n'})
		if len(l.part)+len(line) > l.max {
			if !l.cut {
				return fmt.Errorf("a line of more than %d bytes", l.max)
			}
			line = line[:max(l.max-len(l.part), 0)]
		}
		if !ended {
			l.part = append(l.part, line...)
			return nil
		}
		if len(l.part) > 0 {
			line = append(l.part, line...)
			if l.part = l.part[:0]; cap(l.part) > keptLine {
				l.part = nil
			}
		}
		if err := l.each(line); err != nil {
			return err
		}
		b = rest
	}
}
