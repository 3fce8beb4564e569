package progress

import (
	"bytes"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestGrouped(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", -999: "-999", -1000: "-1,000", 1234567: "1,234,567", -123456: "-123,456",
		math.MaxInt64: "9,223,372,036,854,775,807", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := Grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// play prints lines of progress that the test gives, one after the other, and "met" when they are over.
func play(t *testing.T, live bool, lines ...string) string {
	t.Helper()
	var out bytes.Buffer
	next, over := 0, make(chan struct{})
	p := start(&out, live, time.Millisecond, func() string {
		switch {
		case next < len(lines):
			next++
		case next == len(lines):
			next++
			close(over)
		}
		return lines[min(next, len(lines))-1]
	})
	<-over
	p.Close()
	p.Print("met")
	return out.String()
}

func TestLinesThatStay(t *testing.T) {
	if got := play(t, false, "1 of 2", "1 of 2", "2 of 2"); got != "1 of 2\n2 of 2\nmet\n" {
		t.Errorf("%q", got)
	}
}

func TestLineInPlace(t *testing.T) {
	got := play(t, true, "1 of 2", "2 of 2")
	if !strings.HasPrefix(got, "\r1 of 2\x1b[K\r2 of 2\x1b[K") || !strings.HasSuffix(got, "\r2 of 2\x1b[K\rmet\x1b[K\n") {
		t.Errorf("%q", got)
	}
}

func TestIsTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, w := range []io.Writer{nil, &bytes.Buffer{}, f} {
		if isTerminal(w) {
			t.Errorf("%T passes for a terminal", w)
		}
	}
	p := Start(nil, func() string { return "" })
	p.Print("to nobody")
	p.Close()
}
