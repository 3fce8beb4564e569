package gateway

import (
	"encoding/binary"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

const (
	// maxAliases bounds the values that are remembered.
	maxAliases = 100_000

	// fresh is how old a value may be that a server has made up just now.
	fresh = 10 * time.Second
)

// aliases are values that one server made up, ids and times, by those of the other in the same place.
type aliases struct {
	// recorded is when the first of two replies came; zero means just now, as the second.
	recorded time.Time

	mu sync.Mutex // guards of
	of map[string]string
}

// new tells whether a value of the first reply was made up for it.
func (l *aliases) new(made time.Time) bool {
	if l != nil && !l.recorded.IsZero() {
		return l.recorded.Sub(made).Abs() <= fresh
	}
	return time.Since(made).Abs() <= fresh
}

// bytesOf is a value that a server can make up as a key, and when that was. ok is false for values of other types.
func bytesOf(v bsonval.Value) (key string, made time.Time, ok bool) {
	switch v.Type() {
	case bsonval.TypeObjectID:
		return string(v.Bytes()), time.Unix(int64(binary.BigEndian.Uint32(v.Bytes())), 0), true
	case bsonval.TypeDate:
		return string(bsonval.AppendValue([]byte{byte(v.Type())}, v)), v.Time(), true
	case bsonval.TypeTimestamp:
		t, _ := v.TimestampParts()
		return string(bsonval.AppendValue([]byte{byte(v.Type())}, v)), time.Unix(int64(t), 0), true
	}
	return "", time.Time{}, false
}

// same tells whether two values of a type mean the same: both servers have made theirs up just now, or had earlier. Values
// made by the client are equal to begin with.
func (l *aliases) same(a, b bsonval.Value) bool {
	x, madeX, ok := bytesOf(a)
	y, madeY, _ := bytesOf(b)
	if l == nil || !ok {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, known := l.of[x]; known && other == y {
		return true
	}
	if !l.new(madeX) || time.Since(madeY).Abs() > fresh {
		return false
	}
	if l.of == nil || len(l.of) >= maxAliases {
		l.of = map[string]string{}
	}
	l.of[x] = y
	return true
}

// madeUp are the parts of error messages in which servers show what they make up: values of documents, resume tokens,
// names of temporary collections.
var madeUp = regexp.MustCompile(`Timestamp\((\d+), \d+\)|ObjectId\('([0-9a-f]{24})'\)|new Date\((\d+)\)|_data: "[0-9A-F]+"|` +
	`UUID\("[0-9a-f-]{36}"\)|tmp\.agg_out\.[0-9a-f-]+`)

// sameMessage tells whether two error messages say the same of values that the servers have made up just now.
func (l *aliases) sameMessage(a, b string) bool {
	if madeUp.ReplaceAllLiteralString(a, "") != madeUp.ReplaceAllLiteralString(b, "") {
		return false
	}
	as, bs := madeUp.FindAllStringSubmatch(a, -1), madeUp.FindAllStringSubmatch(b, -1)
	if len(as) != len(bs) {
		return false
	}
	for i := range as {
		if as[i][0] == bs[i][0] {
			continue
		}
		x, timed := madeAt(as[i])
		y, _ := madeAt(bs[i])
		if timed && (!l.new(x) || time.Since(y).Abs() > fresh) {
			return false
		}
	}
	return true
}

// madeAt is when the value of a match of madeUp was made; ok is false for values that do not tell.
func madeAt(match []string) (made time.Time, ok bool) {
	switch text := match[0]; {
	case strings.HasPrefix(text, "Timestamp"):
		seconds, _ := strconv.ParseInt(match[1], 10, 64) // what is out of range is long ago
		return time.Unix(seconds, 0), true
	case strings.HasPrefix(text, "ObjectId"):
		seconds, _ := strconv.ParseInt(match[2][:8], 16, 64) // hexadecimal digits only
		return time.Unix(seconds, 0), true
	case strings.HasPrefix(text, "new Date"):
		ms, _ := strconv.ParseInt(match[3], 10, 64)
		return time.UnixMilli(ms), true
	}
	return time.Time{}, false
}
