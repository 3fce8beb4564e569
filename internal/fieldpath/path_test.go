package fieldpath

import (
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func TestParse(t *testing.T) {
	deep := strings.Repeat("a.", bsonval.MaxDepth) + "a"
	for _, c := range []struct {
		path  string
		names []string
		code  mongoerr.Code
	}{
		{"a", []string{"a"}, 0},
		{"a.b.0", []string{"a", "b", "0"}, 0},
		{"a.b$", []string{"a", "b$"}, 0},
		{" . ", []string{" ", " "}, 0},
		{"", nil, 40352},
		{".", nil, 40353},
		{"a.", nil, 40353},
		{".a", nil, 15998},
		{"a..b", nil, 15998},
		{"$a", nil, 16410},
		{"a.$b", nil, 16410},
		{"a\x00", nil, 16411},
		{deep, nil, mongoerr.Overflow},
		{deep[2:], strings.Split(deep[2:], "."), 0},
	} {
		names, err := Parse(c.path)
		if e := mongoerr.As(err); !slices.Equal(names, c.names) || (e == nil) != (c.code == 0) || e != nil && e.Code != c.code {
			t.Errorf("%.20q: %.20q, %v", c.path, names, err)
		}
	}
	if e := mongoerr.As(Check("a.b")); e == nil || e.Code != 16412 {
		t.Errorf("a name with a dot: %v", e)
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{"", "a", "a.b", "a..b", "$a", ".", "a\x00b"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		names, err := Parse(path)
		if err != nil {
			return
		}
		if strings.Join(names, ".") != path {
			t.Fatalf("%q: %q", path, names)
		}
		for _, n := range names {
			if err := Check(n); err != nil {
				t.Fatalf("%q: %v", n, err)
			}
		}
	})
}
