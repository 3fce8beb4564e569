package egress

import "sync"

// Tag is a set of marks on a host, one bit each. What a bit means is up to the program: "known from the configuration",
// "member of the own replica set", "speaks the newest protocol".
type Tag uint32

// TagCloser drops connections by the tags of their hosts. A Pool is one.
type TagCloser interface {
	// DropConnections drops all connections to hosts that have none of the tags.
	DropConnections(keep Tag)
	// DropTagged drops all connections to hosts that have one of the tags.
	DropTagged(drop Tag)
	// DropHost drops all connections to a host.
	DropHost(host Host)
	// MutateTags changes the tags of a host that is known.
	MutateTags(host Host, change func(Tag) Tag)
}

var _ TagCloser = (*Pool)(nil)

// TagCloserManager passes calls on to all closers of a process, so that who learns something about a host need not know
// the pools. It is safe for concurrent use; the zero value is ready.
type TagCloserManager struct {
	mu      sync.Mutex // guards the field below
	closers map[TagCloser]struct{}
}

var _ TagCloser = (*TagCloserManager)(nil)

// Add adds a closer, Remove removes it.
func (m *TagCloserManager) Add(c TagCloser) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closers == nil {
		m.closers = map[TagCloser]struct{}{}
	}
	m.closers[c] = struct{}{}
}

// Remove removes a closer.
func (m *TagCloserManager) Remove(c TagCloser) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.closers, c)
}

func (m *TagCloserManager) each(f func(TagCloser)) {
	m.mu.Lock()
	all := make([]TagCloser, 0, len(m.closers))
	for c := range m.closers {
		all = append(all, c)
	}
	m.mu.Unlock()
	for _, c := range all {
		f(c)
	}
}

// DropConnections implements TagCloser.
func (m *TagCloserManager) DropConnections(keep Tag) {
	m.each(func(c TagCloser) { c.DropConnections(keep) })
}

// DropTagged implements TagCloser.
func (m *TagCloserManager) DropTagged(drop Tag) { m.each(func(c TagCloser) { c.DropTagged(drop) }) }

// DropHost implements TagCloser.
func (m *TagCloserManager) DropHost(host Host) { m.each(func(c TagCloser) { c.DropHost(host) }) }

// MutateTags implements TagCloser.
func (m *TagCloserManager) MutateTags(host Host, change func(Tag) Tag) {
	m.each(func(c TagCloser) { c.MutateTags(host, change) })
}

// DropConnections implements TagCloser.
func (p *Pool) DropConnections(keep Tag) {
	p.dropWhere(func(hp *hostPool) bool { return hp.tags&keep == 0 })
}

// DropTagged implements TagCloser.
func (p *Pool) DropTagged(drop Tag) {
	p.dropWhere(func(hp *hostPool) bool { return hp.tags&drop != 0 })
}

// DropHost implements TagCloser.
func (p *Pool) DropHost(host Host) {
	p.dropWhere(func(hp *hostPool) bool { return hp.host == host })
}

// MutateTags implements TagCloser.
func (p *Pool) MutateTags(host Host, change func(Tag) Tag) {
	p.mu.Lock()
	defer p.unlock()
	if hp := p.hosts[host]; hp != nil {
		hp.tags = change(hp.tags)
	}
}

func (p *Pool) dropWhere(drop func(*hostPool) bool) {
	p.mu.Lock()
	defer p.unlock()
	for _, hp := range p.hosts {
		if drop(hp) {
			hp.dropLocked()
		}
	}
}
