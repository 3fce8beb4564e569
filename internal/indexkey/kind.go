package indexkey

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Kind is a kind of index: which keys it holds.
type Kind string

// The kinds, by the names that explain and error messages use.
const (
	KindBTree    Kind = "btree"
	KindHashed   Kind = "hashed"
	KindWildcard Kind = "wildcard"
	KindText     Kind = "text"
	Kind2D       Kind = "2d"
	Kind2DSphere Kind = "2dsphere"
)

// KindOf tells an index's kind from its key pattern.
func KindOf(key bsonval.Doc) Kind {
	kind := KindBTree
	it := key.Iter()
	for it.Next() {
		switch v := it.Value(); {
		case v.Type() == bsonval.TypeString:
			return Kind(v.Str())
		case IsWildcardPath(it.KeyStr()):
			kind = KindWildcard
		}
	}
	return kind
}

// IsWildcardPath tells the field of a wildcard index: "$**" or "a.b.$**".
func IsWildcardPath(path string) bool { return path == "$**" || strings.HasSuffix(path, ".$**") }

// Spec is what the generator of an index is made of.
type Spec struct {
	Kind    Kind
	Fields  []Field // of the key pattern
	Sparse  bool
	Options bsonval.Doc // the whole specification, as listIndexes shows it
}

// makers makes the generator of each kind. A missing kind cannot be built.
func makers() map[Kind]func(Spec) (Generator, error) {
	return map[Kind]func(Spec) (Generator, error){
		KindBTree:    func(s Spec) (Generator, error) { return New(s.Fields, s.Sparse), nil },
		KindHashed:   newHashed,
		KindWildcard: newWildcard,
		Kind2D:       newFlat,
		Kind2DSphere: newSphere,
		KindText:     newText,
	}
}
