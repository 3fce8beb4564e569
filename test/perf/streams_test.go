package perf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

const (
	eventRate   = 10_000 // events a second
	idleStreams = 1000
	allowed     = 50 * time.Millisecond
)

// measureStreams takes how long events are under way, and what streams that get none cost those who write.
func measureStreams(t *testing.T, r *report, binary string) {
	t.Run("delay", func(t *testing.T) { measureDelay(t, r, binary) })
	t.Run("idle", func(t *testing.T) { measureIdle(t, r, binary) })
}

// watch opens a change stream on a collection and returns its cursor.
func (c *client) watch(coll string) (cursor int64, err error) {
	stage := bsonval.NewBuilder().Doc("$changeStream", bsonval.EmptyDoc).Build()
	c.begin()
	c.field("aggregate", bsonval.String(coll))
	c.field("pipeline", bsonval.ArrayOf(bsonval.Document(stage)))
	c.field("cursor", bsonval.Document(bsonval.EmptyDoc))
	c.end("")
	reply, err := c.call()
	if err != nil {
		return 0, err
	}
	return reply.LookupPath("cursor", "id").Int64(), nil
}

// more waits for the next batch, as long as the server waits by default: a second.
func (c *client) more(cursor int64, coll string) (batch bsonval.Doc, err error) {
	c.begin()
	c.field("getMore", bsonval.Int64(cursor))
	c.field("collection", bsonval.String(coll))
	c.end("")
	reply, err := c.call()
	if err != nil {
		return nil, err
	}
	return reply.LookupPath("cursor", "nextBatch").Doc(), nil
}

