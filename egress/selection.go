package egress

import (
	"maps"
	"slices"
	"time"
)

// selector says which servers a command may go to.
type selector struct {
	// preference is that of a read; nil means that the command writes.
	preference *ReadPreference
	// heartbeat and window are the client's.
	heartbeat, window time.Duration
	// avoid are servers that have just failed; they are taken only if there is no other.
	avoid []Host
}

// suitable returns the servers that the command may go to, sorted by host: those that match and are about as near as the
// nearest of them.
func (t *TopologyDescription) suitable(s *selector) []*ServerDescription {
	if len(s.avoid) > 0 {
		rested := *t
		rested.Servers = maps.Clone(t.Servers)
		for _, h := range s.avoid {
			delete(rested.Servers, h)
		}
		rested.sort()
		if out := rested.matching(s); len(out) > 0 {
			return nearest(out, s.window)
		}
	}
	return nearest(t.matching(s), s.window)
}

// matching returns the servers that match, near or far.
func (t *TopologyDescription) matching(s *selector) []*ServerDescription {
	switch t.Kind {
	case TopologyUnknown:
		return nil
	case TopologySingle:
		return t.known
	case TopologySharded:
		return t.routers
	}
	return t.members(s)
}

func (t *TopologyDescription) ofKind(kinds ...ServerKind) []*ServerDescription {
	var out []*ServerDescription
	for _, h := range t.hosts {
		if d := t.Servers[h]; d != nil && slices.Contains(kinds, d.Kind) {
			out = append(out, d)
		}
	}
	return out
}

// members returns the members of a replica set that match a read preference.
func (t *TopologyDescription) members(s *selector) []*ServerDescription {
	primary := t.primaries
	if s.preference == nil {
		return primary
	}
	p := s.preference
	secondaries := func() []*ServerDescription {
		return p.tagged(t.fresh(t.ofKind(ServerSecondary), p.MaxStaleness, s.heartbeat))
	}
	switch p.mode() {
	case Primary:
		return primary
	case PrimaryPreferred:
		if len(primary) > 0 {
			return primary
		}
		return secondaries()
	case Secondary:
		return secondaries()
	case SecondaryPreferred:
		if out := secondaries(); len(out) > 0 {
			return out
		}
		return primary
	}
	return p.tagged(t.fresh(t.ofKind(ServerPrimary, ServerSecondary), p.MaxStaleness, s.heartbeat))
}

// tagged returns the servers that match the first tag set that any matches.
func (p *ReadPreference) tagged(servers []*ServerDescription) []*ServerDescription {
	if len(p.TagSets) == 0 {
		return servers
	}
	for _, set := range p.TagSets {
		var out []*ServerDescription
		for _, d := range servers {
			if d.hasTags(set) {
				out = append(out, d)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

func (s *ServerDescription) hasTags(set map[string]string) bool {
	for k, v := range set {
		if got, ok := s.Hello.Tags[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// fresh drops secondaries that are more than limit behind: behind the primary as of when each was last asked or, without
// a primary, behind the freshest secondary.
func (t *TopologyDescription) fresh(servers []*ServerDescription, limit, heartbeat time.Duration) []*ServerDescription {
	if limit == 0 {
		return servers
	}
	primary := t.Primary()
	var newest time.Time
	for _, s := range t.ofKind(ServerSecondary) {
		if s.Hello.LastWrite.After(newest) {
			newest = s.Hello.LastWrite
		}
	}
	return slices.DeleteFunc(servers, func(s *ServerDescription) bool {
		if s.Kind != ServerSecondary {
			return false
		}
		var staleness time.Duration
		if primary != nil {
			staleness = s.Updated.Sub(s.Hello.LastWrite) - primary.Updated.Sub(primary.Hello.LastWrite) + heartbeat
		} else {
			staleness = newest.Sub(s.Hello.LastWrite) + heartbeat
		}
		return staleness > limit
	})
}

// nearest returns the servers whose round trip takes at most window longer than that of the nearest. It does not change
// the list it is given.
func nearest(servers []*ServerDescription, window time.Duration) []*ServerDescription {
	if len(servers) < 2 {
		return servers
	}
	least := slices.MinFunc(servers, func(a, b *ServerDescription) int { return int(a.RTT - b.RTT) }).RTT
	return slices.DeleteFunc(slices.Clone(servers), func(d *ServerDescription) bool { return d.RTT > least+window })
}
