package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Control is what a caller has of a copy under way. Nil fields are of no effect.
type Control struct {
	Out, Progress io.Writer // the plan of a dry run; progress and notes
	// CutOver is closed when the caller wants a copy that follows the source to finish, and any other to stop.
	CutOver <-chan struct{}
	// KeepUsers is given the documents of admin.system.users that the target does not take over, and returns what is to be
	// said about them; nil names them.
	KeepUsers func(users []bsonval.Doc) (notes []string, err error)
}

// run is one copy under way.
type run struct {
	cfg      *Config
	filter   filter
	src, dst *peer
	st       *state
	rep      *reporter
	stream   *stream
	cutOver  <-chan struct{}

	keepUsers func([]Doc) ([]string, error)

	streams     bool            // the source has change streams
	resumed     bool            // an earlier run has begun
	replaceable map[string]bool // of the target, from a copy that is begun again
	snapshot    snapshot
	deferring   bool // events of indexes wait until the indexes are built
	deferred    []deferred
	journal     journal

	noting sync.Mutex // guards noted and result.Notes
	noted  map[string]bool

	result Result
}

// Run copies. It returns ErrInterrupted, wrapped, if ctx or CutOver ended it before the source's changes could be
// followed, and ErrDifferent if source and target are not the same in the end.
func Run(ctx context.Context, config Config, control Control) (Result, error) {
	config.ensureDefaults()
	if err := config.validate(); err != nil {
		return Result{}, err
	}
	r := &run{
		cfg: &config, filter: filter{config.Include, config.Exclude}, cutOver: control.CutOver, keepUsers: control.KeepUsers,
		replaceable: map[string]bool{}, noted: map[string]bool{}, rep: newReporter(control.Progress),
	}
	started := time.Now()
	err := r.connect(ctx)
	if err == nil {
		defer r.src.close()
		defer r.dst.close()
		if config.DryRun {
			err = r.describe(ctx, orDiscard(control.Out))
		} else {
			err = r.execute(ctx)
		}
	}
	r.rep.Close()
	r.result.Elapsed = time.Since(started)
	return r.result, err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// errSame refuses what would have nothing to copy, and could drop what it should.
var errSame = errors.New("source and target are the same server, or have the same data")

func (r *run) connect(ctx context.Context) error {
	var err error
	if r.src, err = open(ctx, r.cfg.From, "source"); err != nil {
		return err
	}
	if r.dst, err = open(ctx, r.cfg.To, "target"); err != nil {
		r.src.close()
		return err
	}
	if r.src.same(r.dst) {
		r.src.close()
		r.dst.close()
		return errSame
	}
	r.streams = r.src.replicated()
	r.st = &state{
		target: r.dst, source: r.src.identity(), collections: map[string]*collection{},
		filter: fmt.Sprintf("include %q exclude %q", r.cfg.Include, r.cfg.Exclude),
	}
	return nil
}

// note tells the user something that the copy does differently than may be expected.
func (r *run) note(text string) {
	r.noting.Lock()
	defer r.noting.Unlock()
	if !r.noted[text] {
		r.noted[text] = true
		r.result.Notes = append(r.result.Notes, text)
		r.rep.Print("note: " + text)
	}
}

// execute goes through the phases from where the state is.
func (r *run) execute(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return r.explain(ctx, err)
	}
	if err := r.bring(ctx); err != nil {
		return r.explain(ctx, err)
	}
	return r.explain(ctx, r.finish(ctx))
}

// explain says of a copy that was stopped how it goes on.
func (r *run) explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, ErrDifferent) {
		return err
	}
	if ctx.Err() != nil || errors.Is(err, errStopped) {
		return fmt.Errorf("%w: run the same command again to go on", ErrInterrupted)
	}
	return err
}

// errStopped is the end of a phase by the caller's wish.
var errStopped = errors.New("stopped")

// stoppable is ctx with the caller's wish as an end.
func (r *run) stoppable(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case <-r.cutOver:
			cancel(errStopped)
		case <-done:
		}
	}()
	return ctx, func() { close(done); cancel(nil) }
}

// prepare finds the state, or makes it.
func (r *run) prepare(ctx context.Context) error {
	ctx, end := r.stoppable(ctx)
	defer end()
	if r.cfg.Restart {
		if err := r.forgetAll(ctx); err != nil {
			return err
		}
	}
	err := r.st.load(ctx)
	switch {
	case errors.Is(err, errNoState):
		err = r.begin(ctx)
	case err == nil && r.st.phase == phaseDone:
		return errors.New("the copy is complete and cut over; --restart copies again and replaces what is on the target")
	case err == nil:
		r.resumed, r.result.Resumed = true, true
		r.streams = r.st.token != nil
		r.rep.Print("going on with an earlier copy, in phase " + r.st.phase)
	}
	if err != nil {
		return stopCause(ctx, err)
	}
	r.stream = &stream{src: r.src, token: r.st.token, batch: eventBatch}
	if r.streams {
		err = r.replay(ctx)
	}
	return stopCause(ctx, err)
}

