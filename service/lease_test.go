package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// leaseStore is a database that knows leases only, in virtual time.
type leaseStore struct {
	mu     sync.Mutex // guards the fields below
	exists bool
	id     bson.RawValue
	holder string
	term   int64
	until  time.Time
}

// leaseLine is one instance's way to the store, which can be cut.
type leaseLine struct {
	store *leaseStore
	mu    sync.Mutex // guards cut
	cut   bool
}

func (l *leaseLine) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
}

// RunCommand implements Runner.
func (l *leaseLine) RunCommand(_ context.Context, _ string, command bson.Raw) (bson.Raw, error) {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	if cut {
		return nil, errors.New("line is cut")
	}
	s := l.store
	s.mu.Lock()
	defer s.mu.Unlock()
	switch first := command.Index(0).Key(); first {
	case "find":
		return bson.Marshal(bson.D{{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: bson.A{bson.D{{Key: "holder", Value: s.holder}}}}}}})
	case "update":
		if id := command.Lookup("updates", "0", "q", "instance"); s.exists && s.id.Equal(id) {
			s.until, s.id = time.UnixMilli(0), bson.RawValue{}
		}
		return bson.Marshal(bson.D{{Key: "n", Value: 1}})
	}
	id := command.Lookup("update", "0", "$set", "instance")
	mine := s.exists && s.id.Equal(id)
	takesOver := command.Lookup("query", "$expr").Type != 0
	switch {
	case takesOver && s.until.Before(time.Now()):
		s.term++
	case takesOver, !s.exists && !command.Lookup("upsert").Boolean(), !mine && s.exists && !command.Lookup("upsert").Boolean():
		return bson.Marshal(bson.D{{Key: "value", Value: nil}})
	case !s.exists:
		s.exists, s.term = true, 1
	case !mine:
		return nil, mongoerr.New(11000, "duplicate key")
	}
	s.id, s.holder = bson.RawValue{Type: id.Type, Value: append([]byte(nil), id.Value...)}, command.Lookup("update", "0", "$set", "holder").StringValue()
	ttl := command.Lookup("update", "0", "$set", "until", "$add", "1").AsInt64()
	s.until = time.Now().Add(time.Duration(ttl) * time.Millisecond)
	return bson.Marshal(bson.D{{Key: "value", Value: bson.D{{Key: "term", Value: s.term}}}})
}

// turn is an instance that competes.
type turn struct {
	*Service
	line *leaseLine
	stop context.CancelFunc
}

func newTurn(t *testing.T, store *leaseStore, me string) *turn {
	s := New("turns", Config{Quiesce: -1})
	s.HandleRaw(Command{Name: "work"}, func(ctx context.Context, c *Call) error {
		if bsonval.Doc(c.Args()).Lookup("long").Truthy() {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	s.HandleRaw(Command{Name: "read", SecondaryOK: true}, func(context.Context, *Call) error { return nil })
	line := &leaseLine{store: store}
	err := s.UseLease(Lease{DB: line, Database: "a", Collection: "leases", SetName: "turns", Me: me, Members: []string{"one:1", "two:2"}, TTL: 6 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go s.Run(ctx)
	return &turn{s, line, stop}
}

// call runs a command and returns its code, 0 for none.
func (u *turn) call(t *testing.T, command bson.D) mongoerr.Code {
	body, err := bson.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	reply, _ := server.Call(t.Context(), u, server.NewRequest(nil, "test", body))
	if e := errorOf(reply); e != nil {
		return e.Code
	}
	return 0
}

var work = bson.D{{Key: "work", Value: 1}}

func TestLeasePassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &leaseStore{}
		one := newTurn(t, store, "one:1")
		synctest.Wait()
		two := newTurn(t, store, "two:2")
		synctest.Wait()
		if a, b := one.call(t, work), two.call(t, work); a != 0 || b != mongoerr.NotWritablePrimary {
			t.Errorf("codes %d %d", a, b)
		}
		if c := two.call(t, bson.D{{Key: "read", Value: 1}}); c != 0 {
			t.Errorf("code %d", c)
		}
		if s := two.Topology().State(); s.Role != server.RoleSecondary || s.Primary != "one:1" {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Minute) //nolint:forbidigo // the bubble's time
		if s := one.Topology().State(); s.Role != server.RolePrimary || s.ElectionID != server.ElectionIDForTerm(1) {
			t.Errorf("a lease that is renewed holds: %+v", s)
		}

		// A line that is cut: the instance gives up, and interrupts what runs, before another becomes active.
		interrupted := make(chan mongoerr.Code)
		go func() { interrupted <- one.call(t, append(work, bson.E{Key: "long", Value: true})) }()
		synctest.Wait()
		one.line.setCut(true)
		began := time.Now()
		if c := <-interrupted; c != mongoerr.InterruptedDueToReplStateChange {
			t.Errorf("code %d", c)
		}
		if took := time.Since(began); took < 2*time.Second || took > 5*time.Second || two.call(t, work) == 0 {
			t.Errorf("gave up after %s", took)
		}
		time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's time
		if a, b := one.call(t, work), two.call(t, work); a != mongoerr.NotWritablePrimary || b != 0 {
			t.Errorf("codes %d %d", a, b)
		}
		one.line.setCut(false)
		time.Sleep(6 * time.Second) //nolint:forbidigo // the bubble's time
		if s := one.Topology().State(); s.Primary != "two:2" || store.term != 2 {
			t.Errorf("%+v, term %d", s, store.term)
		}

		// A drain gives the lease away once the work is done.
		done := make(chan error)
		go func() { done <- two.Drain(t.Context()) }()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second) //nolint:forbidigo // the bubble's time
		if one.call(t, work) != 0 || store.term != 3 {
			t.Errorf("not passed on: term %d", store.term)
		}
		one.stop()
		two.stop()
	})
}

func TestLeaseIsChecked(t *testing.T) {
	if New("x", Config{}).UseLease(Lease{}) == nil {
		t.Error("an empty lease")
	}
}
