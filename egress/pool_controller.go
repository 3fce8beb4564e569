package egress

import "maps"

// Controller decides how many connections a Pool has to each host, and when hosts that nobody uses are dropped. The pool
// calls it under its lock, so it has to be quick and must not call the pool. One controller serves one pool.
type Controller interface {
	// AddHost and RemoveHost tell that the pool has got or dropped a host.
	AddHost(host Host)
	RemoveHost(host Host)
	// UpdateHost tells the state of a host after each change and returns the hosts whose number of connections may have to
	// change because of that.
	UpdateHost(host Host, state HostState) HostGroup
	// Controls returns what the pool has to aim at for a host.
	Controls(host Host) Controls
}

// HostState is the state of one host's pool.
type HostState struct {
	// Requests wait for a connection.
	Requests int
	// Pending connections are being made or refreshed, Available ones idle, Active ones are lent.
	Pending, Available, Active int
	// Expired is set when the host has not been used for the pool's HostTimeout.
	Expired bool
}

// HostGroup is a group of hosts that live and die together.
type HostGroup struct {
	// Hosts are all hosts of the group. Nil means the host that was updated alone.
	Hosts []Host
	// CanShutdown lets the pool drop all hosts of the group.
	CanShutdown bool
}

// Controls are the sizes of one host's pool.
type Controls struct {
	// Target is the number of connections to have, counting those being made.
	Target int
	// MaxConnecting bounds the connections that are being made or refreshed at one time.
	MaxConnecting int
}

// Limits bound the number of connections to one host.
type Limits struct {
	// Min connections are kept open, at most Max are. 0 means none and DefaultMaxConnections.
	Min, Max int
	// MaxConnecting is how many are made at a time. 0 means DefaultMaxConnecting.
	MaxConnecting int
}

// EnsureDefaults fills zero fields.
func (l *Limits) EnsureDefaults() {
	if l.Max <= 0 {
		l.Max = DefaultMaxConnections
	}
	if l.MaxConnecting <= 0 {
		l.MaxConnecting = DefaultMaxConnecting
	}
	l.Min = min(l.Min, l.Max)
}

// wanted is the number of connections that a host with so much to do should have.
func (l *Limits) wanted(s HostState) int { return min(max(s.Requests+s.Active, l.Min), l.Max) }

// limitController treats each host by itself.
type limitController struct {
	limits Limits
	target map[Host]int
}

// NewLimitController returns a controller that gives each host as many connections as it has work for, within limits.
func NewLimitController(l Limits) Controller {
	l.EnsureDefaults()
	return &limitController{limits: l, target: map[Host]int{}}
}

func (c *limitController) AddHost(host Host)    { c.target[host] = c.limits.Min }
func (c *limitController) RemoveHost(host Host) { delete(c.target, host) }

func (c *limitController) UpdateHost(host Host, s HostState) HostGroup {
	c.target[host] = c.limits.wanted(s)
	return HostGroup{CanShutdown: s.Expired}
}

func (c *limitController) Controls(host Host) Controls {
	return Controls{Target: c.target[host], MaxConnecting: c.limits.MaxConnecting}
}

// groupController treats the hosts of a group alike.
type groupController struct {
	limits Limits
	group  func(Host) string
	states map[Host]groupMember
}

type groupMember struct {
	group   string
	target  int
	expired bool
}

// NewGroupController returns a controller for hosts that come in groups, such as the members of a replica set: each
// host of a group gets as many connections as the busiest of them, so that a failover finds them made, and none is
// dropped as long as one is in use. group names the group of a host.
func NewGroupController(l Limits, group func(Host) string) Controller {
	l.EnsureDefaults()
	return &groupController{limits: l, group: group, states: map[Host]groupMember{}}
}

func (c *groupController) AddHost(host Host) {
	c.states[host] = groupMember{group: c.group(host), target: c.limits.Min}
}

func (c *groupController) RemoveHost(host Host) { delete(c.states, host) }

func (c *groupController) UpdateHost(host Host, s HostState) HostGroup {
	m := c.states[host]
	m.target, m.expired = c.limits.wanted(s), s.Expired
	c.states[host] = m
	g := HostGroup{CanShutdown: true}
	for h, other := range maps.All(c.states) {
		if other.group == m.group {
			g.Hosts = append(g.Hosts, h)
			g.CanShutdown = g.CanShutdown && other.expired
		}
	}
	return g
}

func (c *groupController) Controls(host Host) Controls {
	out := Controls{MaxConnecting: c.limits.MaxConnecting}
	for _, m := range c.states {
		if m.group == c.states[host].group {
			out.Target = max(out.Target, m.target)
		}
	}
	return out
}
