package egress

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"
)

// ServerKind is what a server has turned out to be.
type ServerKind string

// The kinds of servers.
const (
	ServerUnknown    ServerKind = "Unknown"
	ServerStandalone ServerKind = "Standalone"
	ServerRouter     ServerKind = "Mongos"
	ServerPrimary    ServerKind = "RSPrimary"
	ServerSecondary  ServerKind = "RSSecondary"
	ServerArbiter    ServerKind = "RSArbiter"
	ServerOther      ServerKind = "RSOther"
	ServerGhost      ServerKind = "RSGhost"
)

// TopologyKind is what a deployment has turned out to be.
type TopologyKind string

// The kinds of deployments.
const (
	TopologyUnknown              TopologyKind = "Unknown"
	TopologySingle               TopologyKind = "Single"
	TopologyReplicaSetNoPrimary  TopologyKind = "ReplicaSetNoPrimary"
	TopologyReplicaSetHasPrimary TopologyKind = "ReplicaSetWithPrimary"
	TopologySharded              TopologyKind = "Sharded"
)

// electionTupleVersion is the wire version (MongoDB 6.0) from which the election id counts before the set's version when
// two primaries are compared.
const electionTupleVersion = 17

// ServerDescription is what is known of a server. It is not changed once made.
type ServerDescription struct {
	Host Host
	Kind ServerKind
	// Err is why the kind is unknown, nil if the server has not been asked yet.
	Err error
	// Hello is what the server told last; nil if the kind is unknown.
	Hello *Hello
	// TopologyVersion is that of Hello or of the error that made the kind unknown.
	TopologyVersion *TopologyVersion
	// RTT is the average time of a round trip.
	RTT time.Duration
	// Updated is when the server was last asked.
	Updated time.Time
}

// describe makes the description of a server that has answered.
func describe(host Host, h *Hello, rtt time.Duration, now time.Time) *ServerDescription {
	d := &ServerDescription{Host: host, Hello: h, TopologyVersion: h.TopologyVersion, RTT: rtt, Updated: now}
	switch {
	case h.ReplicaSetGhost:
		d.Kind = ServerGhost
	case h.Router:
		d.Kind = ServerRouter
	case h.SetName == "":
		d.Kind = ServerStandalone
	case h.Hidden:
		d.Kind = ServerOther
	case h.Writable:
		d.Kind = ServerPrimary
	case h.Secondary:
		d.Kind = ServerSecondary
	case h.ArbiterOnly:
		d.Kind = ServerArbiter
	default:
		d.Kind = ServerOther
	}
	return d
}

// unknownServer makes the description of a server that is not known to work. err may be nil.
func unknownServer(host Host, err error, version *TopologyVersion, now time.Time) *ServerDescription {
	return &ServerDescription{Host: host, Kind: ServerUnknown, Err: err, TopologyVersion: version, Updated: now}
}

// bearsData tells whether commands can be run on the server.
func (s *ServerDescription) bearsData() bool {
	switch s.Kind {
	case ServerStandalone, ServerRouter, ServerPrimary, ServerSecondary:
		return true
	}
	return false
}

// TopologyDescription is what is known of a deployment. It is not changed once made: apply returns a new one.
type TopologyDescription struct {
	Kind    TopologyKind
	SetName string
	Servers map[Host]*ServerDescription
	// Err is set if a server is too old to be talked to.
	Err error

	// hosts are the keys of Servers, sorted.
	hosts []Host
	// routers and primaries are the servers of these kinds, known those that have answered, sorted by host.
	routers, primaries, known []*ServerDescription

	// The highest election id and set version that a primary has told of; they unmask primaries that are none any more.
	maxElectionID [12]byte
	maxSetVersion int64
	hasSetVersion bool
}

// newTopology is the description before any server has been asked.
func newTopology(seeds []Host, setName string, direct bool, now time.Time) *TopologyDescription {
	t := &TopologyDescription{Kind: TopologyUnknown, SetName: setName, Servers: map[Host]*ServerDescription{}}
	switch {
	case direct:
		t.Kind = TopologySingle
	case setName != "":
		t.Kind = TopologyReplicaSetNoPrimary
	}
	t.add(seeds, now)
	t.hosts = sortedHosts(t.Servers)
	return t
}

// Hosts are the servers' names, sorted.
func (t *TopologyDescription) Hosts() []Host { return slices.Clone(t.hosts) }

func sortedHosts[V any](m map[Host]V) []Host { return slices.Sorted(maps.Keys(m)) }

// Primary is the primary of a replica set, nil if none is known.
func (t *TopologyDescription) Primary() *ServerDescription {
	for _, s := range t.Servers {
		if s.Kind == ServerPrimary {
			return s
		}
	}
	return nil
}

// sessionsSupported tells whether all servers that bear data have sessions.
func (t *TopologyDescription) sessionsSupported() bool {
	supported := false
	for _, s := range t.Servers {
		if s.bearsData() {
			if s.Hello.LogicalSessionTimeout == 0 {
				return false
			}
			supported = true
		}
	}
	return supported
}

