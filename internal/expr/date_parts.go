package expr

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var datePartOperators = []operator{
	{name: "$dateFromParts", doc: "Makes a date of its parts.", compile: dateFromPartsSignature.compileDateFromParts},
	{name: "$dateToParts", doc: "Returns a date's parts as a document.", compile: dateToPartsSignature.compile},
	datePart("$dayOfMonth", "day of the month", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.day)) }),
	datePart("$dayOfWeek", "day of the week, 1 (Sunday) to 7", func(c civil) bsonval.Value {
		return bsonval.Int32(int32(c.weekday + 1))
	}),
	datePart("$dayOfYear", "day of the year", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.yearDay)) }),
	datePart("$hour", "hour", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.hour)) }),
	datePart("$isoDayOfWeek", "day of the week, 1 (Monday) to 7", func(c civil) bsonval.Value {
		return bsonval.Int32(int32(c.isoWeekday()))
	}),
	datePart("$isoWeek", "ISO 8601 week", func(c civil) bsonval.Value {
		_, week := c.isoWeek()
		return bsonval.Int32(int32(week))
	}),
	datePart("$isoWeekYear", "year that the ISO 8601 week belongs to", func(c civil) bsonval.Value {
		year, _ := c.isoWeek()
		return bsonval.Int64(year)
	}),
	datePart("$millisecond", "milliseconds", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.ms)) }),
	datePart("$minute", "minute", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.minute)) }),
	datePart("$month", "month", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.month)) }),
	datePart("$second", "second", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.second)) }),
	datePart("$week", "week of the year, 0 to 53", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.week())) }),
	datePart("$year", "year", func(c civil) bsonval.Value { return bsonval.Int32(int32(c.year)) }),
}

// datePart makes the row of an operator that takes a date, or {date, timezone}.
func datePart(name, what string, part func(civil) bsonval.Value) operator {
	fn := func(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
		if args[0].IsNullish() {
			return bsonval.Null, nil
		}
		ms, err := coerceToDate(args[0])
		if err != nil {
			return bsonval.Missing, err
		}
		z, err := c.zone(args[1], given.has(1))
		if z == nil {
			return bsonval.Null, err
		}
		return part(civilAt(ms, z)), nil
	}
	s := signature{unknown: 40535, args: []argument{{"date", 40539}, {"timezone", 0}}, fn: fn}
	return operator{name: name, doc: "Returns a date's " + what + ".",
		compile: func(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
			return compileDatePart(c, op, &s, arg)
		}}
}

func compileDatePart(c *Compiler, op *operator, s *signature, arg bsonval.Value) (Expr, error) {
	switch arg.Type() {
	case bsonval.TypeDocument:
		if key, _, _ := arg.Doc().First(); !strings.HasPrefix(key, "$") {
			return s.compile(c, op, arg)
		}
	case bsonval.TypeArray:
		if n := arg.Doc().Len(); n != 1 {
			return nil, mongoerr.New(40536, "%s accepts exactly one argument if given an array, but was given %d", op.name, n)
		}
		arg = arg.Doc().Index(0)
	}
	date, err := c.Compile(arg)
	if err != nil {
		return nil, err
	}
	return c.foldNamed(&namedCall{fn: s.fn, args: []Expr{date, nil}, given: 1}, op)
}

var dateToPartsSignature = signature{notObject: 40524, unknown: 40520,
	args: []argument{{"date", 40522}, {"timezone", 0}, {"iso8601", 0}}, fn: dateToParts}

func dateToParts(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	z, err := c.zone(args[1], given.has(1))
	if z == nil {
		return bsonval.Null, err
	}
	iso := false
	if given.has(2) {
		if args[2].IsNullish() {
			return bsonval.Null, nil
		}
		if args[2].Type() != bsonval.TypeBool {
			return bsonval.Missing, mongoerr.New(40521, "iso8601 must evaluate to a bool, found %s", args[2].Type())
		}
		iso = args[2].Bool()
	}
	if args[0].IsNullish() {
		return bsonval.Null, nil
	}
	ms, err := coerceToDate(args[0])
	if err != nil {
		return bsonval.Missing, err
	}
	at := civilAt(ms, z)
	b := bsonval.NewBuilder()
	if iso {
		year, week := at.isoWeek()
		b.Int32("isoWeekYear", int32(year)).Int32("isoWeek", int32(week)).Int32("isoDayOfWeek", int32(at.isoWeekday()))
	} else {
		b.Int32("year", int32(at.year)).Int32("month", int32(at.month)).Int32("day", int32(at.day))
	}
	b.Int32("hour", int32(at.hour)).Int32("minute", int32(at.minute)).
		Int32("second", int32(at.second)).Int32("millisecond", int32(at.ms))
	return bsonval.Document(b.Build()), nil
}

