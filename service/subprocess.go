package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// URIVariable is the environment variable that tells a subprocess the database that hosts it.
const URIVariable = "ARCHELON_URI"

// Defaults of Subprocess.
const (
	DefaultMinBackoff   = 100 * time.Millisecond
	DefaultMaxBackoff   = 30 * time.Second
	DefaultStopGrace    = 5 * time.Second
	DefaultStartTimeout = 10 * time.Second
)

// healthyAfter is how long a process has to live to be restarted without much ado.
const healthyAfter = 10 * time.Second

// Subprocess is a program in any language that answers commands. It reads requests from its standard input and writes
// replies to its standard output, each one line of Extended JSON, as many at a time and in any order as it likes:
//
//	→ {"id":7,"db":"test","command":{"resize":"cat","width":5},"maxTimeMS":1000}
//	← {"id":7,"reply":{"text":"cat@5"}}                                    the call succeeded
//	← {"id":7,"error":{"code":10000001,"codeName":"NoLuck","errmsg":"…"}}  or failed; errorLabels may follow
//	← {"id":7,"item":{"n":1}}                                              a document of a stream,
//	← {"id":7,"end":true}                                                  which ends so, or with an error
//	→ {"id":7,"cancel":true}                                               nobody waits for it any more
//
// Replies to requests that were cancelled are dropped. What it writes to its standard error is logged. When its standard
// input ends it is to finish; when it ends by itself it is started again, after a while that doubles each time. Lines
// that are not of the protocol end it. The variable ARCHELON_URI in its environment has Subprocess.URI.
//
// Only the program that makes the service decides what runs: nothing a client sends starts a process.
type Subprocess struct {
	// Command is the program, Args its arguments. Dir is its folder, "" for this process's.
	Command string
	Args    []string
	Dir     string
	// Env has variables ("KEY=value") that are added to this process's own.
	Env []string
	// URI is the connection string of the database that hosts the service. Empty means none.
	URI string
	// Commands are those that it answers with a reply, Streams those that it answers with a stream.
	Commands, Streams []Command
	// Canonical writes all numbers with their types, as {"$numberInt":"5"}. Otherwise those that JSON has are written as
	// JSON has them. Both are read.
	Canonical bool
	// MinBackoff and MaxBackoff bound the time between two starts. 0 means the default.
	MinBackoff, MaxBackoff time.Duration
	// StopGrace is how long it may take to finish before it is killed. 0 means DefaultStopGrace.
	StopGrace time.Duration
	// StartTimeout is how long a call waits for a process that is not there. 0 means DefaultStartTimeout.
	StartTimeout time.Duration
}

func (p *Subprocess) validate() error {
	var errs []error
	if p.Command == "" {
		errs = append(errs, errors.New("no command"))
	}
	if len(p.Commands)+len(p.Streams) == 0 {
		errs = append(errs, errors.New("it answers no commands"))
	}
	for _, d := range []time.Duration{p.MinBackoff, p.MaxBackoff, p.StopGrace, p.StartTimeout} {
		if d < 0 {
			errs = append(errs, fmt.Errorf("duration is negative: %s", d))
		}
	}
	return errors.Join(errs...)
}

func (p *Subprocess) ensureDefaults() {
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&p.MinBackoff, DefaultMinBackoff}, {&p.MaxBackoff, DefaultMaxBackoff}, {&p.StopGrace, DefaultStopGrace}, {&p.StartTimeout, DefaultStartTimeout}} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
}

// AddSubprocess registers the commands of a program, which Run starts and keeps running.
func (s *Service) AddSubprocess(p Subprocess) error {
	if err := p.validate(); err != nil {
		return fmt.Errorf("subprocess %q: %w", p.Command, err)
	}
	p.ensureDefaults()
	sup := &supervisor{Subprocess: p, service: s, changed: make(chan struct{})}
	for _, c := range p.Commands {
		s.register(&row{Command: c, first: firstCanonical, run: sup.call})
	}
	for _, c := range p.Streams {
		s.register(&row{Command: c, first: firstCanonical, open: sup.open})
	}
	s.Background(sup.loop)
	return nil
}

