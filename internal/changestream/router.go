package changestream

import (
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/oplog"
)

// Router knows which of many streams an entry concerns. S is what stands for a
// stream.
//
// For each namespace that occurs it keeps the list of all its streams, so that an
// ordinary entry costs one look-up however many streams there are.
type Router[S comparable] struct {
	targets map[Target][]S
	lists   map[string][]S // by namespace; emptied when a stream comes or goes
}

// maxLists bounds Router.lists: many namespaces may be written that hardly recur.
const maxLists = 4096

// NewRouter makes a router without streams.
func NewRouter[S comparable]() *Router[S] {
	return &Router[S]{targets: map[Target][]S{}, lists: map[string][]S{}}
}

// Add adds a stream.
func (r *Router[S]) Add(t Target, s S) {
	r.targets[t] = append(slices.Clip(r.targets[t]), s)
	clear(r.lists)
}

// Remove removes a stream.
func (r *Router[S]) Remove(t Target, s S) {
	var left []S
	for _, x := range r.targets[t] {
		if x != s {
			left = append(left, x)
		}
	}
	if left == nil {
		delete(r.targets, t)
	} else {
		r.targets[t] = left
	}
	clear(r.lists)
}

// Route returns the streams that may have events of an entry, each once. The slice
// must not be written to.
func (r *Router[S]) Route(e *oplog.Entry) []S {
	if len(r.targets) == 0 || e.Kind == oplog.Noop {
		return nil
	}
	if e.Kind != oplog.Command {
		return r.routeOne(e)
	}
	if name, _ := e.Verb(); name != "applyOps" {
		return r.routeCommand(e)
	}
	var (
		out  []S
		seen = map[string]bool{}
		last string
	)
	ops := e.Ops()
	for n := 0; ops.Next(); n++ {
		o := ops.Op()
		if o.Kind == oplog.Command || o.Coll() == viewsColl {
			out = union(out, r.Route(o))
			continue
		}
		if n > 0 && o.NS == last || seen[o.NS] {
			continue
		}
		last = o.NS
		seen[last] = true
		out = union(out, r.routeOne(o))
	}
	return out
}

// routeOne routes an operation on a document.
func (r *Router[S]) routeOne(o *oplog.Entry) []S {
	if o.Coll() != viewsColl {
		return r.list(o.NS)
	}
	if c, ok := readView(o); ok {
		return r.list(c.db + "." + c.coll)
	}
	return nil
}

func (r *Router[S]) routeCommand(o *oplog.Entry) []S {
	c, ok := read(o)
	switch {
	case !ok:
		return nil
	case c.kind == "dropDatabase":
		out := slices.Clip(r.list(c.db + "."))
		for t, streams := range r.targets {
			if t.DB == c.db && t.Coll != "" {
				out = append(out, streams...)
			}
		}
		return out
	case c.to != "":
		return union(r.list(c.db+"."+c.coll), r.list(c.to))
	}
	return r.list(c.db + "." + c.coll)
}

// list is the streams that see a namespace.
func (r *Router[S]) list(ns string) []S {
	if l, ok := r.lists[ns]; ok {
		return l
	}
	if len(r.lists) >= maxLists {
		clear(r.lists)
	}
	var l []S
	if db, coll := splitNS(ns); db != "" && !isInternalDB(db) && !isSystem(coll) {
		db, coll = strings.Clone(db), strings.Clone(coll)
		if coll != "" {
			l = append(l, r.targets[Target{db, coll}]...)
		}
		l = append(append(l, r.targets[Target{DB: db}]...), r.targets[Target{}]...)
	}
	r.lists[strings.Clone(ns)] = slices.Clip(l)
	return l
}

// union joins two lists that must not be written to.
func union[S comparable](a, b []S) []S {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0 || &a[0] == &b[0]:
		return a
	}
	in := make(map[S]bool, len(a))
	for _, s := range a {
		in[s] = true
	}
	out := slices.Clip(a)
	for _, s := range b {
		if !in[s] {
			out = append(out, s)
		}
	}
	return out
}
