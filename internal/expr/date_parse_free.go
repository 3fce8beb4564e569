package expr

import (
	"regexp"
	"strconv"
	"strings"
)

// datePattern is one way in which a part of a date is written. The longest
// match at a position counts; of equals, the first listed.
type datePattern struct {
	re    *regexp.Regexp
	apply func(p *parsedDate, m []string) bool
}

const (
	monthPattern = `(january|february|march|april|may|june|july|august|september|october|november|december|` +
		`jan|feb|mar|apr|jun|jul|aug|sept|sep|oct|nov|dec)`
	dayNamePattern = `(sunday|monday|tuesday|wednesday|thursday|friday|saturday|` +
		`sun|mon|tues|tue|wednes|wed|thurs|thur|thu|fri|satur|sat)`
	ordinalPattern = `(?:st|nd|rd|th)?`
)

// datePatterns are the parts of free-form dates.
var datePatterns = []datePattern{
	{dateRegexp(`([+-]?\d{4})-(\d{1,2})-(\d{1,2})`), dateParts(1, 2, 3)},
	{dateRegexp(`(\d{4})/(\d{1,2})/(\d{1,2})/?`), dateParts(1, 2, 3)},
	{dateRegexp(`(\d{4})(\d{2})(\d{2})`), dateParts(1, 2, 3)},
	{dateRegexp(`(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})`), dateParts(3, 1, 2)},
	{dateRegexp(`(\d{1,2})[.\t-](\d{1,2})[.-](\d{4})`), dateParts(3, 2, 1)},
	{dateRegexp(`(\d{1,2})[.\t](\d{1,2})\.(\d{2})`), dateParts(3, 2, 1)},
	{dateRegexp(`(\d{1,2})` + ordinalPattern + `[ \t.-]*` + monthPattern + `[ \t.-]*(\d{4})`), dateParts(3, 2, 1)},
	{dateRegexp(monthPattern + `[ .\t-]*(\d{1,2})` + ordinalPattern + `[ ,.\t-]+(\d{4})`), dateParts(3, 1, 2)},
	{dateRegexp(`(\d{4})-?` + monthPattern + `-?(\d{1,2})`), dateParts(1, 2, 3)},
	{dateRegexp(`(\d{4})-(\d{2})`), dateParts(1, 2, 0)},
	{dateRegexp(monthPattern + `[ .\t-]*(\d{4})`), dateParts(2, 1, 0)},
	{dateRegexp(`(\d{4})[ .\t-]*` + monthPattern), dateParts(1, 2, 0)},
	{dateRegexp(monthPattern + `[ .\t-]*(\d{1,2})` + ordinalPattern), dateParts(-1, 1, 2)},
	{dateRegexp(`(\d{1,2})` + ordinalPattern + `[ .\t-]*` + monthPattern), dateParts(-1, 2, 1)},
	{dateRegexp(monthPattern), dateParts(-1, 1, -1)},
	{dateRegexp(`(\d{4})-?w(\d{2})(?:-?([0-7]))?`), applyISOWeek},
	{dateRegexp(`(\d{4})[.-]?(\d{3})`), applyYearDay},
	{dateRegexp(`t?(\d{1,2})[:.](\d{2})(?:[:.](\d{2})(?:[.,:](\d+))?)?(?:[ \t]*([ap])\.?m\.?)?`), applyTime},
	{dateRegexp(`t(\d{2})(\d{2})(?:(\d{2})(?:[.,](\d+))?)?`), applyTime},
	{dateRegexp(`(\d{1,2})()()()[ \t]*([ap])\.?m\.?`), applyTime},
	{dateRegexp(`t(\d{1,2})`), applyTime},
	{dateRegexp(`(\d{4})`), applyYear},
	{dateRegexp(dayNamePattern + `(?:day)?\.?`), applyWeekday},
}

func dateRegexp(s string) *regexp.Regexp { return regexp.MustCompile(`^(?i:` + s + `)`) }

// parseDate reads a date in one of the many ways people write them: ISO 8601,
// "July 4, 2017", "07/04/2017 3:30 pm EST" and so on. Relative dates
// ("tomorrow") are none.
func parseDate(text string, z *zone) (int64, error) {
	p := &parsedDate{text: text}
	rest := strings.TrimSpace(text)
	if rest == "" {
		return 0, p.fail("an empty string was found")
	}
	for rest != "" {
		if rest[0] == ' ' || rest[0] == '\t' || rest[0] == ',' || rest[0] == ';' {
			rest = rest[1:]
			continue
		}
		next, ok := p.readPart(rest)
		if !ok {
			if next, ok = p.readZone(rest); !ok {
				return 0, p.fail("unexpected text at '" + rest + "'")
			}
		}
		rest = next
	}
	return p.millis(z)
}

func (p *parsedDate) readPart(s string) (rest string, ok bool) {
	var best []string
	var apply func(*parsedDate, []string) bool
	for i := range datePatterns {
		m := datePatterns[i].re.FindStringSubmatch(s)
		if m != nil && (best == nil || len(m[0]) > len(best[0])) && wordEnds(s, len(m[0])) {
			best, apply = m, datePatterns[i].apply
		}
	}
	if best == nil || !apply(p, best) {
		return s, false
	}
	return s[len(best[0]):], true
}

