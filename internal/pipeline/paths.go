package pipeline

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// replacePath appends d with the value at a path replaced, or removed if v is
// missing. Where the path does not exist the document is unchanged. Arrays are
// not entered.
func replacePath(dst []byte, d bsonval.Doc, path []string, v bsonval.Value) []byte {
	dst, at := bsonval.BeginDoc(dst)
	it := d.Iter()
	done := false
	for it.Next() {
		if done || it.KeyStr() != path[0] {
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
			continue
		}
		done = true
		switch {
		case len(path) == 1:
			dst = bsonval.AppendElementBytes(dst, it.Key(), v)
		case it.Value().Type() == bsonval.TypeDocument:
			dst = append(append(append(dst, byte(bsonval.TypeDocument)), it.Key()...), 0)
			dst = replacePath(dst, it.Value().Doc(), path[1:], v)
		default:
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
		}
	}
	return bsonval.EndDoc(dst, at)
}

// setPath appends d with the value at a path set: documents on the way are made
// where they are missing and in the place of anything else.
func setPath(dst []byte, d bsonval.Doc, path []string, v bsonval.Value) []byte {
	dst, at := bsonval.BeginDoc(dst)
	it := d.Iter()
	done := false
	for it.Next() {
		if done || it.KeyStr() != path[0] {
			dst = bsonval.AppendElementBytes(dst, it.Key(), it.Value())
			continue
		}
		done = true
		dst = appendSet(dst, path, it.Value(), v)
	}
	if !done {
		dst = appendSet(dst, path, bsonval.Missing, v)
	}
	return bsonval.EndDoc(dst, at)
}

func appendSet(dst []byte, path []string, old, v bsonval.Value) []byte {
	if len(path) == 1 {
		return bsonval.AppendElement(dst, path[0], v)
	}
	inner := bsonval.EmptyDoc
	if old.Type() == bsonval.TypeDocument {
		inner = old.Doc()
	}
	dst = append(append(append(dst, byte(bsonval.TypeDocument)), path[0]...), 0)
	return setPath(dst, inner, path[1:], v)
}

// related says whether one dotted path is the other or lies inside it.
func related(a, b string) bool { return within(a, b) || within(b, a) }

// within says whether path is outer or lies inside it.
func within(path, outer string) bool {
	return path == outer || strings.HasPrefix(path, outer) && path[len(outer)] == '.'
}

// relatedToAny says whether a path is related to one of the others.
func relatedToAny(path string, others []string) bool {
	for _, o := range others {
		if related(path, o) {
			return true
		}
	}
	return false
}

func joinPath(names []string) string { return strings.Join(names, ".") }
