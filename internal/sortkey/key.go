package sortkey

import (
	"bytes"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Append appends d's sort key to dst: bytes.Compare of two keys is the order of
// their documents. A nil collator orders strings by bytes. Parts with Meta count
// as null.
func (p *Pattern) Append(dst []byte, d bsonval.Doc, c bsonval.Collator) ([]byte, error) {
	return p.AppendMeta(dst, d, nil, c)
}

// AppendMeta is Append with the document's metadata.
func (p *Pattern) AppendMeta(dst []byte, d bsonval.Doc, meta func(name string) bsonval.Value,
	c bsonval.Collator) ([]byte, error) {
	at := len(dst)
	for i := range p.parts {
		part := &p.parts[i]
		v, array := part.plain(d, meta)
		if array {
			return p.appendExpanded(dst[:at], d, meta, c)
		}
		dst = keystring.Append(dst, v, part.Desc, c)
	}
	return dst, nil
}

// Values returns the values behind d's sort key, one for each part, as $meta:
// "sortKey" shows them.
func (p *Pattern) Values(d bsonval.Doc, meta func(name string) bsonval.Value,
	c bsonval.Collator) ([]bsonval.Value, error) {
	x := expansion{pattern: p, collator: c}
	if err := x.run(d, meta); err != nil {
		return nil, err
	}
	return x.best, nil
}

// Compare orders two documents.
func (p *Pattern) Compare(a, b bsonval.Doc, c bsonval.Collator) (int, error) {
	key, err := p.Append(nil, a, c)
	if err != nil {
		return 0, err
	}
	n := len(key)
	if key, err = p.Append(key, b, c); err != nil {
		return 0, err
	}
	return bytes.Compare(key[:n], key[n:]), nil
}

// plain returns the part's value if no array is on the way.
func (p *Part) plain(d bsonval.Doc, meta func(string) bsonval.Value) (v bsonval.Value, array bool) {
	if p.Meta != "" {
		if meta != nil {
			v = meta(p.Meta)
		}
		return orNull(v), false
	}
	v = bsonval.Document(d)
	for _, name := range p.names {
		if v.Type() != bsonval.TypeDocument {
			return bsonval.Null, false
		}
		if v = v.Doc().Lookup(name); v.Type() == bsonval.TypeArray {
			return v, true
		}
	}
	return orNull(v), false
}

func orNull(v bsonval.Value) bsonval.Value {
	if v.IsMissing() {
		return bsonval.Null
	}
	return v
}

func (p *Pattern) appendExpanded(dst []byte, d bsonval.Doc, meta func(string) bsonval.Value,
	c bsonval.Collator) ([]byte, error) {
	x := expansion{pattern: p, collator: c}
	if err := x.run(d, meta); err != nil {
		return dst, err
	}
	return append(dst, x.bestKey...), nil
}

// expansion enumerates the tuples of values that arrays make of one document
// and keeps the one that sorts first.
type expansion struct {
	pattern  *Pattern
	collator bsonval.Collator
	best     []bsonval.Value
	bestKey  []byte
	scratch  []byte
}

// cursor is how far one part of a tuple has got: the value reached and the
// number of names used up. Done cursors hold their final value.
type cursor struct {
	v    bsonval.Value
	used int
	done bool
}

func (x *expansion) run(d bsonval.Doc, meta func(string) bsonval.Value) error {
	cursors := make([]cursor, len(x.pattern.parts))
	for i := range cursors {
		if x.pattern.parts[i].Meta != "" {
			v, _ := x.pattern.parts[i].plain(d, meta)
			cursors[i] = cursor{v: v, done: true}
			continue
		}
		cursors[i].v = bsonval.Document(d)
	}
	return x.expand(cursors)
}

// expand advances all cursors to their end or to an array, and goes through
// the array's elements.
func (x *expansion) expand(cursors []cursor) error {
	array := bsonval.Missing
	for i := range cursors {
		k := &cursors[i]
		if k.done {
			continue
		}
		x.advance(k, x.pattern.parts[i].names)
		if k.done {
			continue
		}
		if !array.IsMissing() && &array.Bytes()[0] != &k.v.Bytes()[0] {
			return mongoerr.New(mongoerr.BadValue, "cannot sort with keys that are parallel arrays")
		}
		array = k.v
	}
	if array.IsMissing() {
		x.offer(cursors)
		return nil
	}
	if array.Doc().IsEmpty() {
		return x.step(cursors, array, bsonval.Undefined)
	}
	it := array.Doc().Iter()
	for it.Next() {
		if err := x.step(cursors, array, it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// advance follows names through documents until the value or an array is
// reached.
func (x *expansion) advance(k *cursor, names []string) {
	for {
		switch {
		case k.v.Type() == bsonval.TypeArray:
			return
		case k.used == len(names):
			k.done = true
			k.v = orNull(k.v)
			return
		case k.v.Type() != bsonval.TypeDocument:
			k.done = true
			k.v = bsonval.Null
			return
		}
		k.v = k.v.Doc().Lookup(names[k.used])
		k.used++
	}
}

// step takes one element of the array for all cursors that stand at it.
func (x *expansion) step(cursors []cursor, array, element bsonval.Value) error {
	next := append([]cursor(nil), cursors...)
	for i := range next {
		k := &next[i]
		if k.done {
			continue
		}
		part := &x.pattern.parts[i]
		if k.used == len(part.names) {
			k.v, k.done = element, true
			continue
		}
		if n := part.indexes[k.used]; n >= 0 {
			if v := array.Doc().Index(n); !v.IsMissing() {
				if element.Type() == bsonval.TypeDocument && !element.Doc().Lookup(part.names[k.used]).IsMissing() {
					return mongoerr.New(16746, "Ambiguous field name found in array (do not use numeric field names "+
						"in embedded elements in an array), field: '%s' for array: %s",
						part.names[k.used], bsonval.Format(array))
				}
				k.v = v
				k.used++
				continue
			}
		}
		if element.Type() != bsonval.TypeDocument {
			k.v, k.done = bsonval.Null, true
			continue
		}
		k.v = element
	}
	return x.expand(next)
}

// offer keeps a finished tuple if it sorts before the best so far.
func (x *expansion) offer(cursors []cursor) {
	key := x.scratch[:0]
	for i := range cursors {
		key = keystring.Append(key, cursors[i].v, x.pattern.parts[i].Desc, x.collator)
	}
	x.scratch = key
	if x.best != nil && bytes.Compare(key, x.bestKey) >= 0 {
		return
	}
	x.bestKey, x.scratch = key, x.bestKey
	x.best = x.best[:0]
	for i := range cursors {
		x.best = append(x.best, cursors[i].v)
	}
}
