package history

import (
	"fmt"
	"slices"
	"strings"
)

// graph is the dependencies between transactions. Snapshot isolation holds if
// no cycle is left when each dependency that says "misses" (reads what the other
// one overwrites) is taken together with one that says "sees" before it: in a
// cycle that snapshot isolation allows, two of the first kind follow each
// other.
//
// So each transaction has two nodes: as the end of any dependency, and as a
// reader that has come after another and may now miss somebody.
type graph struct {
	txns  int
	edges [][]int32
}

func newGraph(r *record) *graph {
	return &graph{txns: len(r.txns), edges: make([][]int32, 2*len(r.txns))}
}

func (g *graph) reader(i int) int { return g.txns + i }

// moment adds a node that is no transaction.
func (g *graph) moment() int {
	g.edges = append(g.edges, nil)
	return len(g.edges) - 1
}

func (g *graph) after(a, b int) { g.edges[a] = append(g.edges[a], int32(b)) }

// sees notes that transaction b, which is not a moment, comes after a.
func (g *graph) sees(a, b int) {
	if a != b {
		g.after(a, b)
		g.after(a, g.reader(b))
	}
}

// misses notes that a did not see b.
func (g *graph) misses(a, b int) {
	if a != b {
		g.after(g.reader(a), b)
	}
}

// cycle returns the nodes of a cycle, or nil.
func (g *graph) cycle() []int {
	const (
		fresh = iota
		open
		done
	)
	state := make([]uint8, len(g.edges))
	next := make([]int32, len(g.edges)) // the edge to follow
	var path []int
	for start := range g.edges {
		if state[start] != fresh {
			continue
		}
		path = append(path[:0], start)
		state[start] = open
		for len(path) > 0 {
			n := path[len(path)-1]
			if int(next[n]) == len(g.edges[n]) {
				state[n] = done
				path = path[:len(path)-1]
				continue
			}
			to := int(g.edges[n][next[n]])
			next[n]++
			switch state[to] {
			case fresh:
				state[to] = open
				path = append(path, to)
			case open:
				return path[slices.Index(path, to):]
			}
		}
	}
	return nil
}

// describe lists the transactions of a cycle.
func (r *record) describe(cycle []int) string {
	var b strings.Builder
	n := len(r.txns)
	for _, node := range cycle {
		switch {
		case node < n:
			fmt.Fprintf(&b, "\n  %v", r.txns[node])
		case node < 2*n:
			fmt.Fprintf(&b, "\n  %v\n    which did not see", r.txns[node-n])
		default:
			if s := b.String(); !strings.HasSuffix(s, "earlier than") {
				b.WriteString("\n    earlier than")
			}
		}
	}
	return b.String()
}
