package catalog

import (
	"context"
	"errors"
	"testing"
)

// TestGuard takes a guard through its three parties.
func TestGuard(t *testing.T) {
	var g Guard
	for range 2 {
		if !g.Share() {
			t.Fatal("a free guard gives no share")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.Exclude(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if !g.Share() {
		t.Error("a change that has given up still keeps shares out")
	}
	g.Unshare()
	done := make(chan error, 1)
	go func() { done <- g.Exclude(context.Background()) }()
	for g.Share() { // until the change has announced itself
		g.Unshare()
	}
	if !g.TryRLock() {
		t.Error("a change that waits for shares stops the writers")
	} else {
		g.RUnlock()
	}
	g.Unshare()
	select {
	case err := <-done:
		t.Fatalf("did not wait for the second share: %v", err)
	default:
	}
	g.Unshare()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if g.Share() || g.TryRLock() {
		t.Error("excluded parties are let in")
	}
	g.Readmit()
	if !g.Share() || !g.TryRLock() {
		t.Error("the guard is not free again")
	}
}
