package js

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

const (
	// idleWorkers are kept for the next session.
	idleWorkers = 2

	// maxWorkers run at once; further sessions wait.
	maxWorkers = 32

	// collectInterval is how often sessions are collected while one without a
	// context waits for a place.
	collectInterval = 100 * time.Millisecond

	// workerVariable in its environment makes a process a worker.
	workerVariable = "ARCHELON_JAVASCRIPT_WORKER"
)

// pool is the worker processes of an engine.
type pool struct {
	idle   chan *worker
	places chan struct{} // one value for each session that has a worker
}

// take returns a worker, an idle one or a new one.
func (p *pool) take(ctx context.Context) (*worker, error) {
	if err := p.enter(ctx); err != nil {
		return nil, err
	}
	select {
	case w := <-p.idle:
		return w, nil
	default:
	}
	w, err := startWorker()
	if err != nil {
		<-p.places
		return nil, mongoerr.New(mongoerr.JSInterpreterFailure, "cannot start a JavaScript worker: %v", err)
	}
	return w, nil
}

// enter waits for a place. Sessions whose context never ends give theirs back
// when they are collected, so where there are such, that is helped along.
func (p *pool) enter(ctx context.Context) error {
	for {
		select {
		case p.places <- struct{}{}:
			return nil
		default:
		}
		var collect <-chan time.Time
		if ctx.Done() == nil {
			runtime.GC()
			collect = time.After(collectInterval)
		}
		select {
		case p.places <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-collect:
		}
	}
}

// give takes a worker back, or its place only if it is no longer fit.
func (p *pool) give(w *worker, fit bool) {
	<-p.places
	if fit && writeFrame(w.in, frameEnd, bsonval.NewBuilder().Build()) == nil {
		select {
		case p.idle <- w:
			return
		default:
		}
	}
	w.close()
}

// worker is a process of this program that runs JavaScript and nothing else.
type worker struct {
	process *os.Process
	in      *os.File
	out     *os.File
	reader  *bufio.Reader
}

func startWorker() (*worker, error) {
	self, err := program()
	if err != nil {
		return nil, err
	}
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, err
	}
	defer theirOut.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	defer null.Close()
	process, err := os.StartProcess(self, []string{self}, &os.ProcAttr{
		Dir: "/", Env: []string{workerVariable + "=1"}, Files: []*os.File{theirIn, theirOut, null},
	})
	if err != nil {
		in.Close()
		out.Close()
		return nil, err
	}
	w := &worker{process: process, in: in, out: out, reader: bufio.NewReader(out)}
	// An engine is not closed; its idle workers go when it does.
	runtime.AddCleanup(w, func(f *os.File) { f.Close() }, in)
	return w, nil
}

// kill ends the process; whoever waits for it reads the end of its output.
func (w *worker) kill() { _ = w.process.Kill() }

// close ends the process and releases what it held.
func (w *worker) close() {
	w.kill()
	w.in.Close()
	w.out.Close()
	_, _ = w.process.Wait()
}

// request is one call in a worker.
type request struct {
	source  string
	this    bsonval.Value
	args    []bsonval.Value
	natives map[string]Native
	globals bsonval.Doc
}

// lease is a session's hold on a worker: from the first call until the context
// of the command ends, or the session is gone.
type lease struct {
	pool   *pool
	limits Limits

	mu     sync.Mutex
	worker *worker         // nil: none now
	ctx    context.Context // that the worker is held for
	forget func() bool     // ends the wait for ctx
	busy   bool            // a call is under way
	ending error           // why the worker was killed during a call
}

// end gives the worker back, or kills it in the middle of a call.
func (l *lease) end() { l.stop(nil) }

func (l *lease) stop(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.worker == nil:
	case l.busy:
		if l.ending == nil {
			l.ending = why
		}
		l.worker.kill()
	default:
		l.pool.give(l.worker, true)
		l.worker, l.ctx = nil, nil
	}
}

