package expr

import (
	"math"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a time zone database

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// zone is a time zone: a fixed offset, or an entry of the IANA database.
type zone struct {
	fixed int64          // seconds east of UTC, if loc is nil
	loc   *time.Location // nil for fixed offsets
}

var utcZone = &zone{}

// zoneCacheSize bounds the zones a Context remembers.
const zoneCacheSize = 64

// zone evaluates an operator's timezone argument; nil means that it is null,
// which makes the result null. Absent arguments are UTC.
func (c *Context) zone(v bsonval.Value, given bool) (*zone, error) {
	if !given {
		return utcZone, nil
	}
	if v.IsNullish() {
		return nil, nil
	}
	if v.Type() != bsonval.TypeString {
		return nil, mongoerr.New(40517, "timezone must evaluate to a string, found %s", v.Type())
	}
	if z := c.zones[v.Str()]; z != nil {
		return z, nil
	}
	name := string(v.Bytes())
	z := zoneByName(name)
	if z == nil {
		return nil, mongoerr.New(40485, "unrecognized time zone identifier: \"%s\"", name)
	}
	if c.zones == nil || len(c.zones) >= zoneCacheSize {
		c.zones = map[string]*zone{}
	}
	c.zones[name] = z
	return z, nil
}

// zoneByName returns the zone of an offset ("+05:30", "+0530", "+05") or of a
// name in the IANA database, whose case matters; nil if there is none.
func zoneByName(name string) *zone {
	switch {
	case name == "UTC" || name == "GMT":
		return utcZone
	case name == "" || name == "Local" || strings.Contains(name, ".") || name[0] == '/':
		return nil
	case name[0] == '+' || name[0] == '-':
		if offset, ok := parseOffset(name); ok {
			return &zone{fixed: offset}
		}
		return nil
	}
	loc, err := time.LoadLocation(name)
	if err != nil || loc.String() != name {
		return nil
	}
	return &zone{loc: loc}
}

// parseOffset reads ±HH, ±HHMM and ±HH:MM; two digits each, of any value.
func parseOffset(s string) (seconds int64, ok bool) {
	digits := s[1:]
	if len(digits) == 5 && digits[2] == ':' {
		digits = digits[:2] + digits[3:]
	}
	if len(digits) != 2 && len(digits) != 4 {
		return 0, false
	}
	var n [2]int64
	for i := range len(digits) {
		if digits[i] < '0' || digits[i] > '9' {
			return 0, false
		}
		n[i/2] = n[i/2]*10 + int64(digits[i]-'0')
	}
	seconds = n[0]*3600 + n[1]*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// isUTC tells the zones whose times end in Z.
func (z *zone) isUTC() bool { return z.loc == nil && z.fixed == 0 }

// offset is the zone's offset at a moment, in seconds east of UTC.
func (z *zone) offset(sec int64) int64 {
	if z.loc == nil {
		return z.fixed
	}
	_, n := time.Unix(sec, 0).In(z.loc).Zone()
	return int64(n)
}

// utc converts local seconds to seconds since 1970. Local times that daylight
// saving skips are taken as if it had not begun yet; of times that occur twice,
// the one that the zone's offset at the same UTC time leads to is taken.
func (z *zone) utc(local int64) int64 {
	if z.loc == nil {
		return local - z.fixed
	}
	current := z.offset(local)
	after := z.offset(local - current)
	if current == after {
		return local - current
	}
	transition := int64(math.MinInt64)
	if start, _ := time.Unix(local-current, 0).In(z.loc).ZoneBounds(); !start.IsZero() {
		transition = start.Unix()
	}
	at := local - after
	if transition != math.MinInt64 && at >= transition+current-after && at < transition {
		return local - current
	}
	return at
}

// millis is the moment of a local day and time of day.
func (z *zone) millis(days, seconds, ms int64) (int64, error) {
	if days > math.MaxInt64/secondsPerDay/2 || days < math.MinInt64/secondsPerDay/2 ||
		seconds > math.MaxInt64/4 || seconds < math.MinInt64/4 {
		return 0, dateOverflow()
	}
	sec := z.utc(days*secondsPerDay + seconds)
	carry := floorDiv(ms, msPerSecond)
	sec, ms = sec+carry, ms-carry*msPerSecond
	if sec >= math.MaxInt64/msPerSecond || sec <= math.MinInt64/msPerSecond {
		return 0, dateOverflow()
	}
	return sec*msPerSecond + ms, nil
}

func dateOverflow() error {
	return mongoerr.New(mongoerr.DurationOverflow, "Overflow casting from a lower-precision duration to a higher-precision duration")
}
