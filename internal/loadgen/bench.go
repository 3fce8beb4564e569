package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func (c *Config) chosen() ([]workload, error) {
	if len(c.Workloads) == 0 {
		return workloads, nil
	}
	var out []workload
	for _, name := range c.Workloads {
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
		if i < 0 {
			names, _ := Workloads()
			return nil, fmt.Errorf("workload %q: want some of %s", name, strings.Join(names, ", "))
		}
		out = append(out, workloads[i])
	}
	return out, nil
}

// Run loads the collection and measures the workloads, printing a line for each. It fails when any operation did.
func Run(ctx context.Context, config Config, w io.Writer) error {
	config.ensureDefaults()
	chosen, err := config.chosen()
	if err != nil {
		return err
	}
	opts := options.Client().ApplyURI(config.URI).SetAppName("archelon bench").SetMaxPoolSize(uint64(config.Connections) + 2)
	client, err := mongo.Connect(opts)
	if err != nil {
		return err
	}
	defer func() { _ = client.Disconnect(context.WithoutCancel(ctx)) }()
	b := &bench{config: &config, w: w, coll: client.Database(config.DB).Collection("docs")}
	ping, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := client.Ping(ping, nil); err != nil {
		return fmt.Errorf("no server at %s: %w", config.URI, err)
	}
	return b.run(ctx, chosen)
}

type bench struct {
	config *Config
	w      io.Writer
	coll   *mongo.Collection
	extra  atomic.Int64
	failed int64
}

func (b *bench) run(ctx context.Context, chosen []workload) error {
	b.header()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	b.extra.Store(time.Now().UnixNano()) // above every loaded _id, and above those of an earlier run
	for _, wl := range chosen {
		b.measure(ctx, wl)
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	if !b.config.Keep {
		if err := b.coll.Database().Drop(ctx); err != nil {
			return err
		}
	}
	if b.failed > 0 {
		return fmt.Errorf("%d operations failed", b.failed)
	}
	return nil
}

// prepare makes the collection: loaded and indexed, unless one was kept.
func (b *bench) prepare(ctx context.Context) error {
	if b.config.Keep {
		n, err := b.coll.CountDocuments(ctx, bson.D{{Key: "customer", Value: bson.D{{Key: "$exists", Value: true}}}})
		if err == nil && n == int64(b.config.Docs) {
			return nil
		}
	}
	if err := b.coll.Drop(ctx); err != nil {
		return err
	}
	if err := b.load(ctx); err != nil {
		return err
	}
	return b.index(ctx)
}

func (b *bench) load(ctx context.Context) error {
	var next, done atomic.Int64
	stop := b.progress(ctx, &done)
	defer stop()
	total := int64(b.config.Docs)
	r := b.parallel(ctx, "load", func(ctx context.Context, w *worker) (int, error) {
		from := next.Add(int64(b.config.Batch)) - int64(b.config.Batch)
		if from >= total {
			return 0, errDone
		}
		to := min(from+int64(b.config.Batch), total)
		docs := make([]bson.Raw, 0, to-from)
		for i := from; i < to; i++ {
			docs = append(docs, slices.Clone(w.gen.Document(int(i))))
		}
		_, err := w.coll.InsertMany(ctx, docs, options.InsertMany().SetOrdered(false))
		done.Add(to - from)
		return len(docs), err
	})
	stop()
	b.print(r)
	if r.Errors > 0 {
		return fmt.Errorf("load: %s", r.FirstError)
	}
	return ctx.Err()
}

// progress prints the load's state every two seconds until stopped.
func (b *bench) progress(ctx context.Context, done *atomic.Int64) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	started := time.Now()
	wg.Go(func() {
		t := time.NewTicker(2 * time.Second)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				n := done.Load()
				if !b.config.JSON && n > 0 {
					rate := float64(n) / time.Since(started).Seconds()
					left := time.Duration(float64(int64(b.config.Docs)-n) / rate * float64(time.Second))
					fmt.Fprintf(b.w, "  loaded %d of %d, %.0f/s, %s left\n", n, b.config.Docs, rate, left.Round(time.Second))
				}
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

func (b *bench) index(ctx context.Context) error {
	for _, keys := range []bson.D{
		{{Key: "customer", Value: 1}},
		{{Key: "region", Value: 1}, {Key: "at", Value: -1}},
	} {
		started := time.Now()
		if _, err := b.coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: keys}); err != nil {
			return fmt.Errorf("index: %w", err)
		}
		var h histogram
		h.record(time.Since(started))
		b.print(result("index_"+keys[0].Key, &h, int64(b.config.Docs), time.Since(started), 0, nil))
	}
	return nil
}

// measure runs a workload: a tenth of the time to warm up, then for the record.
func (b *bench) measure(ctx context.Context, wl workload) {
	for _, phase := range []struct {
		time  time.Duration
		print bool
	}{{b.config.Duration / 10, false}, {b.config.Duration, true}} {
		deadline := time.Now().Add(phase.time)
		r := b.parallel(ctx, wl.name, func(ctx context.Context, w *worker) (int, error) {
			if time.Now().After(deadline) {
				return 0, errDone
			}
			return wl.op(ctx, w)
		})
		if phase.print {
			b.print(r)
			b.failed += r.Errors
		}
	}
}

var errDone = errors.New("done")

// maxErrors ends a workload on a connection: a server that fails this often is not being measured any more.
const maxErrors = 100

// parallel repeats op on every connection until it says errDone.
func (b *bench) parallel(ctx context.Context, name string, op func(context.Context, *worker) (int, error)) Result {
	var mu sync.Mutex // guards what follows
	var all histogram
	var docs, failures int64
	var first error

	started := time.Now()
	var wg sync.WaitGroup
	for i := range b.config.Connections {
		wg.Go(func() {
			w := &worker{
				coll: b.coll, rand: rand.New(rand.NewPCG(b.config.Seed, uint64(i)+1)),
				gen: NewGenerator(b.config.Seed, b.config.Docs), docs: b.config.Docs, extra: &b.extra,
			}
			var h histogram
			var touched, failed int64
			var err error
			for ctx.Err() == nil && failed < maxErrors {
				begin := time.Now()
				n, e := op(ctx, w)
				if e == errDone {
					break
				}
				if e != nil {
					failed++
					if err == nil {
						err = e
					}
					continue
				}
				h.record(time.Since(begin))
				touched += int64(n)
			}
			mu.Lock()
			defer mu.Unlock()
			all.merge(&h)
			docs += touched
			failures += failed
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return result(name, &all, docs, time.Since(started), failures, first)
}
