package server

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Posture is what a server presents itself as, which decides how drivers find and use it.
type Posture int

const (
	// Standalone is a single server: no discovery, no failover.
	Standalone Posture = iota
	// ReplicaSet is a member of a set: drivers find its other members and follow its elections.
	ReplicaSet
	// Router is one of several servers of which each is as good as another (`msg: isdbgrid`).
	Router
)

// Role is what a member of a replica set does.
type Role int

const (
	// RolePrimary takes writes.
	RolePrimary Role = iota
	// RoleSecondary serves reads.
	RoleSecondary
	// RoleArbiter votes and has no data.
	RoleArbiter
	// RoleOther is a member that serves nothing right now: it recovers, rolls back or has been removed.
	RoleOther
	// RoleUninitialized is a member without a replica set configuration.
	RoleUninitialized
)

// State is what hello tells about a server. A value given to or got from a Topology is not changed any more.
type State struct {
	Posture Posture

	// The following is for the posture ReplicaSet.

	SetName    string
	SetVersion int32
	Role       Role
	// Hosts, Passives and Arbiters are the members by host:port. No Hosts at all mean a set of one member: hello then
	// names the address that the client reached.
	Hosts, Passives, Arbiters []string
	// Me is this member's host:port. Empty means the address that the client reached.
	Me string
	// Primary is the primary's host:port, empty if none is known. On the primary itself empty means Me.
	Primary string
	// ElectionID grows with each election; only the primary tells it. Zero means that of the first term.
	ElectionID [12]byte
	// Passive members cannot become primary, hidden ones are not to be used by clients.
	Passive, Hidden bool
	// Tags are the member's tags, nil if none.
	Tags Doc

	// Quiescing servers are about to shut down: hello fails with ShutdownInProgress, so that drivers turn elsewhere.
	Quiescing bool
}

// ElectionIDForTerm is the election id of the primary of a term.
func ElectionIDForTerm(term int64) [12]byte {
	id := [12]byte{0x7f, 0xff, 0xff, 0xff}
	binary.BigEndian.PutUint64(id[4:], uint64(term))
	return id
}

// TopologyVersion says how new a State is. Counters of one process compare; those of different ones do not.
type TopologyVersion struct {
	ProcessID [12]byte
	Counter   int64
}

// AppendElement appends the version as a document under the name given: in hello, and in the errors that tell drivers
// of a change of state, it is `topologyVersion`.
func (v TopologyVersion) AppendElement(dst []byte, name string) []byte {
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, name)
	dst = bsonval.AppendElement(dst, "processId", bsonval.ObjectID(v.ProcessID[:]))
	dst = bsonval.AppendElement(dst, "counter", bsonval.Int64(v.Counter))
	return bsonval.EndDoc(dst, at)
}

// Topology is the current State of a server. It may change at any time, which wakes the hellos that wait for that. It is
// safe for concurrent use.
type Topology struct {
	mu      sync.Mutex // serialises writers of current
	current atomic.Pointer[topologySnapshot]
}

// topologySnapshot is immutable but for the closing of changed.
type topologySnapshot struct {
	state   State
	version TopologyVersion
	// changed is closed when a newer snapshot has been published.
	changed chan struct{}
}

// NewTopology returns a topology with an initial state.
func NewTopology(s State) *Topology {
	t := &Topology{}
	first := &topologySnapshot{state: s, changed: make(chan struct{})}
	binary.BigEndian.PutUint32(first.version.ProcessID[:], uint32(time.Now().Unix()))
	rand.Read(first.version.ProcessID[4:])
	t.current.Store(first)
	return t
}

// State returns the current state.
func (t *Topology) State() State { return t.current.Load().state }

// Version returns the version of the current state.
func (t *Topology) Version() TopologyVersion { return t.current.Load().version }

// Update changes the state: change gets a copy to edit, whose slices it replaces rather than edits. The counter goes up
// by one and waiting hellos answer.
func (t *Topology) Update(change func(*State)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.current.Load()
	next := &topologySnapshot{state: old.state, version: old.version, changed: make(chan struct{})}
	next.version.Counter++
	change(&next.state)
	t.current.Store(next)
	close(old.changed)
}
