package service

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

var aResult = bson.Raw{5, 0, 0, 0, 0}

func TestMemoryResultsForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryResults(time.Minute, 2).(*memoryResults)
		run := func(session string) {
			k := OnceKey{session, 1}
			if r, err := m.Claim(t.Context(), k); r != nil || err != nil {
				t.Fatalf("%s: %v %v", session, r, err)
			}
			if err := m.Finish(t.Context(), k, aResult); err != nil {
				t.Fatal(err)
			}
		}
		known := func(session string) bool { _, ok := m.sessions[session]; return ok }
		run("a")
		run("b")
		run("c")
		run("d")
		if known("a") || !known("c") || !known("d") || m.used.Len() > 3 {
			t.Errorf("%v", m.sessions)
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's time
		run("e")
		if known("c") || known("d") || !known("e") {
			t.Errorf("%v", m.sessions)
		}
	})
}

func TestMemoryResultsWaitForTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemoryResults(0, 0)
		k := OnceKey{"s", 1}
		if _, err := m.Claim(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := m.Claim(ctx, k); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		claimed := make(chan bool)
		go func() {
			r, err := m.Claim(t.Context(), k)
			claimed <- r == nil && err == nil
		}()
		synctest.Wait()
		if err := m.Release(t.Context(), k); err != nil {
			t.Fatal(err)
		}
		if !<-claimed {
			t.Error("a released claim goes to who waits")
		}
		if _, err := m.Claim(t.Context(), OnceKey{"s", 0}); !mongoerr.Is(err, mongoerr.TransactionTooOld) {
			t.Errorf("%v", err)
		}
	})
}
