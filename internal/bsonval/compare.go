package bsonval

import (
	"bytes"
	"cmp"
)

// Collator orders strings by the rules of a language. A nil Collator means
// order by bytes.
type Collator interface {
	// CompareStrings returns -1, 0 or 1.
	CompareStrings(a, b []byte) int
	// AppendKey appends a sort key of s to dst: bytes.Compare of two keys is
	// CompareStrings of their strings. Keys may hold any bytes.
	AppendKey(dst, s []byte) []byte
}

// Compare returns -1, 0 or 1 in MongoDB's comparison order. Missing equals
// undefined and sorts before null.
func Compare(a, b Value) int { return CompareCollated(a, b, nil) }

// Equal is Compare(a, b) == 0.
func Equal(a, b Value) bool { return CompareCollated(a, b, nil) == 0 }

// CompareCollated is Compare with strings in c's order, at every depth.
func CompareCollated(a, b Value, c Collator) int {
	if a.typ != b.typ {
		if r := cmp.Compare(a.typ.Order(), b.typ.Order()); r != 0 {
			return r
		}
	}
	switch a.typ {
	case TypeDouble, TypeInt32, TypeInt64, TypeDecimal128:
		return CompareNumbers(a, b)
	case TypeString, TypeSymbol:
		if c != nil {
			return c.CompareStrings(a.data, b.data)
		}
		return bytes.Compare(a.data, b.data)
	case TypeDocument:
		return compareDocs(a.Doc(), b.Doc(), c)
	case TypeArray:
		return compareArrays(a.Doc(), b.Doc(), c)
	case TypeBinary:
		if r := cmp.Compare(len(a.data), len(b.data)); r != 0 {
			return r
		}
		if r := cmp.Compare(a.num, b.num); r != 0 {
			return r
		}
		return bytes.Compare(a.data, b.data)
	case TypeDate:
		return cmp.Compare(int64(a.num), int64(b.num))
	case TypeBool, TypeTimestamp:
		return cmp.Compare(a.num, b.num)
	case TypeObjectID, TypeCode:
		return bytes.Compare(a.data, b.data)
	case TypeRegex:
		return bytes.Compare(a.data, b.data)
	case TypeDBPointer:
		if r := cmp.Compare(len(a.data), len(b.data)); r != 0 {
			return r
		}
		return bytes.Compare(a.data, b.data)
	case TypeCodeScope:
		ac, as := a.CodeScopeParts()
		bc, bs := b.CodeScopeParts()
		if r := cmp.Compare(ac, bc); r != 0 {
			return r
		}
		return compareDocs(as, bs, c)
	}
	return 0
}

// compareDocs compares two documents as embedded values: element by element by
// type order, then field name, then value; a prefix sorts first.
func compareDocs(a, b Doc, c Collator) int {
	ia, ib := a.Iter(), b.Iter()
	for {
		na, nb := ia.Next(), ib.Next()
		switch {
		case !na && !nb:
			return 0
		case !na:
			return -1
		case !nb:
			return 1
		}
		if r := cmp.Compare(ia.val.typ.Order(), ib.val.typ.Order()); r != 0 {
			return r
		}
		if r := bytes.Compare(ia.key, ib.key); r != 0 {
			return r
		}
		if r := CompareCollated(ia.val, ib.val, c); r != 0 {
			return r
		}
	}
}

// compareArrays compares element by element, whatever the elements are called.
func compareArrays(a, b Doc, c Collator) int {
	ia, ib := a.Iter(), b.Iter()
	for {
		na, nb := ia.Next(), ib.Next()
		switch {
		case !na && !nb:
			return 0
		case !na:
			return -1
		case !nb:
			return 1
		}
		if r := CompareCollated(ia.val, ib.val, c); r != 0 {
			return r
		}
	}
}

// Identical says whether two values have the same type and the same bytes:
// int32 1 and double 1 are not identical, nor are {a:1,b:1} and {b:1,a:1}.
func Identical(a, b Value) bool {
	return a.typ == b.typ && a.num == b.num && bytes.Equal(a.data, b.data)
}
