package harness

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// Rounds is the number in an environment variable or, without it, the given one of a short or a full run.
func Rounds(t testing.TB, variable string, short, full int) int {
	t.Helper()
	switch s := os.Getenv(variable); {
	case s != "":
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s=%s: want a positive number", variable, s)
		}
		return n
	case testing.Short():
		return short
	}
	return full
}

// Seed is that of an environment variable, or a new one; it is printed either way.
func Seed(t testing.TB, variable string) uint64 {
	t.Helper()
	n := uint64(time.Now().UnixNano())
	if s := os.Getenv(variable); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("%s=%s: %v", variable, s, err)
		}
	}
	t.Logf("%s=%d", variable, n)
	return n
}