// stopCause is errStopped if that is why a phase has ended.
func stopCause(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errStopped) {
		return errStopped
	}
	return err
}

// forgetAll drops the state.
func (r *run) forgetAll(ctx context.Context) error {
	if err := r.findReplaceable(ctx); err != nil {
		return err
	}
	return r.drop(ctx, namespace{stateDB, stateNS})
}

// findReplaceable finds what an earlier copy has made, which may be replaced.
func (r *run) findReplaceable(ctx context.Context) error {
	docs, err := r.dst.all(ctx, stateDB, bsonval.NewBuilder().Str("find", stateNS).StartDoc("projection").Int32("to", 1).End().Build())
	if err != nil {
		return err
	}
	for _, d := range docs {
		if to := textOf(d.Lookup("to")); to != "" {
			r.replaceable[to] = true
		}
	}
	return nil
}

// bring copies, and brings the target to where it agrees with the source as of each event, with indexes.
func (r *run) bring(ctx context.Context) error {
	ctx, end := r.stoppable(ctx)
	defer end()
	if r.st.phase == phaseCopy {
		if err := r.copyAll(ctx); err != nil {
			return stopCause(ctx, err)
		}
	}
	for _, c := range r.st.all() {
		c.arrange()
	}
	r.countCopied()
	if r.st.phase == phaseFollow {
		return stopCause(ctx, r.setLifetimes(ctx, false))
	}
	l, err := listAt(ctx, r.src, &r.filter)
	if err != nil {
		return stopCause(ctx, err)
	}
	if err := r.st.enter(ctx, phaseExact, l.at); err != nil {
		return stopCause(ctx, err)
	}
	exact := l.at
	if r.streams {
		r.rep.begin("catching up", nil)
		if exact, err = r.src.now(ctx); err == nil {
			r.deferring = true
			err = r.advance(ctx, exact)
		}
		if err != nil {
			return stopCause(ctx, err)
		}
	}
	r.rep.begin("building indexes", nil)
	if err := r.buildIndexes(ctx, l); err != nil {
		return stopCause(ctx, err)
	}
	r.deferring, r.deferred = false, nil
	return stopCause(ctx, r.st.enter(ctx, phaseFollow, exact))
}

func (r *run) countCopied() {
	for _, c := range r.st.all() {
		r.result.Collections++
		for _, s := range c.ranges {
			r.result.Documents += s.docs
		}
	}
}

// savingToken is how often the stream's place is written down while nothing comes.
const savingToken = 10 * time.Second

// advance applies events up to a time of the source, and none behind it.
func (r *run) advance(ctx context.Context, until uint64) error {
	saved := time.Now()
	for {
		e, err := r.stream.next(ctx)
		if err != nil {
			return err
		}
		n := 0
		for n < len(e.list) && timeOf(e.list[n].Lookup("clusterTime")) <= until {
			n++
		}
		if err := r.applyEvents(ctx, e.list[:n]); err != nil {
			return err
		}
		if n < len(e.list) {
			r.stream.held = &events{list: e.list[n:], token: e.token, passed: e.passed}
			if n > 0 {
				return r.reached(ctx, documentOf(e.list[n-1].Lookup("_id")))
			}
			return nil
		}
		if e.token != nil && (n > 0 || time.Since(saved) > savingToken) {
			saved = time.Now()
			if err := r.reached(ctx, e.token); err != nil {
				return err
			}
		}
		r.rep.behind(e.passed, until)
		if e.passed >= until {
			return nil
		}
	}
}

// catchUp applies what has happened until now.
func (r *run) catchUp(ctx context.Context) error {
	at, err := r.src.now(ctx)
	if err != nil {
		return err
	}
	return r.advance(ctx, at)
}

// follow applies events until the caller cuts over, and then those up to that moment.
func (r *run) follow(ctx context.Context) error {
	r.rep.begin("following; Ctrl-C cuts over", nil)
	for {
		if err := r.catchUp(ctx); err != nil {
			return err
		}
		select {
		case <-r.cutOver:
			r.rep.begin("cutting over", nil)
			return r.catchUp(ctx)
		default:
		}
	}
}

// finish makes the target ready to be used.
func (r *run) finish(ctx context.Context) error {
	switch {
	case r.streams && r.cfg.Follow:
		if err := r.follow(ctx); err != nil {
			return err
		}
		r.result.CutOver = true
	case r.streams:
		stopping, end := r.stoppable(ctx)
		defer end()
		r.rep.begin("catching up", nil)
		if err := r.catchUp(stopping); err != nil {
			return stopCause(stopping, err)
		}
	}
	if err := r.setLifetimes(ctx, true); err != nil {
		return err
	}
	if err := r.copyViews(ctx); err != nil {
		return err
	}
	if err := r.copyUsers(ctx); err != nil {
		return err
	}
	r.rep.begin("comparing", nil)
	err := r.verify(ctx)
	if err == nil && (r.result.CutOver || !r.streams) {
		err = r.st.enter(ctx, phaseDone, r.st.exact)
	}
	r.stream.close(ctx)
	r.rep.summary(&r.result, err)
	return err
}
