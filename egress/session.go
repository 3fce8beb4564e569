package egress

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/uuid"
)

const (
	// maxIdleSessions bounds the sessions kept for reuse.
	maxIdleSessions = 1000

	// sessionReserve is how long before its end on the server a session is not used any more.
	sessionReserve = time.Minute

	// endSessionsTimeout bounds the farewell.
	endSessionsTimeout = 2 * time.Second

	uuidSubtype = 4
)

// session is a session on the server: what makes a write that is sent twice happen once.
type session struct {
	id     [16]byte
	txn    int64 // the number of the last write
	used   time.Time
	broken bool // met a network error: the server may still be at work under it
}

// element is the session's id as commands have it under lsid.
func (s *session) document() Doc {
	return bsonval.NewBuilder().Value("id", bsonval.Binary(uuidSubtype, s.id[:])).Build()
}

// sessionPool keeps sessions that are not in use.
type sessionPool struct {
	mu   sync.Mutex // guards the field below
	idle []*session // the last used is at the end
}

// take returns a session of which no write is under way.
func (p *sessionPool) take(timeout time.Duration) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 {
		s := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(s.used) < timeout-sessionReserve {
			return s
		}
	}
	return &session{id: uuid.New()}
}

// give gives a session back.
func (p *sessionPool) give(s *session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.broken && len(p.idle) < maxIdleSessions {
		s.used = time.Now()
		p.idle = append(p.idle, s)
	}
}

// drain empties the pool.
func (p *sessionPool) drain() []*session {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.idle
	p.idle = nil
	return out
}

// endSessions tells a server that the sessions are not needed any more. Nobody minds if it fails: they time out.
func (c *Client) endSessions(ctx context.Context) {
	idle := c.sessions.drain()
	if len(idle) == 0 {
		return
	}
	b := bsonval.NewBuilder().StartArray("endSessions")
	for _, s := range idle {
		b.Add(bsonval.Document(s.document()))
	}
	t := c.Topology()
	servers := t.suitable(&selector{preference: &ReadPreference{Mode: PrimaryPreferred}, window: c.cfg.LocalThreshold})
	if len(servers) == 0 {
		return
	}
	c.network.Run(ctx, &RequestOnAny{Targets: []Host{servers[0].Host}, Command: Command{
		DB: "admin", Body: b.Build(), Timeout: endSessionsTimeout,
	}})
}

// clusterClock is the highest cluster time any server has told. It is told to the others, so that a deployment's clocks
// move together.
type clusterClock struct{ told atomic.Pointer[clusterTime] }

// clusterTime is a cluster time and the document by which it is told. It is not changed once made.
type clusterTime struct {
	time uint64
	doc  Doc
}

// hear learns from the value of a $clusterTime.
func (c *clusterClock) hear(v bsonval.Value) {
	if v.Type() != bsonval.TypeDocument {
		return
	}
	ts := v.Doc().Lookup("clusterTime")
	if ts.Type() != bsonval.TypeTimestamp {
		return
	}
	for now := uint64(ts.Int64()); now > 0; {
		old := c.told.Load()
		if old != nil && now <= old.time || c.told.CompareAndSwap(old, &clusterTime{now, v.Doc().Clone()}) {
			return
		}
	}
}

// time is the highest cluster time, 0 if there is none.
func (c *clusterClock) time() uint64 {
	if t := c.told.Load(); t != nil {
		return t.time
	}
	return 0
}

// now is the document to send, nil if there is none.
func (c *clusterClock) now() Doc {
	if t := c.told.Load(); t != nil {
		return t.doc
	}
	return nil
}