// apply returns the description after news of a server, following the drivers' specification of server discovery and
// monitoring. News of servers that are not members, and old news, change nothing.
func (t *TopologyDescription) apply(s *ServerDescription) *TopologyDescription {
	old := t.Servers[s.Host]
	if old == nil || old.TopologyVersion.newerThan(s.TopologyVersion) {
		return t
	}
	n := *t
	n.Servers = maps.Clone(t.Servers)
	n.Servers[s.Host] = s
	switch n.Kind {
	case TopologySingle:
		if n.SetName != "" && s.Kind != ServerUnknown && s.Hello.SetName != n.SetName {
			n.Servers[s.Host] = unknownServer(s.Host, badURI("server is of replica set %q, not of %q", s.Hello.SetName, n.SetName),
				s.TopologyVersion, s.Updated)
		}
	case TopologyUnknown:
		n.discover(s)
	case TopologySharded:
		if s.Kind != ServerRouter && s.Kind != ServerUnknown {
			delete(n.Servers, s.Host)
		}
	default:
		n.member(s)
	}
	n.hosts = sortedHosts(n.Servers)
	n.sort()
	n.checkCompatible()
	return &n
}

// sort fills the lists of servers by kind.
func (t *TopologyDescription) sort() {
	t.routers, t.primaries, t.known = nil, nil, nil
	for _, h := range t.hosts {
		d := t.Servers[h]
		if d == nil || d.Kind == ServerUnknown {
			continue
		}
		t.known = append(t.known, d)
		switch d.Kind {
		case ServerRouter:
			t.routers = append(t.routers, d)
		case ServerPrimary:
			t.primaries = append(t.primaries, d)
		}
	}
}

// discover learns from the first server that is known what the deployment is.
func (t *TopologyDescription) discover(s *ServerDescription) {
	switch s.Kind {
	case ServerUnknown, ServerGhost:
	case ServerStandalone:
		if len(t.Servers) == 1 {
			t.Kind = TopologySingle
		} else {
			delete(t.Servers, s.Host)
		}
	case ServerRouter:
		t.Kind = TopologySharded
	default:
		t.Kind = TopologyReplicaSetNoPrimary
		t.member(s)
	}
}

// member learns from a server of a replica set.
func (t *TopologyDescription) member(s *ServerDescription) {
	switch s.Kind {
	case ServerStandalone, ServerRouter:
		delete(t.Servers, s.Host)
	case ServerPrimary:
		t.fromPrimary(s)
	case ServerSecondary, ServerArbiter, ServerOther:
		t.fromMember(s)
	}
	t.Kind = TopologyReplicaSetNoPrimary
	if t.Primary() != nil {
		t.Kind = TopologyReplicaSetHasPrimary
	}
}

// fromPrimary believes a primary that is not outdated: it names the members and displaces other primaries.
func (t *TopologyDescription) fromPrimary(s *ServerDescription) {
	if t.SetName == "" {
		t.SetName = s.Hello.SetName
	} else if t.SetName != s.Hello.SetName {
		delete(t.Servers, s.Host)
		return
	}
	if !t.newestPrimary(s.Hello) {
		t.Servers[s.Host] = unknownServer(s.Host, badURI("primary is outdated: a newer election is known"),
			s.TopologyVersion, s.Updated)
		return
	}
	for h, other := range t.Servers {
		if h != s.Host && other.Kind == ServerPrimary {
			t.Servers[h] = unknownServer(h, badURI("primary is outdated: %s is the newer one", s.Host), nil, s.Updated)
		}
	}
	members := s.Hello.Members()
	t.add(members, s.Updated)
	for h := range t.Servers {
		if !slices.Contains(members, h) {
			delete(t.Servers, h)
		}
	}
}

// newestPrimary tells whether no newer primary is known, and remembers this one.
func (t *TopologyDescription) newestPrimary(h *Hello) bool {
	noID := h.ElectionID == [12]byte{}
	byID := bytes.Compare(h.ElectionID[:], t.maxElectionID[:])
	bySet := cmp.Compare(h.SetVersion, t.maxSetVersion)
	if h.MaxWireVersion >= electionTupleVersion {
		if byID < 0 || byID == 0 && h.HasSetVersion == t.hasSetVersion && bySet < 0 ||
			byID == 0 && !h.HasSetVersion && t.hasSetVersion {
			return false
		}
		t.maxElectionID, t.maxSetVersion, t.hasSetVersion = h.ElectionID, h.SetVersion, h.HasSetVersion
		return true
	}
	if h.HasSetVersion && !noID {
		if t.hasSetVersion && t.maxElectionID != [12]byte{} && (bySet < 0 || bySet == 0 && byID < 0) {
			return false
		}
		t.maxElectionID = h.ElectionID
	}
	if h.HasSetVersion && (!t.hasSetVersion || bySet > 0) {
		t.maxSetVersion, t.hasSetVersion = h.SetVersion, true
	}
	return true
}

// fromMember takes the names of further members from one that is not primary, as long as there is none.
func (t *TopologyDescription) fromMember(s *ServerDescription) {
	hadPrimary := t.Primary() != nil
	if t.SetName == "" && !hadPrimary {
		t.SetName = s.Hello.SetName
	}
	if t.SetName != s.Hello.SetName {
		delete(t.Servers, s.Host)
		return
	}
	if !hadPrimary {
		t.add(s.Hello.Members(), s.Updated)
	}
	if s.Hello.Me != "" && s.Hello.Me != s.Host {
		delete(t.Servers, s.Host) // it has another name, which the members' list has
	}
}

func (t *TopologyDescription) add(hosts []Host, now time.Time) {
	for _, h := range hosts {
		if t.Servers[h] == nil {
			t.Servers[h] = unknownServer(h, nil, nil, now)
		}
	}
}

func (t *TopologyDescription) checkCompatible() {
	t.Err = nil
	for _, h := range t.hosts {
		if s := t.Servers[h]; s.Hello != nil {
			if err := s.Hello.compatible(h); err != nil {
				t.Err = err
			}
		}
	}
}
