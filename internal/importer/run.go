package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// finishing is how long batches in flight may take to finish after an interrupt.
const finishing = 10 * time.Second

// Run loads a file. Bad records are in the result; the error is about the import as a whole. When the context ends
// first, batches in flight are finished and the error wraps [ErrInterrupted]; the same call continues where it stopped.
func Run(ctx context.Context, config Config, progress io.Writer) (Result, error) {
	config.ensureDefaults()
	if err := config.validate(); err != nil {
		return Result{}, err
	}
	p, err := prepare(&config)
	if err != nil {
		return Result{}, err
	}
	defer p.input.close()
	client, err := mongo.Connect(options.Client().ApplyURI(config.URI).SetAppName("archelon import"))
	if err != nil {
		return Result{}, err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	if err := reach(ctx, client, config.URI); err != nil {
		return Result{}, err
	}
	target := client.Database(config.DB).Collection(config.Collection)
	if config.Drop {
		if err := target.Drop(ctx); err != nil {
			return Result{}, fmt.Errorf("drop: %w", err)
		}
	}
	rep, err := newReporter(&config, p.input, progress)
	if err != nil {
		return Result{}, err
	}
	run := &run{config: &config, plan: p, report: rep, target: target}
	err = run.execute(ctx)
	return rep.close(err), err
}

func reach(ctx context.Context, client *mongo.Client, uri string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.Ping(ctx, nil); err != nil {
		return fmt.Errorf("no server at %s: %w", uri, err)
	}
	return nil
}

// run is one import under way: the caller's goroutine reads, workers decode and send.
type run struct {
	config *Config
	plan   *plan
	report *reporter
	target *mongo.Collection
}

// errStrict ends a strict import at its first bad record.
var errStrict = errors.New("stopped at the first bad record, as asked")

func (r *run) execute(ctx context.Context) error {
	// Cancelling stops the reader at once; batches already cut are still sent, bounded by a time-out.
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(finishing, cancel) })()

	batches := make(chan []record)
	var wg sync.WaitGroup
	for range r.config.Workers {
		wg.Go(func() {
			for batch := range batches {
				if err := r.send(sending, batch); err != nil {
					stop(err)
				}
			}
		})
	}
	err := r.read(reading, batches)
	close(batches)
	wg.Wait()
	if cause := context.Cause(reading); cause != nil && ctx.Err() == nil {
		return cause
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %s", ErrInterrupted, resumeHint(r.config))
	}
	return err
}

func resumeHint(c *Config) string {
	if c.Drop {
		return "to resume, run the same command without --drop; documents already loaded are skipped"
	}
	return "to resume, run the same command again; documents already loaded are skipped"
}

// read cuts the file into batches until it ends or ctx does.
func (r *run) read(ctx context.Context, batches chan<- []record) error {
	var batch []record
	size := 0
	flush := func() bool {
		if len(batch) == 0 {
			return true
		}
		select {
		case batches <- batch:
			batch, size = nil, 0
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		rec, err := r.plan.next()
		var bad *badRecord
		switch {
		case errors.As(err, &bad):
			r.report.found()
			if err := r.bad(bad.line, bad.reason); err != nil {
				return err
			}
			continue
		case err == io.EOF:
			flush()
			return nil
		case err != nil:
			flush()
			return fmt.Errorf("read %s: %w", r.config.File, err)
		}
		r.report.found()
		batch = append(batch, rec)
		size += len(rec.data)
		if (len(batch) >= r.config.BatchSize || size >= maxBatch) && !flush() {
			return nil
		}
	}
	return nil
}

// bad reports a record that is not loaded; the error ends a strict import.
func (r *run) bad(line int64, reason string) error {
	if err := r.report.bad(line, reason); err != nil {
		return err
	}
	if r.config.Strict {
		return errStrict
	}
	return nil
}
