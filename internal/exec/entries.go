package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
)

// point looks up one key of a unique index.
func (s *Scan) point(ctx context.Context) (Row, error) {
	s.done = true
	s.Stats.Works++
	s.Stats.Seeks++
	key, _, _, _ := s.Plan.Bounds.Range(s.Plan.Index)
	id, err := s.view.txn.LookupUnique(ctx, s.Plan.Index.ID, key)
	if err := s.settled(); err != nil {
		return Row{}, err
	}
	if errors.Is(err, storage.ErrNotFound) {
		return Row{}, io.EOF
	}
	if err != nil {
		return Row{}, err
	}
	s.Stats.KeysExamined++
	if s.seen != nil {
		if _, dup := s.seen[id]; dup {
			return Row{}, io.EOF
		}
	}
	doc, err := s.view.txn.Get(ctx, s.coll.Table, id)
	if err != nil {
		return Row{}, s.torn(id, err)
	}
	s.Stats.DocsExamined++
	ok, err := s.matches(s.Plan.Filter, doc)
	if err == nil && ok {
		ok, err = s.matches(s.Plan.KeyFilter, doc)
	}
	if err == nil && !ok {
		err = io.EOF
	}
	if err == nil && s.seen != nil {
		s.seen[id] = struct{}{}
	}
	return Row{ID: id, Doc: doc}, err
}

func (s *Scan) torn(id storage.RecordID, err error) error {
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return fmt.Errorf("index %s of %s names record %d, which does not exist: run validate", s.Plan.Index.Name,
		s.coll.Namespace(), id)
}

// maxRuns is up to how many ranges of keys the engine is told of.
const maxRuns = 10000

// openEntries opens the index iterator at the remembered position.
func (s *Scan) openEntries(ctx context.Context) (bool, error) {
	p := s.Plan
	lower, upper, exact, empty := p.Bounds.Range(p.Index)
	if p.Lower != nil {
		lower = p.Lower
	}
	if p.Upper != nil {
		upper = p.Upper
	}
	if empty {
		return false, nil
	}
	if !exact && s.checker == nil {
		s.checker = plan.NewChecker(p.Bounds, p.Index, p.Reverse)
	}
	r := storage.IndexRange{Lower: lower, Upper: upper, Reverse: p.Reverse}
	if s.checker != nil && p.Lower == nil && p.Upper == nil && p.Distinct == 0 && !s.Examine {
		for _, run := range p.Bounds.Runs(p.Index, maxRuns) {
			r.Runs = append(r.Runs, storage.KeyRun(run))
		}
	}
	if s.lastID != 0 {
		r.After, r.AfterID = s.lastKey, s.lastID
	}
	s.passing = !p.Covered && s.mayPass()
	if s.fetching = !s.passing && (!p.Covered || s.nulls > fewNulls); s.fetching {
		r.Fetch = s.coll.Table
	}
	switch {
	case s.narrowed && s.until == nil:
		r.Contains = s.contains
	case s.narrowed:
		s.narrowed, s.sample = false, sample{}
	}
	r.Likely, r.Loose = s.likely(), s.Loose && s.fetching && !p.Covered // which may have to read records for themselves
	it, err := s.view.txn.ScanIndex(ctx, p.Index.ID, r)
	if err != nil {
		return false, err
	}
	s.Stats.Seeks++
	s.entries = it
	return true, s.settled()
}

// nextEntry goes on with an index scan.
func (s *Scan) nextEntry(ctx context.Context) (Row, error) {
	s.turned()
	if s.entries == nil {
		if ok, err := s.openEntries(ctx); !ok || err != nil {
			return Row{}, orEOF(err)
		}
	}
	more := s.advanceEntry()
	for more {
		s.Stats.Works++
		s.Stats.KeysExamined++
		key := s.entries.Key()
		if s.checker != nil {
			verdict, target := s.checker.Check(key)
			if verdict == plan.Done {
				return Row{}, io.EOF
			}
			if verdict == plan.Seek {
				s.lastKey, s.lastID = append(s.lastKey[:0], key...), s.entries.ID()
				if err := s.pause(ctx); err != nil {
					return Row{}, err
				}
				more = s.seek(target)
				continue
			}
		}
		s.lastKey, s.lastID = append(s.lastKey[:0], key...), s.entries.ID()
		row, ok, err := s.entry(ctx)
		if err == nil && s.Plan.Push != nil {
			s.look(ok)
		}
		if ok || err != nil {
			return row, err
		}
		if err := s.pause(ctx); err != nil {
			return Row{}, err
		}
		if s.turned() {
			if ok, err := s.openEntries(ctx); !ok || err != nil {
				return Row{}, orEOF(err)
			}
		}
		more = s.entries.Next()
	}
	return Row{}, orEOF(s.entries.Err())
}

// advanceEntry goes to the next entry that counts: the following one, or for a
// plan that wants each prefix once, the first one of another prefix.
func (s *Scan) advanceEntry() bool {
	if s.Plan.Distinct == 0 || s.Stats.Returned == 0 {
		return s.entries.Next()
	}
	at := 0
	for i := range s.Plan.Distinct {
		n, err := keystring.ComponentLen(s.lastKey[at:], s.Plan.Index.Fields[i].Desc)
		if err != nil || isNullKey(s.lastKey[at:at+n], s.Plan.Index.Fields[i].Desc) {
			// Null may be a field that is missing: another entry may tell.
			return s.entries.Next()
		}
		at += n
	}
	s.target = append(s.target[:0], s.lastKey[:at]...)
	if !s.Plan.Reverse {
		s.target = keystring.Above(s.target)
	}
	return s.seek(s.target)
}

