package pebblestore

import (
	"fmt"
	"log/slog"
)

// pebbleLogger hands Pebble's words to slog.
type pebbleLogger struct {
	log *slog.Logger
}

func (l pebbleLogger) Infof(format string, args ...any) {
	l.log.Debug("pebble", "event", fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.log.Error("pebble", "event", fmt.Sprintf(format, args...))
}

// Fatalf must not return: Pebble calls it where going on could lose data. What
// was acknowledged is on disk, and opening the store again recovers it.
func (l pebbleLogger) Fatalf(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	l.log.Error("storage cannot go on, ending the process", "event", msg)
	panic("pebblestore: storage cannot go on: " + msg)
}
