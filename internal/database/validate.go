package database

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// ValidateOptions are the options of the validate command.
type ValidateOptions struct {
	// Metadata checks the catalog's entry only.
	Metadata bool

	// Conformance checks documents for what MongoDB stores but does not like:
	// text that is not UTF-8, repeated field names.
	Conformance bool

	// Repair mends index entries and counts.
	Repair bool
}

// Validation is the outcome of Validate.
type Validation struct {
	Coll                        *catalog.Collection
	Valid, Repaired             bool
	Records, Invalid, Unhealthy int64
	Keys                        map[string]int64 // entries by index name
	IndexErrors                 map[string][]string
	Errors, Warnings            []string
	Missing, Extra              []bsonval.Doc // index entries, the first ones
	Corrupt                     []storage.RecordID
}

// validateBuckets is how many groups the entries of an index are compared in.
const validateBuckets = 1 << 12

// maxReported bounds each list of damaged things in an outcome.
const maxReported = 100

// Validate checks that every record is a document, that each index has exactly
// the entries its documents ask for, in order, and that the counts are right.
//
// Entries are compared by sums of hashes over groups of them, so that memory does
// not depend on the size of the collection; groups that differ are looked at a
// second time entry by entry.
func (d *DB) Validate(ctx context.Context, ns Namespace, o ValidateOptions) (*Validation, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	switch {
	case coll == nil:
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "Collection '%s' does not exist to validate.", ns)
	case coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "Cannot validate a view")
	}
	v := &validator{db: d, o: o, seed: maphash.MakeSeed(), out: &Validation{
		Coll: coll, Valid: true, Keys: map[string]int64{}, IndexErrors: map[string][]string{},
	}}
	return v.out, clientError(ctx, v.run(ctx, coll))
}

// validator is one validation under way.
type validator struct {
	db   *DB
	o    ValidateOptions
	out  *Validation
	seed maphash.Seed
	w    writer // for computing keys; its transaction reads
	sums [][validateBuckets]uint64

	// suspects are the groups of each index to look at closely; nil in the first
	// pass. found holds their entries: wanted but not met, or met but not wanted.
	suspects []map[uint64]bool
	found    []map[string]*entryBalance
}

type entryBalance struct {
	key      indexkey.Key
	id       storage.RecordID
	expected bool
	present  bool
}

func (v *validator) fail(format string, args ...any) {
	v.out.Valid = false
	if len(v.out.Errors) < maxReported {
		v.out.Errors = append(v.out.Errors, fmt.Sprintf(format, args...))
	}
}

func (v *validator) failIndex(x *catalog.Index, format string, args ...any) {
	v.out.Valid = false
	if list := v.out.IndexErrors[x.Name]; len(list) < maxReported {
		v.out.IndexErrors[x.Name] = append(list, fmt.Sprintf(format, args...))
	}
}

func (v *validator) run(ctx context.Context, coll *catalog.Collection) error {
	v.checkMetadata(coll)
	if v.o.Metadata {
		return nil
	}
	if err := v.db.settleCounts(ctx, coll); err != nil {
		return err
	}
	options := storage.TxnOptions{ReadOnly: !v.o.Repair}
	if v.db.shared && v.o.Repair {
		options.Alone, options.ConflictWait = []storage.TableID{coll.Table}, transactionWait*1000
	}
	v.w = writer{db: v.db, op: v.db.NewOp(ctx), coll: coll, txn: v.db.engine.Begin(options)}
	defer v.w.txn.Rollback()
	if err := coll.Guard.Exclude(ctx); err != nil {
		return err
	}
	if v.o.Repair {
		defer coll.Guard.Readmit()
	}
	v.w.txn.Snapshot()
	count, bytes, err := v.counts(ctx, coll)
	if err != nil {
		coll.Guard.Readmit()
		return err
	}
	if !v.o.Repair {
		coll.Guard.Readmit()
	}
	v.sums = make([][validateBuckets]uint64, len(coll.Indexes))
	size, err := v.pass(ctx, coll)
	if err != nil {
		return err
	}
	if v.out.Records != count || size != bytes && (!v.db.shared || v.o.Repair) {
		v.out.Warnings = append(v.out.Warnings, fmt.Sprintf("the stored counts (%d documents, %d bytes) do not match the "+
			"records (%d, %d)", count, bytes, v.out.Records, size))
		if v.o.Repair {
			coll.Guard.Count.Store(v.out.Records)
			coll.Guard.Bytes.Store(size)
			v.out.Repaired = true
			if v.db.shared {
				if err := replaceCounts(ctx, v.w.txn, coll, tally{v.out.Records, size}); err != nil {
					return err
				}
			}
		}
	}
	return v.lookCloser(ctx, coll)
}

