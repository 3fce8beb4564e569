package expr

import (
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var timestampOperators = []operator{
	{name: "$tsIncrement", doc: "Returns a timestamp's increment.", min: 1, max: 1, fn: tsIncrement},
	{name: "$tsSecond", doc: "Returns a timestamp's seconds.", min: 1, max: 1, fn: tsSecond},
}

func tsSecond(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeTimestamp {
		return bsonval.Missing, mongoerr.New(5687301, "$tsSecond requires argument of type timestamp, but found %s",
			args[0].Type())
	}
	t, _ := args[0].TimestampParts()
	return bsonval.Int64(int64(t)), nil
}

func tsIncrement(_ *Context, args []bsonval.Value) (bsonval.Value, error) {
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	if args[0].Type() != bsonval.TypeTimestamp {
		return bsonval.Missing, mongoerr.New(5687302, "$tsIncrement requires argument of type timestamp, but found %s",
			args[0].Type())
	}
	_, i := args[0].TimestampParts()
	return bsonval.Int64(int64(i)), nil
}

// dateMillis converts a date, timestamp or ObjectId to milliseconds since 1970.
func dateMillis(v bsonval.Value) (ms int64, ok bool) {
	switch v.Type() {
	case bsonval.TypeDate:
		return v.Int64(), true
	case bsonval.TypeTimestamp:
		t, _ := v.TimestampParts()
		return int64(t) * 1000, true
	case bsonval.TypeObjectID:
		return int64(int32(binary.BigEndian.Uint32(v.Bytes()))) * 1000, true
	}
	return 0, false
}

func coerceToDate(v bsonval.Value) (int64, error) {
	ms, ok := dateMillis(v)
	if !ok {
		return 0, mongoerr.New(16006, "can't convert from BSON type %s to Date", v.Type())
	}
	return ms, nil
}

// civil is a moment in the calendar of a time zone.
type civil struct {
	year                     int64
	month, day               int // from 1
	hour, minute, second, ms int
	weekday                  int // 0 is Sunday
	yearDay                  int // from 1
	days                     int64
	offset                   int64 // seconds east of UTC
}

const (
	secondsPerDay = 86400
	msPerSecond   = 1000
)

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// civilAt is the moment ms in z's calendar.
func civilAt(ms int64, z *zone) civil {
	sec := floorDiv(ms, msPerSecond)
	c := civil{offset: z.offset(sec), ms: int(ms - sec*msPerSecond)}
	sec += c.offset
	c.days = floorDiv(sec, secondsPerDay)
	rest := int(sec - c.days*secondsPerDay)
	c.hour, c.minute, c.second = rest/3600, rest/60%60, rest%60
	c.year, c.month, c.day = civilFromDays(c.days)
	c.yearDay = int(c.days-daysFromCivil(c.year, 1, 1)) + 1
	c.weekday = int((c.days%7 + 11) % 7)
	return c
}

// daysFromCivil counts the days from 1970-01-01 to a day of the proleptic
// Gregorian calendar. Days out of the month's range roll over.
func daysFromCivil(year int64, month, day int) int64 {
	if month <= 2 {
		year--
	}
	era := floorDiv(year, 400)
	yearOfEra := year - era*400
	shifted := int64((month + 9) % 12) // March is 0
	dayOfYear := (153*shifted + 2) / 5
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146097 + dayOfEra - 719468 + int64(day-1)
}

func civilFromDays(days int64) (year int64, month, day int) {
	days += 719468
	era := floorDiv(days, 146097)
	dayOfEra := days - era*146097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36524 - dayOfEra/146096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*dayOfYear + 2) / 153
	day = int(dayOfYear-(153*shifted+2)/5) + 1
	month = int(shifted) + 3
	year = yearOfEra + era*400
	if month > 12 {
		month -= 12
		year++
	}
	return year, month, day
}

func isLeapYear(y int64) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

func daysInMonth(year int64, month int) int {
	switch month {
	case 2:
		if isLeapYear(year) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// isoWeekday is 1 for Monday to 7 for Sunday.
func (c *civil) isoWeekday() int { return (c.weekday+6)%7 + 1 }

// isoWeek is the ISO 8601 week and the year it belongs to.
func (c *civil) isoWeek() (year int64, week int) {
	thursday := c.days - int64(c.isoWeekday()) + 4
	year, _, _ = civilFromDays(thursday)
	return year, int(thursday-daysFromCivil(year, 1, 1))/7 + 1
}

// week is the week of the year, weeks beginning on Sunday, days before the
// first Sunday being in week 0.
func (c *civil) week() int { return (c.yearDay - 1 + 7 - c.weekday) / 7 }

// daysFromISOWeek is the day count of a day of an ISO week.
func daysFromISOWeek(year int64, week, weekday int64) int64 {
	jan4 := daysFromCivil(year, 1, 4)
	monday := jan4 - (jan4%7+10)%7
	return monday + (week-1)*7 + weekday - 1
}
