package gateway

import (
	"maps"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/egress"
)

// table is a Table with its upstreams open. It is not changed once made.
type table struct {
	upstreams map[string]*upstream
	routes    []route
	// several is set if commands can go to more than one upstream.
	several bool
}

type route struct {
	databases, collections, commands Patterns
	to                               *upstream
	preference                       *egress.ReadPreference
}

func sortedNames[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// matches tells whether the name matches one of the patterns.
func (p Patterns) matches(name string, fold bool) bool {
	if len(p) == 0 {
		return true
	}
	for _, pattern := range p {
		if glob(pattern, name, fold) {
			return true
		}
	}
	return false
}

// glob matches a pattern whose only special character is `*`.
func glob(pattern, name string, fold bool) bool {
	same := func(a, b string) bool { return a == b || fold && strings.EqualFold(a, b) }
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return same(pattern, name)
	}
	if len(name) < len(head) || !same(head, name[:len(head)]) {
		return false
	}
	name = name[len(head):]
	for {
		part, more, again := strings.Cut(rest, "*")
		if !again {
			return len(name) >= len(part) && same(part, name[len(name)-len(part):])
		}
		at := 0
		for ; ; at++ {
			if at+len(part) > len(name) {
				return false
			}
			if same(part, name[at:at+len(part)]) {
				break
			}
		}
		name, rest = name[at+len(part):], more
	}
}

// find returns the route of a command, nil if there is none. The collection is empty for commands that have none.
func (t *table) find(database, collection, command string) *route {
	for i := range t.routes {
		r := &t.routes[i]
		if r.databases.matches(database, false) && r.collections.matches(collection, false) && r.commands.matches(command, true) {
			return r
		}
	}
	return nil
}

// stores tells routes that finds can take: their upstreams have data to list.
func (r *route) stores() bool { return r.commands.matches("find", true) }

// owners are the upstreams that can have collections of a database, in the order of the routes.
func (t *table) owners(database string) []*upstream {
	var out []*upstream
	for i := range t.routes {
		r := &t.routes[i]
		if !r.stores() || !r.databases.matches(database, false) {
			continue
		}
		if !slices.Contains(out, r.to) {
			out = append(out, r.to)
		}
		if len(r.collections) == 0 {
			break
		}
	}
	return out
}

// stores are the upstreams that can have data.
func (t *table) stores() []*upstream {
	var out []*upstream
	for i := range t.routes {
		if r := &t.routes[i]; r.stores() && !slices.Contains(out, r.to) {
			out = append(out, r.to)
		}
	}
	return out
}

// all are the upstreams, sorted by name.
func (t *table) all() []*upstream {
	var out []*upstream
	for _, name := range sortedNames(t.upstreams) {
		out = append(out, t.upstreams[name])
	}
	return out
}
