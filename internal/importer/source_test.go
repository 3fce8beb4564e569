package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// drain lists what a source yields: "line:text" of records, "!line" of bad ones.
func drain(t testing.TB, s source) []string {
	t.Helper()
	var out []string
	for range 1_000_000 {
		rec, err := s.next()
		var bad *badRecord
		switch {
		case err == io.EOF:
			return out
		case errors.As(err, &bad):
			out = append(out, fmt.Sprintf("!%d", bad.line))
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, fmt.Sprintf("%d:%s", rec.line, rec.data))
		}
	}
	t.Fatal("the source does not end")
	return nil
}

func TestJSONSource(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		want     []string
	}{
		{"array", "[{\"a\":1},\n {\"b\":[1,{}]}]", []string{`1:{"a":1}`, `2:{"b":[1,{}]}`}},
		{"empty array", " [ ] ", nil},
		{"empty", "", nil},
		{"documents", "{\"a\":1}{\"b\":2}\n\n{\"c\":\n3}", []string{`1:{"a":1}`, `1:{"b":2}`, "3:{\"c\":\n3}"}},
		{"brackets in strings", `[{"a":"]}\"{"}]`, []string{`1:{"a":"]}\"{"}`}},
		{"cut off array", "[{\"a\":1},\n{\"b\":2}", []string{`1:{"a":1}`, `2:{"b":2}`, "!2"}},
		{"cut off document", "[{\"a\":1},\n{\"b\":", []string{`1:{"a":1}`, "!2"}},
		{"not closed, next line goes on", "[\n {\"a\":1,\n {\"b\":2},\n {\"c\":3}\n]", []string{"!2", `3:{"b":2}`, `4:{"c":3}`}},
		{"string not closed", "[\n {\"a\":\"x},\n {\"b\":2}\n]", []string{"!2", `3:{"b":2}`}},
		{"wrong bracket", "[\n{\"a\":[1}},\n{\"b\":2}\n]", []string{"!2", `3:{"b":2}`}},
		{
			"inner documents are not taken", "[\n  {\n    \"a\": [\n      {\"x\":1}\n    },\n    \"y\": 2\n  },\n  {\"b\":2}\n]",
			[]string{"!2", `8:{"b":2}`},
		},
		{"scalars", `[1,"two",{"a":1},null]`, []string{"!1", "!1", `1:{"a":1}`, "!1"}},
		{"text", "hello\n{\"a\":1}", []string{"!1", `2:{"a":1}`}},
		{"text after array", "[{\"a\":1}]x", []string{`1:{"a":1}`, "!1"}},
	} {
		if got := drain(t, newJSONSource(strings.NewReader(tc.in))); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
		if got := drain(t, newJSONSource(iotest.OneByteReader(strings.NewReader(tc.in)))); !slices.Equal(got, tc.want) {
			t.Errorf("%s, byte by byte: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestJSONSourceReadError(t *testing.T) {
	broken := errors.New("disk")
	s := newJSONSource(io.MultiReader(strings.NewReader(`[{"a":1},{"b"`), iotest.ErrReader(broken)))
	if _, err := s.next(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.next(); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
}

func TestLongInputStreams(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		fmt.Fprint(w, "[")
		for i := range 150_000 {
			fmt.Fprintf(w, "{\"i\":%d,\n\"pad\":\"%s\"},\n", i, strings.Repeat("x", i%100))
		}
		fmt.Fprint(w, "{\"i\":-1}]")
		_ = w.Close()
	}()
	s := newJSONSource(r)
	n, last := 0, record{}
	for {
		rec, err := s.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n, last = n+1, rec
		if cap(s.buf) > 1<<20 {
			t.Fatalf("buffer of %d bytes after %d records", cap(s.buf), n)
		}
	}
	if n != 150_001 || last.line != 300_001 || string(last.data) != `{"i":-1}` {
		t.Errorf("%d records, the last is %d: %s", n, last.line, last.data)
	}
}

func TestLinesSource(t *testing.T) {
	in := "{\"a\":1}\r\n\n  {\"b\":2} \n" + strings.Repeat("x", 1<<17) + "\n{\"c\":3}"
	got := drain(t, &linesSource{lines: lineReader{r: bufio.NewReaderSize(strings.NewReader(in), 4096)}})
	if len(got) != 4 || got[0] != `1:{"a":1}` || got[1] != `3:{"b":2}` || got[3] != `5:{"c":3}` {
		t.Errorf("got %.200q", got)
	}
	in = "1\n" + strings.Repeat("x", maxText+5) + "\n3\n"
	got = drain(t, &linesSource{lines: lineReader{r: bufio.NewReader(strings.NewReader(in))}})
	if !slices.Equal(got, []string{"1:1", "!2", "3:3"}) {
		t.Errorf("got %.200q", got)
	}
}

func TestCSVSource(t *testing.T) {
	for in, want := range map[string][]string{
		"a,b\n1,2\r\n\n3,4":              {"1:a,b", "2:1,2", "4:3,4"},
		"a\n\"x\ny\",1\nz":               {"1:a", "2:\"x\ny\",1", "4:z"},
		"a\n\"open,1\nb,2\nc,3":          {"1:a", "!2", "3:b,2", "4:c,3"},
		"a\n\"he said \"\"hi\"\"\",1\nb": {"1:a", "2:\"he said \"\"hi\"\"\",1", "3:b"},
	} {
		got := drain(t, &csvSource{lines: lineReader{r: bufio.NewReader(strings.NewReader(in))}, delim: ','})
		if !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	in := "\"open\n" + strings.Repeat("x,1\n", 3*maxRecordLines)
	got := drain(t, &csvSource{lines: lineReader{r: bufio.NewReader(strings.NewReader(in))}, delim: ','})
	if len(got) != 3*maxRecordLines+1 || got[0] != "!1" || got[1] != "2:x,1" || got[len(got)-1] != fmt.Sprintf("%d:x,1", 3*maxRecordLines+1) {
		t.Errorf("%d records: %.100q", len(got), got)
	}
}

func TestSplitCells(t *testing.T) {
	for in, want := range map[string][]string{
		``: {""}, `,`: {"", ""}, `a,"b,c",d`: {"a", "b,c", "d"}, `"a""b"`: {`a"b`}, `"",x`: {"", "x"}, "\"l1\nl2\"": {"l1\nl2"},
	} {
		got, _, err := splitCells([]byte(in), ',')
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{`a"b`, `"a`, `"a"b`, `x,"a""`} {
		if got, _, err := splitCells([]byte(in), ','); err == nil {
			t.Errorf("%q: split into %q", in, got)
		}
	}
}

func TestBSONSource(t *testing.T) {
	one, _ := bson.Marshal(bson.D{{Key: "a", Value: 1}})
	two, _ := bson.Marshal(bson.D{{Key: "b", Value: "x"}})
	file := slices.Concat(one, two)
	read := func(b []byte) []string { return drain(t, &bsonSource{r: bufio.NewReader(bytes.NewReader(b))}) }
	if got := read(file); len(got) != 2 {
		t.Errorf("got %q", got)
	}
	if got := read(file[:len(file)-3]); len(got) != 2 || got[1] != "!2" {
		t.Errorf("cut off: got %q", got)
	}
	if got := read(append(slices.Clone(one), 1, 2)); len(got) != 2 || got[1] != "!2" {
		t.Errorf("cut off in the length: got %q", got)
	}
	if got := read([]byte("this is text")); len(got) != 1 || got[0] != "!1" {
		t.Errorf("text: got %q", got)
	}
	damaged := slices.Clone(file)
	damaged[4] = 0x77 // the type of the first document's first element
	if got := read(damaged); len(got) != 2 {
		t.Errorf("damaged: got %q", got)
	}
	if _, err := decodeBSON(damaged[:len(one)]); err == nil {
		t.Error("a damaged document was accepted")
	}
}

func TestGuess(t *testing.T) {
	doc, _ := bson.Marshal(bson.D{{Key: "a", Value: 1}})
	for _, tc := range []struct{ name, content, want string }{
		{"x.JSON", "", "json"}, {"x.ndjson", "", "jsonl"}, {"x.csv", "[", "csv"}, {"x.bson", "", "bson"}, {"x.tsv", "", "tsv"},
		{"x", " \n[{", "json"}, {"x", "{\"a\":1}", "json"}, {"x", string(doc), "bson"}, {"x", "a\tb\n", "tsv"}, {"x", "a,b\n", "csv"},
	} {
		if got := guess(tc.name, bufio.NewReader(strings.NewReader(tc.content))); got != tc.want {
			t.Errorf("%s %q: %s, want %s", tc.name, tc.content, got, tc.want)
		}
	}
}

func TestOpenCompressed(t *testing.T) {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = io.WriteString(w, "\xef\xbb\xbf[{\"a\":1}]")
	_ = w.Close()
	name := filepath.Join(t.TempDir(), "x.json.gz")
	if err := os.WriteFile(name, z.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &Config{File: name, DB: "d"}
	c.ensureDefaults()
	p, err := prepare(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.input.close()
	if got := drain(t, p); !slices.Equal(got, []string{`1:{"a":1}`}) || p.input.format != "json" || c.Collection != "x" {
		t.Errorf("got %q, format %s, collection %s", got, p.input.format, c.Collection)
	}
}

func FuzzJSONSource(f *testing.F) {
	for _, s := range []string{`[{"a":1},{"b":[{}]}]`, "{\"a\":\n[1}}\n{\"b\":2}", `[1,{"a":"\"}"},]x`, "[[{]}]\n {"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := drain(t, newJSONSource(bytes.NewReader(in)))
		bytewise := drain(t, newJSONSource(iotest.OneByteReader(bytes.NewReader(in))))
		if !slices.Equal(whole, bytewise) {
			t.Fatalf("%q read whole: %q, byte by byte: %q", in, whole, bytewise)
		}
		if len(whole) > len(in) {
			t.Fatalf("%d records in %d bytes", len(whole), len(in))
		}
	})
}

func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n1,\"2\n3\"\n", "\"\"\"", "a\n\"x\ny\nz"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		s := &csvSource{lines: lineReader{r: bufio.NewReader(bytes.NewReader(in))}, delim: ','}
		for {
			rec, err := s.next()
			if err == io.EOF {
				return
			}
			if err == nil {
				_, _, _ = splitCells(rec.data, ',')
			}
		}
	})
}
