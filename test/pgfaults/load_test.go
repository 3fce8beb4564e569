package pgfaults

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

const (
	writers = 6

	// recovery bounds the time from the end of a fault to the next write of every writer.
	recovery = 10 * time.Second
)

// severals is how many statements a command of several has.
const severals = 3

// load is writers at work: each inserts documents {_id: "w-n"} and, after each, raises its counter to n, and several
// more in one command. They know what was acknowledged, and note the codes of the errors they get.
type load struct {
	coll *mongo.Collection
	stop context.CancelFunc
	wg   sync.WaitGroup
	pad  []byte // in each document

	done [writers]atomic.Int64 // the last acknowledged round of each

	mu    sync.Mutex
	codes map[int]int
	first map[int]string // the first message of each code
}

// startLoad begins to write; the driver sends nothing a second time.
func startLoad(t *testing.T, s *harness.Server, pad int) *load {
	t.Helper()
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetRetryWrites(false).SetRetryReads(false).SetDirect(true))
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{coll: client.Database("faults").Collection("docs"), stop: cancel, pad: make([]byte, pad), codes: map[int]int{}, first: map[int]string{}}
	_, _ = rand.Read(l.pad) // nothing that compresses
	for w := range writers {
		l.wg.Go(func() { l.write(ctx, w) })
	}
	l.await(t)
	return l
}

func (l *load) write(ctx context.Context, w int) {
	for n := int64(1); ctx.Err() == nil; {
		_, err := l.coll.InsertOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprintf("%d-%d", w, n)}, {Key: "w", Value: w}, {Key: "n", Value: n}, {Key: "pad", Value: l.pad}})
		if mongo.IsDuplicateKeyError(err) {
			err = nil // an earlier attempt of unknown outcome
		}
		if err == nil {
			_, err = l.coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprint("counter ", w)}}, bson.D{{Key: "$max", Value: bson.D{{Key: "count", Value: n}}}},
				options.UpdateOne().SetUpsert(true))
		}
		if err == nil {
			var several []mongo.WriteModel
			for i := range severals {
				several = append(several, mongo.NewUpdateOneModel().SetFilter(bson.D{{Key: "_id", Value: fmt.Sprintf("several %d %d", w, i)}}).
					SetUpdate(bson.D{{Key: "$max", Value: bson.D{{Key: "count", Value: n}}}}).SetUpsert(true))
			}
			_, err = l.coll.BulkWrite(ctx, several)
		}
		if err == nil {
			l.done[w].Store(n)
			n++
			continue
		}
		if ctx.Err() == nil {
			l.note(err)
			<-time.After(20 * time.Millisecond)
		}
	}
}

// note counts an error; one that came without a code counts as -1.
func (l *load) note(err error) {
	code := -1
	var server mongo.ServerError
	if errors.As(err, &server) {
		if codes := server.ErrorCodes(); len(codes) > 0 {
			code = codes[0]
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.codes[code]++
	if l.first[code] == "" {
		l.first[code] = err.Error()
	}
}

// count is how often a code has been seen.
func (l *load) count(code int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.codes[code]
}

// failed waits until an error with a code has been seen once more than before.
func (l *load) failed(t *testing.T, code, before int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); l.count(code) == before; <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("no error %d; seen: %v", code, l.first)
		}
	}
}

// await waits until a condition holds.
func await(t *testing.T, holds func() bool, otherwise string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(otherwise)
		}
	}
}

// await waits until every writer has had two acknowledged rounds from now on.
func (l *load) await(t *testing.T) {
	t.Helper()
	var want [writers]int64
	for w := range want {
		want[w] = l.done[w].Load() + 2
	}
	for deadline := time.Now().Add(recovery); ; <-time.After(5 * time.Millisecond) {
		behind := -1
		for w := range want {
			if l.done[w].Load() < want[w] {
				behind = w
			}
		}
		if behind < 0 {
			return
		}
		if time.Now().After(deadline) {
			l.mu.Lock()
			defer l.mu.Unlock()
			t.Fatalf("no writes for %s; errors seen: %v", recovery, l.first)
		}
	}
}

// check ends the load and looks for everything that was acknowledged. Of the errors only the given codes may have been seen.
func (l *load) check(t *testing.T, allowed ...int) {
	t.Helper()
	l.await(t)
	l.stop()
	l.wg.Wait()
	total := 0
	for code, n := range l.codes {
		t.Logf("%d × %d: %s", n, code, l.first[code])
		total += n
		if !slices.Contains(allowed, code) {
			t.Errorf("an error with code %d: %s", code, l.first[code])
		}
	}
	ctx := t.Context()
	for w := range writers {
		n := l.done[w].Load()
		found, err := l.coll.CountDocuments(ctx, bson.D{{Key: "w", Value: w}, {Key: "n", Value: bson.D{{Key: "$lte", Value: n}}}})
		if err != nil {
			t.Fatal(err)
		}
		var counter struct{ Count int64 }
		if err := l.coll.FindOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprint("counter ", w)}}).Decode(&counter); err != nil {
			t.Fatal(err)
		}
		if found != n || counter.Count < n || counter.Count > n+1 {
			t.Errorf("writer %d: %d rounds were acknowledged, there are %d documents, and the counter is at %d", w, n, found, counter.Count)
		}
		for i := range severals {
			if err := l.coll.FindOne(ctx, bson.D{{Key: "_id", Value: fmt.Sprintf("several %d %d", w, i)}}).Decode(&counter); err != nil {
				t.Fatal(err)
			}
			if counter.Count < n || counter.Count > n+1 {
				t.Errorf("writer %d: %d rounds were acknowledged, and counter %d of several is at %d", w, n, i, counter.Count)
			}
		}
	}
	validate(t, l.coll)
}

// validate has the server check a collection.
func validate(t *testing.T, coll *mongo.Collection) {
	t.Helper()
	var out struct {
		Valid  bool
		Errors []string
	}
	if err := coll.Database().RunCommand(t.Context(), bson.D{{Key: "validate", Value: coll.Name()}, {Key: "full", Value: true}}).Decode(&out); err != nil || !out.Valid {
		t.Errorf("validate %s: %v, %v", coll.Name(), out.Errors, err)
	}
}
