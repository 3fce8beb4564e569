package server

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/wire"
)

// named answers with its name.
func named(name string) Handler {
	return HandlerFunc(func(_ context.Context, _ *Request, reply *Reply) error {
		reply.AppendDoc(must(bson.Marshal(bson.D{{Key: "by", Value: name}})))
		return nil
	})
}

func callMux(t *testing.T, h Handler, db, command string) string {
	t.Helper()
	doc, err := Call(t.Context(), h, NewRequest(nil, db, must(bson.Marshal(bson.D{{Key: command, Value: 1}}))))
	if err != nil {
		t.Fatal(err)
	}
	if by := doc.Lookup("by"); !by.IsMissing() {
		return by.Str()
	}
	return doc.Lookup("codeName").Str()
}

func TestMux(t *testing.T) {
	m := NewMux()
	m.Register("find", named("find"))
	m.Alias("Find", "find")
	m.HandleDB("mounted", named("mounted"))
	for _, tc := range []struct{ db, command, want string }{
		{"a", "find", "find"}, {"a", "Find", "find"}, {"a", "FIND", "CommandNotFound"},
		{"mounted", "find", "mounted"}, {"mounted", "x", "mounted"},
	} {
		if got := callMux(t, m, tc.db, tc.command); got != tc.want {
			t.Errorf("%s.%s: %s, want %s", tc.db, tc.command, got, tc.want)
		}
	}
	m.Fallback(named("fallback"))
	m.RemoveDB("mounted")
	if got := callMux(t, m, "mounted", "x"); got != "fallback" {
		t.Errorf("got %s", got)
	}
	m.Fallback(nil)
	if got := callMux(t, m, "mounted", "x"); got != "CommandNotFound" {
		t.Errorf("got %s", got)
	}
	if got := m.Commands(); !slices.Equal(got, []string{"Find", "find"}) {
		t.Errorf("%v", got)
	}
	for name, f := range map[string]func(){
		"twice": func() { m.Register("find", named("x")) }, "nil": func() { m.Register("y", nil) },
		"alias of nothing": func() { m.Alias("a", "nothing") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
	if got := callMux(t, m, "a", "find"); got != "find" {
		t.Errorf("after panics: %s", got)
	}
}

func TestChainAndCommandStats(t *testing.T) {
	var order []string
	trace := func(name string) Middleware {
		return func(next Handler) Handler {
			return HandlerFunc(func(ctx context.Context, req *Request, reply *Reply) error {
				order = append(order, name)
				return next.Handle(ctx, req, reply)
			})
		}
	}
	m := NewMux()
	m.Register("find", named("find"))
	m.HandleFunc("fail", func(context.Context, *Request, *Reply) error { return Errorf(2, "no") })
	stats := NewCommandStats(m.Commands())
	h := Chain(m, trace("outer"), trace("inner"), stats.Middleware)
	callMux(t, h, "d", "find")
	if !slices.Equal(order, []string{"outer", "inner"}) {
		t.Errorf("%v", order)
	}
	callMux(t, h, "d", "fail")
	callMux(t, h, "d", "other")
	want := []CommandCount{{UnknownCommand, 1, 1}, {"fail", 1, 1}, {"find", 1, 0}}
	if d := cmp.Diff(want, stats.Snapshot()); d != "" {
		t.Error(d)
	}
}

func TestNegotiateCompression(t *testing.T) {
	offered := []wire.CompressorID{wire.CompressorSnappy, wire.CompressorZlib}
	for _, tc := range []struct {
		client []string
		want   []wire.CompressorID
	}{
		{nil, nil},
		{[]string{"zlib", "snappy"}, []wire.CompressorID{wire.CompressorZlib, wire.CompressorSnappy}},
		{[]string{"zstd", "lzma", "noop"}, nil},
		{[]string{"snappy", "snappy"}, []wire.CompressorID{wire.CompressorSnappy}},
	} {
		if d := cmp.Diff(tc.want, NegotiateCompression(tc.client, offered)); d != "" {
			t.Errorf("%v: %s", tc.client, d)
		}
	}
}