// The arguments of $dateFromParts by position.
const (
	partYear = iota
	partMonth
	partDay
	partHour
	partMinute
	partSecond
	partMillisecond
	partISOWeekYear
	partISOWeek
	partISODayOfWeek
	partTimezone
)

var dateFromPartsSignature = signature{notObject: 40519, unknown: 40518, fn: dateFromParts, args: []argument{
	{"year", 0}, {"month", 0}, {"day", 0}, {"hour", 0}, {"minute", 0}, {"second", 0}, {"millisecond", 0},
	{"isoWeekYear", 0}, {"isoWeek", 0}, {"isoDayOfWeek", 0}, {"timezone", 0}}}

func (s *signature) compileDateFromParts(c *Compiler, op *operator, arg bsonval.Value) (Expr, error) {
	withCheck := *s
	withCheck.check = checkDateParts
	return withCheck.compile(c, op, arg)
}

func checkDateParts(args []Expr) error {
	switch {
	case args[partYear] == nil && args[partISOWeekYear] == nil:
		return mongoerr.New(40516, "$dateFromParts requires either 'year' or 'isoWeekYear' to be present")
	case args[partYear] != nil && (args[partISOWeekYear] != nil || args[partISOWeek] != nil || args[partISODayOfWeek] != nil):
		return mongoerr.New(40489, "$dateFromParts does not allow mixing natural dates with ISO dates")
	case args[partISOWeekYear] != nil && (args[partMonth] != nil || args[partDay] != nil):
		return mongoerr.New(40525, "$dateFromParts does not allow mixing ISO dates with natural dates")
	}
	return nil
}

// The parts other than years, seconds and milliseconds must be in this range.
const minDatePart, maxDatePart = -32768, 32767

// datePartNumber reads one part; null says that the result is null.
func datePartNumber(args []bsonval.Value, given argumentSet, i int, ifAbsent int64, bounded bool) (n int64, null bool, err error) {
	if !given.has(i) {
		return ifAbsent, false, nil
	}
	v := args[i]
	if v.IsNullish() {
		return 0, true, nil
	}
	name := dateFromPartsSignatureNames[i]
	n, ok := v.AsInt64()
	if !ok {
		return 0, false, mongoerr.New(40515, "'%s' must evaluate to an integer, found %s with value %s",
			name, v.Type(), bsonval.Format(v))
	}
	if bounded && (n < minDatePart || n > maxDatePart) {
		return 0, false, mongoerr.New(31034, "'%s' must evaluate to a value in the range [%d, %d]; value %d is not in range",
			name, minDatePart, maxDatePart, n)
	}
	return n, false, nil
}

var dateFromPartsSignatureNames = [...]string{"year", "month", "day", "hour", "minute", "second", "millisecond",
	"isoWeekYear", "isoWeek", "isoDayOfWeek"}

func dateFromParts(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	var part [partTimezone]int64
	read := func(i int, ifAbsent int64, bounded bool) (stop bool, err error) {
		n, null, err := datePartNumber(args, given, i, ifAbsent, bounded)
		part[i] = n
		return null || err != nil, err
	}
	for i := partHour; i <= partMillisecond; i++ {
		if stop, err := read(i, 0, i <= partMinute); stop {
			return bsonval.Null, err
		}
	}
	z, err := c.zone(args[partTimezone], given.has(partTimezone))
	if z == nil {
		return bsonval.Null, err
	}
	year, second, third, code := partYear, partMonth, partDay, mongoerr.Code(40523)
	if !given.has(partYear) {
		year, second, third, code = partISOWeekYear, partISOWeek, partISODayOfWeek, 31095
	}
	if stop, err := read(year, 1970, false); stop {
		return bsonval.Null, err
	}
	for _, i := range []int{second, third} {
		if stop, err := read(i, 1, true); stop {
			return bsonval.Null, err
		}
	}
	if part[year] < 1 || part[year] > 9999 {
		return bsonval.Missing, mongoerr.New(code, "'%s' must evaluate to an integer in the range 1 to 9999, found %d",
			dateFromPartsSignatureNames[year], part[year])
	}
	var days int64
	if year == partYear {
		months := part[partMonth] - 1
		y := part[partYear] + floorDiv(months, 12)
		days = daysFromCivil(y, int(months-floorDiv(months, 12)*12)+1, 1) + part[partDay] - 1
	} else {
		days = daysFromISOWeek(part[partISOWeekYear], part[partISOWeek], part[partISODayOfWeek])
	}
	if n := part[partSecond]; n > 1<<60 || n < -1<<60 {
		return bsonval.Missing, dateOverflow()
	}
	seconds := part[partHour]*3600 + part[partMinute]*60 + part[partSecond]
	ms, err := z.millis(days, seconds, part[partMillisecond])
	if err != nil {
		return bsonval.Missing, err
	}
	return bsonval.Date(ms), nil
}
