package copier

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// stateFormat is the version of the state's documents.
const stateFormat = 1

// The state is kept in documents of four kinds in archelon_copy.state of the target:
//
//	{_id: "copy", format: 1, source, filter, phase, token, since, exact, documents}
//	{_id: "c/" + key, db, coll, to, options, docs, bytes, natural, split}                  a collection
//	{_id: "r/" + key + "/" + number, min, max, after, last, at, docs, done}               a range of _id of it
//	{_id: "s/" + number, key, id, doc}, {_id: "s/ready", n, from, end}                      see journal.go
//
// key is the source's UUID of the collection in hexadecimal digits, or its name where the source has none; since and exact
// are times of the source.

// phases of a copy.
const (
	phaseCopy   = "copy"   // ranges are being copied
	phaseExact  = "exact"  // copied; events up to exact are being applied
	phaseFollow = "follow" // indexes are built, events are being applied
	phaseDone   = "done"   // cut over
)

// state is what has been done. Its methods write it down before they return.
type state struct {
	target *peer
	source string
	filter string

	mu          sync.Mutex // guards the fields below; not held during I/O
	phase       string
	token       Doc    // from where the change stream goes on; nil: the source has none
	since       uint64 // the time of the listing
	exact       uint64 // the time from which the target agrees with the source as of each event
	collections map[string]*collection
	entries     []entry // of a journal, as they were found
	ready       ready
}

// collection is one that is being copied.
type collection struct {
	key     string
	options Doc
	docs    int64 // as the source has counted
	bytes   int64
	natural bool // copied in one piece in natural order

	mu     sync.Mutex // guards the fields below
	from   namespace  // where the source has it
	to     namespace  // where the target has it
	split  bool       // ranges are known
	ranges []*span    // in the order of their bounds
	named  uint64     // the source's time at which it surely had the name from
}

// span is a range of _id.
type span struct {
	n        int
	min, max bsonval.Value // missing: open
	after    bool          // min itself is of the span before
	last     bsonval.Value // the last that was copied
	at       uint64        // the source's time as of which it was read; 0: none
	docs     int64
	done     bool
}

func (c *collection) place() namespace {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.to
}

func (c *collection) source() namespace {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from
}

// keyOf is the key of a collection.
func keyOf(uuid bsonval.Value, n namespace) string {
	if uuid.Type() == bsonval.TypeBinary {
		return hex.EncodeToString(uuid.Bytes())
	}
	return n.String()
}

var errNoState = errors.New("no state")

// errForeign says that the state is of another copy.
var errForeign = errors.New("the target has the state of another copy")

// load reads the state, errNoState if there is none.
func (s *state) load(ctx context.Context) error {
	body := bsonval.NewBuilder().Str("find", stateNS).Build()
	docs, err := s.target.all(ctx, stateDB, body)
	if err != nil {
		return err
	}
	found := false
	for _, d := range docs {
		id := textOf(d.Lookup("_id"))
		switch kind, key, _ := strings.Cut(id, "/"); kind {
		case "copy":
			found = true
			if err := s.readHead(d); err != nil {
				return err
			}
		case "c":
			s.collections[key] = s.readCollection(key, d)
		}
	}
	if !found {
		return errNoState
	}
	for _, d := range docs {
		switch kind, key, _ := strings.Cut(textOf(d.Lookup("_id")), "/"); kind {
		case "r":
			at := strings.LastIndexByte(key, '/')
			if c := s.collections[key[:max(at, 0)]]; c != nil {
				c.ranges = append(c.ranges, readSpan(key[at+1:], d))
			}
		case "s":
			s.readEntry(key, d)
		}
	}
	if s.ready.n > len(s.entries) {
		return errors.New("the state has lost documents that were being written: begin again with --restart")
	}
	for _, c := range s.collections {
		c.arrange()
	}
	return nil
}

// readEntry reads a document of the journal. The numbers are without holes.
func (s *state) readEntry(key string, d Doc) {
	if key == "ready" {
		n, _ := d.Lookup("n").AsInt64()
		s.ready = ready{int(n), documentOf(d.Lookup("from")), documentOf(d.Lookup("end"))}
		return
	}
	i, err := strconv.Atoi(key)
	if err != nil || i < 0 || i > 1<<20 {
		return
	}
	for len(s.entries) <= i {
		s.entries = append(s.entries, entry{})
	}
	s.entries[i] = entry{textOf(d.Lookup("key")), d.Lookup("id"), documentOf(d.Lookup("doc"))}
}

func (s *state) readHead(d Doc) error {
	if n, _ := d.Lookup("format").AsInt64(); n != stateFormat {
		return fmt.Errorf("%w, of format %d: this version knows format %d; --restart begins again", errForeign, n, stateFormat)
	}
	source, filter := textOf(d.Lookup("source")), textOf(d.Lookup("filter"))
	if source != s.source || filter != s.filter {
		return fmt.Errorf("%w, from %s (%s): give the same --from, --include and --exclude to go on with it, or --restart to begin again",
			errForeign, source, filter)
	}
	s.phase = textOf(d.Lookup("phase"))
	s.since, s.exact = timeOf(d.Lookup("since")), timeOf(d.Lookup("exact"))
	if t := d.Lookup("token"); t.Type() == bsonval.TypeDocument {
		s.token = t.Doc()
	}
	return nil
}

