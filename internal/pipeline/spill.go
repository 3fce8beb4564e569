package pipeline

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
)

// A spill file is a sequence of runs, each a sequence of records in the order of
// their keys:
//
//	┌───────────┬───────────┬─────┬─────────┐
//	│ key bytes │ body bytes│ key │ body    │
//	│ uint32 LE │ uint32 LE │     │         │
//	└───────────┴───────────┴─────┴─────────┘
//
// It does not outlive the command that wrote it.
type spillFile struct {
	f    TempFile
	w    *bufio.Writer
	at   int64
	runs []spillRun
}

type spillRun struct{ start, end int64 }

func newSpillFile(env *Env) (*spillFile, error) {
	if env.TempFile == nil {
		return nil, fmt.Errorf("pipeline: no temporary files to spill to")
	}
	f, err := env.TempFile()
	if err != nil {
		return nil, err
	}
	return &spillFile{f: f, w: bufio.NewWriterSize(f, 1<<16)}, nil
}

// begin starts a run.
func (s *spillFile) begin() { s.runs = append(s.runs, spillRun{start: s.at}) }

// write adds a record to the run; parts are its body.
func (s *spillFile) write(key []byte, parts ...[]byte) error {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(key)))
	binary.LittleEndian.PutUint32(head[4:], uint32(n))
	s.at += int64(8 + len(key) + n)
	if _, err := s.w.Write(head[:]); err != nil {
		return err
	}
	if _, err := s.w.Write(key); err != nil {
		return err
	}
	for _, p := range parts {
		if _, err := s.w.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// end finishes the run.
func (s *spillFile) end() error {
	s.runs[len(s.runs)-1].end = s.at
	return s.w.Flush()
}

func (s *spillFile) Close() error { return s.f.Close() }

// merge reads all runs in the order of the keys; equal keys in the order of the
// runs.
func (s *spillFile) merge() (*runMerge, error) {
	m := &runMerge{file: s}
	for i, r := range s.runs {
		rr := &runReader{index: i, r: bufio.NewReaderSize(io.NewSectionReader(s.f, r.start, r.end-r.start), 1<<16)}
		switch err := rr.next(); err {
		case nil:
			m.heap = append(m.heap, rr)
		case io.EOF:
		default:
			return nil, err
		}
	}
	heap.Init(&m.heap)
	return m, nil
}

// runReader reads one run. key and body are valid until next.
type runReader struct {
	index     int
	r         *bufio.Reader
	buf       []byte
	key, body []byte
}

func (r *runReader) next() error {
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return err
	}
	k, b := int(binary.LittleEndian.Uint32(head[:])), int(binary.LittleEndian.Uint32(head[4:]))
	if cap(r.buf) < k+b {
		r.buf = make([]byte, k+b)
	}
	r.buf = r.buf[:k+b]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		return fmt.Errorf("pipeline: reading spilled data: %w", err)
	}
	r.key, r.body = r.buf[:k:k], r.buf[k:]
	return nil
}

type runHeap []*runReader

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	if c := bytes.Compare(h[i].key, h[j].key); c != 0 {
		return c < 0
	}
	return h[i].index < h[j].index
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*runReader)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// runMerge merges the runs of a file.
type runMerge struct {
	file    *spillFile
	heap    runHeap
	started bool
}

// next moves to the following record, or returns io.EOF. key and body are valid
// until the next call.
func (m *runMerge) next() (key, body []byte, err error) {
	if m.started && len(m.heap) > 0 {
		switch err := m.heap[0].next(); err {
		case nil:
			heap.Fix(&m.heap, 0)
		case io.EOF:
			heap.Pop(&m.heap)
		default:
			return nil, nil, err
		}
	}
	m.started = true
	if len(m.heap) == 0 {
		return nil, nil, io.EOF
	}
	return m.heap[0].key, m.heap[0].body, nil
}