// measureDelay lets 16 clients insert at a pace and one stream follow. An event's delay is counted from just before its
// insert was sent, so the insert and its way to the disk are part of it.
func measureDelay(t *testing.T, r *report, binary string) {
	const writers = 16
	to := start(t, binary, filepath.Join(t.TempDir(), "data"))
	load(t, to.addr, "docs", 1)
	rest(to)
	life := time.Duration(*rounds) * *roundTime
	begin := time.Now()
	reader := dial(t, to.addr)
	cursor, err := reader.watch("docs")
	if err != nil {
		t.Fatal(err)
	}
	var (
		sent    atomic.Int64
		over    atomic.Bool
		writing sync.WaitGroup
		errs    [writers]error
	)
	before := processorTime(to.pid)
	for w := range writers {
		c := dial(t, to.addr)
		writing.Go(func() {
			errs[w] = insertPaced(c, w, writers, begin, life, &sent)
		})
	}
	go func() {
		writing.Wait()
		over.Store(true)
	}()
	var delays []float64
	for !over.Load() || len(delays) < int(sent.Load()) {
		batch, err := reader.more(cursor, "docs")
		if err != nil {
			t.Fatal(err)
		}
		now := time.Since(begin).Nanoseconds()
		n := len(delays)
		for it := batch.Iter(); it.Next(); {
			// The _id is the time of sending, times the number of writers.
			at := it.Value().Doc().LookupPath("documentKey", "_id").Int64() / writers
			delays = append(delays, float64(now-at)/1e6)
		}
		if over.Load() && len(delays) == n && n < int(sent.Load()) {
			t.Fatalf("%d of %d events", n, sent.Load())
		}
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	slices.Sort(delays)
	at := func(share float64) float64 { return delays[min(int(share*float64(len(delays))), len(delays)-1)] }
	rate := float64(len(delays)) / life.Seconds()
	t.Logf("%d events, %.0f/s; delay in ms: median %.2f, 99 %% %.2f, 99.9 %% %.2f, longest %.2f",
		len(delays), rate, at(0.5), at(0.99), at(0.999), delays[len(delays)-1])
	limit := float64(allowed.Milliseconds())
	cpu := fmt.Sprintf("%.1f", float64((processorTime(to.pid)-before).Microseconds())/float64(len(delays)))
	r.add(t, line{what: "events to one stream, of 10,000/s paced", ours: count(rate), bare: count(eventRate), unit: "/s", ratio: rate / eventRate, promise: 0.95, cpu: cpu})
	r.add(t, line{what: "their delay, 99th percentile", ours: fmt.Sprintf("%.1f", at(0.99)), bare: fmt.Sprintf("%.0f", limit), unit: "ms",
		ratio: at(0.99) / limit, promise: 1, atMost: true})
}

// insertPaced inserts the w-th of n equal shares of eventRate for a while. Who falls behind catches up.
func insertPaced(c *client, w, n int, begin time.Time, life time.Duration, sent *atomic.Int64) error {
	tmpl := template()
	step := time.Second * time.Duration(n) / eventRate
	first := begin.Add(step * time.Duration(w) / time.Duration(n))
	for i := 0; ; i++ {
		due := first.Add(step * time.Duration(i))
		if due.Sub(begin) >= life || time.Since(begin) >= life {
			return nil
		}
		time.Sleep(time.Until(due))
		c.begin()
		c.field("insert", bsonval.String("docs"))
		c.field("ordered", bsonval.Bool(true))
		c.end("documents", tmpl)
		id := time.Since(begin).Nanoseconds()*int64(n) + int64(w)
		binary.LittleEndian.PutUint64(c.out[len(c.out)-len(tmpl)+idOffset:], uint64(id))
		if _, err := c.call(); err != nil {
			return err
		}
		sent.Add(1)
	}
}

// idlers are clients that wait on change streams where nothing happens, while their gate is open.
type idlers struct {
	gate   sync.RWMutex // held by who wants them to be quiet
	ended  atomic.Bool
	failed atomic.Pointer[error]
	wg     sync.WaitGroup
}

func (x *idlers) start(t *testing.T, addr string, n int) {
	x.gate.Lock()
	for i := range n {
		c, coll := dial(t, addr), fmt.Sprintf("quiet%d", i%100)
		cursor, err := c.watch(coll)
		if err != nil {
			t.Fatal(err)
		}
		x.wg.Go(func() {
			for !x.ended.Load() {
				x.gate.RLock()
				x.gate.RUnlock() //nolint:staticcheck // it is a gate
				time.Sleep(time.Duration(rand.Int64N(int64(50 * time.Millisecond))))
				batch, err := c.more(cursor, coll)
				if err == nil && batch.Len() > 0 {
					err = fmt.Errorf("an event where nothing happens: %s", bsonval.FormatDoc(batch))
				}
				if err != nil && !errors.Is(err, net.ErrClosed) {
					x.failed.Store(&err)
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		x.ended.Store(true)
		x.gate.Unlock()
		x.wg.Wait()
	})
}

// measureIdle compares inserts into a server with many open streams on other collections, all of them waiting, with
// inserts into a server without streams.
func measureIdle(t *testing.T, r *report, binary string) {
	var sides [2]*side
	var idle idlers
	for i := range sides {
		to := start(t, binary, filepath.Join(t.TempDir(), fmt.Sprint("data", i)))
		load(t, to.addr, "docs", 1000)
		next := &atomic.Int64{}
		next.Store(1000)
		sides[i] = newSide(t, to, 16, insertOne(next, false))
		if i == 0 {
			idle.start(t, to.addr, idleStreams)
		}
	}
	waiting := func(on bool) {
		if on {
			idle.gate.Unlock()
		} else {
			idle.gate.Lock()
		}
		time.Sleep(1200 * time.Millisecond) // until those who wait have had their second, or all wait
		if err := idle.failed.Load(); err != nil {
			t.Fatal(*err)
		}
	}
	var x, y medians
	var ratios []float64
	for i := range *rounds + 1 {
		waiting(true)
		a, cpuA := sides[0].run(t, *roundTime)
		waiting(false)
		b, cpuB := sides[1].run(t, *roundTime)
		if i == 0 {
			continue // warm-up
		}
		x.rates, x.cpus = append(x.rates, a), append(x.cpus, cpuA)
		y.rates, y.cpus = append(y.rates, b), append(y.cpus, cpuB)
		ratios = append(ratios, a/b)
	}
	t.Logf("rounds' ratios: %.2f", ratios)
	r.add(t, line{what: "insert of one, 16 connections, 1,000 idle streams", ours: count(x.rate()), bare: count(y.rate()), unit: "/s",
		ratio: median(ratios), promise: 0.9, cpu: fmt.Sprintf("%.2f / %.2f", x.cpu(), y.cpu())})
	sizes := [2]float64{resident(t, sides[0].target.pid), resident(t, sides[1].target.pid)}
	t.Logf("resident memory with %d idle streams %.0f MB, without %.0f MB", idleStreams, sizes[0], sizes[1])
}
