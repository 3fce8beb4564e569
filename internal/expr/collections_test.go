package expr

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// collectionTests are the tests of the operators on dates, arrays, sets and
// documents. The date is 2024-02-29T13:05:09.007Z, a Thursday.
var collectionTests = []struct {
	expr, want string
	code       mongoerr.Code
}{
	// array
	{expr: `{'$arrayElemAt': [[1, 2, 3], -1]}`, want: `3`},
	{expr: `{'$arrayElemAt': ['x', 0]}`, code: 28689},
	{expr: `{'$arrayElemAt': [[1], 0.5]}`, code: 28691},
	{expr: `{'$arrayToObject': [[['a', 1], ['b', 2], ['a', 3]]]}`, want: `{'a': 3, 'b': 2}`},
	{expr: `{'$arrayToObject': [[{'k': 'a', 'v': 1}]]}`, want: `{'a': 1}`},
	{expr: `{'$arrayToObject': [[1]]}`, code: 40398},
	{expr: `{'$arrayToObject': [[['a']]]}`, code: 40397},
	{expr: `{'$arrayToObject': [[{'k': 1, 'v': 1}]]}`, code: 40394},
	{expr: `{'$concatArrays': [[1], [2, 3], []]}`, want: `[1, 2, 3]`},
	{expr: `{'$concatArrays': [[1], null]}`, want: `null`},
	{expr: `{'$concatArrays': [[1], 2]}`, code: 28664},
	{expr: `{'$filter': {'input': [1, 2, 3, 4], 'as': 'n', 'cond': {'$gt': ['$$n', 1]}, 'limit': 2}}`, want: `[2, 3]`},
	{expr: `{'$filter': {'input': [1], 'as': '', 'cond': true}}`, code: mongoerr.FailedToParse},
	{expr: `{'$first': [[7, 8]]}`, want: `7`},
	{expr: `{'$in': [2.0, [1, 2]]}`, want: `true`},
	{expr: `{'$in': [2, 2]}`, code: 40081},
	{expr: `{'$indexOfArray': [['a', 'b', 'a'], 'a', 1]}`, want: `2`},
	{expr: `{'$indexOfArray': [['a', 'b', 'a'], 'a', 1, 2]}`, want: `-1`},
	{expr: `{'$indexOfArray': [['a'], 'a', -1]}`, code: 40097},
	{expr: `{'$indexOfArray': [['a'], 'a', 'x']}`, code: 40096},
	{expr: `{'$isArray': [[]]}`, want: `true`},
	{expr: `{'$last': [[7, 8]]}`, want: `8`},
	{expr: `{'$map': {'input': [1, 2], 'in': {'$add': ['$$this', 1]}}}`, want: `[2, 3]`},
	{expr: `{'$map': {'input': [1, 2], 'as': 'x', 'in': '$$REMOVE'}}`, want: `[null, null]`},
	{expr: `{'$objectToArray': {'a': 1, 'b': {'c': 2}}}`, want: `[{'k': 'a', 'v': 1}, {'k': 'b', 'v': {'c': 2}}]`},
	{expr: `{'$range': [0, 10, 3]}`, want: `[0, 3, 6, 9]`},
	{expr: `{'$range': [3, 0, -1]}`, want: `[3, 2, 1]`},
	{expr: `{'$range': [0, 2147483647]}`, code: mongoerr.ExceededMemoryLimit},
	{expr: `{'$reduce': {'input': [1, 2, 3], 'initialValue': 0, 'in': {'$add': ['$$value', '$$this']}}}`, want: `6`},
	{expr: `{'$reduce': {'input': 1, 'initialValue': 0, 'in': 1}}`, code: 40080},
	{expr: `{'$reverseArray': [[1, 2, 3]]}`, want: `[3, 2, 1]`},
	{expr: `{'$size': [[1, 2]]}`, want: `2`},
	{expr: `{'$slice': [[1, 2, 3], -2]}`, want: `[2, 3]`},
	{expr: `{'$slice': [[1, 2, 3], 1, 1]}`, want: `[2]`},
	{expr: `{'$slice': [[1, 2, 3], -9, 2]}`, want: `[1, 2]`},
	{expr: `{'$slice': [[1, 2, 3], 1, 0]}`, code: 28729},
	{expr: `{'$sortArray': {'input': [3, 1, 2], 'sortBy': -1}}`, want: `[3, 2, 1]`},
	{expr: `{'$sortArray': {'input': [{'a': 2}, {'a': 1}, 5], 'sortBy': {'a': 1}}}`, want: `[5, {'a': 1}, {'a': 2}]`},
	{expr: `{'$sortArray': {'input': [1], 'sortBy': 2}}`, code: mongoerr.BadValue},
	{expr: `{'$zip': {'inputs': [[1, 2], ['a']], 'useLongestLength': true, 'defaults': [0, 'z']}}`, want: `[[1, 'a'], [2, 'z']]`},

	// set
	{expr: `{'$allElementsTrue': [[true, 1, 'x']]}`, want: `true`},
	{expr: `{'$anyElementTrue': [[false, 0, null]]}`, want: `false`},
	{expr: `{'$setDifference': [[1, 2, 2, 3], [2.0]]}`, want: `[1, 3]`},
	{expr: `{'$setEquals': [[1, 2, 1], [2, 1]]}`, want: `true`},
	{expr: `{'$setEquals': [[1]]}`, code: 17045},
	{expr: `{'$setIntersection': [[1, 2, 3], [3, 1], [1]]}`, want: `[1]`},
	{expr: `{'$setIntersection': [[1], 2]}`, code: 17047},
	{expr: `{'$setIsSubset': [[1, 1], [2, 1]]}`, want: `true`},
	{expr: `{'$setUnion': [[1, 2], [2, 3]]}`, want: `[1, 2, 3]`},

	// object
	{expr: `{'$getField': {'field': {'$literal': '$a.b'}, 'input': {'$setField': {'field': {'$literal': '$a.b'}, 'input': {}, 'value': 4}}}}`, want: `4`},
	{expr: `{'$getField': {'field': 1, 'input': {}}}`, code: 3041704},
	{expr: `{'$mergeObjects': [{'a': 1, 'b': 1}, null, {'a': 2}]}`, want: `{'a': 2, 'b': 1}`},
	{expr: `{'$setField': {'field': 'a', 'input': {'a': 1, 'b': 2}, 'value': '$$REMOVE'}}`, want: `{'b': 2}`},
	{expr: `{'$setField': {'field': '$a', 'input': {}, 'value': 1}}`, code: 4161108},
	{expr: `{'$unsetField': {'field': 'b', 'input': {'a': 1, 'b': 2}}}`, want: `{'a': 1}`},

	// accumulators
	{expr: `{'$avg': [[1, 2, 'x']]}`, want: `1.5`},
	{expr: `{'$avg': ['x']}`, want: `null`},
	{expr: `{'$firstN': {'n': 2, 'input': [1, null, 3]}}`, want: `[1, null]`},
	{expr: `{'$firstN': {'n': 2, 'input': null}}`, code: 5788200},
	{expr: `{'$lastN': {'n': 2, 'input': [1, null, 3]}}`, want: `[null, 3]`},
	{expr: `{'$max': [1, 3, null, 2]}`, want: `3`},
	{expr: `{'$maxN': {'n': 2, 'input': [1, null, 3, 2]}}`, want: `[3, 2]`},
	{expr: `{'$median': {'input': [3, 1, 2], 'method': 'approximate'}}`, want: `2.0`},
	{expr: `{'$min': [[4, 3, null]]}`, want: `3`},
	{expr: `{'$minN': {'n': 2, 'input': [1, null, 3, 2]}}`, want: `[1, 2]`},
	{expr: `{'$percentile': {'input': [1, 2, 3, 4], 'p': [0.5, 0.9], 'method': 'approximate'}}`, want: `[2.0, 4.0]`},
	{expr: `{'$percentile': {'input': [1], 'p': [], 'method': 'approximate'}}`, code: 7750301},
	{expr: `{'$stdDevPop': [1, 3]}`, want: `1.0`},
	{expr: `{'$stdDevSamp': [1]}`, want: `null`},
	{expr: `{'$sum': [1, 2.5, 'x', null]}`, want: `3.5`},
	{expr: `{'$sum': [2147483647, 1]}`, want: `{'$numberLong': '2147483648'}`},

	// date
	{expr: `{'$dateAdd': {'startDate': ` + leapDay + `, 'unit': 'year', 'amount': 1}}`, want: `{'$date': {'$numberLong': '1740747909007'}}`},
	{expr: `{'$dateAdd': {'startDate': {'$date': 1710046800000}, 'unit': 'day', 'amount': 1, 'timezone': 'America/New_York'}}`,
		want: `{'$date': {'$numberLong': '1710129600000'}}`}, // 23 hours later
	{expr: `{'$dateAdd': {'startDate': 'x', 'unit': 'day', 'amount': 1}}`, code: 5166403},
	{expr: `{'$dateDiff': {'startDate': {'$date': 0}, 'endDate': ` + leapDay + `, 'unit': 'quarter'}}`, want: `{'$numberLong': '216'}`},
	{expr: `{'$dateDiff': {'startDate': {'$date': 1710046800000}, 'endDate': {'$date': 1710129600000}, 'unit': 'hour', 'timezone': 'America/New_York'}}`,
		want: `{'$numberLong': '23'}`},
	{expr: `{'$dateFromParts': {'year': 2024, 'month': 14, 'day': 0, 'hour': -1}}`, want: `{'$date': {'$numberLong': '1738278000000'}}`},
	{expr: `{'$dateFromParts': {'isoWeekYear': 2024, 'isoWeek': 9, 'isoDayOfWeek': 4}}`, want: `{'$date': {'$numberLong': '1709164800000'}}`},
	{expr: `{'$dateFromParts': {'year': 2024, 'hour': 40000}}`, code: 31034},
	{expr: `{'$dateFromString': {'dateString': 'July 4th, 2017 3:30 pm EST'}}`, want: `{'$date': {'$numberLong': '1499200200000'}}`},
	{expr: `{'$dateFromString': {'dateString': '2017-07-04T11:56:02Z', 'timezone': 'Europe/Paris'}}`, code: mongoerr.ConversionFailure},
	{expr: `{'$dateFromString': {'dateString': '2017-07-04T11:56:02', 'timezone': 'Europe/Paris'}}`, want: `{'$date': {'$numberLong': '1499162162000'}}`},
	{expr: `{'$dateFromString': {'dateString': 'tomorrow'}}`, code: mongoerr.ConversionFailure},
	{expr: `{'$dateFromString': {'dateString': 'x', 'onError': 5}}`, want: `5`},
	{expr: `{'$dateSubtract': {'startDate': {'$date': 0}, 'unit': 'week', 'amount': 1}}`, want: `{'$date': {'$numberLong': '-604800000'}}`},
	{expr: `{'$dateToParts': {'date': ` + leapDay + `, 'timezone': '-0500'}}`,
		want: `{'year': 2024, 'month': 2, 'day': 29, 'hour': 8, 'minute': 5, 'second': 9, 'millisecond': 7}`},
	{expr: `{'$dateToParts': {'date': ` + leapDay + `, 'iso8601': true}}`,
		want: `{'isoWeekYear': 2024, 'isoWeek': 9, 'isoDayOfWeek': 4, 'hour': 13, 'minute': 5, 'second': 9, 'millisecond': 7}`},
	{expr: `{'$dateToString': {'date': ` + leapDay + `}}`, want: `'2024-02-29T13:05:09.007Z'`},
	{expr: `{'$dateToString': {'date': ` + leapDay + `, 'format': '%Y|%m|%d|%H|%M|%S|%L|%j|%u|%w|%U|%V|%G|%b|%B|%z|%Z|%%', 'timezone': '+05:30'}}`,
		want: `'2024|02|29|18|35|09|007|060|4|5|08|09|2024|Feb|February|+0530|+330|%'`},
	{expr: `{'$dateToString': {'date': ` + leapDay + `, 'format': '%i'}}`, code: 18536},
	{expr: `{'$dateToString': {'date': ` + leapDay + `, 'format': '%'}}`, code: 18535},
	{expr: `{'$dateToString': {'date': null, 'onNull': 'none'}}`, want: `'none'`},
	{expr: `{'$dateTrunc': {'date': ` + leapDay + `, 'unit': 'month', 'binSize': 2}}`, want: `{'$date': {'$numberLong': '1704067200000'}}`},
	{expr: `{'$dateTrunc': {'date': ` + leapDay + `, 'unit': 'week', 'startOfWeek': 'Mon'}}`, want: `{'$date': {'$numberLong': '1708905600000'}}`},
	{expr: `{'$dateTrunc': {'date': ` + leapDay + `, 'unit': 'minute', 'binSize': 15}}`, want: `{'$date': {'$numberLong': '1709211600000'}}`},
	{expr: `{'$dateTrunc': {'date': ` + leapDay + `, 'unit': 'day', 'binSize': 0}}`, code: 5439018},
	{expr: `{'$dayOfMonth': ` + leapDay + `}`, want: `29`},
	{expr: `{'$dayOfWeek': ` + leapDay + `}`, want: `5`},
	{expr: `{'$dayOfYear': ` + leapDay + `}`, want: `60`},
	{expr: `{'$hour': {'date': ` + leapDay + `, 'timezone': 'Asia/Tokyo'}}`, want: `22`},
	{expr: `{'$hour': {'date': ` + leapDay + `, 'timezone': 'asia/tokyo'}}`, code: 40485},
	{expr: `{'$isoDayOfWeek': ` + leapDay + `}`, want: `4`},
	{expr: `{'$isoWeek': ` + leapDay + `}`, want: `9`},
	{expr: `{'$isoWeekYear': ` + leapDay + `}`, want: `{'$numberLong': '2024'}`},
	{expr: `{'$millisecond': ` + leapDay + `}`, want: `7`},
	{expr: `{'$minute': ` + leapDay + `}`, want: `5`},
	{expr: `{'$month': ` + leapDay + `}`, want: `2`},
	{expr: `{'$second': ` + leapDay + `}`, want: `9`},
	{expr: `{'$tsIncrement': {'$timestamp': {'t': 5, 'i': 6}}}`, want: `{'$numberLong': '6'}`},
	{expr: `{'$tsIncrement': 1}`, code: 5687302},
	{expr: `{'$tsSecond': {'$timestamp': {'t': 5, 'i': 6}}}`, want: `{'$numberLong': '5'}`},
	{expr: `{'$week': ` + leapDay + `}`, want: `8`},
	{expr: `{'$year': ` + leapDay + `}`, want: `2024`},
	{expr: `{'$year': 'x'}`, code: 16006},
}