// counts are the stored ones that belong to the validator's snapshot. Those of a shared
// store do not show changes of size at once; the size is not compared there unless it
// is to be repaired.
func (v *validator) counts(ctx context.Context, coll *catalog.Collection) (count, bytes int64, err error) {
	if !v.db.shared {
		return coll.Guard.Count.Load(), coll.Guard.Bytes.Load(), nil
	}
	t, err := v.db.storedCounts(ctx, v.w.txn, coll)
	return t.count, t.bytes, err
}

// checkMetadata checks the collection's options and specifications.
func (v *validator) checkMetadata(coll *catalog.Collection) {
	if _, err := catalog.NewCollection(coll.DB, coll.Name, coll.Options); err != nil {
		v.fail("The options of the collection are invalid: %v", err)
	}
	for _, x := range coll.Indexes {
		if x.Clustered {
			continue // its specification is made of the options
		}
		if _, err := parseIndexSpec(x.Spec); err != nil {
			v.failIndex(x, "The specification is invalid: %v", err)
		}
	}
}

// pass walks all records and all entries.
func (v *validator) pass(ctx context.Context, coll *catalog.Collection) (size int64, err error) {
	it, err := v.w.txn.Scan(ctx, coll.Table, storage.RecordRange{})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	for it.Next() {
		doc := bsonval.Doc(it.Doc())
		size += int64(len(doc))
		v.record(coll, it.ID(), doc)
	}
	if err := it.Err(); err != nil {
		return 0, err
	}
	for i, x := range coll.Indexes {
		if x.Ready {
			if err := v.entries(ctx, i, x); err != nil {
				return 0, err
			}
		}
	}
	return size, nil
}

func (v *validator) record(coll *catalog.Collection, id storage.RecordID, doc bsonval.Doc) {
	first := v.suspects == nil
	if first {
		v.out.Records++
	}
	if err := bsonval.Validate(doc); err != nil {
		if first {
			v.out.Invalid++
			v.fail("Detected one or more invalid documents: record %d: %v", id, err)
			if len(v.out.Corrupt) < maxReported {
				v.out.Corrupt = append(v.out.Corrupt, id)
			}
		}
		return
	}
	if first && v.o.Conformance && !conforms(doc) {
		v.out.Unhealthy++
	}
	for i, x := range coll.Indexes {
		if !x.Ready {
			continue
		}
		if err := v.w.keysOf(x, doc, &v.w.keys); err != nil {
			v.failIndex(x, "Record %d: %v", id, err)
			continue
		}
		if mask := v.w.keys.Multikey; first && mask&^x.MultikeyFields() != 0 {
			v.failIndex(x, "Index is not marked multikey but record %d has arrays under its fields", id)
		}
		for _, k := range v.w.keys.List {
			v.entry(i, k, id, true)
		}
	}
}

// conforms says whether a document is as MongoDB advises.
func conforms(doc bsonval.Doc) bool {
	if !bsonval.ValidUTF8(doc) {
		return false
	}
	seen := map[string]bool{}
	it := doc.Iter()
	for it.Next() {
		if seen[string(it.Key())] {
			return false
		}
		seen[string(it.Key())] = true
	}
	return true
}

// entries walks one index.
func (v *validator) entries(ctx context.Context, i int, x *catalog.Index) error {
	it, err := v.w.txn.ScanIndex(ctx, x.ID, storage.IndexRange{})
	if err != nil {
		return err
	}
	defer it.Close()
	var last []byte
	lastID := storage.RecordID(0)
	for n := 0; it.Next(); n++ {
		k := indexkey.Key{Bytes: it.Key(), TypeBits: it.TypeBits()}
		if v.suspects == nil {
			v.out.Keys[x.Name]++
			c := strings.Compare(string(last), string(k.Bytes))
			switch {
			case n > 0 && (c > 0 || c == 0 && it.ID() <= lastID):
				v.failIndex(x, "Entries are not in order at record %d", it.ID())
			case n > 0 && c == 0 && x.Unique:
				v.failIndex(x, "Unique index has duplicate key %s", bsonval.FormatDoc(keyDoc(x, k)))
			}
			last, lastID = append(last[:0], k.Bytes...), it.ID()
		}
		v.entry(i, k, it.ID(), false)
	}
	return it.Err()
}