// wordEnds says whether s[:n] does not end inside a word or number.
func wordEnds(s string, n int) bool {
	if n == len(s) {
		return true
	}
	letter := func(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
	digit := func(c byte) bool { return c >= '0' && c <= '9' }
	return !(letter(s[n-1]) && letter(s[n]) || digit(s[n-1]) && digit(s[n]))
}

// dateParts takes year, month and day from these groups. Day 0 is the first of
// the month; -1 leaves a part out.
func dateParts(year, month, day int) func(*parsedDate, []string) bool {
	return func(p *parsedDate, m []string) bool {
		if p.has&(hasYear|hasISOYear|hasYearDay|hasMonth) != 0 {
			return false
		}
		if year > 0 {
			p.setYear(m[year])
		}
		p.month, _ = leadingMonth(m[month])
		if p.month == 0 {
			p.month, _ = strconv.Atoi(m[month])
		}
		p.has |= hasMonth
		switch {
		case day > 0:
			p.day, _ = strconv.Atoi(m[day])
			p.has |= hasDay
		case day == 0:
			p.day = 1
			p.has |= hasDay
		}
		return true
	}
}

// setYear sets the year; of two digits, 70 to 99 are the last century.
func (p *parsedDate) setYear(s string) {
	n, _ := strconv.Atoi(s)
	if len(s) == 2 {
		if n += 1900; n < 1970 {
			n += 100
		}
	}
	p.year = int64(n)
	p.has |= hasYear
}

func applyYear(p *parsedDate, m []string) bool {
	if p.has&(hasYear|hasISOYear) != 0 {
		return false
	}
	p.setYear(m[1])
	return true
}

func applyYearDay(p *parsedDate, m []string) bool {
	if p.has&(hasYear|hasMonth|hasISOYear) != 0 {
		return false
	}
	p.setYear(m[1])
	n, _ := strconv.Atoi(m[2])
	p.yearDay = n - 1
	p.has |= hasYearDay
	return n >= 1 && n <= 366
}

func applyISOWeek(p *parsedDate, m []string) bool {
	if p.has&(hasYear|hasMonth|hasISOYear) != 0 {
		return false
	}
	p.setYear(m[1])
	p.has = p.has&^hasYear | hasISOYear | hasISOWeek | hasISODay
	p.isoWeek, _ = strconv.Atoi(m[2])
	p.isoDay = 1
	if m[3] != "" {
		p.isoDay, _ = strconv.Atoi(m[3])
	}
	return true
}

// applyTime takes hour, minute, second, fraction and a or p of am and pm.
func applyTime(p *parsedDate, m []string) bool {
	if p.has&hasTime != 0 {
		return false
	}
	p.has |= hasTime
	group := func(i int) string {
		if i < len(m) {
			return m[i]
		}
		return ""
	}
	p.hour, _ = strconv.Atoi(m[1])
	p.minute, _ = strconv.Atoi(group(2))
	p.second, _ = strconv.Atoi(group(3))
	p.ms, _ = strconv.Atoi((group(4) + "000")[:3])
	if half := group(5); half != "" {
		if p.hour < 1 || p.hour > 12 {
			return false
		}
		p.hour %= 12
		if half == "p" || half == "P" {
			p.hour += 12
		}
	}
	return true
}

func applyWeekday(p *parsedDate, m []string) bool {
	if p.has&hasWeekday != 0 {
		return false
	}
	for i, name := range weekdayNames {
		if strings.EqualFold(m[1][:3], name[:3]) {
			p.weekday = i
		}
	}
	p.has |= hasWeekday
	return true
}

// zoneAbbreviations are the abbreviations in use for time zones, in hours east
// of UTC.
var zoneAbbreviations = map[string]float64{
	"z": 0, "utc": 0, "gmt": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2, "eet": 2, "eest": 3, "msk": 3,
	"ist": 5.5, "jst": 9, "kst": 9, "aest": 10, "aedt": 11, "nzst": 12, "nzdt": 13,
	"ast": -4, "adt": -3, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
	"akst": -9, "akdt": -8, "hst": -10,
}

var (
	zoneOffsetRegexp = dateRegexp(`(?:gmt|utc)?([+-])(\d{1,2})(?::?(\d{2}))?`)
	zoneNameRegexp   = dateRegexp(`\(?([a-z]+(?:[/_+-][a-z0-9_+-]+)*)\)?`)
)

// readZone reads an offset, an abbreviation or the name of a zone.
func (p *parsedDate) readZone(s string) (rest string, ok bool) {
	if p.has&hasZone != 0 {
		return s, false
	}
	p.has |= hasZone
	if m := zoneOffsetRegexp.FindStringSubmatch(s); m != nil {
		hours, _ := strconv.Atoi(m[2])
		minutes, _ := strconv.Atoi(m[3])
		seconds := int64(hours*3600 + minutes*60)
		if m[1] == "-" {
			seconds = -seconds
		}
		p.zone, p.zoneText = &zone{fixed: seconds}, m[0]
		return s[len(m[0]):], true
	}
	m := zoneNameRegexp.FindStringSubmatch(s)
	if m == nil {
		return s, false
	}
	p.zoneText = m[0]
	if hours, known := zoneAbbreviations[strings.ToLower(m[1])]; known {
		p.zone = &zone{fixed: int64(hours * 3600)}
	} else {
		p.zone = zoneByName(m[1])
	}
	return s[len(m[0]):], p.zone != nil
}
