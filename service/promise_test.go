package service_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/wire"
)

// TestThroughput measures what is promised: an echo call at 80 % of the rate of a server that does nothing but send a
// document. Both run in this process with the same clients, in short alternating rounds, and what is compared is the calls
// per second of processor time: at saturation that is the rate, and a busy machine disturbs it least.
func TestThroughput(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure; takes some seconds")
	}
	canned := harness.Doc(t, bson.D{{Key: "pong", Value: bson.D{{Key: "ping", Value: int32(1)}, {Key: "hello", Value: "world"}}}})
	mux := server.NewMux()
	mux.HandleFunc("ping", func(_ context.Context, _ *server.Request, reply *server.Reply) error {
		reply.AppendDoc(canned)
		return nil
	})
	const connections, rounds, roundTime = 64, 25, 200 * time.Millisecond
	request := wire.AppendMsg(nil, 1, 0, 0, echoCommand(t, "ping"))
	bare, echo := newLoad(t, mux, request, connections), newLoad(t, benchmarked(), request, connections)
	bare.run(t, roundTime)
	echo.run(t, roundTime)
	var ratios []float64
	for range rounds {
		b := bare.run(t, roundTime)
		e := echo.run(t, roundTime)
		ratios = append(ratios, e/b)
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("an echo call runs at %.0f %% of the canned document's rate; rounds: %.2f", 100*median, ratios)
	if median < 0.8 {
		t.Errorf("%.2f is below the promise", median)
	}
}

// load is a server and connections that call it.
type load struct {
	conns   []net.Conn
	request []byte
}

func newLoad(t *testing.T, h server.Handler, request []byte, connections int) *load {
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: h, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	l := &load{request: request}
	for range connections {
		l.conns = append(l.conns, harness.Dial(t, s.Addr().String()))
	}
	return l
}

// processor is the processor time that this process has used.
func processor(t *testing.T) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// run calls in closed loops for a while and returns how many calls were answered per second of processor time.
func (l *load) run(t *testing.T, d time.Duration) float64 {
	var calls atomic.Int64
	before := processor(t)
	end := time.Now().Add(d)
	var clients sync.WaitGroup
	for _, c := range l.conns {
		clients.Go(func() {
			var reply [1 << 10]byte
			n := int64(0)
			for ; n%8 != 0 || time.Now().Before(end); n++ {
				if _, err := c.Write(l.request); err != nil {
					t.Error(err)
					return
				}
				if _, err := io.ReadAtLeast(c, reply[:], wire.HeaderLen); err != nil {
					t.Error(err)
					return
				}
			}
			calls.Add(n)
		})
	}
	clients.Wait()
	return float64(calls.Load()) / (processor(t) - before).Seconds()
}
