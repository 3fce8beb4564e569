package update

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// MaxStoredDepth is how deep a stored document may nest, itself being the first
// level.
const MaxStoredDepth = 180

func immutable(path string) error {
	return mongoerr.New(mongoerr.ImmutableField, "Performing an update on the path '%s' would modify the immutable field '_id'", path)
}

// checkResult checks what came out: _id, names, size and depth.
func (p *Program) checkResult(old, out bsonval.Doc, in Input) error {
	if len(out) > bsonval.MaxDocumentBytes {
		return mongoerr.New(17419, "Resulting document after update is larger than %d", bsonval.MaxDocumentBytes)
	}
	if p.kind == Operators && !p.careful && !in.Insert {
		return nil
	}
	oldID, id := old.Lookup("_id"), out.Lookup("_id")
	if !oldID.IsMissing() && !bsonval.Identical(oldID, id) && !(p.kind != Operators && bsonval.Equal(oldID, id)) {
		return immutable("_id")
	}
	if oldID.IsMissing() || in.Insert {
		if err := CheckID(id); err != nil {
			return err
		}
	}
	if p.kind == Operators && !in.Insert {
		if err := p.checkNewNames(old, out); err != nil {
			return err
		}
	}
	if tooDeep(out, 1) {
		return mongoerr.New(mongoerr.Overflow, "Document exceeds maximum nested object depth of %d", MaxStoredDepth)
	}
	return nil
}

// checkNewNames refuses top-level names that begin with a dollar and were not
// there before.
func (p *Program) checkNewNames(old, out bsonval.Doc) error {
	it := out.Iter()
	for it.Next() {
		if key := it.Key(); len(key) > 0 && key[0] == '$' && old.Lookup(it.KeyStr()).IsMissing() {
			return errDollar(it.KeyStr())
		}
	}
	return nil
}

func errDollar(name string) error {
	return mongoerr.New(mongoerr.DollarPrefixedFieldName,
		"The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update's replacement document."+
			" Consider using an aggregation pipeline with $replaceWith.", name, name)
}

func checkTopNames(d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		if strings.HasPrefix(it.KeyStr(), "$") {
			return errDollar(string(it.Key()))
		}
	}
	return nil
}

// CheckID checks a new document's _id: no array, regular expression or undefined,
// and no document with names that begin with a dollar. Missing is fine.
func CheckID(id bsonval.Value) error {
	switch id.Type() {
	case bsonval.TypeArray, bsonval.TypeRegex, bsonval.TypeUndefined:
		return mongoerr.New(mongoerr.InvalidIdField, "The '_id' value cannot be of type %s", id.Type())
	case bsonval.TypeDocument:
		it := id.Doc().Iter()
		for it.Next() {
			if strings.HasPrefix(it.KeyStr(), "$") {
				return mongoerr.New(mongoerr.DollarPrefixedFieldName, "_id fields may not contain '$'-prefixed fields: %s", it.Key())
			}
		}
	}
	return nil
}

// mayNestDeeply says whether a value under a path of so many names could be too
// deep: operators put what they are given at most two levels further down.
func mayNestDeeply(names int, v bsonval.Value) bool {
	t := v.Type()
	return names+2 > MaxStoredDepth ||
		(t == bsonval.TypeDocument || t == bsonval.TypeArray) && tooDeep(v.Doc(), names+2)
}

// tooDeep says whether a document at that depth has levels that are too deep.
func tooDeep(d bsonval.Doc, depth int) bool { return bsonval.DeeperThan(d, MaxStoredDepth-depth+1) }
