package simnet

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server"
)

// Handler answers the commands sent to a host: with a reply document, which says itself whether the command succeeded,
// or with false to cut the connection.
type Handler func(ctx context.Context, req *egress.Request) (egress.Doc, bool)

// Serve makes a Handler of the handler of a server.
func Serve(h server.Handler) Handler {
	return func(ctx context.Context, req *egress.Request) (egress.Doc, bool) {
		doc, _ := server.Call(ctx, h, server.NewRequest(nil, req.DB, req.Document()))
		return doc, ctx.Err() == nil
	}
}

// Link is the way from one place to another. The zero Link is perfect.
type Link struct {
	// Delay is how long a message takes; Jitter is added by chance, between none and all of it.
	Delay, Jitter time.Duration
	// Loss is the chance, 0 to 1, that the connection breaks under a message.
	Loss float64
}

// route is a pair of places, in the direction of the message.
type route struct{ from, to egress.Host }

// Network is a simulated network. It is safe for concurrent use.
type Network struct {
	mu     sync.Mutex // guards the fields below
	rand   *rand.Rand
	hosts  map[egress.Host]*host
	links  map[route]Link
	drops  map[route]int // messages that are to be lost next
	part   map[egress.Host]int
	timers []*time.Timer
	// change is closed when a partition or a host changes, and replaced.
	change chan struct{}
}

type host struct {
	handler Handler
	down    bool
	stalled bool
}

// New makes a network without hosts. The seed decides what is left to chance.
func New(seed uint64) *Network {
	return &Network{
		rand: rand.New(rand.NewPCG(seed, seed)), hosts: map[egress.Host]*host{}, links: map[route]Link{},
		drops: map[route]int{}, part: map[egress.Host]int{}, change: make(chan struct{}),
	}
}

// edit changes the network and wakes who waits for a change.
func (n *Network) edit(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.change)
	n.change = make(chan struct{})
}

// editHost changes a host; one that was never added is down anyway.
func (n *Network) editHost(name egress.Host, f func(*host)) {
	n.edit(func() {
		if h := n.hosts[name]; h != nil {
			f(h)
		}
	})
}

// AddHost adds a host or replaces its handler.
func (n *Network) AddHost(name egress.Host, h Handler) {
	n.edit(func() { n.hosts[name] = &host{handler: h} })
}

// Kill takes a host down: commands that run on it fail and new ones are refused.
func (n *Network) Kill(name egress.Host) { n.editHost(name, func(h *host) { h.down = true }) }

// Revive undoes Kill and Stall.
func (n *Network) Revive(name egress.Host) {
	n.editHost(name, func(h *host) { h.down, h.stalled = false, false })
}

// Stall makes a host take commands and answer none.
func (n *Network) Stall(name egress.Host) { n.editHost(name, func(h *host) { h.stalled = true }) }

// SetLink sets the link between two places, in both directions.
func (n *Network) SetLink(a, b egress.Host, l Link) {
	n.edit(func() { n.links[route{a, b}], n.links[route{b, a}] = l, l })
}

// Lose makes the next messages from one place to another break their connection. Messages to a host are lost before it
// sees them, those from a host after it has done the work.
func (n *Network) Lose(from, to egress.Host, messages int) {
	n.edit(func() { n.drops[route{from, to}] = messages })
}

// Partition cuts the network into groups: messages between places of different groups vanish. Places that are in none
// form a group of their own.
func (n *Network) Partition(groups ...[]egress.Host) {
	n.edit(func() {
		clear(n.part)
		for i, g := range groups {
			for _, h := range g {
				n.part[h] = i + 1
			}
		}
	})
}

// Heal undoes Partition.
func (n *Network) Heal() { n.edit(func() { clear(n.part) }) }

// At runs a step of the script when the time given has passed.
func (n *Network) At(after time.Duration, step func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.timers = append(n.timers, time.AfterFunc(after, step))
}

// Stop drops the steps of the script that have not been run.
func (n *Network) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.timers {
		t.Stop()
	}
}

// verdict is what becomes of a message.
type verdict int

const (
	delivered verdict = iota
	refused           // the host is down
	swallowed         // partition or stall: nothing comes back
)

// look judges a message between a client's place and a host as things are now, and returns what tells of a change.
func (n *Network) look(client, server egress.Host) (verdict, Handler, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[server]
	switch {
	case n.part[client] != n.part[server]:
		return swallowed, nil, n.change
	case h == nil || h.down:
		return refused, nil, n.change
	case h.stalled:
		return swallowed, nil, n.change
	}
	return delivered, h.handler, n.change
}

// travel returns how long a message takes and whether it is lost.
func (n *Network) travel(from, to egress.Host) (time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := route{from, to}
	l := n.links[r]
	d := l.Delay
	if l.Jitter > 0 {
		d += time.Duration(n.rand.Int64N(int64(l.Jitter)))
	}
	lost := l.Loss > 0 && n.rand.Float64() < l.Loss
	if n.drops[r] > 0 {
		n.drops[r]--
		lost = true
	}
	return d, lost
}
