package expr

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var dateFromStringSignature = signature{notObject: 40540, unknown: 40541, fn: dateFromString, args: []argument{
	{"dateString", 40542}, {"format", 0}, {"timezone", 0}, {"onNull", 0}, {"onError", 0}}}

func dateFromString(c *Context, args []bsonval.Value, given argumentSet) (bsonval.Value, error) {
	if given.has(1) && !args[1].IsNullish() {
		if args[1].Type() != bsonval.TypeString {
			return bsonval.Missing, mongoerr.New(40684, "$dateFromString requires that 'format' be a string, found: %s with value %s",
				args[1].Type(), bsonval.Format(args[1]))
		}
		if err := checkFormat(args[1].Str(), parseSpecifiers); err != nil {
			return bsonval.Missing, err
		}
	}
	z, err := c.zone(args[2], given.has(2))
	if err != nil {
		return bsonval.Missing, err
	}
	text := args[0]
	if text.IsNullish() {
		if given.has(3) {
			return args[3], nil
		}
		return bsonval.Null, nil
	}
	var ms int64
	switch {
	case text.Type() != bsonval.TypeString:
		err = mongoerr.New(mongoerr.ConversionFailure, "$dateFromString requires that 'dateString' be a string, found: %s with value %s",
			text.Type(), bsonval.Format(text))
	case z == nil || given.has(1) && args[1].IsNullish():
		return bsonval.Null, nil
	case given.has(1):
		ms, err = parseDateByFormat(text.Str(), args[1].Str(), z)
	default:
		ms, err = parseDate(text.Str(), z)
	}
	if err != nil {
		if given.has(4) && mongoerr.Is(err, mongoerr.ConversionFailure) {
			return args[4], nil
		}
		return bsonval.Missing, err
	}
	return bsonval.Date(ms), nil
}

// parsedDate collects the parts found in a text.
type parsedDate struct {
	text                string
	year                int64
	month, day, yearDay int
	isoWeek, isoDay     int
	hour, minute        int
	second, ms          int
	weekday             int // 0 is Sunday
	zone                *zone
	zoneText            string
	has                 partSet
}

type partSet uint

const (
	hasYear partSet = 1 << iota
	hasMonth
	hasDay
	hasYearDay
	hasISOYear
	hasISOWeek
	hasISODay
	hasTime
	hasWeekday
	hasZone
)

// fail is the error of a text that is no date.
func (p *parsedDate) fail(why string) error {
	return mongoerr.New(mongoerr.ConversionFailure, "Error parsing date string '%s'; %s", p.text, why)
}

// millis puts the parts together. Times without a zone of their own are z's.
func (p *parsedDate) millis(z *zone) (int64, error) {
	if p.zone != nil {
		if !z.isUTC() {
			return 0, mongoerr.New(mongoerr.ConversionFailure, "you cannot pass in a date/time string with time zone "+
				"information ('%s') together with a timezone argument", p.zoneText)
		}
		z = p.zone
	}
	days, err := p.days()
	if err != nil {
		return 0, err
	}
	if p.hour > 24 || p.minute > 59 || p.second > 59 || p.hour == 24 && p.minute+p.second+p.ms > 0 {
		return 0, p.fail("the parsed time was invalid")
	}
	if p.has&hasWeekday != 0 {
		today := int((days%7 + 11) % 7)
		days += int64((p.weekday - today + 7) % 7)
	}
	ms, err := z.millis(days, int64(p.hour*3600+p.minute*60+p.second), int64(p.ms))
	if err != nil {
		return 0, p.fail("the date is out of range")
	}
	return ms, nil
}

