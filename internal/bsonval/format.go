package bsonval

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// Format prints a value as MongoDB's error messages and logs do: `{ a: 1, b:
// "x" }`. It is for people; nothing parses it.
func Format(v Value) string {
	var b strings.Builder
	format(&b, v)
	return b.String()
}

// FormatDoc is Format of a document.
func FormatDoc(d Doc) string { return Format(Document(d)) }

func format(b *strings.Builder, v Value) {
	switch v.typ {
	case TypeDouble:
		b.WriteString(FormatDouble(v.Double()))
	case TypeString, TypeSymbol:
		b.WriteByte('"')
		b.WriteString(v.Str())
		b.WriteByte('"')
	case TypeDocument, TypeArray:
		formatDoc(b, v.Doc(), v.typ == TypeArray)
	case TypeBinary:
		b.WriteString("BinData(" + strconv.Itoa(int(v.BinarySubtype())) + ", ")
		b.WriteString(base64.StdEncoding.EncodeToString(v.data) + ")")
	case TypeObjectID:
		b.WriteString("ObjectId('" + hex.EncodeToString(v.data) + "')")
	case TypeBool:
		b.WriteString(strconv.FormatBool(v.Bool()))
	case TypeDate:
		b.WriteString("new Date(" + strconv.FormatInt(v.Int64(), 10) + ")")
	case TypeRegex:
		p, o := v.RegexParts()
		b.WriteString("/" + p + "/" + o)
	case TypeInt32, TypeInt64:
		b.WriteString(strconv.FormatInt(int64(v.num), 10))
	case TypeTimestamp:
		t, i := v.TimestampParts()
		b.WriteString("Timestamp(" + strconv.Itoa(int(t)) + ", " + strconv.Itoa(int(i)) + ")")
	case TypeDecimal128:
		b.WriteString(v.Decimal().String())
	case TypeCode:
		b.WriteString(v.Str())
	case TypeCodeScope:
		code, scope := v.CodeScopeParts()
		b.WriteString("CodeWScope(" + code + ", ")
		formatDoc(b, scope, false)
		b.WriteByte(')')
	case TypeDBPointer:
		ns, id := v.DBPointerParts()
		b.WriteString(`DBRef("` + ns + `", ` + hex.EncodeToString(id) + ")")
	case TypeMinKey:
		b.WriteString("MinKey")
	case TypeMaxKey:
		b.WriteString("MaxKey")
	default:
		b.WriteString(v.typ.String())
	}
}

func formatDoc(b *strings.Builder, d Doc, isArray bool) {
	open, shut := "{", "}"
	if isArray {
		open, shut = "[", "]"
	}
	b.WriteString(open)
	it := d.Iter()
	first := true
	for it.Next() {
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteByte(' ')
		if !isArray {
			b.Write(it.Key())
			b.WriteString(": ")
		}
		format(b, it.Value())
	}
	if !first {
		b.WriteByte(' ')
	}
	b.WriteString(shut)
}

// FormatDouble prints a double as MongoDB's messages do: "1.0", "1e+30", "nan".
func FormatDouble(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'g', -1, 64)
	if !strings.ContainsAny(s, ".e") {
		s += ".0"
	}
	return s
}

// FormatDate prints a date in ISO 8601 with milliseconds, as MongoDB does:
// "1970-01-01T00:00:00.000Z".
func FormatDate(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
