package importer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// decoder turns a record's data into a document that may lack its _id.
type decoder func(data []byte) (bson.Raw, error)

// decodeJSON reads one document of Extended JSON v2, relaxed or canonical.
func decodeJSON(data []byte) (bson.Raw, error) {
	if len(data) == 0 || data[0] != '{' {
		return nil, fmt.Errorf("expected a document, found %q", clip(data))
	}
	var e extent
	n, done, reason := e.feed(data)
	switch {
	case reason != "":
		return nil, errors.New(reason)
	case !done:
		return nil, errors.New("the document is not closed")
	case len(bytes.TrimSpace(data[n:])) > 0:
		return nil, fmt.Errorf("text after the document: %q", clip(bytes.TrimSpace(data[n:])))
	}
	var raw bson.Raw
	if err := bson.UnmarshalExtJSON(data[:n], false, &raw); err != nil {
		var probe json.RawMessage
		if syntax := json.Unmarshal(data[:n], &probe); syntax != nil {
			return nil, syntax
		}
		return nil, err
	}
	return raw, nil
}

func clip(b []byte) string {
	if len(b) > 40 {
		b = b[:40]
	}
	return strings.ToValidUTF8(string(b), "?")
}

func decodeBSON(data []byte) (bson.Raw, error) {
	raw := bson.Raw(data)
	if err := raw.Validate(); err != nil {
		return nil, err
	}
	return raw, nil
}

// retyped wraps a decoder: top-level fields named in types are converted from what they are to the type. Empty strings
// become absent fields, null stays.
func retyped(next decoder, types map[string]string) decoder {
	if len(types) == 0 {
		return next
	}
	return func(data []byte) (bson.Raw, error) {
		raw, err := next(data)
		if err != nil {
			return nil, err
		}
		return retype(raw, types)
	}
}

func retype(raw bson.Raw, types map[string]string) (bson.Raw, error) {
	elements, err := raw.Elements()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 4, len(raw)+16)
	for _, e := range elements {
		text, ok := "", false
		name, listed := types[e.Key()]
		if listed {
			text, ok = textOf(e.Value())
		}
		if !ok {
			out = append(out, e...)
			continue
		}
		if text == "" && name != "string" {
			continue
		}
		v, err := converters[name](text)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", e.Key(), err)
		}
		if out, err = appendField(out, e.Key(), v); err != nil {
			return nil, err
		}
	}
	return finish(out), nil
}

// textOf gives the text of a string, number or boolean.
func textOf(v bson.RawValue) (string, bool) {
	switch v.Type {
	case bson.TypeString:
		return v.StringValueOK()
	case bson.TypeInt32:
		return fmt.Sprint(v.Int32()), true
	case bson.TypeInt64:
		return fmt.Sprint(v.Int64()), true
	case bson.TypeDouble:
		return fmt.Sprint(v.Double()), true
	case bson.TypeDecimal128:
		return v.Decimal128().String(), true
	case bson.TypeBoolean:
		return fmt.Sprint(v.Boolean()), true
	}
	return "", false
}

func appendField(out []byte, key string, v any) ([]byte, error) {
	t, data, err := bson.MarshalValue(v)
	if err != nil {
		return nil, err
	}
	out = append(out, byte(t))
	out = append(out, key...)
	out = append(out, 0)
	return append(out, data...), nil
}

// finish closes a document whose first four bytes are reserved for its length.
func finish(out []byte) bson.Raw {
	out = append(out, 0)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out
}

// identifier gives documents without an _id a predictable one.
type identifier struct {
	field string  // take it from this field; empty derives it from the content and the position
	file  [4]byte // from the first record
}

func newIdentifier(field string, first []byte) identifier {
	sum := sha256.Sum256(first)
	return identifier{field: field, file: [4]byte(sum[:4])}
}

// identify returns the document with an _id. A derived one is
//
//	| 4 bytes: digest of the file's first record | 5 bytes: record number | 3 bytes: digest of the record |
//
// so that it sorts in file order, the same file gives the same ids again, a file that grew keeps those of its old part,
// and a changed record is a new document.
func (id identifier) identify(raw bson.Raw, rec record) (bson.Raw, error) {
	if _, err := raw.LookupErr("_id"); err == nil {
		return raw, nil
	}
	out := make([]byte, 4, len(raw)+24)
	if id.field != "" {
		v, err := raw.LookupErr(id.field)
		if err != nil {
			return nil, fmt.Errorf("field %q, which gives the _id, is missing", id.field)
		}
		out = append(append(out, byte(v.Type)), "_id\x00"...)
		out = append(out, v.Value...)
	} else {
		var oid [12]byte
		binary.BigEndian.PutUint64(oid[1:9], uint64(rec.number))
		copy(oid[:4], id.file[:])
		sum := sha256.Sum256(rec.data)
		copy(oid[9:], sum[:3])
		out = append(append(out, byte(bson.TypeObjectID)), "_id\x00"...)
		out = append(out, oid[:]...)
	}
	out = append(out, raw[4:]...)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out, nil
}
