package pgstore

import (
	"testing"
	"time"
)

// TestCrowd lets two processes commit in turns: they notice each other, and one that is alone
// again notices that, too.
func TestCrowd(t *testing.T) {
	a, b := openTwo(t)
	for range 20 {
		insertOne(t, a, "a")
	}
	if !a.isCalm() {
		t.Error("a process that commits alone takes others to be busy")
	}
	for range 20 {
		insertOne(t, a, "a")
		insertOne(t, b, "b")
	}
	if a.isCalm() && b.isCalm() {
		t.Error("two processes that commit in turns do not notice each other")
	}
	for deadline := time.Now().Add(20 * time.Second); !a.isCalm(); insertOne(t, a, "a") {
		if time.Now().After(deadline) {
			t.Fatal("a process that commits alone takes others to be busy for ever")
		}
	}
}
