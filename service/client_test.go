package service_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/service"
)

// dial connects the project's own client to instances.
func dial(t *testing.T, addrs ...string) *service.Client {
	t.Helper()
	servers, err := egress.Open("mongodb://" + strings.Join(addrs, ",") + "/?heartbeatFrequencyMS=500&serverSelectionTimeoutMS=10000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.Close(context.Background()) })
	return service.NewClient(servers, "test")
}

func TestClientInvokes(t *testing.T) {
	r := start(t, newThings(t, service.Config{Quiesce: -1}))
	c := dial(t, r.addr)
	got, err := service.Invoke[resize, resized](t.Context(), c, "resize", resize{Name: "cat", Width: 5})
	if err != nil || got.Text != "cat@5" {
		t.Errorf("%+v %v", got, err)
	}
	_, err = service.Invoke[resize, resized](t.Context(), c, "resize", resize{Name: "cat", Width: 500})
	var e *service.Error
	if !errors.As(err, &e) || e.Code != 2 || e.Message != "resize: too wide" {
		t.Errorf("%v", err)
	}
	_, err = service.Invoke[bson.D, bson.D](t.Context(), c, "fail", bson.D{{Key: "how", Value: "code"}})
	if !errors.As(err, &e) || e.CodeName() != "NoLuck" {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = service.Invoke[struct{}, bson.D](ctx, c, "wait", struct{}{}); err == nil {
		t.Error("no error after the time")
	}
	eventually(t, "the service knows that nobody waits", func() bool { return r.runs("wait") == 0 })
}

func TestClientFollows(t *testing.T) {
	s := startStreams(t, service.Config{Quiesce: -1})
	c := dial(t, s.addr)
	n := int32(0)
	for i, err := range service.Follow[bson.D, item](t.Context(), c, "count", bson.D{{Key: "to", Value: 500}}) {
		if err != nil || i.N != n {
			t.Fatalf("%v %v", i, err)
		}
		n++
	}
	if n != 500 {
		t.Errorf("%d documents", n)
	}
	s.end(t)
	var last error
	for _, err := range service.Follow[bson.D, item](t.Context(), c, "count", bson.D{{Key: "to", Value: 500}, {Key: "fail", Value: 3}}) {
		last = err
	}
	var e *service.Error
	if !errors.As(last, &e) || e.Code != 96 {
		t.Errorf("%v", last)
	}
	s.end(t)
	go func() { s.feed <- 5 }()
	for i, err := range service.Follow[struct{}, item](t.Context(), c, "news", struct{}{}) {
		if err != nil || i.N != 5 {
			t.Errorf("%v %v", i, err)
		}
		break
	}
	s.end(t) // who leaves the loop closes the cursor
}

func TestClientInvokesOnce(t *testing.T) {
	p := &till{}
	r := start(t, p.service(nil))
	c := dial(t, r.addr)
	type amount struct{ Amount int64 }
	type paid struct{ Paid int64 }
	for n := range int64(3) {
		got, err := service.InvokeOnce[amount, paid](t.Context(), c, "pay", amount{5})
		if err != nil || got.Paid != 5*(n+1) {
			t.Errorf("%+v %v", got, err)
		}
	}
	failures := 2
	p.hook = func(context.Context) error {
		if failures--; failures >= 0 {
			return service.Errorf(91, "not now").WithLabels("RetryableWriteError")
		}
		return nil
	}
	if got, err := service.InvokeOnce[amount, paid](t.Context(), c, "pay", amount{5}); err != nil || got.Paid != 20 {
		t.Errorf("%+v %v", got, err)
	}
	p.hook = func(context.Context) error { return service.Errorf(10_000_002, "no money") }
	_, err := service.InvokeOnce[amount, paid](t.Context(), c, "pay", amount{5})
	var e *service.Error
	if !errors.As(err, &e) || e.Code != 10_000_002 {
		t.Errorf("%v", err)
	}
}