// supervisor keeps a subprocess running.
type supervisor struct {
	Subprocess
	service *Service

	mu sync.Mutex // guards the fields below
	// current is the process that runs, nil for none; changed is closed when it becomes another.
	current *pipe
	changed chan struct{}
}

func (u *supervisor) set(p *pipe) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.current = p
	close(u.changed)
	u.changed = make(chan struct{})
}

// loop runs the process again and again.
func (u *supervisor) loop(ctx context.Context) {
	backoff := u.MinBackoff
	for ctx.Err() == nil {
		started := time.Now()
		err := u.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(started) >= healthyAfter {
			backoff = u.MinBackoff
		}
		u.service.log.Warn("subprocess ended", "service", u.service.name, "command", u.Command, "error", err, "restart_in", backoff.String())
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		backoff = min(2*backoff, u.MaxBackoff)
	}
}

// run runs the process once, until it ends or ctx does.
func (u *supervisor) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, u.Command, u.Args...)
	cmd.Dir = u.Dir
	cmd.Env = append(append(os.Environ(), u.Env...), URIVariable+"="+u.URI)
	cmd.WaitDelay = u.StopGrace
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Cancel = stdin.Close // the process is to finish; after WaitDelay it is killed
	p := newPipe(u.Canonical)
	broken := func(err error) {
		cancel(err)
		_ = cmd.Process.Kill() // it does not keep to the protocol
	}
	cmd.Stdout = &lines{max: maxLine, each: p.receive, failed: broken}
	cmd.Stderr = &lines{max: maxLogLine, cut: true, each: u.logLine}
	if err := cmd.Start(); err != nil {
		return err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		p.write(stdin)
	}()
	u.set(p)
	err = cmd.Wait()
	u.set(nil)
	p.die()
	<-written
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// maxLogLine is how many bytes of a line go to the log.
const maxLogLine = 4 << 10

func (u *supervisor) logLine(line []byte) error {
	u.service.log.Info("subprocess says", "service", u.service.name, "command", filepath.Base(u.Command), "line", string(line))
	return nil
}

var errSubprocessGone = mongoerr.New(mongoerr.HostUnreachable, "the program behind the command does not run").
	WithLabels(mongoerr.LabelRetryableWrite, mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)

// acquire returns the running process, and waits for one if there is none.
func (u *supervisor) acquire(ctx context.Context) (*pipe, error) {
	u.mu.Lock()
	p, changed := u.current, u.changed
	u.mu.Unlock()
	if p != nil {
		return p, nil
	}
	t := time.NewTimer(u.StartTimeout)
	defer t.Stop()
	for {
		select {
		case <-changed:
		case <-t.C:
			return nil, errSubprocessGone
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		u.mu.Lock()
		p, changed = u.current, u.changed
		u.mu.Unlock()
		if p != nil {
			return p, nil
		}
	}
}

// call answers a command with the program's reply.
func (u *supervisor) call(ctx context.Context, c *Call) error {
	r, err := u.send(ctx, c)
	if err != nil {
		return err
	}
	defer r.forget()
	reply, err := r.next(ctx)
	if err != nil {
		return err
	}
	c.reply.AppendDoc(reply)
	return nil
}

// open starts a stream of the program's.
func (u *supervisor) open(c *Call) (producer, error) {
	return func(ctx context.Context, emit func(bsonval.Doc) error) error {
		r, err := u.send(ctx, c)
		if err != nil {
			return err
		}
		defer r.forget()
		for {
			item, err := r.next(ctx)
			if err != nil || item == nil {
				return err
			}
			if err := emit(item); err != nil {
				return err
			}
		}
	}, nil
}

// send hands a call to the process.
func (u *supervisor) send(ctx context.Context, c *Call) (*request, error) {
	p, err := u.acquire(ctx)
	if err != nil {
		return nil, err
	}
	return p.send(ctx, c)
}
