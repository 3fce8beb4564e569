package pgstore

import (
	"testing"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// TestDurableElsewhere waits for a commit of a connection that has been lost: what became durable on the next one, up to a
// later time, may leave it out.
func TestDurableElsewhere(t *testing.T) {
	y := &syncer{c: &conn{}, gen: 2, durable: 100}
	if err := y.wait(t.Context(), 50, 1); !mongoerr.Is(err, mongoerr.HostUnreachable) {
		t.Errorf("of the connection before: %v", err)
	}
	if err := y.wait(t.Context(), 50, 2); err != nil {
		t.Errorf("of this connection: %v", err)
	}
}

// TestSyncedElsewhere: a connection that was made after a crash of which the syncer has not heard says nothing of commits before it.
func TestSyncedElsewhere(t *testing.T) {
	y := &syncer{c: &conn{}, gen: 1}
	y.syncedElsewhere(10)
	if y.durable != 10 {
		t.Errorf("durable up to %d", y.durable)
	}
	y.suspicions.Add(1)
	y.syncedElsewhere(20)
	if y.durable != 10 {
		t.Errorf("durable up to %d, which nobody knows", y.durable)
	}
}
