package service

import (
	"errors"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

func TestLines(t *testing.T) {
	for _, c := range []struct {
		cut    bool
		writes []string
		want   string
		fails  bool
	}{
		{false, []string{"a\nb", "c\n", "\n", "de"}, "a|bc|", false},
		{false, []string{"abcde\n", "abc", "def\n"}, "abcde", true},
		{true, []string{"abcdefg\nh", "ijklmn", "op\nq\n"}, "abcde|hijkl|q", false},
	} {
		var got []string
		var failure error
		l := &lines{max: 5, cut: c.cut, each: func(b []byte) error { got = append(got, string(b)); return nil }, failed: func(err error) { failure = err }}
		var err error
		for _, w := range c.writes {
			if _, err = l.Write([]byte(w)); err != nil {
				break
			}
		}
		if s := strings.Join(got, "|"); s != c.want || (err != nil) != c.fails || !errors.Is(failure, err) {
			t.Errorf("%q: %q, %v", c.writes, s, err)
		}
	}
}

// FuzzParseMessage: whatever a program writes is a message of well-formed documents or an error.
func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		`{"id":7,"reply":{"text":"cat"}}`, `{"id":7,"error":{"code":5,"errmsg":"x","errorLabels":["a"]}}`, `{"id":7,"item":{"n":1}}`,
		`{"id":7,"end":true}`, `{"id":0,"end":true}`, `{"id":7}`, `[]`, `{"id":{"$numberLong":"7"},"reply":{"a":{"$date":"x"}}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if m.Error != nil {
			if e := parseError(bsonval.Doc(m.Error)); bsonval.Validate(errorDoc(e)) != nil {
				t.Fatalf("%s", b)
			}
		}
	})
}

func TestNearNames(t *testing.T) {
	rows := []*row{{Command: Command{Name: "ping"}}, {Command: Command{Name: "resize"}}, {Command: Command{Name: "listCommands"}}}
	for name, want := range map[string]string{
		"pign": "ping", "PNG": "ping", "resiez": "resize", "listcomands": "listCommands", "list": "listCommands", "xyzzy": "", "": "",
		strings.Repeat("x", 1000): "",
	} {
		if got := strings.Join(nearNames(name, rows), ","); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
