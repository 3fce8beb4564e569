package expr

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	subtypeUUID = 4
	uuidBytes   = 16
)

func (k *conversion) toString(v bsonval.Value) (bsonval.Value, error) {
	switch v.Type() {
	case bsonval.TypeString:
		return v, nil
	case bsonval.TypeInt32, bsonval.TypeInt64:
		return bsonval.String(strconv.FormatInt(v.Int64(), 10)), nil
	case bsonval.TypeDouble:
		return bsonval.String(formatDoubleShortest(v.Double())), nil
	case bsonval.TypeDecimal128:
		return bsonval.String(v.Decimal().String()), nil
	case bsonval.TypeBool:
		return bsonval.String(strconv.FormatBool(v.Bool())), nil
	case bsonval.TypeObjectID:
		return bsonval.String(hex.EncodeToString(v.Bytes())), nil
	case bsonval.TypeDate:
		if y := v.Time().Year(); y < 0 || y > 9999 {
			return bsonval.Missing, conversionFailure("Could not convert date to string: date component was outside the supported range of 0-9999: %d", y)
		}
		return bsonval.String(bsonval.FormatDate(v.Int64())), nil
	case bsonval.TypeBinary:
		return k.textFromBinary(v)
	}
	return bsonval.Missing, nil
}

func (k *conversion) textFromBinary(v bsonval.Value) (bsonval.Value, error) {
	b, isUUID := v.Bytes(), v.BinarySubtype() == subtypeUUID
	format := k.format
	if format == "auto" {
		if format = "base64"; isUUID {
			format = "uuid"
		}
	}
	switch format {
	case "":
		return bsonval.Missing, mongoerr.New(4341115, "Format must be speficied when converting from 'binData' to 'string'")
	case "base64":
		return bsonval.String(base64.StdEncoding.EncodeToString(b)), nil
	case "base64url":
		return bsonval.String(base64.RawURLEncoding.EncodeToString(b)), nil
	case "hex":
		return bsonval.String(strings.ToUpper(hex.EncodeToString(b))), nil
	case "utf8":
		if !utf8.Valid(b) {
			return bsonval.Missing, conversionFailure("BinData does not represent a valid UTF-8 string")
		}
		return bsonval.StringBytes(b), nil
	}
	if !isUUID || len(b) != uuidBytes {
		return bsonval.Missing, conversionFailure("The format 'uuid' is only allowed when converting from BinData with subtype 4")
	}
	h := hex.EncodeToString(b)
	return bsonval.String(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]), nil
}

func (k *conversion) toBinary(v bsonval.Value) (bsonval.Value, error) {
	var b []byte
	switch v.Type() {
	case bsonval.TypeBinary:
		if v.BinarySubtype() != k.subtype {
			return bsonval.Missing, conversionFailure("Conversions between different BinData subtypes are not supported")
		}
		return v, nil
	case bsonval.TypeString:
		return k.binaryFromText(v.Str())
	case bsonval.TypeInt32:
		b = binary.LittleEndian.AppendUint32(nil, uint32(v.Int32()))
	case bsonval.TypeInt64:
		b = binary.LittleEndian.AppendUint64(nil, uint64(v.Int64()))
	case bsonval.TypeDouble:
		b = binary.LittleEndian.AppendUint64(nil, math.Float64bits(v.Double()))
	default:
		return bsonval.Missing, nil
	}
	if k.subtype == subtypeUUID {
		return bsonval.Missing, conversionFailure("Conversions from numeric types to BinData with subtype UUID are not supported")
	}
	if k.bigEndian {
		slices.Reverse(b)
	}
	return bsonval.Binary(k.subtype, b), nil
}

func (k *conversion) binaryFromText(s string) (bsonval.Value, error) {
	format := k.format
	switch {
	case format == "":
		return bsonval.Missing, mongoerr.New(4341115, "Format must be speficied when converting from 'string' to 'binData'")
	case format == "auto":
		if k.subtype != subtypeUUID {
			format = "base64"
		} else {
			format = "uuid"
		}
	case (format == "uuid") != (k.subtype == subtypeUUID):
		return bsonval.Missing, conversionFailure("Only the UUID format is allowed with the UUID subtype")
	}
	var b []byte
	var err error
	switch format {
	case "base64":
		b, err = base64.StdEncoding.Strict().DecodeString(s)
		if strings.ContainsAny(s, "\r\n") {
			err = base64.CorruptInputError(0)
		}
	case "base64url":
		b, err = base64.RawURLEncoding.Strict().DecodeString(strings.TrimRight(s, "="))
		if strings.ContainsAny(s, "\r\n") {
			err = base64.CorruptInputError(0)
		}
	case "hex":
		b, err = hex.DecodeString(s)
	case "utf8":
		b = []byte(s)
	case "uuid":
		var ok bool
		if b, ok = parseUUID(s); !ok {
			err = hex.ErrLength
		}
	}
	if err != nil {
		return bsonval.Missing, conversionFailure("Input '%s' is not a valid %s string", s, format)
	}
	return bsonval.Binary(k.subtype, b), nil
}

// parseUUID reads 8-4-4-4-12 hexadecimal digits.
func parseUUID(s string) ([]byte, bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return nil, false
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	return b, err == nil
}

func toObjectID(v bsonval.Value) (bsonval.Value, error) {
	switch v.Type() {
	case bsonval.TypeObjectID:
		return v, nil
	case bsonval.TypeString:
		id, err := hex.DecodeString(v.Str())
		if err != nil || len(id) != 12 {
			return bsonval.Missing, conversionFailure("Failed to parse objectId '%s'", v.Str())
		}
		return bsonval.ObjectID(id), nil
	}
	return bsonval.Missing, nil
}

func toDate(v bsonval.Value) (bsonval.Value, error) {
	switch v.Type() {
	case bsonval.TypeDate:
		return v, nil
	case bsonval.TypeInt64:
		return bsonval.Date(v.Int64()), nil
	case bsonval.TypeDouble, bsonval.TypeDecimal128:
		n, err := cutToInt64(v)
		return bsonval.Date(n), err
	case bsonval.TypeTimestamp:
		t, _ := v.TimestampParts()
		return bsonval.Date(int64(t) * 1000), nil
	case bsonval.TypeObjectID:
		return bsonval.Date(int64(int32(binary.BigEndian.Uint32(v.Bytes()))) * 1000), nil
	case bsonval.TypeString:
		return dateFromText(v.Str())
	}
	return bsonval.Missing, nil
}

func dateFromText(s string) (bsonval.Value, error) {
	ms, err := parseDate(strings.Trim(s, "\x00\u00a0"), utcZone)
	if err != nil {
		return bsonval.Missing, conversionFailure("%s", err)
	}
	return bsonval.Date(ms), nil
}
