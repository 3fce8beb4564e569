package expr

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// ejsonDecoder reads the canonical Extended JSON of the conformance corpus,
// keeping the order of fields. When relaxed, bare numbers are int32, int64 or
// double by their looks.
type ejsonDecoder struct {
	d       *json.Decoder
	relaxed bool
}

func parseEJSON(text []byte) (bsonval.Value, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return (&ejsonDecoder{d: d}).value()
}

// mustEJSON reads relaxed Extended JSON for test tables; single quotes stand for
// double ones.
func mustEJSON(text string) bsonval.Value {
	d := json.NewDecoder(strings.NewReader(strings.ReplaceAll(text, "'", `"`)))
	d.UseNumber()
	v, err := (&ejsonDecoder{d, true}).value()
	if err != nil {
		panic(fmt.Sprintf("%v in %s", err, text))
	}
	return v
}

func (p *ejsonDecoder) number(t json.Number) (bsonval.Value, error) {
	n, err := t.Int64()
	switch {
	case !p.relaxed:
		return bsonval.Int64(n), err // only inside wrappers
	case err != nil:
		f, err := t.Float64()
		return bsonval.Double(f), err
	}
	return intOrLong(n), nil
}

// bare tells a number outside a wrapper.
func (p *ejsonDecoder) bare(v bsonval.Value) bool {
	return v.Type() == bsonval.TypeInt64 || p.relaxed && v.IsNumber()
}

func (p *ejsonDecoder) value() (bsonval.Value, error) {
	t, err := p.d.Token()
	if err != nil {
		return bsonval.Missing, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return p.array()
		}
		return p.object()
	case string:
		return bsonval.String(t), nil
	case bool:
		return bsonval.Bool(t), nil
	case json.Number:
		return p.number(t)
	}
	return bsonval.Null, nil
}

func (p *ejsonDecoder) array() (bsonval.Value, error) {
	b := bsonval.NewArrayBuilder()
	for p.d.More() {
		v, err := p.value()
		if err != nil {
			return v, err
		}
		b.Add(v)
	}
	_, err := p.d.Token()
	return bsonval.Array(b.Build()), err
}

func (p *ejsonDecoder) object() (bsonval.Value, error) {
	b := bsonval.NewBuilder()
	for p.d.More() {
		k, err := p.d.Token()
		if err != nil {
			return bsonval.Missing, err
		}
		v, err := p.value()
		if err != nil {
			return v, err
		}
		b.Value(k.(string), v)
	}
	if _, err := p.d.Token(); err != nil {
		return bsonval.Missing, err
	}
	doc := b.Build()
	if v, ok := p.unwrap(doc); ok {
		return v, nil
	}
	return bsonval.Document(doc), nil
}

// unwrap turns {"$numberInt": "1"} and its like into the value meant.
func (p *ejsonDecoder) unwrap(d bsonval.Doc) (bsonval.Value, bool) {
	key, v, ok := d.First()
	if !ok || key[:min(1, len(key))] != "$" {
		return v, false
	}
	if scope := d.Lookup("$scope"); key == "$code" && scope.Type() == bsonval.TypeDocument && d.Len() == 2 {
		return bsonval.CodeScope(v.Str(), scope.Doc()), true
	}
	if d.Len() != 1 {
		return v, false
	}
	if v.Type() == bsonval.TypeString {
		return unwrapText(key, v.Str())
	}
	switch key {
	case "$minKey":
		return bsonval.MinKey, p.bare(v)
	case "$maxKey":
		return bsonval.MaxKey, p.bare(v)
	case "$date":
		return bsonval.Date(v.Int64()), p.bare(v)
	}
	if v.Type() != bsonval.TypeDocument {
		return v, false
	}
	in := v.Doc()
	switch {
	case key == "$binary" && in.Lookup("subType").Type() == bsonval.TypeString:
		payload, err := base64.StdEncoding.DecodeString(in.Lookup("base64").Str())
		sub, err2 := strconv.ParseUint(in.Lookup("subType").Str(), 16, 8)
		return bsonval.Binary(byte(sub), payload), err == nil && err2 == nil
	case key == "$timestamp" && p.bare(in.Lookup("t")):
		return bsonval.Timestamp(uint32(in.Lookup("t").Int64()), uint32(in.Lookup("i").Int64())), true
	case key == "$regularExpression" && in.Lookup("pattern").Type() == bsonval.TypeString:
		return bsonval.Regex(in.Lookup("pattern").Str(), in.Lookup("options").Str()), true
	}
	return v, false
}

func unwrapText(key, s string) (bsonval.Value, bool) {
	switch key {
	case "$numberInt":
		n, err := strconv.ParseInt(s, 10, 32)
		return bsonval.Int32(int32(n)), err == nil
	case "$numberLong":
		n, err := strconv.ParseInt(s, 10, 64)
		return bsonval.Int64(n), err == nil
	case "$numberDouble":
		f, err := strconv.ParseFloat(s, 64)
		if s == "NaN" {
			f = math.NaN()
		}
		return bsonval.Double(f), err == nil
	case "$numberDecimal":
		d, _, err := bsonval.ParseDecimal(s)
		return bsonval.DecimalValue(d), err == nil
	case "$oid":
		id, err := hex.DecodeString(s)
		if err != nil || len(id) != 12 {
			return bsonval.Missing, false
		}
		return bsonval.ObjectID(id), true
	case "$code":
		return bsonval.Code(s), true
	}
	return bsonval.Missing, false
}
