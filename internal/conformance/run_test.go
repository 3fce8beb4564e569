package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// fakeServer answers every command by a function; a nil answer closes the connection.
type fakeServer struct {
	addr   string
	answer func(command bson.D) bson.D

	mu   sync.Mutex // guards seen
	seen []string
}

func startFake(t *testing.T, answer func(bson.D) bson.D) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeServer{addr: l.Addr().String(), answer: answer}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return f
}

func (f *fakeServer) serve(conn net.Conn) {
	defer conn.Close()
	for {
		var h [16]byte
		if _, err := io.ReadFull(conn, h[:]); err != nil {
			return
		}
		body := make([]byte, binary.LittleEndian.Uint32(h[:])-16)
		if _, err := io.ReadFull(conn, body); err != nil {
			return
		}
		command, rest, err := decodeDocument(body[5:])
		if err != nil {
			return
		}
		f.mu.Lock()
		f.seen = append(f.seen, command[0].Key+sequenceOf(rest))
		f.mu.Unlock()
		reply := f.reply(command)
		if reply == nil {
			return
		}
		out, err := appendDocument(append(make([]byte, 16), 0, 0, 0, 0, 0), reply)
		if err != nil {
			return
		}
		binary.LittleEndian.PutUint32(out, uint32(len(out)))
		copy(out[8:12], h[4:8])
		binary.LittleEndian.PutUint32(out[12:], opMsg)
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func sequenceOf(rest []byte) string {
	if len(rest) < 6 {
		return ""
	}
	name, _, _ := decodeCString(rest[5:])
	return "+" + name
}

var good = bson.D{{Key: "ok", Value: 1.0}}

func (f *fakeServer) reply(command bson.D) bson.D {
	switch command[0].Key {
	case "hello", "dropDatabase":
		return good
	}
	return f.answer(command)
}

const caseFile = `{"id":"a/t.py::good","area":"a","databases":["d1"],"setup":[{"db":"d1","command":{"insert":"c","documents":[{"x":true}]}}],"steps":[{"db":"d1","command":{"find":"c"}},{"db":"d1","command":{"getMore":{"$cursorId":0}},"expect":[{"success":true},{"properties":[{"path":"was","check":"eq","args":[{"$cursorId":0}]}],"of":"reply"}]}]}
{"id":"a/t.py::bad[x]","area":"a","databases":["d2"],"setup":[],"steps":[{"db":"d2","command":{"fail":"c"},"expect":[{"success":true}]}]}
{"id":"b/t.py::hang","area":"b","serial":true,"databases":["d3"],"setup":[],"steps":[{"db":"d3","command":{"hang":"c"}}]}
{"id":"b/t.py::closed","area":"b","databases":["d4"],"setup":[],"steps":[{"db":"d4","command":{"close":"c"}}]}
{"id":"b/t.py::solo","area":"b","requires":{"transactions":false},"databases":["d5"],"setup":[],"steps":[{"db":"d5","command":{"fail":"c"}}]}
{"id":"b/t.py::setup","area":"b","databases":["d6"],"setup":[{"db":"d6","command":{"fail":"c"}}],"steps":[{"db":"d6","command":{"find":"c"}}]}
{"id":"b/t.py::setup_ok","area":"b","databases":["d7"],"setup":[{"db":"d7","command":{"fail":"c"},"orCodes":[59]}],"steps":[{"db":"d7","command":{"find":"c"},"expect":[{"success":true}]}]}
{"id":"b/t.py::no_cursor","area":"b","databases":["d8"],"setup":[],"steps":[{"db":"d8","command":{"fail":"c"}},{"db":"d8","command":{"getMore":{"$cursorId":0}}}]}
`

func answers(command bson.D) bson.D {
	switch command[0].Key {
	case "find":
		return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(77)}}}, {Key: "ok", Value: 1.0}}
	case "getMore":
		return bson.D{{Key: "was", Value: command[0].Value}, {Key: "ok", Value: 1.0}}
	case "fail":
		return bson.D{{Key: "ok", Value: 0.0}, {Key: "code", Value: int32(59)}, {Key: "errmsg", Value: "no such command: 'fail7'"}}
	case "hang":
		<-time.After(300 * time.Millisecond)
		return good
	case "close":
		return nil
	}
	return good
}

func corpusDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte(caseFile), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRun(t *testing.T) {
	f := startFake(t, answers)
	s, err := Run(t.Context(), Config{Addr: f.addr, Dir: corpusDir(t), Workers: 3, CaseTimeout: 150 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a/t.py::bad[x]", "b/t.py::closed", "b/t.py::hang", "b/t.py::no_cursor", "b/t.py::setup"}
	if got := s.Failures(); !slices.Equal(got, want) {
		t.Errorf("failed %v, want %v", got, want)
		s.WriteFailures(os.Stderr)
	}
	if tally := s.Tally(); tally != (Tally{Passed: 2, Failed: 5, Skipped: 1}) {
		t.Errorf("tally %+v", tally)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Contains(f.seen, "insert+documents") {
		t.Errorf("documents were not sent as a sequence: %v", f.seen)
	}
}

func TestRunFilterAndCapabilities(t *testing.T) {
	f := startFake(t, answers)
	set, _ := Capabilities("standalone")
	s, err := Run(t.Context(), Config{Addr: f.addr, Dir: corpusDir(t), Filter: regexp.MustCompile(`solo|good`), Capabilities: set})
	if err != nil {
		t.Fatal(err)
	}
	if tally := s.Tally(); tally != (Tally{Passed: 2}) {
		t.Errorf("tally %+v", tally)
	}
}

func TestCLI(t *testing.T) {
	f := startFake(t, answers)
	dir := corpusDir(t)
	tmp := t.TempDir()
	known, failures := filepath.Join(tmp, "known.txt"), filepath.Join(tmp, "failures.txt")
	run := func(args ...string) (int, string) {
		var out bytes.Buffer
		args = append([]string{"-uri", "mongodb://" + f.addr, "-dir", dir, "-timeout", "150ms"}, args...)
		return CLI(context.Background(), args, &out, &out, nil), out.String()
	}
	code, out := run("-v", "-group", "-failures", failures)
	if code != 1 || !strings.HasSuffix(out, "conformance: 2/7\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, part := range []string{"FAIL a/t.py::bad[x]", "want success, got command error 59", "     1/1      a/t.py::bad", "got error 59 no such command: '…'"} {
		if !strings.Contains(out, part) {
			t.Errorf("output lacks %q:\n%s", part, out)
		}
	}
	ids, _ := os.ReadFile(failures)
	lines := "# first cause\n" + strings.ReplaceAll(string(ids), "closed\n", "closed # it hangs up\n") + "a/t.py::good\nx/gone.py::f\n"
	if err := os.WriteFile(known, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out = run("-known", known); code != 0 || !strings.Contains(out, "passes, remove from the list: a/t.py::good") {
		t.Errorf("exit %d: %s", code, out)
	}
	if code, _ = run("-known", known, "-strict"); code != 1 {
		t.Errorf("strict with a fixed case: exit %d", code)
	}
	if code, _ = run("-known", known, "-update"); code != 0 {
		t.Errorf("update: exit %d", code)
	}
	after, _ := os.ReadFile(known)
	if s := string(after); strings.Contains(s, "good") || strings.Contains(s, "gone") || !strings.Contains(s, "closed # it hangs up\n") || !strings.Contains(s, "# first cause\n") {
		t.Errorf("after update:\n%s", after)
	}
	if code, out = run("-known", filepath.Join(tmp, "none.txt")); code != 1 || !strings.Contains(out, "newly failing: b/t.py::setup\n") {
		t.Errorf("empty list: exit %d: %s", code, out)
	}
	if code, _ = run("-strict"); code != 2 {
		t.Errorf("strict without a list: exit %d", code)
	}
	if code, out = run("-capabilities", "standalone,nope=true"); code != 2 || !strings.Contains(out, "nope=true") {
		t.Errorf("unknown capability: exit %d: %s", code, out)
	}
}

func TestServerGone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, Config{Addr: addr, Dir: corpusDir(t)}); err == nil {
		t.Fatal("no error without a server")
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, content := range map[string]string{
		"unknown field": `{"id":"a","steps":[{"db":"d","command":{}}],"more":1}`,
		"no steps":      `{"id":"a","steps":[]}`,
		"two kinds":     `{"id":"a","steps":[{"db":"d","command":{},"expect":[{"success":true,"errorCode":1}]}]}`,
		"no kind":       `{"id":"a","steps":[{"db":"d","command":{},"expect":[{}]}]}`,
		"twice":         `{"id":"a","steps":[{"db":"d","command":{}}]}` + "\n" + `{"id":"a","steps":[{"db":"d","command":{}}]}`,
		"empty":         "\n",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "x.jsonl"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}

// TestCorpusParses checks that every value of the real corpus is understood, when its folder is named.
func TestCorpusParses(t *testing.T) {
	dir := os.Getenv("ARCHELON_CONFORMANCE_DIR")
	if dir == "" {
		t.Skip("ARCHELON_CONFORMANCE_DIR names no corpus")
	}
	cases, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range cases {
		for _, s := range cases[i].Setup {
			encodes(t, cases[i].ID, s.Command, nil)
		}
		for _, s := range cases[i].Steps {
			encodes(t, cases[i].ID, s.Command, bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(1)}}}})
			for _, e := range s.Expect {
				checkExpectation(t, cases[i].ID, &e)
			}
		}
	}
	t.Logf("%d cases", len(cases))
}

func checkExpectation(t *testing.T, id string, e *Expectation) {
	t.Helper()
	for _, raw := range [][]byte{e.FirstBatch, e.Raw} {
		if raw != nil {
			if _, err := parseValue(raw); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
	for _, checks := range append(e.PerDoc, e.Properties) {
		for _, c := range checks {
			args := bson.A{}
			if c.Args != nil {
				args = val(t, string(c.Args)).(bson.A)
			}
			if _, err := c.holds(bson.D{}, args); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
	}
}

func encodes(t *testing.T, id string, command []byte, reply bson.D) {
	t.Helper()
	v, err := parseValue(command)
	if err == nil {
		v, err = resolveCursors(v, slices.Repeat([]bson.D{reply}, 20))
	}
	d, ok := v.(bson.D)
	if err != nil || !ok {
		t.Errorf("%s: %v", id, err)
		return
	}
	if _, err := appendRequest(nil, 1, "d", d); err != nil {
		t.Errorf("%s: %v", id, err)
	}
}
