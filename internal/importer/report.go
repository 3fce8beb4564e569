package importer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/progress"
)

// reporter counts, keeps the bad lines and tells how far the import is.
type reporter struct {
	config  *Config
	in      *input
	out     *progress.Printer
	started time.Time

	mu     sync.Mutex // guards the fields below
	result Result
	file   *os.File
	errors *bufio.Writer
}

func newReporter(c *Config, in *input, w io.Writer) (*reporter, error) {
	r := &reporter{config: c, in: in, started: time.Now()}
	if c.Errors != "" {
		f, err := os.Create(c.Errors)
		if err != nil {
			return nil, err
		}
		r.file, r.errors = f, bufio.NewWriter(f)
	}
	r.out = progress.Start(w, r.progressLine)
	return r, nil
}

func (r *reporter) progressLine() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	elapsed := time.Since(r.started)
	loaded := r.result.Inserted + r.result.Replaced + r.result.AlreadyThere
	line := fmt.Sprintf("%s.%s: %s documents, %s/s", r.config.DB, r.config.Collection, progress.Grouped(loaded),
		progress.Grouped(int64(float64(loaded)/max(elapsed.Seconds(), 0.001))))
	read := r.in.read.Load()
	if r.in.size > 0 && read > 0 {
		part := min(1, float64(read)/float64(r.in.size))
		left := time.Duration(float64(elapsed) * (1 - part) / part)
		line += fmt.Sprintf(", %.0f%%, %s left", 100*part, left.Round(time.Second))
	}
	if r.result.Bad > 0 {
		line += fmt.Sprintf(", %s bad", progress.Grouped(r.result.Bad))
	}
	return line
}

func (r *reporter) found() {
	r.mu.Lock()
	r.result.Read++
	r.mu.Unlock()
}

func (r *reporter) stored(inserted, replaced, there int64) {
	r.mu.Lock()
	r.result.Inserted += inserted
	r.result.Replaced += replaced
	r.result.AlreadyThere += there
	r.mu.Unlock()
}

// bad counts a record that is not loaded, and prints the first ones; the error is about the errors file.
func (r *reporter) bad(line int64, reason string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Bad++
	if r.errors != nil {
		if _, err := fmt.Fprintf(r.errors, "%s:%d: %s\n", r.config.File, line, reason); err != nil {
			return err
		}
	}
	switch {
	case r.result.Bad <= keptBadLines:
		r.result.BadLines = append(r.result.BadLines, BadLine{line, reason})
		r.out.Print(fmt.Sprintf("%s:%d: %s", r.config.File, line, reason))
	case r.result.Bad == keptBadLines+1 && r.errors == nil:
		r.out.Print("more bad lines are only counted; --errors FILE keeps them all")
	}
	return nil
}

// close stops the progress line and prints the outcome.
func (r *reporter) close(err error) Result {
	r.out.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors != nil {
		if werr := errors.Join(r.errors.Flush(), r.file.Close()); werr != nil {
			r.out.Print("errors file: " + werr.Error())
		}
	}
	res := &r.result
	res.Elapsed = time.Since(r.started)
	res.Interrupted = errors.Is(err, ErrInterrupted)
	line := fmt.Sprintf("%s.%s: %s read, %s inserted", r.config.DB, r.config.Collection, progress.Grouped(res.Read), progress.Grouped(res.Inserted))
	if r.config.Upsert {
		line += fmt.Sprintf(", %s replaced", progress.Grouped(res.Replaced))
	}
	line += fmt.Sprintf(", %s already there, %s bad, in %s (%s/s)", progress.Grouped(res.AlreadyThere), progress.Grouped(res.Bad),
		res.Elapsed.Round(time.Millisecond), progress.Grouped(int64(float64(res.Inserted+res.Replaced)/max(res.Elapsed.Seconds(), 0.001))))
	r.out.Print(line)
	return *res
}
