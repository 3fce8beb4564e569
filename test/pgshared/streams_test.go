package pgshared

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// TestStreamsOfBoth writes through both processes and watches through both: each stream has every event once, in one order, and
// those of the other process come soon.
func TestStreamsOfBoth(t *testing.T) {
	p := start(t)
	clients := [2]*mongo.Client{p.to(p.a), p.to(p.b)}
	ctx := context30(t)
	check(t)(clients[0].Database("d").Collection("c").InsertOne(ctx, d("_id", "first")))
	const writers, each = 16, 30
	type event struct {
		ID   string `bson:"_id"`
		Sent int64
	}
	var seen [2][]string
	var delays [2][]time.Duration
	var watching, all sync.WaitGroup
	for i := range clients {
		stream, err := clients[i].Database("d").Collection("c").Watch(ctx, mongo.Pipeline{})
		must(t, err)
		watching.Go(func() {
			defer stream.Close(ctx)
			for len(seen[i]) < writers*each && stream.Next(ctx) {
				var e struct{ FullDocument event }
				if err := stream.Decode(&e); err != nil {
					t.Error(err)
					return
				}
				seen[i] = append(seen[i], e.FullDocument.ID)
				var w, n int
				fmt.Sscanf(e.FullDocument.ID, "%d/%d", &w, &n)
				if w%2 != i {
					delays[i] = append(delays[i], time.Since(time.Unix(0, e.FullDocument.Sent)))
				}
			}
			if err := stream.Err(); err != nil {
				t.Error(err)
			}
		})
	}
	for w := range writers {
		all.Go(func() {
			for n := range each {
				if _, err := clients[w%2].Database("d").Collection("c").InsertOne(ctx, event{fmt.Sprintf("%d/%d", w, n), time.Now().UnixNano()}); err != nil {
					t.Error(err)
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	all.Wait()
	watching.Wait()
	if !slices.Equal(seen[0], seen[1]) {
		t.Errorf("the streams differ: %d and %d events", len(seen[0]), len(seen[1]))
	}
	once := map[string]bool{}
	next := map[int]int{}
	for _, id := range seen[0] {
		var w, n int
		fmt.Sscanf(id, "%d/%d", &w, &n)
		if once[id] || next[w] != n {
			t.Errorf("event %s after %d of its writer", id, next[w]-1)
		}
		once[id] = true
		next[w] = n + 1
	}
	if len(once) != writers*each {
		t.Errorf("%d events of %d", len(once), writers*each)
	}
	for i := range delays {
		slices.Sort(delays[i])
		if n := len(delays[i]); n > 0 {
			t.Logf("events of the other process, from before the insert to the client: median %v, 95 %% %v, most %v", delays[i][n/2], delays[i][n*95/100], delays[i][n-1])
		}
	}
}

// TestStreamDelay measures how soon the events of single writes of the other process come.
func TestStreamDelay(t *testing.T) {
	p := start(t)
	watcher, writer := p.to(p.a).Database("d").Collection("c"), p.to(p.b).Database("d").Collection("c")
	ctx := context30(t)
	check(t)(writer.InsertOne(ctx, bson.D{}))
	stream, err := watcher.Watch(ctx, mongo.Pipeline{})
	must(t, err)
	defer stream.Close(ctx)
	var delays []time.Duration
	for range 40 {
		check(t)(writer.InsertOne(ctx, bson.D{}))
		done := time.Now()
		if !stream.Next(ctx) {
			t.Fatal(stream.Err())
		}
		delays = append(delays, time.Since(done))
		<-time.After(7 * time.Millisecond) // so that writes come at all moments between two looks
	}
	slices.Sort(delays)
	t.Logf("after the acknowledgement: median %v, most %v", delays[len(delays)/2], delays[len(delays)-1])
	// Other tests run on the same processors; alone it is a third of this.
	if p90 := delays[len(delays)*9/10]; p90 > 300*time.Millisecond {
		t.Errorf("nine of ten events took up to %v", p90)
	}
}
