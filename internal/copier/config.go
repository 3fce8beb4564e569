package copier

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// Config says what to copy and how. The tags name the command line's flags.
type Config struct {
	// From and To are connection strings.
	From string `name:"from" required:"" help:"Connection string of the server to copy from."`
	To   string `name:"to" required:"" help:"Connection string of the server to copy to."`
	// Include and Exclude are patterns of namespaces: a database, db.collection, and * for any characters. Without Include
	// everything is copied.
	Include []string `name:"include" placeholder:"DB[.COLL]" help:"Copy only these databases and collections; * stands for any characters."`
	Exclude []string `name:"exclude" placeholder:"DB[.COLL]" help:"Do not copy these."`
	// Drop replaces collections of the target; otherwise one that has documents is an error.
	Drop bool `name:"drop" help:"Replace collections that the target has already (those to be copied only)."`
	// Restart forgets an earlier copy's state, and what it has copied is replaced.
	Restart bool `name:"restart" help:"Begin again even if an earlier copy could be continued."`
	// DryRun prints the plan and writes nothing.
	DryRun bool `name:"dry-run" help:"Print what would be copied, and write nothing."`
	// Follow goes on with the source's changes until the context ends, and then cuts over.
	Follow bool `name:"follow" help:"Keep bringing changes over until told to cut over (Ctrl-C or SIGTERM)."`
	// Verify compares the documents, not only their numbers.
	Verify bool `name:"verify" help:"Compare all documents in the end, not only their numbers."`
	// Jobs is the number of workers; 0 means twice the number of CPUs, from 4 to 16.
	Jobs int `name:"jobs" help:"Ranges copied side by side (default: twice the CPUs, from 4 to 16)."`
	// Batch is the number of documents per batch; 0 means 1000.
	Batch int `name:"batch" help:"Documents per batch (default 1000)."`
}

// Limits.
const (
	stateDB        = "archelon_copy"
	stateNS        = "state"
	maxWriteBytes  = 16 << 20        // documents of one write command
	rangeBytes     = 32 << 20        // documents of one range, as far as the source's sample tells
	maxRanges      = 4096            // of one collection
	eventBatch     = 5000            // events read at once: the more, the more of a document's become one write
	maxBatch       = 100_000         // what servers take in one command
	patience       = 2 * time.Minute // for a server that is gone or in failover
	savingEvery    = time.Second     // how much of a range is copied again at most
	awaiting       = 500 * time.Millisecond
	listingsAtMost = 50 // pairs of them, until one agrees
	// settling is how long after its time in the log a new definition may take to be listed.
	settling = 50 * time.Millisecond
)

// Result counts what happened.
type Result struct {
	Collections int
	Documents   int64 // copied, those of earlier runs of the same copy included
	Bytes       int64 // of those copied in this run
	Changes     int64 // events applied in this run
	Indexes     int
	Views       int
	Resumed     bool // went on where an earlier run had stopped
	CutOver     bool // ended by the caller's wish, with everything up to then on the target
	Differences int  // found by the comparison
	Notes       []string
	Elapsed     time.Duration
}

// ErrInterrupted is returned, wrapped, when the context ended before the copy could; the same call goes on.
var ErrInterrupted = errors.New("copy interrupted")

// ErrDifferent is returned, wrapped, when source and target differ in the end.
var ErrDifferent = errors.New("source and target differ")

func (c *Config) ensureDefaults() {
	if c.Jobs == 0 {
		c.Jobs = min(16, max(4, 2*runtime.GOMAXPROCS(0)))
	}
	if c.Batch == 0 {
		c.Batch = 1000
	}
}

// validate reports all problems at once.
func (c *Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.From == "" {
		bad("no source: name one with --from")
	}
	if c.To == "" {
		bad("no target: name one with --to")
	}
	if c.Jobs < 1 || c.Jobs > 64 {
		bad("jobs %d: want 1 to 64", c.Jobs)
	}
	if c.Batch < 1 || c.Batch > maxBatch {
		bad("batch %d: want 1 to %d", c.Batch, maxBatch)
	}
	for _, p := range append(append([]string(nil), c.Include...), c.Exclude...) {
		if p == "" || p[0] == '.' {
			bad("pattern %q: want a database or db.collection", p)
		}
	}
	return errors.Join(problems...)
}

// Output is where a copy tells of itself: the plan on Out, progress on Progress. Nil is nowhere.
type Output struct {
	Out, Progress io.Writer
}