// isNullKey says whether a key component is null or undefined.
func isNullKey(component []byte, desc bool) bool {
	var buf [4]byte
	null := keystring.Append(buf[:0], bsonval.Null, desc, nil)
	if bytes.Equal(component, null) {
		return true
	}
	return bytes.Equal(component, keystring.Append(buf[:0], bsonval.Undefined, desc, nil))
}

// seek goes to the first entry ahead that is at or behind a key.
func (s *Scan) seek(target []byte) bool {
	s.Stats.Seeks++
	return s.entries.SeekGE(target)
}

// entry makes a row of the entry the iterator stands on; ok is false if it does
// not count.
func (s *Scan) entry(ctx context.Context) (row Row, ok bool, err error) {
	p := s.Plan
	if s.seen != nil {
		if _, dup := s.seen[s.lastID]; dup {
			s.Stats.DupsDropped++
			return Row{}, false, nil
		}
	}
	doc, whole := bsonval.EmptyDoc, p.Covered || s.passing
	if p.KeyFilter != nil || p.Covered && !p.KeyOnly {
		if doc, whole, err = s.rebuild(ctx); err != nil {
			return Row{}, false, err
		}
		if ok, err = s.matches(p.KeyFilter, doc); !ok || err != nil {
			return Row{}, false, err
		}
	}
	if !whole {
		if doc, err = s.fetch(); err != nil {
			return Row{}, false, err
		}
	}
	if ok, err = s.matches(p.Filter, doc); !ok || err != nil {
		return Row{}, false, err
	}
	if s.seen != nil {
		s.seen[s.lastID] = struct{}{}
	}
	return Row{ID: s.lastID, Doc: doc}, true, nil
}

// fetch reads the entry's record.
func (s *Scan) fetch() (bsonval.Doc, error) {
	doc := s.entries.Doc()
	if doc == nil {
		if err := s.entries.Err(); err != nil {
			return nil, err
		}
		return nil, s.torn(s.lastID, nil)
	}
	s.Stats.DocsExamined++
	return doc, nil
}

// fewNulls is how many records a covered scan reads one by one. If there are more, it goes on with
// the records of all entries, which come along with these.
const fewNulls = 4

// read reads the entry's record in a scan that is covered otherwise.
func (s *Scan) read(ctx context.Context) (bsonval.Doc, error) {
	if s.fetching {
		return s.fetch()
	}
	doc, err := s.view.txn.Get(ctx, s.coll.Table, s.lastID)
	if err != nil {
		return nil, s.torn(s.lastID, err)
	}
	s.Stats.DocsExamined++
	s.nulls++
	return doc, nil
}

// turned closes the iterator of a scan that is to go on with the records.
func (s *Scan) turned() bool {
	if s.entries == nil || !s.passed() && (s.fetching || s.nulls <= fewNulls) {
		return false
	}
	s.entries.Close()
	s.entries = nil
	return true
}

// rebuild makes a document of the entry's key; whole says whether that is all
// that the plan needs. A null may stand for a missing field, so then the record is
// read after all.
func (s *Scan) rebuild(ctx context.Context) (doc bsonval.Doc, whole bool, err error) {
	x := s.Plan.Index
	if s.desc == nil {
		for _, f := range x.Fields {
			s.desc = append(s.desc, f.Desc)
		}
	}
	s.vals, err = keystring.Decode(s.vals[:0], s.entries.Key(), s.entries.TypeBits(), s.desc, len(x.Fields))
	if err != nil {
		return nil, false, fmt.Errorf("index %s of %s: %w", x.Name, s.coll.Namespace(), err)
	}
	dst, at := bsonval.BeginDoc(s.buf[:0])
	for i, v := range s.vals {
		if v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined {
			if !s.Plan.Covered {
				doc, err = s.fetch()
				return doc, true, err
			}
			doc, err = s.read(ctx)
			return doc, true, err
		}
		dst = bsonval.AppendElement(dst, x.Fields[i].Path, v)
	}
	s.buf = bsonval.EndDoc(dst, at)
	return s.buf, s.Plan.Covered, nil
}

// KeyDoc returns the index key of the last record as a document of the index's
// fields: {} for plans without an index.
func (s *Scan) KeyDoc() bsonval.Doc {
	b := bsonval.NewBuilder()
	if s.Plan.Index == nil || s.entries == nil {
		return b.Build()
	}
	desc := make([]bool, len(s.Plan.Index.Fields))
	for i, f := range s.Plan.Index.Fields {
		desc[i] = f.Desc
	}
	vals, err := keystring.Decode(nil, s.entries.Key(), s.entries.TypeBits(), desc, len(desc))
	if err != nil {
		return b.Build()
	}
	for i, v := range vals {
		b.Value(s.Plan.Index.Fields[i].Path, v)
	}
	return b.Build()
}