func (s *state) readCollection(key string, d Doc) *collection {
	c := &collection{
		key: key, options: documentOf(d.Lookup("options")),
		from: namespace{textOf(d.Lookup("db")), textOf(d.Lookup("coll"))},
		to:   splitNamespace(textOf(d.Lookup("to"))),
	}
	c.docs, _ = d.Lookup("docs").AsInt64()
	c.bytes, _ = d.Lookup("bytes").AsInt64()
	c.natural, c.split = d.Lookup("natural").Truthy(), d.Lookup("split").Truthy()
	return c
}

func readSpan(number string, d Doc) *span {
	r := &span{
		min: d.Lookup("min"), max: d.Lookup("max"), after: d.Lookup("after").Truthy(), last: d.Lookup("last"),
		at: timeOf(d.Lookup("at")), done: d.Lookup("done").Truthy(),
	}
	_, _ = fmt.Sscanf(number, "%d", &r.n)
	r.docs, _ = d.Lookup("docs").AsInt64()
	return r
}

// save writes documents of the state, each in the place of the one with its _id.
func (s *state) save(ctx context.Context, docs ...Doc) error {
	for len(docs) > 0 {
		n := min(len(docs), 1000)
		updates := make([]Doc, n)
		for i, d := range docs[:n] {
			updates[i] = replacement(d)
		}
		if err := s.write(ctx, "update", "updates", updates); err != nil {
			return err
		}
		docs = docs[n:]
	}
	return nil
}

// remove removes documents of the state.
func (s *state) remove(ctx context.Context, ids ...string) error {
	deletes := make([]Doc, len(ids))
	for i, id := range ids {
		deletes[i] = removal(bsonval.String(id))
	}
	if len(deletes) == 0 {
		return nil
	}
	return s.write(ctx, "delete", "deletes", deletes)
}

func (s *state) write(ctx context.Context, name, list string, docs []Doc) error {
	reply, _, err := s.target.run(ctx, command{db: stateDB, body: bsonval.NewBuilder().Str(name, stateNS).Build(), list: list, docs: docs})
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	if errs := documentOf(reply.Lookup("writeErrors")); !errs.IsEmpty() {
		return fmt.Errorf("save the state: %s", bsonval.FormatDoc(errs))
	}
	return nil
}

// saveHead writes the document about the whole.
func (s *state) saveHead(ctx context.Context) error {
	s.mu.Lock()
	b := bsonval.NewBuilder().Str("_id", "copy").Int32("format", stateFormat).Str("source", s.source).Str("filter", s.filter).
		Str("phase", s.phase).Value("since", bsonval.TimestampBits(s.since)).Value("exact", bsonval.TimestampBits(s.exact))
	if s.token != nil {
		b.Doc("token", s.token)
	}
	d := b.Build()
	s.mu.Unlock()
	return s.save(ctx, d)
}

// enter begins a phase.
func (s *state) enter(ctx context.Context, phase string, exact uint64) error {
	s.mu.Lock()
	s.phase, s.exact = phase, exact
	s.mu.Unlock()
	return s.saveHead(ctx)
}

// reached notes that the events up to a token are on the target.
func (s *state) reached(ctx context.Context, token Doc) error {
	s.mu.Lock()
	s.token = token
	s.mu.Unlock()
	return s.saveHead(ctx)
}

// document is the collection as the state has it.
func (c *collection) document() Doc {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bsonval.NewBuilder().Str("_id", "c/"+c.key).Str("db", c.from.db).Str("coll", c.from.coll).Str("to", c.to.String()).
		Doc("options", c.options).Int64("docs", c.docs).Int64("bytes", c.bytes).Bool("natural", c.natural).Bool("split", c.split).
		Build()
}

func (c *collection) rangeID(n int) string { return fmt.Sprintf("r/%s/%d", c.key, n) }

func (c *collection) rangeDocument(r *span) Doc {
	return bsonval.NewBuilder().Str("_id", c.rangeID(r.n)).Value("min", r.min).Value("max", r.max).Bool("after", r.after).
		Value("last", r.last).Value("at", bsonval.TimestampBits(r.at)).Int64("docs", r.docs).Bool("done", r.done).Build()
}

// add takes a collection in.
func (s *state) add(ctx context.Context, list ...*collection) error {
	docs := make([]Doc, 0, len(list))
	s.mu.Lock()
	for _, c := range list {
		s.collections[c.key] = c
		docs = append(docs, c.document())
	}
	s.mu.Unlock()
	return s.save(ctx, docs...)
}

// forget removes a collection and its ranges.
func (s *state) forget(ctx context.Context, c *collection) error {
	s.mu.Lock()
	delete(s.collections, c.key)
	s.mu.Unlock()
	ids := []string{"c/" + c.key}
	for _, r := range c.ranges {
		ids = append(ids, c.rangeID(r.n))
	}
	return s.remove(ctx, ids...)
}

func (s *state) collection(key string) *collection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.collections[key]
}

// at is the collection that the target has in a place, nil if none of the copy's.
func (s *state) at(n namespace) *collection {
	for _, c := range s.all() {
		if c.place() == n {
			return c
		}
	}
	return nil
}

// all are the collections by their names.
func (s *state) all() []*collection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*collection, 0, len(s.collections))
	for _, c := range s.collections {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *collection) int { return strings.Compare(a.place().String(), b.place().String()) })
	return list
}

// now is the phase and the times as they are.
func (s *state) now() (phase string, since, exact uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase, s.since, s.exact
}
