package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestPostgres lets clients work through two processes on one PostgreSQL, which are killed, as is PostgreSQL, while indexes come and go
// and connections between them are cut in every way, and checks what they saw.
func TestPostgres(t *testing.T) {
	random, length := harness.Seed(t, "ARCHELON_HISTORY_SEED"), duration(t)
	r := rand.New(rand.NewPCG(random, 0))
	pg, err := pgharness.Start(map[string]string{"max_connections": "100", "wal_writer_delay": "5s"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer pg.Close()
	cuts := cutter{r: rand.New(rand.NewPCG(random, 1))}
	line, err := pgharness.NewLine(pg.Address(), cuts.next)
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	url := strings.Replace(pg.URL(), pg.Address(), line.Addr, 1)
	binary := harness.Build(t)
	var addrs [2]string
	var servers [2]*harness.Server
	serve := func(i int) {
		servers[i] = harness.StartWith(t, binary, addrs[i], nil, "--listen", addrs[i], "--storage", url)
	}
	for i := range servers {
		addrs[i] = harness.FreeAddr(t)
		serve(i)
	}
	prepare(t, connect(t, addrs[0]))
	w := &workload{began: time.Now()}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for c := range clients {
		client := connect(t, addrs[c%2])
		for n := range threads {
			wg.Go(func() {
				(&worker{workload: w, client: client, r: rand.New(rand.NewPCG(random, uint64(1+c*threads+n)))}).run(ctx)
			})
		}
	}
	wg.Go(func() { define(ctx, connect(t, addrs[0])) })
	cuts.cutting.Store(true)
	kills := [2]int{}
	for w.now() < length {
		<-time.After(min(time.Duration(500+r.IntN(3000))*time.Millisecond, max(length-w.now(), time.Millisecond)))
		cuts.cutting.Store(false) // a process that does not reach PostgreSQL does not start
		pause := time.Duration(r.IntN(300)) * time.Millisecond
		if r.IntN(3) == 0 {
			pg.Kill()
			<-time.After(pause)
			if err := pg.Run(); err != nil {
				t.Fatal(err)
			}
			kills[1]++
		} else {
			i := r.IntN(2)
			servers[i].Kill()
			<-time.After(pause)
			serve(i)
			kills[0]++
		}
		cuts.cutting.Store(true)
	}
	cuts.cutting.Store(false)
	cancel()
	wg.Wait()
	// What is still open is gone with the processes.
	for i := range servers {
		servers[i].Kill()
		serve(i)
	}
	judge(t, w, connect(t, addrs[1]))
	t.Logf("%d kills of processes and %d of PostgreSQL, %d connections cut in %s: %s", kills[0], kills[1], line.Cuts.Load(), length, w.summary())
	for i := range servers {
		servers[i].Stop(t)
	}
}

// define makes and drops indexes of all collections.
func define(ctx context.Context, client *mongo.Client) {
	for ctx.Err() == nil {
		for _, db := range databases(client) {
			for _, name := range []string{"lists", "accounts", "keys"} {
				indexes := db.Collection(name).Indexes()
				_, _ = indexes.CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "other", Value: 1}}}) // may fail: see what is done to it
				_ = indexes.DropOne(ctx, "other_1")
				<-time.After(100 * time.Millisecond)
			}
		}
	}
}

// cutter decides at random which messages to PostgreSQL are cut, and how.
type cutter struct {
	cutting atomic.Bool

	mu sync.Mutex // guards r
	r  *rand.Rand
}

const (
	cutOneIn = 500 // messages of a client
	lateness = 150 // milliseconds after its connection was cut that the server may get a message
)

func (c *cutter) next() pgharness.Cut {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cutting.Load() || c.r.IntN(cutOneIn) > 0 {
		return pgharness.Cut{}
	}
	switch c.r.IntN(4) {
	case 0:
		return pgharness.Cut{How: pgharness.Lost}
	case 1:
		return pgharness.Cut{How: pgharness.Late, Delay: time.Duration(c.r.IntN(lateness)) * time.Millisecond}
	case 2:
		return pgharness.Cut{How: pgharness.After, Delay: time.Duration(c.r.IntN(3000)) * time.Microsecond}
	}
	return pgharness.Cut{How: pgharness.Mute, Delay: time.Second}
}
