package harness

import (
	"bytes"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// stopping bounds how long a program may take to leave.
const stopping = 20 * time.Second

// Program is a running process. The end of what it prints is kept.
type Program struct {
	cmd  *exec.Cmd
	log  output
	done chan struct{} // closed when the process has ended; err is set before
	err  error
}

// Run starts a program. It is killed when the test ends, and what it has printed is shown when the test failed.
func Run(t testing.TB, cmd *exec.Cmd) *Program {
	t.Helper()
	p := &Program{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", cmd, p.Log())
		}
	})
	return p
}

// output keeps the end of what a process prints.
type output struct {
	mu sync.Mutex // guards b
	b  []byte
}

func (o *output) Write(p []byte) (int, error) {
	const kept = 64 << 10
	o.mu.Lock()
	defer o.mu.Unlock()
	o.b = append(o.b, p...)
	if len(o.b) > 2*kept {
		o.b = bytes.Clone(o.b[len(o.b)-kept:])
	}
	return len(p), nil
}

// Pid returns the process's id.
func (p *Program) Pid() int { return p.cmd.Process.Pid }

// Log is the end of what the process has printed.
func (p *Program) Log() string {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return string(p.log.b)
}

// Done is closed when the process has ended.
func (p *Program) Done() <-chan struct{} { return p.done }

// Err is how the process has ended, to be asked for after Done.
func (p *Program) Err() error { return p.err }

// Signal sends a signal and does not wait.
func (p *Program) Signal(t testing.TB, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatalf("%s: %v", signal, err)
	}
}

// Kill ends the process with SIGKILL, as a crash would, and waits until it is gone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// dump makes the process print what its goroutines do, and end.
func (p *Program) dump() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	select {
	case <-p.done:
	case <-time.After(time.Second):
	}
}

// Terminate sends SIGTERM and does not wait.
func (p *Program) Terminate(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
}

// Stop ends the process as a user would, with SIGTERM, and checks that it leaves in time with exit code 0.
func (p *Program) Stop(t testing.TB) {
	t.Helper()
	p.Terminate(t)
	p.Ended(t)
}

// Ended waits until the process has left and checks that its exit code is 0.
func (p *Program) Ended(t testing.TB) {
	t.Helper()
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("it did not end in order: %v", p.err)
		}
	case <-time.After(stopping):
		t.Errorf("it still ran %s after SIGTERM", stopping)
		p.dump()
		p.Kill()
	}
}
