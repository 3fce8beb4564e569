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
