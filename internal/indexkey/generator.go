package indexkey

import (
	"bytes"
	"slices"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Field is one part of an index key.
type Field struct {
	Path string
	Desc bool
}

// Generator makes the keys of the documents of one index. It is immutable and
// may be used by many goroutines.
type Generator interface {
	// Generate adds a document's keys to k, which is empty, by [Keys.Begin],
	// [Keys.Component] and [Keys.End], and notes in k.Multikey the components of
	// the key (bit i for component i) that hold one of several values.
	Generate(k *Keys, d bsonval.Doc) error
}

// Make makes the generator of an index. It fails with NotImplemented for kinds
// that do not exist.
func Make(s Spec) (Generator, error) {
	maker := makers()[s.Kind]
	if maker == nil {
		return nil, mongoerr.New(mongoerr.NotImplemented, "indexes of type '%s' are not implemented", s.Kind)
	}
	return maker(s)
}

// BTree makes the keys of ordinary indexes: the values of all fields in order.
type BTree struct {
	fields  []Field
	parts   [][]string
	numeric []bool // the field's path has a component that may be a position
	sparse  bool
}

// New makes the generator of an ordinary index.
func New(fields []Field, sparse bool) *BTree {
	g := &BTree{fields: fields, sparse: sparse}
	for _, f := range fields {
		parts := strings.Split(f.Path, ".")
		g.parts = append(g.parts, parts)
		g.numeric = append(g.numeric, slices.ContainsFunc(parts, isPosition))
	}
	return g
}

// Key is one key of a document, as the engine stores it.
type Key struct {
	Bytes    []byte
	TypeBits []byte
}

// Keys are the keys of one document. The zero Keys may be used and reused; one
// Keys belongs to one goroutine.
type Keys struct {
	List []Key

	// Multikey is the set of key components (bit i for component i) that met an
	// array.
	Multikey uint32

	g        *BTree
	emit     func(vals []bsonval.Value) // takes combinations of values; nil adds them as keys
	enc      keystring.Encoder
	collator bsonval.Collator
	buf      []byte
	vals     []bsonval.Value
	pos      []int // components of each field's path already walked; done when all are
	err      error
}

// Of computes the keys of a document, replacing what Keys held before. The
// collator is the index's.
func (k *Keys) Of(g Generator, d bsonval.Doc, c bsonval.Collator) error {
	k.List, k.Multikey, k.buf, k.collator = k.List[:0], 0, k.buf[:0], c
	err := g.Generate(k, d)
	if err == nil && len(k.List) > 1 {
		k.distinct()
	}
	return err
}

// maxKeptKeys is the longest list of keys of which Reset keeps the memory.
const maxKeptKeys = 1024

// Reset forgets the document and its keys. Buffers of more than so many bytes are
// not kept.
func (k *Keys) Reset(most int) {
	clear(k.vals[:cap(k.vals)])
	if cap(k.buf) > most || cap(k.List) > maxKeptKeys {
		k.List, k.buf = nil, nil
	}
	if cap(k.enc.Key()) > most {
		k.enc = keystring.Encoder{}
	}
	k.List, k.Multikey, k.buf = k.List[:0], 0, k.buf[:0]
	k.g, k.emit, k.collator, k.err = nil, nil, nil, nil
}

// Generate implements Generator.
func (g *BTree) Generate(k *Keys, d bsonval.Doc) error { return k.combine(g, d, nil) }

// Each calls emit for every combination of the values of g's fields in a
// document, missing ones included: for generators that put keys of their own
// between them. The slice is valid during the call. k.Multikey notes the fields
// of g that met an array. A sparse g leaves out documents without any of the fields.
func (g *BTree) Each(k *Keys, d bsonval.Doc, emit func(vals []bsonval.Value)) error {
	return k.combine(g, d, emit)
}

func (k *Keys) combine(g *BTree, d bsonval.Doc, emit func(vals []bsonval.Value)) error {
	k.g, k.emit, k.err = g, emit, nil
	n := len(g.fields)
	if cap(k.vals) < n {
		k.vals, k.pos = make([]bsonval.Value, n), make([]int, n)
	}
	k.vals, k.pos = k.vals[:n], k.pos[:n]
	for i := range n {
		k.vals[i], k.pos[i] = bsonval.Missing, 0
	}
	k.expand(bsonval.Document(d), k.vals, k.pos, 0)
	return k.err
}

// expand walks every field that is not settled from v on. settled is the set of
// fields whose value is known.
func (k *Keys) expand(v bsonval.Value, vals []bsonval.Value, pos []int, settled uint32) {
	var array bsonval.Doc // the one array met, if any
	var name string       // its name
	var pending uint32
	for i := range vals {
		if settled&(1<<i) != 0 {
			continue
		}
		val, at, arr := descend(v, k.g.parts[i], pos[i])
		if k.g.numeric[i] {
			if k.err = checkNames(v, k.g.parts[i][pos[i]:at]); k.err != nil {
				return
			}
		}
		if arr == nil {
			vals[i], settled = val, settled|1<<i
			continue
		}
		if array != nil && &arr[0] != &array[0] {
			k.err = mongoerr.New(mongoerr.CannotIndexParallelArrays, "cannot index parallel arrays [%s] [%s]",
				k.g.parts[i][max(at-1, 0)], name)
			return
		}
		array, pos[i], pending = arr, at, pending|1<<i
		name = k.g.parts[i][max(at-1, 0)]
	}
	if array == nil {
		k.add(vals)
		return
	}
	k.Multikey |= pending
	k.expandArray(array, vals, pos, settled, pending)
}

func (k *Keys) expandArray(array bsonval.Doc, vals []bsonval.Value, pos []int, settled, pending uint32) {
	if array.IsEmpty() {
		for i := range vals {
			if pending&(1<<i) == 0 {
				continue
			}
			vals[i] = bsonval.Missing
			if pos[i] == len(k.g.parts[i]) {
				vals[i] = bsonval.Undefined
			}
		}
		k.add(vals)
		return
	}
	ends := true // the array is the value of all pending fields
	for i := range vals {
		ends = ends && (pending&(1<<i) == 0 || pos[i] == len(k.g.parts[i]))
	}
	ends = ends && settled|pending == 1<<len(vals)-1
	it := array.Iter()
	for it.Next() && k.err == nil {
		elem := it.Value()
		if ends {
			for i := range vals {
				if pending&(1<<i) != 0 {
					vals[i] = elem
				}
			}
			k.add(vals)
			continue
		}
		v, p, s := slices.Clone(vals), slices.Clone(pos), settled
		for i := range vals {
			switch {
			case pending&(1<<i) == 0:
			case pos[i] == len(k.g.parts[i]):
				v[i], s = elem, s|1<<i
			case elem.Type() != bsonval.TypeDocument:
				v[i], s = bsonval.Missing, s|1<<i
			}
		}
		if s == 1<<len(vals)-1 {
			k.add(v)
		} else {
			k.expand(elem, v, p, s)
		}
	}
}

// descend follows parts[at:] from v until it ends in a value (arr is nil) or
// meets an array to expand; then at is how many parts are walked.
func descend(v bsonval.Value, parts []string, at int) (val bsonval.Value, walked int, arr bsonval.Doc) {
	for {
		switch v.Type() {
		case bsonval.TypeArray:
			if at < len(parts) {
				if elem, ok := element(v.Doc(), parts[at]); ok {
					v = elem
					at++
					continue
				}
			}
			return v, at, v.Doc()
		case bsonval.TypeDocument:
			if at == len(parts) {
				return v, at, nil
			}
			v = v.Doc().Lookup(parts[at])
			at++
		default:
			if at < len(parts) {
				v = bsonval.Missing
			}
			return v, at, nil
		}
	}
}

// isPosition says whether a path component may be a position in an array.
func isPosition(part string) bool { return part != "" && part[0] >= '0' && part[0] <= '9' }

// element is the array's element at a position written as a path component.
func element(a bsonval.Doc, part string) (bsonval.Value, bool) {
	if !isPosition(part) {
		return bsonval.Missing, false
	}
	n, err := strconv.Atoi(part)
	if err != nil || len(part) > 1 && part[0] == '0' {
		return bsonval.Missing, false
	}
	v := a.Index(n)
	return v, !v.IsMissing()
}

// checkNames refuses an array on the way down parts in which a number may mean a
// position or the name of a field.
func checkNames(v bsonval.Value, parts []string) error {
	for _, part := range parts {
		switch v.Type() {
		case bsonval.TypeDocument:
			v = v.Doc().Lookup(part)
			continue
		case bsonval.TypeArray:
		default:
			return nil
		}
		it := v.Doc().Iter()
		for it.Next() {
			if e := it.Value(); e.Type() == bsonval.TypeDocument && !e.Doc().Lookup(part).IsMissing() {
				return mongoerr.New(16746, "Ambiguous field name found in array (do not use numeric field names in embedded "+
					"elements in an array), field: '%s' for array: %s", part, bsonval.Format(v))
			}
		}
		v, _ = element(v.Doc(), part)
	}
	return nil
}

// add encodes one combination of values.
func (k *Keys) add(vals []bsonval.Value) {
	if k.g.sparse && !anyPresent(vals) {
		return
	}
	if k.emit != nil {
		k.emit(vals)
		return
	}
	k.Begin()
	for i, v := range vals {
		k.Component(v, k.g.fields[i].Desc)
	}
	k.End()
}

// Collator is the string order of the index.
func (k *Keys) Collator() bsonval.Collator { return k.collator }

// Begin starts a key.
func (k *Keys) Begin() { k.enc.Reset(k.collator) }

// Component adds the key's next component; a missing value counts as null.
func (k *Keys) Component(v bsonval.Value, desc bool) {
	if v.IsMissing() {
		v = bsonval.Null
	}
	k.enc.Append(v, desc)
}

// End adds the key to the list.
func (k *Keys) End() {
	key := k.keep(k.enc.Key())
	k.List = append(k.List, Key{key, k.keep(k.enc.TypeBits())})
}

func anyPresent(vals []bsonval.Value) bool {
	for _, v := range vals {
		if !v.IsMissing() {
			return true
		}
	}
	return false
}

// keep copies bytes into the buffer that lives as long as the list.
func (k *Keys) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	at := len(k.buf)
	k.buf = append(k.buf, b...)
	return k.buf[at:len(k.buf):len(k.buf)]
}

func (k *Keys) distinct() {
	slices.SortFunc(k.List, func(a, b Key) int { return bytes.Compare(a.Bytes, b.Bytes) })
	k.List = slices.CompactFunc(k.List, func(a, b Key) bool { return bytes.Equal(a.Bytes, b.Bytes) })
}

// Diff calls remove for the keys of the old version of a document that the new
// one does not have, and add for those it gains. Both lists are in order.
func Diff(old, new *Keys, remove, add func(Key) error) error {
	i, j := 0, 0
	for i < len(old.List) || j < len(new.List) {
		var c int
		switch {
		case i == len(old.List):
			c = 1
		case j == len(new.List):
			c = -1
		default:
			c = bytes.Compare(old.List[i].Bytes, new.List[j].Bytes)
		}
		var err error
		switch {
		case c < 0:
			err = remove(old.List[i])
			i++
		case c > 0:
			err = add(new.List[j])
			j++
		default:
			if !bytes.Equal(old.List[i].TypeBits, new.List[j].TypeBits) {
				if err = remove(old.List[i]); err == nil {
					err = add(new.List[j])
				}
			}
			i++
			j++
		}
		if err != nil {
			return err
		}
	}
	return nil
}
