package egress

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Defaults of ClientConfig, those of all drivers.
const (
	DefaultHeartbeatInterval      = 10 * time.Second
	DefaultServerSelectionTimeout = 30 * time.Second
	DefaultLocalThreshold         = 15 * time.Millisecond

	// minHeartbeat is the least time between two looks at a server, however urgent.
	minHeartbeat = 500 * time.Millisecond
)

// ClientConfig says how a Client finds servers and talks to them. Only Seeds has to be set.
type ClientConfig struct {
	// Seeds are servers of the deployment; the others are found through them.
	Seeds []Host
	// ReplicaSet, if set, is the name of the replica set; servers of others are ignored.
	ReplicaSet string
	// Direct talks to the one seed, whatever it is, and to no other.
	Direct bool
	// Conn says how connections are made.
	Conn ConnConfig
	// Limits bound the connections to each server.
	Limits Limits

	// ReadPreference, ReadConcern and WriteConcern are for commands that have none of their own. Nil concerns add nothing.
	ReadPreference            ReadPreference
	ReadConcern, WriteConcern Doc
	// NoRetryReads and NoRetryWrites switch retries off.
	NoRetryReads, NoRetryWrites bool
	// Timeout bounds each attempt at a command that has no timeout of its own. 0 means the context alone.
	Timeout time.Duration

	// HeartbeatInterval is how often servers are looked at. 0 means DefaultHeartbeatInterval; the least is half a second.
	HeartbeatInterval time.Duration
	// ServerSelectionTimeout is how long a command waits for a suitable server. 0 means DefaultServerSelectionTimeout.
	ServerSelectionTimeout time.Duration
	// LocalThreshold is how much farther than the nearest a server may be to be chosen. 0 means DefaultLocalThreshold.
	LocalThreshold time.Duration
	// Poll makes monitors ask at intervals only, rather than have servers tell of changes.
	Poll bool

	// OnTopology, if set, is told of all news of servers, in order. It is called under the client's lock, so it must not call
	// the client.
	OnTopology func(old, new *TopologyDescription)
	// OnPool is told what happens in the pool of connections.
	OnPool func(PoolEvent)

	// Network and Monitors run commands and hellos. Nil means real networks. The client closes them.
	Network, Monitors Network
}

// EnsureDefaults fills zero fields.
func (c *ClientConfig) EnsureDefaults() {
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, DefaultHeartbeatInterval)
	c.ServerSelectionTimeout = cmp.Or(c.ServerSelectionTimeout, DefaultServerSelectionTimeout)
	c.LocalThreshold = cmp.Or(c.LocalThreshold, DefaultLocalThreshold)
	c.Conn.ConnectTimeout = cmp.Or(c.Conn.ConnectTimeout, DefaultConnectTimeout)
}

// Validate reports everything that is wrong with c.
func (c *ClientConfig) Validate() error {
	var errs []error
	if len(c.Seeds) == 0 {
		errs = append(errs, errors.New("no seeds"))
	}
	if c.Direct && len(c.Seeds) != 1 {
		errs = append(errs, errors.New("a direct connection takes one seed"))
	}
	if c.HeartbeatInterval < minHeartbeat {
		errs = append(errs, fmt.Errorf("heartbeat interval %s is below %s", c.HeartbeatInterval, minHeartbeat))
	}
	errs = append(errs, c.checkPreference(&c.ReadPreference))
	return errors.Join(errs...)
}

// checkPreference refuses a staleness that monitoring cannot tell.
func (c *ClientConfig) checkPreference(p *ReadPreference) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if p.MaxStaleness != 0 && p.MaxStaleness < c.HeartbeatInterval+idleWritePeriod {
		return mongoerr.New(mongoerr.MaxStalenessOutOfRange, "maxStalenessSeconds must be at least heartbeatFrequencyMS plus %s",
			idleWritePeriod)
	}
	return nil
}

// ClientConfig returns the configuration that the connection string describes. It reads the files of the TLS options.
func (u *URI) ClientConfig() (ClientConfig, error) {
	tls, err := u.TLS.Config()
	if err != nil {
		return ClientConfig{}, err
	}
	c := ClientConfig{
		Seeds: u.Hosts, ReplicaSet: u.ReplicaSet, Direct: u.DirectConnection,
		Conn: ConnConfig{
			AppName: u.AppName, ConnectTimeout: u.ConnectTimeout, TLS: tls, Compressors: u.Compressors, Credential: u.Credential(),
		},
		Limits:         Limits{Min: u.MinPoolSize, Max: u.MaxPoolSize, MaxConnecting: u.MaxConnecting},
		ReadPreference: u.ReadPreference, WriteConcern: u.WriteConcern.document(),
		NoRetryReads: u.NoRetryReads, NoRetryWrites: u.NoRetryWrites,
		HeartbeatInterval: u.HeartbeatInterval, ServerSelectionTimeout: u.ServerSelectionTimeout, LocalThreshold: u.LocalThreshold,
		Poll: u.Poll, Timeout: u.SocketTimeout,
	}
	if u.ReadConcernLevel != "" {
		c.ReadConcern = bsonval.NewBuilder().Str("level", u.ReadConcernLevel).Build()
	}
	if u.Timeout > 0 {
		c.Timeout = u.Timeout
	}
	return c, nil
}

// document is the write concern as commands have it, nil if it says nothing.
func (w *WriteConcern) document() Doc {
	if w.W == "" && w.WTimeout == 0 && w.Journal == nil {
		return nil
	}
	b := bsonval.NewBuilder()
	if n, err := strconv.ParseInt(w.W, 10, 32); err == nil {
		b.Int32("w", int32(n))
	} else if w.W != "" {
		b.Str("w", w.W)
	}
	if w.Journal != nil {
		b.Bool("j", *w.Journal)
	}
	if w.WTimeout > 0 {
		b.Int64("wtimeout", w.WTimeout.Milliseconds())
	}
	return b.Build()
}
