package match

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
)

const (
	// maxClauses is how many clauses Necessary gives: the first ones leave out
	// most, each costs something for every document.
	maxClauses = 3

	// maxAlternatives is how many byte strings a clause may have.
	maxAlternatives = 64

	// minNeedle is the least length of a byte string that stands without a field's
	// name: shorter ones are everywhere.
	minNeedle = 8

	// maxNeedle is where long values are cut off.
	maxNeedle = 512
)

// Necessary returns byte strings that a document must hold to match: of each
// clause at least one occurs in the bytes of every document that matches. There are
// no clauses if nothing is known. A document that has them need not match.
//
// Where values are looked for, the strings of a clause begin with a type byte and
// go on with the same field name and its NUL.
func (m *Matcher) Necessary() [][][]byte {
	if m.errs() {
		return nil
	}
	all := necessary(m.root)
	var out [][][]byte
	for _, sharp := range []bool{true, false} {
		for _, c := range all {
			if c.sharp == sharp && len(out) < maxClauses && (sharp || len(out) == 0) {
				out = append(out, c.any)
			}
		}
	}
	return out
}

// errs says whether the filter can fail on documents: then all of them have to be
// seen.
func (m *Matcher) errs() bool {
	found := false
	Walk(m.root, func(n Node) bool {
		switch n.(type) {
		case *Expr, *Where:
			found = true
		}
		return !found
	})
	return found
}

// clause is a set of byte strings of which one must occur. It is sharp if they are
// values, and not only names of fields.
type clause struct {
	any   [][]byte
	sharp bool
}

// necessary lists what is known of a node: all of its clauses hold.
func necessary(n Node) []clause {
	switch n := n.(type) {
	case *And:
		var all []clause
		for _, c := range n.Nodes {
			all = append(all, necessary(c)...)
		}
		return all
	case *Or:
		return necessaryOfAny(n.Nodes)
	case *Compare:
		return n.necessary()
	case *In:
		return n.necessary()
	case *Regex:
		return n.necessary()
	case *Exists:
		return n.named()
	case *Type:
		return n.named()
	case *Size:
		return n.named()
	case *Mod:
		return n.named()
	case *Bits:
		return n.named()
	case *ElemMatchValue:
		all := n.named()
		for _, c := range n.Nodes {
			all = append(all, necessary(c)...)
		}
		return all
	case *ElemMatchObject:
		return append(n.named(), necessary(n.Node)...)
	}
	return nil
}

// necessaryOfAny is what is known if one of several nodes matches: the sharpest
// clauses of all of them together.
func necessaryOfAny(nodes []Node) []clause {
	sum := clause{sharp: true}
	for _, n := range nodes {
		var best clause
		for _, c := range necessary(n) {
			if best.any == nil || c.sharp && !best.sharp {
				best = c
			}
		}
		if best.any == nil {
			return nil
		}
		sum.any = append(sum.any, best.any...)
		sum.sharp = sum.sharp && best.sharp
	}
	if len(sum.any) > maxAlternatives {
		return nil
	}
	return []clause{sum}
}

// name is the last name of the path that is not a position; empty if there is
// none. last says that nothing follows it.
func (f *Field) name() (name string, last bool) {
	for i := len(f.names) - 1; i >= 0; i-- {
		name := f.names[i]
		if name != "" && strings.IndexByte(name, 0) < 0 && Position(name) < 0 {
			return name, i == len(f.names)-1
		}
	}
	return "", false
}

// named is the clause that the field is there.
func (f *Field) named() []clause {
	name, _ := f.name()
	if name == "" {
		return nil
	}
	return []clause{{any: [][]byte{append([]byte(name), 0)}}}
}

func (n *Compare) necessary() []clause {
	switch n.Value.Type() {
	case bsonval.TypeNull, bsonval.TypeUndefined, bsonval.TypeMinKey, bsonval.TypeMaxKey:
		return nil // missing may do
	}
	if n.Op != Eq || n.Collator != nil {
		return n.named()
	}
	return append(n.equals([]bsonval.Value{n.Value}), within(n.Value)...)
}

func (n *In) necessary() []clause {
	for _, v := range n.Values {
		switch v.Type() {
		case bsonval.TypeNull, bsonval.TypeUndefined, bsonval.TypeMinKey, bsonval.TypeMaxKey:
			return nil
		}
	}
	if n.Collator != nil || len(n.Regexes) > 0 {
		return n.named()
	}
	return n.equals(n.Values)
}

// equals are the clauses that a value at the path, or an element of an array
// there, is equal to one of some.
func (f *Field) equals(values []bsonval.Value) []clause {
	name, last := f.name()
	if name == "" || !last {
		return append(f.named(), unnamed(values)...)
	}
	c := clause{any: [][]byte{head(bsonval.TypeArray, name)}, sharp: true}
	for _, v := range values {
		if v.Type() == bsonval.TypeArray {
			c.sharp = false
			continue
		}
		c.any = append(c.any, encodings(name, v)...)
		c.sharp = c.sharp && isScalar(v)
	}
	if len(c.any) > maxAlternatives {
		return f.named()
	}
	return []clause{c}
}

