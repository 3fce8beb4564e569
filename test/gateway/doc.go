// Package gateway runs `archelon gateway` and the example stack as programs: it kills upstreams, changes routes and
// follows what docs/gateway.md says. It has tests only.
package gateway
