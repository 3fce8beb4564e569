package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
)

// What a breaker does with the replies of its server.
const (
	passes int32 = iota
	hangs
	babbles
	cuts
)

// breaker stands between a gateway and its upstream.
type breaker struct {
	mode     atomic.Int32
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	conns map[net.Conn]bool
	done  bool
}

func startBreaker(t *testing.T, target string) *breaker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	b := &breaker{listener: l, target: target, conns: map[net.Conn]bool{}}
	b.work.Go(b.accept)
	t.Cleanup(func() {
		l.Close()
		b.mu.Lock()
		b.done = true
		for c := range b.conns {
			c.Close()
		}
		b.mu.Unlock()
		b.work.Wait()
	})
	return b
}

// set changes what happens from now on; connections are cut to begin with cuts.
func (b *breaker) set(mode int32) {
	b.mode.Store(mode)
	if mode != cuts {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		c.Close()
	}
}

func (b *breaker) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		s, err := net.Dial("tcp", b.target)
		if err != nil || b.mode.Load() == cuts {
			c.Close()
			if s != nil {
				s.Close()
			}
			continue
		}
		b.mu.Lock()
		if b.done {
			c.Close()
			s.Close()
		}
		b.conns[c], b.conns[s] = true, true
		b.work.Go(func() { b.pass(s, c, false) })
		b.work.Go(func() { b.pass(c, s, true) })
		b.mu.Unlock()
	}
}

func (b *breaker) pass(to, from net.Conn, replies bool) {
	defer func() {
		to.Close()
		from.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.conns, from)
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		out := buf[:n]
		if replies {
			switch b.mode.Load() {
			case hangs:
				continue
			case babbles:
				for i := range out {
					out[i] = byte(i * 37)
				}
			}
		}
		if _, err := to.Write(out); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			return
		}
	}
}

// fragile is a gateway with one upstream behind a breaker and one that is well.
func fragile(t *testing.T) (*breaker, *mongo.Client) {
	t.Helper()
	a, b := startDB(t, archelon.Config{}), startDB(t, archelon.Config{})
	br := startBreaker(t, a[len("mongodb://"):len(a)-1])
	_, uri := startGateway(t, gateway.Table{
		Upstreams: map[string]gateway.Upstream{
			"a": {URI: "mongodb://" + br.listener.Addr().String() + "/?directConnection=true&heartbeatFrequencyMS=500&connectTimeoutMS=500&serverSelectionTimeoutMS=500"},
			"b": {URI: b},
		},
		Routes: []gateway.Route{{Database: gateway.Patterns{"a"}, Upstream: "a"}, {Upstream: "b"}},
	})
	return br, connect(t, uri, options.Client().SetRetryReads(false).SetRetryWrites(true))
}

// TestBrokenUpstream breaks an upstream in each way: errors come in time and are such that drivers try again, the
// neighbour does not notice, and all is well when the upstream is.
func TestBrokenUpstream(t *testing.T) {
	br, c := fragile(t)
	a, b := c.Database("a").Collection("c"), c.Database("b").Collection("c")
	for name, mode := range map[string]int32{"cut": cuts, "hang": hangs, "garbage": babbles} {
		t.Run(name, func(t *testing.T) {
			_, err := a.InsertOne(t.Context(), bson.D{})
			check(t, err)
			br.set(mode)
			const patience = 5 * time.Second
			ctx := t.Context() // with a deadline the driver would try again and again until then
			started := time.Now()
			err = a.FindOne(ctx, bson.D{}).Err()
			if n := code(err); n != 6 && n != 89 {
				t.Errorf("find: %v", err)
			}
			_, err = a.InsertOne(ctx, bson.D{})
			if e := (mongo.CommandError{}); !errors.As(err, &e) || !e.HasErrorLabel("RetryableWriteError") {
				t.Errorf("insert: %v", err)
			}
			if took := time.Since(started); took > patience {
				t.Errorf("the errors took %s", took)
			}
			_, err = b.InsertOne(ctx, bson.D{})
			if err != nil {
				t.Errorf("the neighbour: %v", err)
			}
			br.set(passes)
			for began := time.Now(); ; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // it is the condition that is waited for
				if err = a.FindOne(t.Context(), bson.D{}).Err(); err == nil {
					break
				}
				if time.Since(began) > 10*time.Second {
					t.Fatalf("it does not recover: %v", err)
				}
			}
		})
	}
}

// TestMaxTimeOnAHungUpstream waits no longer than maxTimeMS.
func TestMaxTimeOnAHungUpstream(t *testing.T) {
	br, c := fragile(t)
	check(t, c.Database("a").RunCommand(t.Context(), bson.D{{Key: "count", Value: "c"}}).Err())
	br.set(hangs)
	started := time.Now()
	err := c.Database("a").RunCommand(t.Context(), bson.D{{Key: "count", Value: "c"}, {Key: "maxTimeMS", Value: 200}}).Err()
	if code(err) != 50 || time.Since(started) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(started), err)
	}
}

// TestTransactionOnABrokenUpstream is tried again by the driver as a whole.
func TestTransactionOnABrokenUpstream(t *testing.T) {
	br, c := fragile(t)
	coll := c.Database("a").Collection("c")
	_, err := coll.InsertOne(t.Context(), bson.D{})
	check(t, err)
	tries := 0
	check(t, c.UseSession(t.Context(), func(ctx context.Context) error {
		_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
			tries++
			if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "once"}}); err != nil {
				return nil, err
			}
			if tries == 1 {
				br.set(cuts)
				time.AfterFunc(300*time.Millisecond, func() { br.set(passes) })
			}
			_, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "twice"}})
			return nil, err
		})
		return err
	}))
	n, err := coll.CountDocuments(t.Context(), bson.D{})
	if n != 3 || err != nil || tries < 2 {
		t.Errorf("%d documents after %d tries: %v", n, tries, err)
	}
}

// TestChangeStreamOnABrokenUpstream is resumed by the driver.
func TestChangeStreamOnABrokenUpstream(t *testing.T) {
	br, c := fragile(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	coll := c.Database("a").Collection("c")
	stream, err := coll.Watch(ctx, mongo.Pipeline{})
	check(t, err)
	defer stream.Close(ctx)
	_, err = coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 1}})
	check(t, err)
	if !stream.Next(ctx) {
		t.Fatal(stream.Err())
	}
	br.set(cuts)
	br.set(passes)
	for {
		if _, err = coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 2}}); err == nil {
			break
		}
	}
	if !stream.Next(ctx) {
		t.Fatal(stream.Err())
	}
	if id := stream.Current.Lookup("documentKey", "_id").Int32(); id != 2 {
		t.Errorf("document %d", id)
	}
}