func (p *parsedDate) days() (int64, error) {
	switch {
	case p.has&hasISOYear != 0:
		week, day := 1, 1
		if p.has&hasISOWeek != 0 {
			week = p.isoWeek
		} else if p.has&hasISODay == 0 {
			return daysFromCivil(p.year, 1, 1), nil
		}
		if p.has&hasISODay != 0 {
			day = p.isoDay
		}
		if week < 1 || week > 53 || day < 0 || day > 7 {
			return 0, p.fail("the parsed date was invalid")
		}
		return daysFromISOWeek(p.year, int64(week), int64(day)), nil
	case p.has&(hasYear|hasYearDay) == hasYear|hasYearDay:
		return daysFromCivil(p.year, 1, 1) + int64(p.yearDay), nil
	case p.has&(hasYear|hasMonth|hasDay) != hasYear|hasMonth|hasDay:
		return 0, p.fail("an incomplete date/time string has been found, with elements missing")
	case p.month < 1 || p.month > 12 || p.day < 1 || p.day > daysInMonth(p.year, p.month):
		return 0, p.fail("the parsed date was invalid")
	}
	return daysFromCivil(p.year, p.month, p.day), nil
}

// parseDateByFormat reads a date written by a format that checkFormat has
// passed.
func parseDateByFormat(text, format string, z *zone) (int64, error) {
	p := &parsedDate{text: text}
	rest := text
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			if rest == "" || rest[0] != format[i] {
				return 0, p.fail("the separation symbol could not be found")
			}
			rest = rest[1:]
			continue
		}
		i++
		var ok bool
		if rest, ok = p.readSpecifier(format[i], rest); !ok {
			return 0, p.fail("the text does not match the specifier %" + format[i:i+1])
		}
	}
	if rest != "" {
		return 0, p.fail("trailing data")
	}
	return p.millis(z)
}

func (p *parsedDate) readSpecifier(specifier byte, s string) (rest string, ok bool) {
	number := func(width int, dst *int, part partSet) (string, bool) {
		n, rest, ok := leadingNumber(s, width)
		*dst, p.has = n, p.has|part
		return rest, ok
	}
	switch specifier {
	case '%':
		return strings.CutPrefix(s, "%")
	case 'b', 'B':
		month, rest := leadingMonth(s)
		p.month, p.has = month, p.has|hasMonth
		return rest, month != 0
	case 'd':
		return number(2, &p.day, hasDay)
	case 'G', 'Y':
		year := 0
		rest, ok = number(4, &year, hasYear)
		if specifier == 'G' {
			p.has = p.has&^hasYear | hasISOYear
		}
		p.year = int64(year)
		return rest, ok && len(s)-len(rest) == 4
	case 'H':
		return number(2, &p.hour, hasTime)
	case 'j':
		rest, ok = number(3, &p.yearDay, hasYearDay)
		return rest, ok && len(s)-len(rest) == 3 && p.yearDay <= 366
	case 'L':
		rest, ok = number(3, &p.ms, hasTime)
		for range 3 - (len(s) - len(rest)) {
			p.ms *= 10
		}
		return rest, ok
	case 'm':
		return number(2, &p.month, hasMonth)
	case 'M':
		return number(2, &p.minute, hasTime)
	case 'S':
		return number(2, &p.second, hasTime)
	case 'u':
		return number(1, &p.isoDay, hasISODay)
	case 'V':
		return number(2, &p.isoWeek, hasISOWeek)
	case 'z':
		return p.readZone(s)
	}
	return p.readMinuteOffset(s)
}

// readMinuteOffset reads %Z: an offset in minutes with its sign.
func (p *parsedDate) readMinuteOffset(s string) (rest string, ok bool) {
	if s == "" || s[0] != '+' && s[0] != '-' {
		return s, false
	}
	n, rest, ok := leadingNumber(s[1:], 4)
	if s[0] == '-' {
		n = -n
	}
	p.zone, p.zoneText = &zone{fixed: int64(n) * 60}, s[:len(s)-len(rest)]
	return rest, ok
}

// leadingNumber reads up to width digits.
func leadingNumber(s string, width int) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && i < width && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + int(s[i]-'0')
		i++
	}
	return n, s[i:], i > 0
}

// leadingMonth reads a month's name, long or short, in any case; 0 is none.
func leadingMonth(s string) (month int, rest string) {
	for i, name := range monthNames {
		for _, n := range [...]string{name, name[:3]} {
			if len(s) >= len(n) && strings.EqualFold(s[:len(n)], n) {
				return i + 1, s[len(n):]
			}
		}
	}
	if len(s) >= 4 && strings.EqualFold(s[:4], "sept") {
		return 9, s[4:]
	}
	return 0, s
}
