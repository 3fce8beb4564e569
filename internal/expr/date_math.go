package expr

import (
	"math"
	"math/bits"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var dateMathOperators = []operator{
	{name: "$dateAdd", doc: "Adds units of time to a date.", compile: dateAddSignature.compile},
	{name: "$dateDiff", doc: "Counts the boundaries of a unit of time between two dates.", compile: dateDiffSignature.compileWithWeek},
	{name: "$dateSubtract", doc: "Subtracts units of time from a date.", compile: dateSubtractSignature.compile},
	{name: "$dateTrunc", doc: "Cuts a date to a unit of time.", compile: dateTruncSignature.compileWithWeek},
}

// timeUnit is a unit of time, from the longest to the shortest.
type timeUnit int

const (
	unitYear timeUnit = iota
	unitQuarter
	unitMonth
	unitWeek
	unitDay
	unitHour
	unitMinute
	unitSecond
	unitMillisecond
)

var timeUnitNames = [...]string{"year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond"}

func (u timeUnit) String() string { return timeUnitNames[u] }

// millis is the length of a unit from week down; months have none.
func (u timeUnit) millis() int64 {
	return [...]int64{0, 0, 0, 7 * 86400000, 86400000, 3600000, 60000, 1000, 1}[u]
}

// months is the length of a unit from month up.
func (u timeUnit) months() int64 { return [...]int64{12, 3, 1}[u] }

func timeUnitByName(name string) (timeUnit, bool) {
	for i, n := range timeUnitNames {
		if n == name {
			return timeUnit(i), true
		}
	}
	return 0, false
}

// parseTimeUnit reads an operator's unit argument, which is not null.
func parseTimeUnit(op string, v bsonval.Value) (timeUnit, error) {
	if v.Type() != bsonval.TypeString {
		return 0, mongoerr.New(5439013, "%s requires 'unit' to be a string, but got %s", op, v.Type())
	}
	u, ok := timeUnitByName(v.Str())
	if !ok {
		return 0, mongoerr.New(mongoerr.FailedToParse, "unknown time unit value: %s", v.Str())
	}
	return u, nil
}

var weekdayNames = [...]string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

// parseStartOfWeek reads an operator's startOfWeek argument, which is not null.
func parseStartOfWeek(op string, v bsonval.Value) (int, error) {
	if v.Type() != bsonval.TypeString {
		return 0, mongoerr.New(5439015, "%s requires 'startOfWeek' to be a string, but got %s", op, v.Type())
	}
	name := strings.ToLower(v.Str())
	for i, n := range weekdayNames {
		if name == n || name == n[:3] {
			return i, nil
		}
	}
	return 0, mongoerr.New(5439016, "%s parameter 'startOfWeek' value cannot be recognized as a day of a week: %s", op, v.Str())
}

// weekStart is the day that a call's fifth argument, startOfWeek, names: Sunday
// without it or if the unit is no week. null says that the result is null.
func weekStart(op string, unit timeUnit, args []bsonval.Value, given argumentSet) (day int, null bool, err error) {
	switch {
	case !given.has(4) || unit != unitWeek:
		return 0, false, nil
	case args[4].IsNullish():
		return 0, true, nil
	}
	day, err = parseStartOfWeek(op, args[4])
	return day, false, err
}

// compileWithWeek compiles operators whose fifth argument is startOfWeek. When
// the call is not constant, a constant startOfWeek counts even if the unit is
// no week: null makes the result null, and other values must name a day.
func (s *signature) compileWithWeek(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	e, err := s.compile(c, op, arg)
	if err != nil {
		return nil, err
	}
	call, ok := e.(*namedCall)
	if !ok || call.args[4] == nil {
		return e, nil
	}
	v, ok := ConstantValue(call.args[4])
	switch {
	case !ok:
		return e, nil
	case v.IsNullish():
		return Constant(bsonval.Null), nil
	}
	_, err = parseStartOfWeek(op.name, v)
	return e, err
}

var (
	dateArithmeticArguments = []argument{{"startDate", 5166402}, {"unit", 5166402}, {"amount", 5166402}, {"timezone", 0}}

	dateAddSignature = signature{notObject: 5166400, unknown: 5166401, args: dateArithmeticArguments,
		fn: func(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
			return dateArithmetic(c, "$dateAdd", args, given)
		}}
	dateSubtractSignature = signature{notObject: 5166400, unknown: 5166401, args: dateArithmeticArguments,
		fn: func(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
			return dateArithmetic(c, "$dateSubtract", args, given)
		}}
)

func dateArithmetic(c *Context, op string, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	if args[0].IsNullish() || args[1].IsNullish() {
		return bsonval.Null, nil
	}
	unit, err := parseTimeUnit(op, args[1])
	if err != nil {
		return bsonval.Missing, err
	}
	if args[2].IsNullish() {
		return bsonval.Null, nil
	}
	z, err := c.zone(args[3], given.has(3))
	if z == nil {
		return bsonval.Null, err
	}
	ms, ok := dateMillis(args[0])
	if !ok {
		return bsonval.Missing, mongoerr.New(5166403, "%s requires startDate to be convertible to a date", op)
	}
	amount, ok := args[2].AsInt64()
	if !ok {
		return bsonval.Missing, mongoerr.New(5166405, "%s expects integer amount of time units", op)
	}
	if op == "$dateSubtract" {
		if amount == math.MinInt64 {
			return bsonval.Missing, mongoerr.New(6045000, "invalid %s 'amount' parameter value: %d", op, amount)
		}
		amount = -amount
	}
	ms, err = dateAdd(ms, unit, amount, z)
	if err != nil {
		return bsonval.Missing, err
	}
	return bsonval.Date(ms), nil
}

// maxAmount are the largest amounts of each unit that can be between two dates.
var maxAmount = [...]int64{584942417, 4 * 584942417, 12 * 584942417, 30500568904, 213503982334, 5124095576030,
	307445734561825, 18446744073709551, math.MaxInt64}

// DateAdd adds an amount of a unit ("day", "month" …) to a date, in UTC.
func DateAdd(ms int64, unit string, amount int64) (int64, error) {
	u, ok := timeUnitByName(unit)
	if !ok {
		return 0, mongoerr.New(mongoerr.FailedToParse, "unknown time unit value: %s", unit)
	}
	return dateAdd(ms, u, amount, utcZone)
}

// TimeUnitMillis is the length of a unit from week down to millisecond; ok is
// false for other names.
func TimeUnitMillis(unit string) (ms int64, ok bool) {
	u, ok := timeUnitByName(unit)
	if !ok || u < unitWeek {
		return 0, false
	}
	return u.millis(), true
}

func dateAdd(ms int64, unit timeUnit, amount int64, z *zone) (int64, error) {
	if amount > maxAmount[unit] || amount < -maxAmount[unit] {
		return 0, mongoerr.New(5976500, "invalid dateAdd 'amount' parameter value: %d %s", amount, unit)
	}
	if unit >= unitHour || z.loc == nil && unit >= unitWeek {
		hi, lo := bits.Mul64(uint64(abs64(amount)), uint64(unit.millis()))
		d := int64(lo)
		if hi != 0 || d < 0 {
			return 0, dateAddOverflow()
		}
		if amount < 0 {
			d = -d
		}
		sum := ms + d
		if (sum > ms) != (d > 0) && d != 0 {
			return 0, dateAddOverflow()
		}
		return sum, nil
	}
	at := civilAt(ms, z)
	days := at.days
	switch unit {
	case unitWeek:
		days += 7 * amount
	case unitDay:
		days += amount
	default:
		months := at.year*12 + int64(at.month-1) + amount*unit.months()
		year := floorDiv(months, 12)
		month := int(months-year*12) + 1
		days = daysFromCivil(year, month, min(at.day, daysInMonth(year, month)))
	}
	sum, err := z.millis(days, int64(at.hour*3600+at.minute*60+at.second), int64(at.ms))
	if err != nil {
		return 0, dateAddOverflow()
	}
	return sum, nil
}

func abs64(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}

func dateAddOverflow() error { return mongoerr.New(5166406, "dateAdd overflowed") }

var dateDiffSignature = signature{notObject: 5166301, unknown: 5166302, fn: evalDateDiff, args: []argument{
	{"startDate", 5166303}, {"endDate", 5166304}, {"unit", 5166305}, {"timezone", 0}, {"startOfWeek", 0}}}

func evalDateDiff(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	if args[0].IsNullish() || args[1].IsNullish() || args[2].IsNullish() {
		return bsonval.Null, nil
	}
	unit, err := parseTimeUnit("$dateDiff", args[2])
	if err != nil {
		return bsonval.Missing, err
	}
	start, null, err := weekStart("$dateDiff", unit, args, given)
	if null || err != nil {
		return bsonval.Null, err
	}
	z, err := c.zone(args[3], given.has(3))
	if z == nil {
		return bsonval.Null, err
	}
	from, ok := dateMillis(args[0])
	if !ok {
		return bsonval.Missing, notADate("$dateDiff", "startDate", args[0])
	}
	to, ok := dateMillis(args[1])
	if !ok {
		return bsonval.Missing, notADate("$dateDiff", "endDate", args[1])
	}
	n, err := dateDiff(from, to, unit, start, z)
	if err != nil {
		return bsonval.Missing, err
	}
	return bsonval.Int64(n), nil
}

func notADate(op, name string, v bsonval.Value) error {
	return mongoerr.New(5166307, "%s requires '%s' to be a date, but got %s", op, name, v.Type())
}

// dateDiff counts the boundaries of units between two dates; weeks begin on
// weekday startOfWeek.
func dateDiff(from, to int64, unit timeUnit, startOfWeek int, z *zone) (int64, error) {
	if unit == unitMillisecond {
		d := to - from
		if (d < 0) != (to < from) {
			return 0, mongoerr.New(5166308, "$dateDiff overflowed")
		}
		return d, nil
	}
	a, b := civilAt(from, z), civilAt(to, z)
	switch unit {
	case unitYear:
		return b.year - a.year, nil
	case unitQuarter:
		return (b.year-a.year)*4 + int64((b.month-1)/3-(a.month-1)/3), nil
	case unitMonth:
		return (b.year-a.year)*12 + int64(b.month-a.month), nil
	case unitWeek:
		return floorDiv(b.days+4-int64(startOfWeek), 7) - floorDiv(a.days+4-int64(startOfWeek), 7), nil
	case unitDay:
		return b.days - a.days, nil
	}
	// Hours and less are counted by local clocks, less what daylight saving
	// skipped or repeated.
	seconds := unit.millis() / msPerSecond
	local := func(c *civil) int64 {
		return floorDiv(c.days*secondsPerDay+int64(c.hour*3600+c.minute*60+c.second), seconds)
	}
	return local(&b) - local(&a) - (b.offset-a.offset)/seconds, nil
}

var dateTruncSignature = signature{notObject: 5439007, unknown: 5439008, fn: evalDateTrunc, args: []argument{
	{"date", 5439009}, {"unit", 5439010}, {"binSize", 0}, {"timezone", 0}, {"startOfWeek", 0}}}

func evalDateTrunc(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	if args[0].IsNullish() || given.has(2) && args[2].IsNullish() || args[1].IsNullish() {
		return bsonval.Null, nil
	}
	unit, err := parseTimeUnit("$dateTrunc", args[1])
	if err != nil {
		return bsonval.Missing, err
	}
	start, null, err := weekStart("$dateTrunc", unit, args, given)
	if null || err != nil {
		return bsonval.Null, err
	}
	z, err := c.zone(args[3], given.has(3))
	if z == nil {
		return bsonval.Null, err
	}
	size := int64(1)
	if given.has(2) {
		var ok bool
		if size, ok = args[2].AsInt64(); !ok {
			return bsonval.Missing, mongoerr.New(5439017,
				"$dateTrunc requires 'binSize' to be a 64-bit integer, but got value '%s' of type %s",
				bsonval.Format(args[2]), args[2].Type())
		}
		if size <= 0 {
			return bsonval.Missing, mongoerr.New(5439018, "$dateTrunc requires 'binSize' to be greater than 0, but got value %d", size)
		}
	}
	ms, ok := dateMillis(args[0])
	if !ok {
		return bsonval.Missing, notADate("$dateTrunc", "date", args[0])
	}
	if ms, err = dateTrunc(ms, unit, size, start, z); err != nil {
		return bsonval.Missing, err
	}
	return bsonval.Date(ms), nil
}

// referenceDays is 2000-01-01, where bins begin.
const referenceDays = 10957

// maxBin is the largest size of a bin, in any unit: larger ones hold all dates.
const maxBin = 1 << 40

// dateTrunc returns the beginning of the bin of size units that holds ms.
func dateTrunc(ms int64, unit timeUnit, size int64, startOfWeek int, z *zone) (int64, error) {
	if unit >= unitHour {
		reference, err := z.millis(referenceDays, 0, 0)
		if err != nil {
			return 0, err
		}
		hi, bin := bits.Mul64(uint64(size), uint64(unit.millis()))
		if hi != 0 || bin > math.MaxInt64 {
			return 0, mongoerr.New(5439005, "$dateTrunc overflowed")
		}
		distance := ms - reference
		if (distance > ms) != (reference < 0) && reference != 0 {
			return 0, mongoerr.New(5439005, "$dateTrunc overflowed")
		}
		steps := floorDiv(distance, int64(bin)) * int64(bin)
		return reference + steps, nil
	}
	if size > maxBin {
		return 0, mongoerr.New(5439006, "$dateTrunc overflowed")
	}
	at := civilAt(ms, z)
	switch unit {
	case unitWeek, unitDay:
		first := int64(referenceDays)
		if unit == unitWeek {
			// 2000-01-01 was a Saturday.
			first += int64((startOfWeek + 1) % 7)
			size *= 7
		}
		return z.millis(first+floorDiv(at.days-first, size)*size, 0, 0)
	}
	size *= unit.months()
	months := floorDiv((at.year-2000)*12+int64(at.month-1), size)*size + 2000*12
	year := floorDiv(months, 12)
	return z.millis(daysFromCivil(year, int(months-year*12)+1, 1), 0, 0)
}
