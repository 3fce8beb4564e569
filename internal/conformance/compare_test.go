package conformance

import (
	"encoding/json"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func val(t testing.TB, s string) any {
	t.Helper()
	v, err := parseValue([]byte(s))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return v
}

func i32(s string) string { return `{"$numberInt":"` + s + `"}` }
func i64(s string) string { return `{"$numberLong":"` + s + `"}` }
func dbl(s string) string { return `{"$numberDouble":"` + s + `"}` }
func dc(s string) string  { return `{"$numberDecimal":"` + s + `"}` }

func near(v, tol string) string {
	return `{"$approx":{"value":` + dbl(v) + `,"tolerance":` + dbl(tol) + `}}`
}

func TestCompare(t *testing.T) {
	for _, tc := range []struct {
		want, got string
		rules     rules
		equal     bool
	}{
		{i32("1"), i32("1"), rules{}, true},
		{i32("1"), i64("1"), rules{}, false},
		{i32("1"), dbl("1"), rules{}, false},
		{i64("1"), dc("1"), rules{}, false},
		{dbl("0.0"), dbl("-0.0"), rules{}, false},
		{dbl("-0.0"), dbl("-0.0"), rules{}, true},
		{dbl("NaN"), dbl("NaN"), rules{}, false},
		{dbl("NaN"), dbl("NaN"), rules{nan: true}, true},
		{dbl("NaN"), dc("NaN"), rules{nan: true}, true},
		{dc("NaN"), dbl("1"), rules{nan: true}, false},
		{dc("NaN"), dc("NaN"), rules{}, true},
		{dc("1.0"), dc("1.00"), rules{}, false},
		{dc("0"), dc("-0"), rules{}, false},
		{dc("Infinity"), dc("Infinity"), rules{}, true},
		{near("3.14", "0.01"), dbl("3.145"), rules{}, true},
		{near("3.14", "0.001"), dbl("3.145"), rules{}, false},
		{near("3", "0"), i32("3"), rules{}, true},
		{near("3", "0"), i64("3"), rules{}, true},
		{near("3", "0"), dc("3"), rules{}, false},
		{near("Infinity", "1"), dbl("Infinity"), rules{}, true},
		{near("Infinity", "1"), dbl("-Infinity"), rules{}, false},
		{near("NaN", "1"), dbl("NaN"), rules{}, true},
		{near("NaN", "1"), dbl("1"), rules{}, false},
		{near("1", "1"), dbl("NaN"), rules{}, false},
		{`{"a":true,"b":null}`, `{"b":null,"a":true}`, rules{}, true},
		{`{"a":true}`, `{"a":true,"b":null}`, rules{}, false},
		{`{"a":true}`, `{"a":true,"b":null}`, rules{partial: true}, true},
		{`{"a":true,"b":null}`, `{"a":true}`, rules{partial: true}, false},
		{`{"a":true}`, `{"a":true,"a":true}`, rules{}, false},
		{`{"a":null}`, `{}`, rules{}, false},
		{`[true,false]`, `[true,false]`, rules{}, true},
		{`[true,false]`, `[false,true]`, rules{}, false},
		{`[true]`, `[true,false]`, rules{}, false},
		{`[true]`, `[true,false]`, rules{partial: true}, true},
		{`[true,false]`, `[true]`, rules{partial: true}, false},
		{`[{"a":{"b":true}}]`, `[{"a":{"b":true,"c":null}}]`, rules{partial: true}, true},
		{`"\u00e9"`, `"e\u0301"`, rules{}, false},
		{`{"$binary":{"base64":"AQ==","subType":"00"}}`, `{"$binary":{"base64":"AQ==","subType":"04"}}`, rules{}, false},
		{`{"$regularExpression":{"pattern":"a","options":"im"}}`, `{"$regularExpression":{"pattern":"a","options":"mi"}}`, rules{}, true},
		{`{"$regularExpression":{"pattern":"a","options":"i"}}`, `{"$regularExpression":{"pattern":"a","options":""}}`, rules{}, false},
		{`{"$code":"a","$scope":{}}`, `{"$code":"a","$scope":{"x":null}}`, rules{}, false},
		{`{"$code":"a"}`, `{"$code":"a","$scope":{}}`, rules{}, false},
		{`{"$minKey":1}`, `{"$minKey":1}`, rules{}, true},
		{`{"$timestamp":{"t":1,"i":2}}`, `{"$timestamp":{"t":1,"i":3}}`, rules{}, false},
		{`null`, `null`, rules{}, true},
		{`null`, `false`, rules{}, false},
	} {
		m := tc.rules.compare(val(t, tc.want), val(t, tc.got))
		if (m == nil) != tc.equal {
			t.Errorf("%s and %s with %+v: %v", tc.want, tc.got, tc.rules, m)
		}
	}
}

func TestMismatchNamesThePlace(t *testing.T) {
	m := rules{}.compare(val(t, `{"a":[{"b":`+i32("1")+`}]}`), val(t, `{"a":[{"b":`+dbl("1")+`}]}`))
	if m == nil || m.path != "a[0].b" || m.kind != "type is double instead of int" {
		t.Fatalf("got %#v", m)
	}
}

func TestExpectations(t *testing.T) {
	batch := func(docs string) string { return `{"cursor":{"firstBatch":` + docs + `},"ok":` + dbl("1") + `}` }
	fail := `{"ok":` + dbl("0") + `,"code":` + i32("14") + `,"errmsg":"bad"}`
	writeError := `{"ok":` + dbl("1") + `,"writeErrors":[{"code":` + i32("11000") + `,"errmsg":"dup"}]}`
	concern := `{"ok":` + dbl("1") + `,"writeConcernError":{"code":` + i32("64") + `}}`
	ok := `{"ok":` + dbl("1") + `,"n":` + i32("2") + `,"$clusterTime":{},"operationTime":null,"deep":{"opTime":true}}`
	for _, tc := range []struct {
		expect, reply string
		holds         bool
	}{
		{`{"firstBatch":[{"a":true}]}`, batch(`[{"a":true}]`), true},
		{`{"firstBatch":[{"a":true}]}`, batch(`[{"a":true},{}]`), false},
		{`{"firstBatch":[]}`, fail, false},
		{`{"firstBatch":[]}`, ok, false},
		{`{"firstBatch":[{"a":true},{"a":false}],"ignoreDocOrder":true}`, batch(`[{"a":false},{"a":true}]`), true},
		{`{"firstBatch":[{"a":true},{"a":true}],"ignoreDocOrder":true}`, batch(`[{"a":false},{"a":true}]`), false},
		{`{"firstBatch":[{"a":true}],"ignoreDocOrder":true}`, batch(`[{"a":true},{"a":true}]`), false},
		{`{"firstBatch":[` + near("1", "2") + `,` + near("0", "0") + `],"ignoreDocOrder":true}`, batch(`[` + dbl("0") + `,` + dbl("3") + `]`), true},
		{`{"firstBatch":[{"r":["a","b"]}],"ignoreOrderIn":["r"]}`, batch(`[{"r":["b","a"]}]`), true},
		{`{"firstBatch":[{"r":["a","b"],"s":["a","b"]}],"ignoreOrderIn":["r"]}`, batch(`[{"r":["b","a"],"s":["b","a"]}]`), false},
		{`{"firstBatch":[{"r":["a","a"]}],"ignoreOrderIn":["r"]}`, batch(`[{"r":["b","a"]}]`), false},
		{`{"firstBatch":[{"r":["a","b"]},{}],"ignoreOrderIn":["r"],"ignoreDocOrder":true}`, batch(`[{},{"r":["b","a"]}]`), true},
		{`{"firstBatch":[{"v":` + dbl("NaN") + `}],"nan":true}`, batch(`[{"v":` + dc("NaN") + `}]`), true},
		{`{"firstBatch":[{"v":` + dbl("NaN") + `}]}`, batch(`[{"v":` + dbl("NaN") + `}]`), false},
		{`{"raw":{"ok":` + dbl("1") + `,"n":` + i32("2") + `,"deep":{"opTime":true}}}`, ok, true},
		{`{"raw":{"ok":` + dbl("1") + `,"n":` + i32("2") + `,"deep":{}}}`, ok, false},
		{`{"raw":{"ok":` + dbl("1") + `,"n":` + i32("2") + `}}`, ok, false},
		{`{"raw":{"n":` + i32("2") + `},"partial":true}`, ok, true},
		{`{"raw":{"n":` + i64("2") + `},"partial":true}`, ok, false},
		{`{"raw":{},"partial":true}`, fail, false},
		{`{"errorCode":14}`, fail, true},
		{`{"errorCode":14,"errmsg":"bad"}`, fail, true},
		{`{"errorCode":14,"errmsg":"Bad"}`, fail, false},
		{`{"errorCode":2}`, fail, false},
		{`{"errorCode":14}`, `{"ok":` + dbl("0") + `,"code":` + i64("14") + `}`, false},
		{`{"errorCode":11000}`, writeError, true},
		{`{"errorCode":11000,"errmsg":"dup"}`, writeError, true},
		{`{"errorCode":1}`, writeError, false},
		{`{"errorCode":14}`, ok, false},
		{`{"success":true}`, ok, true},
		{`{"success":true}`, writeError, true},
		{`{"success":true,"noWriteErrors":true}`, writeError, false},
		{`{"success":true,"noWriteErrors":true}`, concern, false},
		{`{"success":true,"noWriteErrors":true,"orCodes":[11000]}`, writeError, true},
		{`{"success":true,"orCodes":[26,14]}`, fail, true},
		{`{"success":true,"orCodes":[26]}`, fail, false},
		{`{"properties":[{"path":"a","check":"exists"}],"of":"docs"}`, batch(`[{"a":null},{"a":null}]`), true},
		{`{"properties":[{"path":"a","check":"exists"}],"of":"docs"}`, batch(`[{"a":null},{}]`), false},
		{`{"properties":[{"path":"a","check":"notExists"}],"of":"docs"}`, batch(`[]`), false},
		{`{"properties":[{"path":"n","check":"eq","args":[` + i32("2") + `]}],"of":"reply"}`, ok, true},
		{`{"properties":[{"path":"code","check":"exists"}],"of":"reply"}`, fail, false},
		{`{"perDoc":[[{"path":"a","check":"exists"}],[]],"of":"docs"}`, batch(`[{"a":null},{}]`), true},
		{`{"perDoc":[[{"path":"a","check":"exists"}]],"of":"docs"}`, batch(`[{"a":null},{}]`), false},
	} {
		var e Expectation
		if err := json.Unmarshal([]byte(tc.expect), &e); err != nil || e.kinds() != 1 {
			t.Fatalf("%s: %v", tc.expect, err)
		}
		m, err := e.check(val(t, tc.reply).(bson.D), func(v any) (any, error) { return v, nil })
		if err != nil || (m == nil) != tc.holds {
			t.Errorf("%s on %s: %v, %v", tc.expect, tc.reply, m, err)
		}
	}
}

func TestPredicates(t *testing.T) {
	root := val(t, `{"i":`+i32("5")+`,"l":`+i64("5")+`,"s":"x","e":"","n":null,"a":[{"k":"v","a.b":true},"el"],
		"d":{"x":true,"y":false,"p.q":null},"t":{"$date":{"$numberLong":"10"}},"ts":{"$timestamp":{"t":3,"i":1}},
		"b":{"$binary":{"base64":"AQI=","subType":"00"}},"dec":`+dc("5.5")+`}`)
	for _, tc := range []struct {
		path, check, args string
		holds             bool
	}{
		{"n", "exists", `[]`, true}, {"zz", "exists", `[]`, false}, {"n", "notExists", `[]`, false}, {"d.z", "notExists", `[]`, true},
		{"i", "type", `["int"]`, true}, {"i", "type", `["long"]`, false}, {"d", "type", `["object"]`, true}, {"n", "type", `["null"]`, true},
		{"zz", "type", `["null"]`, false}, {"", "type", `["object"]`, true},
		{"i", "eq", `[` + i32("5") + `]`, true}, {"i", "eq", `[` + i64("5") + `]`, false}, {"a.0.k", "eq", `["v"]`, true}, {"a.2", "eq", `[null]`, false},
		{"i", "ne", `[` + i32("6") + `]`, true}, {"i", "ne", `[` + i32("5") + `]`, false}, {"i", "ne", `[` + i64("6") + `]`, false},
		{"zz", "ne", `[null]`, true}, {"s", "ne", `[` + i32("6") + `]`, true},
		{"i", "gt", `[` + dbl("4.5") + `]`, true}, {"i", "gt", `[` + i64("5") + `]`, false}, {"l", "gte", `[` + i32("5") + `]`, true},
		{"dec", "lte", `[` + dbl("5.5") + `]`, true}, {"dec", "gt", `[` + i32("5") + `]`, true}, {"i", "lte", `[` + dbl("Infinity") + `]`, true},
		{"i", "gt", `[` + dbl("NaN") + `]`, false}, {"s", "gt", `[` + i32("1") + `]`, false}, {"zz", "gte", `[` + i32("0") + `]`, false},
		{"t", "gt", `[{"$date":{"$numberLong":"9"}}]`, true}, {"ts", "gt", `[{"$timestamp":{"t":2,"i":9}}]`, true}, {"t", "gt", `[` + i32("1") + `]`, false},
		{"a", "len", `[` + i32("2") + `]`, true}, {"a", "len", `[` + i32("1") + `]`, false}, {"s", "len", `[` + i32("0") + `]`, false},
		{"a", "lenGt", `[` + i32("1") + `]`, true}, {"a", "lenLte", `[` + i32("1") + `]`, false},
		{"a", "contains", `["k","v"]`, true}, {"a", "contains", `["k","w"]`, false}, {"a", "contains", `["a.b",true]`, true},
		{"zz", "contains", `["k","v"]`, false}, {"zz", "notContains", `["k","v"]`, true}, {"a", "notContains", `["k","v"]`, false},
		{"a", "notContains", `["k","w"]`, true}, {"s", "notContains", `["k","w"]`, false},
		{"a", "containsElement", `["el"]`, true}, {"a", "containsElement", `["no"]`, false},
		{"d", "hasKey", `["p.q"]`, true}, {"d", "hasKey", `["q"]`, false},
		{"d", "orderedKeys", `[["x","y","p.q"]]`, true}, {"d", "orderedKeys", `[["y","x","p.q"]]`, false}, {"d", "orderedKeys", `[["x","y"]]`, false},
		{"s", "nonEmptyStr", `[]`, true}, {"e", "nonEmptyStr", `[]`, false}, {"i", "nonEmptyStr", `[]`, false},
		{"b", "byteLen", `[` + i32("2") + `]`, true}, {"b", "byteLen", `[` + i32("3") + `]`, false},
	} {
		c := Check{Path: tc.path, Check: tc.check}
		holds, err := c.holds(root, val(t, tc.args).(bson.A))
		if err != nil || holds != tc.holds {
			t.Errorf("%s %s %s: %v, %v", tc.path, tc.check, tc.args, holds, err)
		}
	}
	for _, c := range []Check{{Check: "nope"}, {Check: "eq"}} {
		if _, err := c.holds(root, bson.A{}); err == nil {
			t.Errorf("check %q with no arguments was accepted", c.Check)
		}
	}
}