// unnamed is the clause that one of some values occurs, whatever its name: for
// elements of arrays. There is none if that would say little.
func unnamed(values []bsonval.Value) []clause {
	c := clause{sharp: true}
	for _, v := range values {
		switch v.Type() {
		case bsonval.TypeString, bsonval.TypeSymbol, bsonval.TypeObjectID, bsonval.TypeDate, bsonval.TypeTimestamp:
		default:
			return nil
		}
		b := bsonval.AppendValue(nil, v)
		if len(b) < minNeedle || len(c.any) == maxAlternatives {
			return nil
		}
		c.any = append(c.any, b[:min(len(b), maxNeedle)])
	}
	if len(c.any) == 0 {
		return nil
	}
	return []clause{c}
}

// within are the clauses that a document equal to v holds, wherever it stands:
// each of its elements occurs in it.
func within(v bsonval.Value) []clause {
	if v.Type() != bsonval.TypeDocument {
		return nil
	}
	var all []clause
	for it := v.Doc().Iter(); it.Next() && len(all) < maxClauses; {
		if name := string(it.Key()); name != "" {
			all = append(all, clause{any: encodings(name, it.Value()), sharp: isScalar(it.Value())})
		}
	}
	return all
}

// isScalar says whether the encodings of a value say more than its type.
func isScalar(v bsonval.Value) bool {
	return v.Type() != bsonval.TypeDocument && v.Type() != bsonval.TypeArray && v.Type() != bsonval.TypeCodeScope
}

// head is how an element of a type and name begins.
func head(t bsonval.Type, name string) []byte {
	return append(append([]byte{byte(t)}, name...), 0)
}

// encodings are the beginnings of all elements of a name whose value is equal to
// v.
func encodings(name string, v bsonval.Value) [][]byte {
	switch t := v.Type(); t {
	case bsonval.TypeDouble, bsonval.TypeInt32, bsonval.TypeInt64, bsonval.TypeDecimal128:
		return numberEncodings(name, v)
	case bsonval.TypeString, bsonval.TypeSymbol:
		// The two are equal.
		return [][]byte{element(name, bsonval.StringBytes(v.Bytes())), element(name, bsonval.Symbol(string(v.Bytes())))}
	case bsonval.TypeDocument, bsonval.TypeArray, bsonval.TypeCodeScope:
		return [][]byte{head(t, name)} // equal numbers in it may be of other types
	case bsonval.TypeBinary:
		if v.BinarySubtype() == 2 {
			return [][]byte{head(t, name)} // it can be written in two ways
		}
		return [][]byte{element(name, v)}
	case bsonval.TypeUndefined:
		return [][]byte{head(t, name)}
	default:
		return [][]byte{element(name, v)}
	}
}

// element is a whole element, or its beginning if it is long.
func element(name string, v bsonval.Value) []byte {
	b := bsonval.AppendElement(nil, name, v)
	return b[:min(len(b), max(maxNeedle, len(name)+2))]
}

// numberEncodings are the encodings of all numbers that are equal to one. Decimals
// have too many to list.
func numberEncodings(name string, v bsonval.Value) [][]byte {
	out := [][]byte{head(bsonval.TypeDecimal128, name)}
	n, whole := v.AsInt64()
	switch {
	case v.IsNaN() || v.Type() == bsonval.TypeDecimal128 && !whole:
		return append(out, head(bsonval.TypeDouble, name))
	case !whole:
		return append(out, element(name, v)) // a double
	case n == 0:
		return append(out, element(name, bsonval.Int32(0)), element(name, bsonval.Int64(0)), element(name, bsonval.Double(0)),
			element(name, bsonval.Double(math.Copysign(0, -1))))
	}
	out = append(out, element(name, bsonval.Int64(n)))
	if n >= math.MinInt32 && n <= math.MaxInt32 {
		out = append(out, element(name, bsonval.Int32(int32(n))))
	}
	if f := float64(n); f < 1<<63 && int64(f) == n {
		out = append(out, element(name, bsonval.Double(f)))
	}
	return out
}

// necessary of a regular expression is its longest literal, or its pattern: it
// matches itself as a value.
func (n *Regex) necessary() []clause {
	literal := n.Regexp.Literal()
	if len(literal) < minNeedle/2 || !utf8.ValidString(literal) || strings.ContainsRune(literal, utf8.RuneError) {
		return n.named()
	}
	itself := bsonval.AppendValue(nil, bsonval.Regex(n.Pattern, n.Options))
	return append(n.named(), clause{any: [][]byte{[]byte(literal), itself[:min(len(itself), maxNeedle)]}, sharp: true})
}
