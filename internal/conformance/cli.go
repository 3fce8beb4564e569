package conformance

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Serve starts a server on a storage engine for a run and returns its host:port and how to stop it.
type Serve func(ctx context.Context, storage string) (addr string, stop func(), err error)

// options are the flags of the command line.
type options struct {
	uri, dir, run, capabilities, failures, known string

	workers, slow                           int
	timeout                                 time.Duration
	serve                                   string
	verbose, group, strict, update, noTable bool
}

func (o *options) register(fs *flag.FlagSet, canServe bool) {
	fs.StringVar(&o.uri, "uri", "mongodb://127.0.0.1:27017", "server, mongodb://host:port")
	fs.StringVar(&o.dir, "dir", "testdata/conformance", "folder of the corpus (*.jsonl, *.jsonl.gz)")
	fs.StringVar(&o.run, "run", "", "run only the cases whose id matches this regular expression")
	fs.StringVar(&o.capabilities, "capabilities", "replica-set",
		"replica-set or standalone, then optional ,name=true|false changes")
	fs.StringVar(&o.failures, "failures", "", "write the ids of the failed cases to this file")
	fs.StringVar(&o.known, "known", "", "list of known failures; a failure outside it is an error")
	fs.IntVar(&o.workers, "workers", 0, "connections playing side by side (default four per CPU)")
	fs.IntVar(&o.slow, "slow", 0, "print this many of the slowest cases")
	fs.DurationVar(&o.timeout, "timeout", 10*time.Second, "bound of one case")
	fs.BoolVar(&o.verbose, "v", false, "print id and reason of every failed case")
	fs.BoolVar(&o.group, "group", false, "print failures per test function and the most common reasons")
	fs.BoolVar(&o.strict, "strict", false, "with -known: a listed case that passes is an error too")
	fs.BoolVar(&o.update, "update", false, "with -known: remove what passes from the list, create it when absent")
	fs.BoolVar(&o.noTable, "no-table", false, "print only the last line")
	if canServe {
		fs.StringVar(&o.serve, "serve", "", "start a server in this process on this storage (memory, pebble, postgres or an address) instead of using -uri")
	}
}

// CLI runs the command line and returns the exit code: 0 when all is as it should be, 1 when cases fail that are not
// known to (or, without -known, when any fails), 2 when the run itself is impossible. serve may be nil.
func CLI(ctx context.Context, args []string, stdout, stderr io.Writer, serve Serve) int {
	var o options
	fs := flag.NewFlagSet("archelon-conformance", flag.ContinueOnError)
	fs.SetOutput(stderr)
	o.register(fs, serve != nil)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	code, err := o.execute(ctx, fs.Args(), stdout, stderr, serve)
	if err != nil {
		fmt.Fprintln(stderr, "archelon-conformance:", err)
		return 2
	}
	return code
}

func (o *options) execute(ctx context.Context, rest []string, stdout, stderr io.Writer, serve Serve) (int, error) {
	if len(rest) > 0 {
		return 0, fmt.Errorf("unexpected argument %q", rest[0])
	}
	if o.known == "" && (o.strict || o.update) {
		return 0, errors.New("-strict and -update need -known")
	}
	config, err := o.config(stderr)
	if err != nil {
		return 0, err
	}
	if o.serve != "" {
		addr, stop, err := serve(ctx, o.serve)
		if err != nil {
			return 0, err
		}
		defer stop()
		config.Addr = addr
	}
	s, err := Run(ctx, config)
	if err != nil {
		return 0, err
	}
	o.report(&s, stdout)
	if o.failures != "" {
		if err := writeIDs(o.failures, s.Failures()); err != nil {
			return 0, err
		}
	}
	code, err := o.judge(&s, stdout)
	all := s.Tally()
	fmt.Fprintf(stdout, "conformance: %d/%d\n", all.Passed, all.Total())
	return code, err
}

func (o *options) config(stderr io.Writer) (Config, error) {
	c := Config{Dir: o.dir, Workers: o.workers, CaseTimeout: o.timeout, Progress: progress(stderr)}
	var err error
	if c.Addr, err = address(o.uri); err != nil {
		return c, err
	}
	if c.Capabilities, err = parseCapabilities(o.capabilities); err != nil {
		return c, err
	}
	if o.run != "" {
		if c.Filter, err = regexp.Compile(o.run); err != nil {
			return c, fmt.Errorf("-run: %w", err)
		}
	}
	return c, nil
}

// address takes host:port out of a mongodb:// URI; options and credentials are refused, the runner has none.
func address(uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", fmt.Errorf("-uri: %w", err)
	}
	if u.Scheme != "mongodb" || u.Host == "" || u.User != nil || u.RawQuery != "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("-uri %s: want mongodb://host:port", uri)
	}
	if u.Port() == "" {
		return net.JoinHostPort(u.Hostname(), "27017"), nil
	}
	return u.Host, nil
}

func parseCapabilities(s string) (map[string]bool, error) {
	topology, changes, _ := strings.Cut(s, ",")
	set, err := Capabilities(topology)
	if err != nil || changes == "" {
		return set, err
	}
	for change := range strings.SplitSeq(changes, ",") {
		name, value, _ := strings.Cut(change, "=")
		on, err := strconv.ParseBool(value)
		if _, known := set[name]; !known || err != nil {
			return nil, fmt.Errorf("-capabilities: %q is not a capability=true|false", change)
		}
		set[name] = on
	}
	return set, nil
}

// progress prints a line at every tenth of the run.
func progress(w io.Writer) func(done, total int) {
	var tenth atomic.Int64
	return func(done, total int) {
		now := int64(done * 10 / total)
		if last := tenth.Load(); now > last && tenth.CompareAndSwap(last, now) && total >= 1000 {
			fmt.Fprintf(w, "%d of %d cases\n", done, total)
		}
	}
}

func (o *options) report(s *Summary, w io.Writer) {
	if o.verbose {
		s.WriteFailures(w)
	}
	if o.group {
		s.WriteGroups(w)
	}
	if o.slow > 0 {
		s.WriteSlowest(w, o.slow)
	}
	if !o.noTable {
		s.WriteTable(w)
	}
}

// judge decides the exit code, by the list of known failures when there is one.
func (o *options) judge(s *Summary, w io.Writer) (int, error) {
	if o.known == "" {
		if s.Tally().Failed > 0 {
			return 1, nil
		}
		return 0, nil
	}
	if _, err := os.Stat(o.known); os.IsNotExist(err) && o.update {
		return 0, writeIDs(o.known, s.Failures())
	}
	known, err := LoadKnown(o.known)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", o.known, err)
	}
	d := s.Against(known, o.run == "")
	for _, id := range d.New {
		fmt.Fprintln(w, "newly failing:", id)
	}
	for _, id := range d.Fixed {
		fmt.Fprintln(w, "passes, remove from the list:", id)
	}
	for _, id := range d.Stale {
		fmt.Fprintln(w, "not in the corpus, remove from the list:", id)
	}
	if o.update {
		if err := known.Shrink(o.known, d); err != nil {
			return 0, err
		}
	}
	if len(d.New) > 0 || o.strict && !o.update && len(d.Fixed)+len(d.Stale) > 0 {
		return 1, nil
	}
	return 0, nil
}