const leapDay = `{'$date': {'$numberLong': '1709211909007'}}`

func TestCollectionOperators(t *testing.T) {
	tested := map[string]bool{}
	for _, test := range collectionTests {
		name, _, _ := mustEJSON(test.expr).Doc().First()
		tested[name] = true
		got, err := evalTest(test.expr)
		switch {
		case test.want == "":
			if !mongoerr.Is(err, test.code) {
				t.Errorf("%s = %s, %s, want error %d", test.expr, bsonval.Format(got), errorText(err), test.code)
			}
		case err != nil:
			t.Errorf("%s: %s", test.expr, errorText(err))
		case !bsonval.Identical(got, mustEJSON(test.want)):
			t.Errorf("%s = %s (%s), want %s", test.expr, bsonval.Format(got), got.Type(), test.want)
		}
	}
	for _, family := range [][]operator{
		accumulateOperators, arrayConvertOperators, arrayLoopOperators, arrayOperators, dateMathOperators, datePartOperators,
		dateTextOperators, objectOperators, setOperators, timestampOperators, zipOperators,
	} {
		for _, op := range family {
			if !tested[op.name] {
				t.Errorf("%s has no test", op.name)
			}
		}
	}
}

func TestFreeFormDates(t *testing.T) {
	for text, want := range map[string]string{
		"2017-02-08":                        "2017-02-08T00:00:00.000Z",
		"2017/02/08":                        "2017-02-08T00:00:00.000Z",
		"20170208":                          "2017-02-08T00:00:00.000Z",
		"20170208T121040":                   "2017-02-08T12:10:40.000Z",
		"20170208T121040Z":                  "2017-02-08T12:10:40.000Z",
		"2017-02-08T12:10:40.7Z":            "2017-02-08T12:10:40.700Z",
		"2017-02-08 12:10:40.787654 +01:00": "2017-02-08T11:10:40.787Z",
		"2017-02-08 12:10 UTC":              "2017-02-08T12:10:00.000Z",
		"02/08/2017":                        "2017-02-08T00:00:00.000Z",
		"08-02-2017":                        "2017-02-08T00:00:00.000Z",
		"08.02.2017 7pm":                    "2017-02-08T19:00:00.000Z",
		"8 February 2017":                   "2017-02-08T00:00:00.000Z",
		"8-Feb-2017":                        "2017-02-08T00:00:00.000Z",
		"Feb 8, 2017":                       "2017-02-08T00:00:00.000Z",
		"Wed, 08 Feb 2017 12:10:40 GMT":     "2017-02-08T12:10:40.000Z",
		"Wed Feb  8 12:10:40 EST 2017":      "2017-02-08T17:10:40.000Z",
		"2017-W06-3":                        "2017-02-08T00:00:00.000Z",
		"2017-02-08T12:10:40 Europe/Berlin": "2017-02-08T11:10:40.000Z",
	} {
		ms, err := parseDate(text, utcZone)
		if err != nil || bsonval.FormatDate(ms) != want {
			t.Errorf("%s: %s, %v, want %s", text, bsonval.FormatDate(ms), err, want)
		}
	}
	for _, text := range []string{"", "today", "12:10", "Feb 2", "2017-02-30", "2017-02-08 25:00", "2017-02-08 2017-02-09",
		"2017-02-08T12:10:40ZZ", "hello world", "2017-02-08Q"} {
		if ms, err := parseDate(text, utcZone); !mongoerr.Is(err, mongoerr.ConversionFailure) {
			t.Errorf("%q: %s, %v", text, bsonval.FormatDate(ms), err)
		}
	}
}