// entry takes one entry into account: one that should be there, or one that is.
func (v *validator) entry(i int, k indexkey.Key, id storage.RecordID, expected bool) {
	var h maphash.Hash
	h.SetSeed(v.seed)
	h.Write(k.Bytes)
	h.WriteByte(byte(len(k.TypeBits)))
	h.Write(k.TypeBits)
	maphash.WriteComparable(&h, id)
	sum := h.Sum64()
	bucket := sum % validateBuckets
	if v.suspects == nil {
		if expected {
			v.sums[i][bucket] += sum
		} else {
			v.sums[i][bucket] -= sum
		}
		return
	}
	if !v.suspects[i][bucket] {
		return
	}
	name := fmt.Sprintf("%x %x %d", k.Bytes, k.TypeBits, id)
	e := v.found[i][name]
	if e == nil {
		e = &entryBalance{key: indexkey.Key{
			Bytes: append([]byte(nil), k.Bytes...), TypeBits: append([]byte(nil), k.TypeBits...),
		}, id: id}
		v.found[i][name] = e
	}
	if expected {
		e.expected = true
	} else {
		e.present = true
	}
}

// lookCloser finds the entries behind groups that do not match.
func (v *validator) lookCloser(ctx context.Context, coll *catalog.Collection) error {
	suspects := make([]map[uint64]bool, len(coll.Indexes))
	bad := false
	for i := range v.sums {
		suspects[i] = map[uint64]bool{}
		for b, sum := range v.sums[i] {
			if sum != 0 {
				suspects[i][uint64(b)] = true
				bad = true
			}
		}
	}
	if !bad {
		return nil
	}
	v.suspects = suspects
	v.found = make([]map[string]*entryBalance, len(coll.Indexes))
	for i := range v.found {
		v.found[i] = map[string]*entryBalance{}
	}
	if _, err := v.pass(ctx, coll); err != nil {
		return err
	}
	for i, x := range coll.Indexes {
		for _, e := range v.found[i] {
			if e.expected != e.present {
				if err := v.mismatch(ctx, x, e); err != nil {
					return err
				}
			}
		}
	}
	if !v.o.Repair {
		return nil
	}
	err := v.w.commit()
	v.out.Repaired = err == nil
	return err
}

// mismatch reports an entry that is missing or too much, and mends it.
func (v *validator) mismatch(ctx context.Context, x *catalog.Index, e *entryBalance) error {
	report := bsonval.NewBuilder().Str("indexName", x.Name).Int64("recordId", int64(e.id)).
		Doc("indexKey", keyDoc(x, e.key)).Build()
	list, what := &v.out.Extra, "Detected extra index entries"
	if e.expected {
		list, what = &v.out.Missing, "Detected missing index entries"
	}
	if len(*list) == 0 {
		v.fail("%s.", what)
	}
	if len(*list) < maxReported {
		*list = append(*list, report)
	}
	v.out.Valid = false
	if !v.o.Repair {
		return nil
	}
	if e.expected {
		return v.w.txn.PutEntry(ctx, x.ID, e.key.Bytes, e.id, e.key.TypeBits)
	}
	return v.w.txn.DeleteEntry(ctx, x.ID, e.key.Bytes, e.id)
}

// keyDoc is an index key as a document, as far as it can be read.
func keyDoc(x *catalog.Index, k indexkey.Key) bsonval.Doc {
	desc := make([]bool, len(x.Fields))
	for i, f := range x.Fields {
		desc[i] = f.Desc
	}
	b := bsonval.NewBuilder()
	vals, err := keystring.Decode(nil, k.Bytes, k.TypeBits, desc, len(x.Fields))
	if err == nil {
		for i, v := range vals {
			b.Value(x.Fields[i].Path, v)
		}
	}
	return b.Build()
}
