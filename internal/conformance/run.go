package conformance

import (
	"context"
	"fmt"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what to run and where.
type Config struct {
	// Addr is the server's host:port.
	Addr string
	// Dir is the folder of the corpus.
	Dir string
	// Filter selects the cases whose id matches; nil selects all.
	Filter *regexp.Regexp
	// Workers is the number of connections playing cases side by side; 0 means four per CPU.
	Workers int
	// Capabilities of the server; nil means those of a replica set. See [Capabilities].
	Capabilities map[string]bool
	// CaseTimeout bounds one case; 0 means 10 seconds.
	CaseTimeout time.Duration
	// Progress, when set, is called after every case, from several goroutines.
	Progress func(done, total int)
}

// patience is how long a server may refuse connections before it counts as gone.
const patience = 5 * time.Second

func (c *Config) ensureDefaults() error {
	if c.Workers <= 0 {
		c.Workers = 4 * runtime.GOMAXPROCS(0)
	}
	if c.CaseTimeout <= 0 {
		c.CaseTimeout = 10 * time.Second
	}
	if c.Capabilities == nil {
		set, err := Capabilities("replica-set")
		if err != nil {
			return err
		}
		c.Capabilities = set
	}
	return nil
}

// Run loads the corpus and plays it. The error is about the run itself (no corpus, no server); failing cases are in
// the summary.
func Run(ctx context.Context, config Config) (Summary, error) {
	cases, err := Load(config.Dir)
	if err != nil {
		return Summary{}, err
	}
	return RunCases(ctx, config, cases)
}

// RunCases plays the selected cases: first those that may run side by side, then the serial ones alone.
func RunCases(ctx context.Context, config Config, cases []Case) (Summary, error) {
	if err := config.ensureDefaults(); err != nil {
		return Summary{}, err
	}
	started := time.Now()
	// It stays open and idle, as a driver's monitoring connection does.
	monitor, err := reach(ctx, config.Addr, patience)
	if err != nil {
		return Summary{}, fmt.Errorf("no server at %s: %w", config.Addr, err)
	}
	defer monitor.close()
	r := runner{config: config, results: make([]Result, 0, len(cases))}
	var parallel, serial []int
	for i := range cases {
		tc := &cases[i]
		if config.Filter != nil && !config.Filter.MatchString(tc.ID) {
			continue
		}
		r.results = append(r.results, Result{Case: tc, Skipped: !tc.fits(config.Capabilities)})
		at := len(r.results) - 1
		switch {
		case r.results[at].Skipped:
		case tc.Serial:
			serial = append(serial, at)
		default:
			parallel = append(parallel, at)
		}
	}
	r.total = len(parallel) + len(serial)
	r.playAll(ctx, parallel, config.Workers)
	r.playAll(ctx, serial, 1)
	if err := ctx.Err(); err != nil {
		return Summary{}, err
	}
	return Summary{Results: r.results, Elapsed: time.Since(started)}, nil
}

type runner struct {
	config  Config
	results []Result // each written by the one worker that plays its case
	total   int
	done    atomic.Int64
	gone    atomic.Bool // the server did not come back
}

func (r *runner) playAll(ctx context.Context, indexes []int, workers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(workers, len(indexes)) {
		wg.Go(func() {
			w := worker{r: r}
			defer w.hangUp()
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(indexes) {
					return
				}
				w.playOne(ctx, &r.results[indexes[i]])
				if r.config.Progress != nil {
					r.config.Progress(int(r.done.Add(1)), r.total)
				}
			}
		})
	}
	wg.Wait()
}

// worker owns one connection.
type worker struct {
	r    *runner
	conn *client
}

func (w *worker) hangUp() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

func (w *worker) playOne(ctx context.Context, res *Result) {
	if w.conn == nil && !w.connect(ctx, res) {
		return
	}
	started := time.Now()
	v := play(w.conn, res.Case, w.r.config.CaseTimeout)
	res.Elapsed = time.Since(started)
	res.Kind, res.Reason = v.kind, v.reason
	if !v.broken {
		return
	}
	w.hangUp()
	var spare Result
	if w.connect(ctx, &spare) && cleanUp(w.conn, res.Case, w.r.config.CaseTimeout) != nil {
		w.hangUp()
	}
}

// connect dials the server; when it does not answer, it is gone for the rest of the run.
func (w *worker) connect(ctx context.Context, res *Result) bool {
	if !w.r.gone.Load() {
		c, err := reach(ctx, w.r.config.Addr, patience)
		if err == nil {
			w.conn = c
			return true
		}
		w.r.gone.Store(true)
	}
	res.Kind, res.Reason = "server gone", "server gone: it no longer accepts connections"
	return false
}
