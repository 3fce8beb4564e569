package expr

import (
	"strconv"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var dateTextOperators = []operator{
	{name: "$dateFromString", doc: "Reads a date from text.", compile: dateFromStringSignature.compile},
	{name: "$dateToString", doc: "Formats a date as text.", compile: dateToStringSignature.compile},
}

// The default formats of $dateToString.
const (
	isoFormatUTC   = "%Y-%m-%dT%H:%M:%S.%LZ"
	isoFormatLocal = "%Y-%m-%dT%H:%M:%S.%L"
)

// The specifiers that formatting and parsing know.
const (
	formatSpecifiers = "bBdGHjLmMSuUVwYzZ%"
	parseSpecifiers  = "bBdGHjLmMSuVYzZ%"
)

var dateToStringSignature = signature{notObject: 18629, unknown: 18534, fn: dateToString, args: []argument{
	{"date", 18628}, {"format", 0}, {"timezone", 0}, {"onNull", 0}}}

// checkFormat checks the specifiers of a format.
func checkFormat(format, specifiers string) error {
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		if i++; i == len(format) {
			return mongoerr.New(18535, "Unmatched '%%' at end of format string")
		}
		if strings.IndexByte(specifiers, format[i]) < 0 {
			return mongoerr.New(18536, "Invalid format character '%%%c' in format string", format[i])
		}
	}
	return nil
}

func dateToString(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	if given.has(1) && !args[1].IsNullish() {
		if args[1].Type() != bsonval.TypeString {
			return bsonval.Missing, mongoerr.New(18533, "$dateToString requires that 'format' be a string, found: %s with value %s",
				args[1].Type(), bsonval.Format(args[1]))
		}
		if err := checkFormat(args[1].Str(), formatSpecifiers); err != nil {
			return bsonval.Missing, err
		}
	}
	z, err := c.zone(args[2], given.has(2))
	if err != nil {
		return bsonval.Missing, err
	}
	if args[0].IsNullish() {
		if given.has(3) {
			return args[3], nil
		}
		return bsonval.Null, nil
	}
	if z == nil || given.has(1) && args[1].IsNullish() {
		return bsonval.Null, nil
	}
	ms, err := coerceToDate(args[0])
	if err != nil {
		return bsonval.Missing, err
	}
	format := isoFormatLocal
	switch {
	case given.has(1):
		format = args[1].Str()
	case z.isUTC():
		format = isoFormatUTC
	}
	text, err := formatDate(make([]byte, 0, 32), format, ms, z)
	if err != nil {
		return bsonval.Missing, err
	}
	return bsonval.StringBytes(text), nil
}

var monthNames = [...]string{"january", "february", "march", "april", "may", "june", "july", "august", "september",
	"october", "november", "december"}

// formatDate appends the date by a format that checkFormat has passed.
func formatDate(dst []byte, format string, ms int64, z *zone) ([]byte, error) {
	c := civilAt(ms, z)
	isoYear, isoWeek := c.isoWeek()
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			dst = append(dst, format[i])
			continue
		}
		i++
		switch format[i] {
		case '%':
			dst = append(dst, '%')
		case 'b':
			name := monthNames[c.month-1]
			dst = append(append(dst, name[0]-'a'+'A'), name[1:3]...)
		case 'B':
			name := monthNames[c.month-1]
			dst = append(append(dst, name[0]-'a'+'A'), name[1:]...)
		case 'd':
			dst = appendPadded(dst, c.day, 2)
		case 'G', 'Y':
			year := c.year
			if format[i] == 'G' {
				year = isoYear
			}
			if year < 0 || year > 9999 {
				return nil, mongoerr.New(18537,
					"Could not convert date to string: date component was outside the supported range of 0-9999: %d", year)
			}
			dst = appendPadded(dst, int(year), 4)
		case 'H':
			dst = appendPadded(dst, c.hour, 2)
		case 'j':
			dst = appendPadded(dst, c.yearDay, 3)
		case 'L':
			dst = appendPadded(dst, c.ms, 3)
		case 'm':
			dst = appendPadded(dst, c.month, 2)
		case 'M':
			dst = appendPadded(dst, c.minute, 2)
		case 'S':
			dst = appendPadded(dst, c.second, 2)
		case 'u':
			dst = appendPadded(dst, c.isoWeekday(), 1)
		case 'U':
			dst = appendPadded(dst, c.week(), 2)
		case 'V':
			dst = appendPadded(dst, isoWeek, 2)
		case 'w':
			dst = appendPadded(dst, c.weekday+1, 1)
		case 'z', 'Z':
			dst = appendOffset(dst, c.offset/60, format[i] == 'z')
		}
	}
	return dst, nil
}

// appendOffset appends an offset in minutes: ±hhmm, or the plain number.
func appendOffset(dst []byte, minutes int64, hours bool) []byte {
	sign := byte('+')
	if minutes < 0 {
		sign, minutes = '-', -minutes
	}
	dst = append(dst, sign)
	if !hours {
		return strconv.AppendInt(dst, minutes, 10)
	}
	return appendPadded(appendPadded(dst, int(minutes/60), 2), int(minutes%60), 2)
}

func appendPadded(dst []byte, n, width int) []byte {
	limit := 1
	for range width - 1 {
		limit *= 10
	}
	for ; limit > 1 && n < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, int64(n), 10)
}
