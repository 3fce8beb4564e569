package perf

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/test/harness"
)

// settle is how long an idle server gets to come to rest.
const settle = 2 * time.Second

// startOnce starts the binary on an empty folder and returns the time to the
// first answer and the resident memory in MB some time later.
func startOnce(t *testing.T, binary string) (took time.Duration, megabytes float64) {
	t.Helper()
	addr := harness.FreeAddr(t)
	cmd := exec.Command(binary, "serve", "--listen", addr, "--data", filepath.Join(t.TempDir(), "data"), "--log-level", "warn")
	cmd.Stderr = os.Stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Since(start) > 20*time.Second {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	c := dial(t, addr)
	c.begin()
	c.field("hello", bsonval.Int32(1))
	c.end("")
	c.must(t)
	took = time.Since(start)
	_ = c.c.Close()
	time.Sleep(settle)
	return took, resident(t, cmd.Process.Pid)
}

// resident is a process's resident memory in MB.
func resident(t *testing.T, pid int) float64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("resident memory is read from /proc:", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kb float64
		if rest, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			if _, err := fmt.Sscan(rest, &kb); err == nil {
				return kb / 1024
			}
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// rest waits until a server has done in the background what a load has left to
// do, as far as one can see from outside: until it uses next to no processor time,
// for at most half a minute.
func rest(s target) {
	const step = 500 * time.Millisecond
	for range 60 {
		before := processorTime(s.pid)
		time.Sleep(step)
		if processorTime(s.pid)-before < step/20 {
			return
		}
	}
}

// processorTime is how long a process has run on processors, in user and kernel
// mode; 0 where there is no /proc.
func processorTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the program's name in parentheses; times are in 1/100 s.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