// begin marks a call as under way and returns the worker.
func (l *lease) begin(ctx context.Context, r *request) (*worker, error) {
	l.mu.Lock()
	if l.ctx != ctx && l.forget != nil {
		l.forget()
		l.forget = nil
	}
	w := l.worker
	l.busy, l.ending = true, nil
	l.mu.Unlock()
	if w == nil {
		var err error
		if w, err = l.pool.take(ctx); err != nil {
			return nil, err
		}
		if err := writeFrame(w.in, frameBegin, l.world(r)); err != nil {
			l.pool.give(w, false)
			return nil, err
		}
	}
	l.mu.Lock()
	l.worker = w
	watch := l.forget == nil && ctx.Done() != nil
	l.ctx = ctx
	l.mu.Unlock()
	if watch {
		forget := context.AfterFunc(ctx, func() { l.stop(ctx.Err()) })
		l.mu.Lock()
		l.forget = forget
		l.mu.Unlock()
	}
	return w, nil
}

// finish marks the call as over; a worker that is not fit is thrown away.
func (l *lease) finish(fit bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy = false
	if l.worker != nil && (!fit || l.ending != nil || l.ctx.Err() != nil) {
		l.pool.give(l.worker, fit && l.ending == nil)
		l.worker, l.ctx = nil, nil
	}
	return l.ending
}

// world is the frame that makes a session's world.
func (l *lease) world(r *request) bsonval.Doc {
	b := bsonval.NewBuilder().StartArray("natives")
	for name := range r.natives {
		b.Add(bsonval.String(name))
	}
	b.End()
	if r.globals != nil {
		b.Doc("globals", r.globals)
	}
	return b.Int64("time", l.limits.Time.Milliseconds()).Int64("heap", int64(l.limits.Heap)).
		Int64("depth", int64(l.limits.Depth)).Build()
}

// call makes a call in the worker.
func (l *lease) call(ctx context.Context, r *request) (bsonval.Value, error) {
	w, err := l.begin(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return bsonval.Missing, failed(ctx, err)
	}
	// The worker ends the call by itself; this is for what it cannot end.
	timer := time.AfterFunc(l.limits.Time+time.Second, func() { l.stop(failure(errTooLong.Error())) })
	v, err := w.exchange(r)
	timer.Stop()
	var a answer
	answered := errors.As(err, &a)
	ending := l.finish(err == nil || answered)
	switch {
	case err == nil:
		return v, nil
	case answered:
		return v, a.error
	case ctx.Err() != nil:
		return bsonval.Missing, ctx.Err()
	case ending != nil:
		return bsonval.Missing, ending
	}
	return bsonval.Missing, failure(errTooBig.Error())
}

// answer is an error that the worker reported; any other is of the worker.
type answer struct{ error }

// exchange sends a call, serves the native functions it calls, and returns its
// result.
func (w *worker) exchange(r *request) (bsonval.Value, error) {
	call := bsonval.NewBuilder().Str("source", r.source).Value("this", r.this).Array("args", values(r.args)).Build()
	if err := writeFrame(w.in, frameCall, call); err != nil {
		if mongoerr.As(err) != nil {
			return bsonval.Missing, answer{err}
		}
		return bsonval.Missing, err
	}
	for {
		kind, d, err := readFrame(w.reader)
		if err != nil {
			return bsonval.Missing, err
		}
		if err := bsonval.Validate(d); err != nil && kind == frameReply {
			return bsonval.Missing, err
		}
		switch kind {
		case frameReply:
			v, err := result(d)
			if err != nil {
				err = answer{err}
			}
			return v, err
		case frameNative:
			f := r.natives[d.Lookup("name").Str()]
			if f == nil {
				return bsonval.Missing, io.ErrUnexpectedEOF
			}
			v, err := f(d.Lookup("args").Doc().Values(nil))
			if err := writeFrame(w.in, frameReply, reply(v, err)); err != nil {
				return bsonval.Missing, err
			}
		default:
			return bsonval.Missing, errFrame
		}
	}
}
