package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/sortkey"
)

// Sorter sorts documents: Add them all, then read them from Sorted. Equal
// documents keep their order. With a limit only the first ones are kept.
type Sorter struct {
	pattern *sortkey.Pattern
	env     *Env
	limit   int64 // 0: all

	entries []sortEntry
	arena   []byte
	held    int64 // bytes of entries
	count   uint64
	key     []byte
	file    *spillFile
	heap    bool // entries is a max-heap of the first limit ones
}

// sortEntry is a document with its key. rec is key, document, metadata, one
// after the other.
type sortEntry struct {
	rec      []byte
	key, doc int // lengths
	seq      uint64
}

func (e *sortEntry) keyBytes() []byte { return e.rec[:e.key] }

func compareEntries(a, b sortEntry) int {
	if c := bytes.Compare(a.rec[:a.key], b.rec[:b.key]); c != 0 {
		return c
	}
	if a.seq < b.seq {
		return -1
	}
	return 1
}

// entryOverhead is what an entry takes beside its record.
const entryOverhead = 48

// NewSorter returns a sorter by a pattern. Only the first limit documents come
// out unless limit is 0.
func NewSorter(p *sortkey.Pattern, limit int64, env *Env) *Sorter {
	return &Sorter{pattern: p, limit: limit, env: env}
}

// Add takes a copy of a document. meta is its metadata, nil if it has none.
func (s *Sorter) Add(d, meta bsonval.Doc) error {
	var err error
	if s.pattern.HasMeta() {
		s.key, err = s.pattern.AppendMeta(s.key[:0], d, func(n string) bsonval.Value {
			if meta == nil {
				return bsonval.Missing
			}
			return meta.Lookup(n)
		}, s.env.Expr.Collator)
	} else {
		s.key, err = s.pattern.Append(s.key[:0], d, s.env.Expr.Collator)
	}
	if err != nil {
		return err
	}
	return s.insert(d, meta)
}

// insert adds a document whose key is in s.key.
func (s *Sorter) insert(d, meta bsonval.Doc) error {
	s.count++
	if s.heap && bytes.Compare(s.key, s.entries[0].keyBytes()) >= 0 {
		return nil
	}
	e := sortEntry{key: len(s.key), doc: len(d), seq: s.count}
	n := len(s.key) + len(d) + len(meta)
	if s.heap {
		s.replaceLargest(e, n, d, meta)
	} else {
		e.rec = s.record(s.allocate(n), d, meta)
		s.held += int64(n) + entryOverhead
		s.entries = append(s.entries, e)
		if s.limit > 0 && int64(len(s.entries)) == s.limit && s.file == nil {
			s.makeHeap()
		}
	}
	if s.held > s.env.memoryLimit() {
		return s.spill()
	}
	return nil
}

func (s *Sorter) record(rec []byte, d, meta bsonval.Doc) []byte {
	rec = append(rec[:0], s.key...)
	rec = append(rec, d...)
	return append(rec, meta...)
}

// allocate returns room for n bytes out of a larger block. A sorter with a small
// limit allocates exactly, because its records are replaced.
func (s *Sorter) allocate(n int) []byte {
	if s.limit > 0 && s.limit < 1000 || n > 1<<15 {
		return make([]byte, 0, n)
	}
	if cap(s.arena)-len(s.arena) < n {
		s.arena = make([]byte, 0, 1<<18)
	}
	at := len(s.arena)
	s.arena = s.arena[:at+n]
	return s.arena[at : at : at+n]
}

func (s *Sorter) makeHeap() {
	s.heap = true
	for i := len(s.entries)/2 - 1; i >= 0; i-- {
		s.siftDown(i)
	}
}

func (s *Sorter) siftDown(i int) {
	for {
		c := 2*i + 1
		if c >= len(s.entries) {
			return
		}
		if c+1 < len(s.entries) && compareEntries(s.entries[c], s.entries[c+1]) < 0 {
			c++
		}
		if compareEntries(s.entries[i], s.entries[c]) >= 0 {
			return
		}
		s.entries[i], s.entries[c] = s.entries[c], s.entries[i]
		i = c
	}
}

func (s *Sorter) replaceLargest(e sortEntry, n int, d, meta bsonval.Doc) {
	old := s.entries[0].rec
	s.held += int64(n - len(old))
	if cap(old) < n {
		old = make([]byte, 0, n)
	}
	e.rec = s.record(old, d, meta)
	s.entries[0] = e
	s.siftDown(0)
}

// spill writes what is held as a sorted run.
func (s *Sorter) spill() error {
	if !s.env.AllowDiskUse {
		return errDiskUse("Sort", s.env.memoryLimit())
	}
	if s.file == nil {
		f, err := newSpillFile(s.env)
		if err != nil {
			return err
		}
		s.file = f
	}
	slices.SortFunc(s.entries, compareEntries)
	s.file.begin()
	var n [4]byte
	for _, e := range s.entries {
		binary.LittleEndian.PutUint32(n[:], uint32(e.doc))
		if err := s.file.write(e.keyBytes(), n[:], e.rec[e.key:]); err != nil {
			return err
		}
	}
	if err := s.file.end(); err != nil {
		return err
	}
	clear(s.entries)
	s.entries, s.arena, s.held, s.heap = s.entries[:0], nil, 0, false
	return nil
}

// Spilled says whether the sorter has used the disk.
func (s *Sorter) Spilled() bool { return s.file != nil }

// Sorted returns the documents in order. The sorter must not be used after it.
func (s *Sorter) Sorted() (MetaSource, error) {
	if s.file != nil && len(s.entries) > 0 {
		if err := s.spill(); err != nil {
			return nil, err
		}
	}
	if s.file != nil {
		m, err := s.file.merge()
		if err != nil {
			return nil, err
		}
		return &mergedRuns{merge: m, left: s.limit, limited: s.limit > 0}, nil
	}
	slices.SortFunc(s.entries, compareEntries)
	return &sortedEntries{entries: s.entries, at: -1}, nil
}

// Close releases the disk space of a sorter whose result was not asked for.
func (s *Sorter) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// sortedEntries hands out what fitted into memory.
type sortedEntries struct {
	entries []sortEntry
	at      int
}

func (s *sortedEntries) Next(context.Context) (bsonval.Doc, error) {
	if s.at >= 0 && s.at < len(s.entries) {
		s.entries[s.at].rec = nil
	}
	if s.at++; s.at >= len(s.entries) {
		return nil, io.EOF
	}
	e := &s.entries[s.at]
	return e.rec[e.key : e.key+e.doc : e.key+e.doc], nil
}

func (s *sortedEntries) Metadata() bsonval.Doc {
	e := &s.entries[s.at]
	if m := e.rec[e.key+e.doc:]; len(m) > 0 {
		return m
	}
	return nil
}

func (s *sortedEntries) Close() error { return nil }

// mergedRuns hands out what was spilled.
type mergedRuns struct {
	merge   *runMerge
	limited bool
	left    int64
	meta    bsonval.Doc
	closed  bool
}

func (s *mergedRuns) Next(context.Context) (bsonval.Doc, error) {
	if s.limited {
		if s.left == 0 {
			return nil, io.EOF
		}
		s.left--
	}
	_, body, err := s.merge.next()
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(body))
	s.meta = body[4+n:]
	return body[4 : 4+n], nil
}

func (s *mergedRuns) Metadata() bsonval.Doc {
	if len(s.meta) == 0 {
		return nil
	}
	return s.meta
}

func (s *mergedRuns) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	return s.merge.file.Close()
}