// TestCivil compares the calendar with package time's.
func TestCivil(t *testing.T) {
	zones := []*zone{utcZone, zoneByName("America/New_York"), zoneByName("Europe/Berlin"), zoneByName("+05:45")}
	rapid.Check(t, func(rt *rapid.T) {
		ms := rapid.Int64Range(-1e14, 1e14).Draw(rt, "ms")
		z := zones[rapid.IntRange(0, len(zones)-1).Draw(rt, "zone")]
		loc := z.loc
		if loc == nil {
			loc = time.FixedZone("", int(z.fixed))
		}
		want := time.UnixMilli(ms).In(loc)
		got := civilAt(ms, z)
		year, week := got.isoWeek()
		wantYear, wantWeek := want.ISOWeek()
		if got.year != int64(want.Year()) || got.month != int(want.Month()) || got.day != want.Day() ||
			got.hour != want.Hour() || got.minute != want.Minute() || got.second != want.Second() ||
			got.weekday != int(want.Weekday()) || got.yearDay != want.YearDay() ||
			year != int64(wantYear) || week != wantWeek {
			rt.Fatalf("%v: %+v", want, got)
		}
		if daysFromCivil(got.year, got.month, got.day) != got.days {
			rt.Fatalf("day count of %+v", got)
		}
		// Adding a difference leads back.
		n, err := dateDiff(0, ms, unitDay, 0, utcZone)
		if err != nil || n != floorDiv(ms, 86400000) {
			rt.Fatalf("%d days, %v", n, err)
		}
	})
}

