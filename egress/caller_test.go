package egress_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// open makes a client of one server.
func open(t *testing.T, host egress.Host) *egress.Client {
	t.Helper()
	c, err := egress.Open("mongodb://" + string(host) + "/?directConnection=true")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func operation(t *testing.T, body any) *egress.Operation {
	t.Helper()
	cmd, err := egress.NewCommand("d", body)
	if err != nil {
		t.Fatal(err)
	}
	return &egress.Operation{Command: cmd}
}

func TestCaller(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := open(t, s.host)
	var k egress.Caller
	defer k.Close()
	t.Run("replies", func(t *testing.T) {
		for i := range 200 {
			text := strings.Repeat("x", i*i)
			r := c.Call(t.Context(), operation(t, bson.D{{Key: "echo", Value: int32(i)}, {Key: "text", Value: text}}), &k)
			if r.Err() != nil || !r.Clean || r.Target != s.host {
				t.Fatalf("%+v", r)
			}
			if got := r.Body.LookupPath("echo", "text"); got.Str() != text {
				t.Fatalf("reply %d is another's", i)
			}
			if i%3 == 0 {
				k.Release()
			}
		}
	})
	t.Run("errors", func(t *testing.T) {
		r := c.Call(t.Context(), operation(t, bson.D{{Key: "fail", Value: 1}}), &k)
		if r.Status != nil || r.Err() == nil || r.Clean {
			t.Errorf("%+v", r)
		}
	})
	t.Run("whole", func(t *testing.T) {
		op := operation(t, bson.D{{Key: "echo", Value: int32(1)}, {Key: "$db", Value: "d"}, {Key: "last", Value: true}})
		op.Whole = true
		r := c.Call(t.Context(), op, &k)
		if r.Err() != nil || r.Body.LookupPath("echo", "$db").Str() != "d" {
			t.Fatalf("%+v", r)
		}
		if n := strings.Count(string(r.Body.Lookup("echo").Doc()), "$db\x00"); n != 1 {
			t.Errorf("%d times $db", n)
		}
	})
}

// TestCallerEnds ends commands of callers by their context, and looks that the next command is not hit.
func TestCallerEnds(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c := open(t, s.host)
	var k egress.Caller
	defer k.Close()
	ping := operation(t, bson.D{{Key: "ping", Value: 1}})
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		r := c.Call(ctx, operation(t, bson.D{{Key: "sleep", Value: 1}}), &k)
		if egress.CodeOf(r.Status) != mongoerr.CallbackCanceled {
			t.Fatalf("%v", r.Status)
		}
		if r := c.Call(ctx, ping, &k); egress.CodeOf(r.Status) != mongoerr.CallbackCanceled {
			t.Fatalf("under a context that has ended: %v", r.Status)
		}
		if r := c.Call(t.Context(), ping, &k); r.Err() != nil {
			t.Fatalf("the next: %v", r.Err())
		}
	}
	limited, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if r := c.Call(limited, operation(t, bson.D{{Key: "sleep", Value: 1}}), &k); egress.CodeOf(r.Status) != mongoerr.NetworkInterfaceExceededTimeLimit {
		t.Errorf("%v", r.Status)
	}
	if r := c.Call(t.Context(), ping, &k); r.Err() != nil {
		t.Errorf("after a deadline: %v", r.Err())
	}
}

// TestCallersSideBySide lets callers share few connections, each under a context of its own that ends at some time.
func TestCallersSideBySide(t *testing.T) {
	s := serve(t, server.State{}, nil)
	c, err := egress.Open("mongodb://" + string(s.host) + "/?directConnection=true&maxPoolSize=3")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	var work sync.WaitGroup
	for i := range 12 {
		work.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var k egress.Caller
			defer k.Close()
			for n := range 100 {
				want := fmt.Sprint(i, n)
				if i%3 == 0 && n == 50 {
					time.AfterFunc(100*time.Microsecond, cancel)
				}
				cmd, err := egress.NewCommand("d", bson.D{{Key: "echo", Value: want}})
				if err != nil {
					t.Error(err)
					return
				}
				r := c.Call(ctx, &egress.Operation{Command: cmd}, &k)
				if ctx.Err() != nil {
					return
				}
				if r.Err() != nil || r.Body.LookupPath("echo", "echo").Str() != want {
					t.Errorf("%v: %v", want, r.Err())
					return
				}
			}
		})
	}
	work.Wait()
}

// TestCallerRetries meets a connection that was cut: the command is repeated on another.
func TestCallerRetries(t *testing.T) {
	s := serve(t, server.State{}, nil)
	s.mux.HandleFunc("find", server.Ping)
	p := interpose(t, s.Addr())
	c := open(t, p.host)
	var k egress.Caller
	defer k.Close()
	for range 5 {
		if r := c.Call(t.Context(), operation(t, bson.D{{Key: "find", Value: "c"}}), &k); r.Err() != nil {
			t.Fatal(r.Err())
		}
		p.cut()
	}
}
