package server

import (
	"context"
	"slices"
	"sync/atomic"
)

// Metrics are the counters of a server. All may be read at any time.
type Metrics struct {
	// ConnectionsCurrent is the number of open connections.
	ConnectionsCurrent atomic.Int64
	// ConnectionsTotal is the number of connections ever served.
	ConnectionsTotal atomic.Int64
	// ConnectionsRejected is the number of connections closed at once because there were too many.
	ConnectionsRejected atomic.Int64
	// ConnectionsActive is the number of connections with a command running.
	ConnectionsActive atomic.Int64
	// BytesIn and BytesOut are the bytes of messages received and sent, as they were on the wire.
	BytesIn, BytesOut atomic.Int64
	// Requests is the number of messages received.
	Requests atomic.Int64
	// RequestsRefused is the number of requests not admitted because too many bytes were in flight.
	RequestsRefused atomic.Int64
	// RequestBytesInFlight is the memory held by requests being read or run, see Config.MaxRequestBytes.
	RequestBytesInFlight atomic.Int64
	// MalformedMessages is the number of connections closed because of a message without sense.
	MalformedMessages atomic.Int64
	// HandlerPanics is the number of panics recovered in handlers.
	HandlerPanics atomic.Int64
}

// UnknownCommand is the name under which CommandStats counts commands it was not told about.
const UnknownCommand = "<UNKNOWN>"

// CommandCount is how often a command ran and failed.
type CommandCount struct {
	Name          string
	Total, Failed int64
}

// CommandStats counts commands by name. The names are a closed set, so that clients cannot make it grow.
type CommandStats struct {
	counts  map[string]*commandCounter // never changes
	unknown commandCounter
}

type commandCounter struct {
	total, failed atomic.Int64
}

// NewCommandStats makes counters for the commands named.
func NewCommandStats(commands []string) *CommandStats {
	s := &CommandStats{counts: make(map[string]*commandCounter, len(commands))}
	for _, c := range commands {
		s.counts[c] = &commandCounter{}
	}
	return s
}

// Middleware counts the commands that pass to next.
func (s *CommandStats) Middleware(next Handler) Handler {
	return HandlerFunc(func(ctx context.Context, req *Request, reply *Reply) error {
		c, ok := s.counts[req.Command]
		if !ok {
			c = &s.unknown
		}
		c.total.Add(1)
		err := next.Handle(ctx, req, reply)
		if err != nil {
			c.failed.Add(1)
		}
		return err
	})
}

// Snapshot returns the counts of all commands, sorted by name.
func (s *CommandStats) Snapshot() []CommandCount {
	out := []CommandCount{{UnknownCommand, s.unknown.total.Load(), s.unknown.failed.Load()}}
	for name, c := range s.counts {
		out = append(out, CommandCount{name, c.total.Load(), c.failed.Load()})
	}
	slices.SortFunc(out[1:], func(a, b CommandCount) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}
