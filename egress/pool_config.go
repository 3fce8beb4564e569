package egress

import (
	"cmp"
	"context"
	"time"
)

// Defaults of PoolConfig and Limits.
const (
	DefaultMaxConnections     = 100
	DefaultMaxConnecting      = 2
	DefaultMaxWaiting         = 10_000
	DefaultHostTimeout        = 5 * time.Minute
	DefaultRefreshRequirement = time.Minute
	DefaultRefreshTimeout     = 20 * time.Second

	// setupRetry is the pause before connections that nobody waits for are tried again after a failure.
	setupRetry = 5 * time.Second

	// aliveCheckAfter is how long a connection may idle before it is looked at when it is lent.
	aliveCheckAfter = 5 * time.Second
)

// Connection is what a Pool lends. *Conn is one.
type Connection interface {
	// Refresh proves that the other side answers.
	Refresh(ctx context.Context) error
	// Alive tells quickly whether an idle connection is still open.
	Alive() bool
	// Broken tells whether it can be used no more.
	Broken() bool
	// Close closes it. It does not block.
	Close() error
}

// PoolConfig says how a Pool works. Only Connect has to be set.
type PoolConfig struct {
	// Name is told in events.
	Name string
	// Connect makes a connection that is ready for use. It ends when its context does.
	Connect func(ctx context.Context, host Host) (Connection, error)
	// Controller decides how many connections there are. Nil means NewLimitController(Limits{}).
	Controller Controller
	// MaxWaiting bounds the check-outs that wait for a connection, over all hosts; one more fails at once. 0 means
	// DefaultMaxWaiting.
	MaxWaiting int
	// HostTimeout is how long a host is kept of which no connection is asked for or lent. 0 means DefaultHostTimeout.
	HostTimeout time.Duration
	// RefreshRequirement is how long a connection may idle before it is refreshed or, if there are more than the controller
	// wants, closed. 0 means DefaultRefreshRequirement.
	RefreshRequirement time.Duration
	// RefreshTimeout bounds a refresh. 0 means DefaultRefreshTimeout.
	RefreshTimeout time.Duration
	// PauseOnClear makes Clear pause a host's pool, as drivers do that have a monitor: check-outs fail until Ready. Pools
	// then start paused.
	PauseOnClear bool
	// Listener is told what happens, in order. It may call the pool. Nil: nobody is told.
	Listener func(PoolEvent)
	// clearsOnly is set for a Listener that wants to know of EventPoolCleared alone.
	clearsOnly bool
}

// EnsureDefaults fills zero fields.
func (c *PoolConfig) EnsureDefaults() {
	if c.Controller == nil {
		c.Controller = NewLimitController(Limits{})
	}
	c.MaxWaiting = cmp.Or(c.MaxWaiting, DefaultMaxWaiting)
	c.HostTimeout = cmp.Or(c.HostTimeout, DefaultHostTimeout)
	c.RefreshRequirement = cmp.Or(c.RefreshRequirement, DefaultRefreshRequirement)
	c.RefreshTimeout = cmp.Or(c.RefreshTimeout, DefaultRefreshTimeout)
}
