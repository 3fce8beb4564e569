package gateway

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseTable(t *testing.T) {
	good, err := ParseTable([]byte(`
upstreams:
  a: {uri: "mongodb://h1,h2/?replicaSet=rs"}
  b: {uri: "mongodb://h3/", drain: true}
routes:
  - {database: [x, "y*"], collection: c, upstream: a, read-preference: secondary}
  - {command: ping, upstream: b, read-preference: {mode: nearest, tags: [{dc: east}, {}], max-staleness: 2m}}
  - {upstream: a}
`))
	if err != nil || len(good.Routes) != 3 || good.Routes[0].Database[1] != "y*" || good.Routes[0].ReadPreference.Mode != "secondary" ||
		good.Routes[1].ReadPreference.Tags[0]["dc"] != "east" || !good.Upstreams["b"].Drain {
		t.Errorf("%+v %v", good, err)
	}
	for _, c := range []struct{ text, want string }{
		{"", "no upstreams"},
		{"upstreams: {a: {uri: 'mongodb://h/'}}", "no routes"},
		{"upstreams: {a: {uri: 'http://h/'}}\nroutes: [{upstream: a}]", `upstream "a"`},
		{"upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: b}]", `no upstream "b"`},
		{"upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: a, colection: x}]", "colection"},
		{"upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: a, database: ''}]", "empty"},
		{"upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: a, read-preference: far}]", "far"},
		{"upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: a, read-preference: {mod: nearest}}]", "mod"},
		{"upstreams: [", "routes:"},
	} {
		if _, err := ParseTable([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add([]byte("upstreams: {a: {uri: 'mongodb://h/'}}\nroutes: [{upstream: a, database: [x], read-preference: {mode: nearest}}]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		table, err := ParseTable(text)
		if err == nil && (len(table.Routes) == 0 || len(table.Upstreams) == 0) {
			t.Error("an empty table is valid")
		}
	})
}

// TestGlob compares glob with a matcher that tries everything.
func TestGlob(t *testing.T) {
	var naive func(p, s string) bool
	naive = func(p, s string) bool {
		switch {
		case p == "":
			return s == ""
		case p[0] == '*':
			return naive(p[1:], s) || s != "" && naive(p, s[1:])
		}
		return s != "" && p[0] == s[0] && naive(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p, s := rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "p"), rapid.StringMatching(`[ab]{0,6}`).Draw(t, "s")
		if glob(p, s, false) != naive(p, s) {
			t.Errorf("%q %q: %v", p, s, glob(p, s, false))
		}
		if glob(p, s, false) != glob(strings.ToUpper(p), s, true) {
			t.Errorf("%q %q: the case matters", p, s)
		}
	})
}

func FuzzParsePreference(f *testing.F) {
	f.Add([]byte("\x1a\x00\x00\x00\x02mode\x00\x08\x00\x00\x00nearest\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := call{}
		c.place(b)
		firstStage(b)
		_ = concernAt(b, 1)
		_, _ = cursorID(b)
		_ = rewriteErrors(b)
	})
}
