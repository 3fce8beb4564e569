package copier

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// entry is a document that has been written down before a batch of events was applied: what the batch makes of it.
type entry struct {
	key string // of the collection
	id  bsonval.Value
	doc Doc
}

// ready says that the entries count: those of the batch that begins behind a token and ends with another.
type ready struct {
	n         int
	from, end Doc
}

// journal has the end of the batch under way, and the documents for which applying its events again would not do. A copy
// that was killed finds there what becomes of them, and applies the same batch again: a part of it, applied to what all of
// it has made, would put documents into places of a unique index that others have.
type journal struct {
	mu  sync.Mutex // guards the fields below, and is held while entries are written
	n   int        // entries
	end Doc        // the token of the batch's last event
}

const readyID = "s/ready"

func entryID(i int) string { return fmt.Sprintf("s/%d", i) }

// journalize writes entries down, and which events are being applied.
func (r *run) journalize(ctx context.Context, entries []entry) error {
	j := &r.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	docs := make([]Doc, len(entries))
	for i, e := range entries {
		docs[i] = bsonval.NewBuilder().Str("_id", entryID(j.n+i)).Str("key", e.key).Value("id", e.id).Doc("doc", e.doc).Build()
	}
	err := chunks(docs, maxBatch, func(part []Doc) error { return r.st.save(ctx, part...) })
	if err != nil {
		return err
	}
	j.n += len(entries)
	r.st.mu.Lock()
	from := r.st.token
	r.st.mu.Unlock()
	return r.st.save(ctx, bsonval.NewBuilder().Str("_id", readyID).Int64("n", int64(j.n)).Doc("from", from).Doc("end", j.end).Build())
}

// reached notes that the events up to a token are on the target, and forgets what was written down for them.
func (r *run) reached(ctx context.Context, token Doc) error {
	if err := r.st.reached(ctx, token); err != nil {
		return err
	}
	n := r.journal.n
	r.journal.n = 0
	return r.st.removeEntries(ctx, n)
}

// removeEntries forgets entries; without the first of these documents the others do not count.
func (s *state) removeEntries(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	ids := []string{readyID}
	for i := range n {
		ids = append(ids, entryID(i))
	}
	return s.remove(ctx, ids...)
}

// fragile are the documents that become another if the events are applied to them twice: those of which fields were
// removed and set again, which gives the fields another order.
func (p *pending) fragile() (entries []entry) {
	for c, all := range p.of {
		for _, f := range all.list {
			if f.known || f.existed == nil {
				continue
			}
			again := f.doc
			for _, delta := range f.deltas {
				again = applyDelta(again, delta)
			}
			if !bytes.Equal(again, f.doc) {
				entries = append(entries, entry{c.key, f.id, f.doc})
			}
		}
	}
	return entries
}

// exchange lets documents change places in a unique index: whoever has the place of one of them is one of them, as the
// final states of all agree with each other. They are written down first: removed documents must not be lost.
func (r *run) exchange(ctx context.Context, c *collection, to namespace, docs []Doc) error {
	entries, deletes := make([]entry, len(docs)), make([]Doc, len(docs))
	for i, d := range docs {
		id := d.Lookup("_id")
		entries[i], deletes[i] = entry{c.key, id, d}, removal(id)
	}
	if err := r.journalize(ctx, entries); err != nil {
		return err
	}
	failed, err := r.dst.send(ctx, to, "delete", "deletes", deletes, false, false)
	if err != nil {
		return err
	}
	if len(failed) > 0 {
		return refusedDelete(to, failed[0])
	}
	return chunks(docs, maxBatch, func(part []Doc) error { return r.dst.insert(ctx, to, part, true) })
}

// replay applies the batch again in which an earlier run was killed, with what was written down of it.
func (r *run) replay(ctx context.Context) error {
	at := r.st.ready
	if at.end == nil || !bytes.Equal(at.from, r.st.token) {
		return r.st.removeEntries(ctx, len(r.st.entries))
	}
	r.journal.n = at.n
	end := textOf(at.end.Lookup("_data"))
	var p pending
	for more := true; more; {
		e, err := r.stream.next(ctx)
		if err != nil {
			return err
		}
		for i, d := range e.list {
			if textOf(documentOf(d.Lookup("_id")).Lookup("_data")) > end {
				r.stream.held = &events{list: e.list[i:], token: e.token, passed: e.passed}
				more = false
				break
			}
			ev := parseEvent(d)
			if change, known := definitions[ev.kind]; known && change == nil {
				r.take(&p, &ev)
			}
		}
		more = more && textOf(e.token.Lookup("_data")) < end
	}
	for _, x := range r.st.entries[:at.n] {
		if c := r.st.collection(x.key); c != nil {
			p.settleAs(c, x)
		}
	}
	p.end = at.end
	if err := r.flush(ctx, &p); err != nil {
		return err
	}
	return r.reached(ctx, at.end)
}

// settleAs makes a document what was written down of it.
func (p *pending) settleAs(c *collection, x entry) {
	f := p.changes(c).fate(x.id)
	f.doc, f.known, f.deltas = x.doc, true, nil
	p.count++
}

// conflicts collects documents whose places in a unique index others still have.
type conflicts struct {
	mu   sync.Mutex // guards docs
	docs []Doc
}

func (c *conflicts) add(d Doc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.docs = append(c.docs, d)
}