func TestLocalTimes(t *testing.T) {
	for _, tc := range []struct{ zone, local, want string }{
		{"America/New_York", "2024-03-10T02:30:00", "2024-03-10T07:30:00.000Z"}, // skipped
		{"America/New_York", "2024-11-03T01:30:00", "2024-11-03T05:30:00.000Z"}, // twice
		{"Europe/Berlin", "2024-03-31T02:30:00", "2024-03-31T01:30:00.000Z"},
		{"Europe/Berlin", "2024-07-01T00:00:00", "2024-06-30T22:00:00.000Z"},
		{"Asia/Kolkata", "2024-07-01T00:00:00", "2024-06-30T18:30:00.000Z"},
	} {
		ms, err := parseDate(tc.local, zoneByName(tc.zone))
		if err != nil || bsonval.FormatDate(ms) != tc.want {
			t.Errorf("%s %s: %s, %v, want %s", tc.local, tc.zone, bsonval.FormatDate(ms), err, tc.want)
		}
	}
}

func TestDatesAllocateNothing(t *testing.T) {
	for _, text := range []string{
		`{'$year': '$d'}`, `{'$hour': {'date': '$d', 'timezone': 'America/New_York'}}`, `{'$isoWeek': '$d'}`,
		`{'$dateAdd': {'startDate': '$d', 'unit': 'month', 'amount': 1}}`,
		`{'$dateDiff': {'startDate': '$d', 'endDate': '$d', 'unit': 'hour'}}`,
		`{'$dateTrunc': {'date': '$d', 'unit': 'week'}}`, `{'$sum': ['$i', '$l']}`, `{'$max': ['$i', '$l']}`,
	} {
		c := NewCompiler(testEnv())
		e, err := c.Compile(mustEJSON(text))
		if err != nil {
			t.Fatal(err)
		}
		x := c.NewContext()
		x.Root = mustEJSON(testDoc).Doc()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := e.Eval(x); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

func FuzzParseDate(f *testing.F) {
	f.Add("2017-02-08T12:10:40.787Z", "%Y-%m-%dT%H:%M:%S.%LZ")
	f.Add("WED jan 31 12:05:28 +03:30 1996", "%j %G %V %u %z %Z %b %B")
	f.Fuzz(func(t *testing.T, text, format string) {
		if ms, err := parseDate(text, utcZone); err == nil {
			if again, err := dateAdd(ms, unitMonth, 1, utcZone); err == nil && again <= ms {
				t.Fatalf("a month after %d is %d", ms, again)
			}
		}
		if checkFormat(format, parseSpecifiers) == nil {
			_, _ = parseDateByFormat(text, format, utcZone)
			_, _ = formatDate(nil, format, int64(len(text))*1e12, utcZone)
		}
	})
}

func BenchmarkDateParts(b *testing.B) {
	c := NewCompiler(testEnv())
	e, err := c.Compile(mustEJSON(`{'$hour': {'date': '$d', 'timezone': 'America/New_York'}}`))
	if err != nil {
		b.Fatal(err)
	}
	x := c.NewContext()
	x.Root = mustEJSON(testDoc).Doc()
	for b.Loop() {
		if _, err := e.Eval(x); err != nil {
			b.Fatal(err)
		}
	}
}
