// Package perf measures the promises of docs/performance.md, side by side in one
// run: the real binary against bare servers that do the least that would do, and
// large data against small. It has tests only:
//
//	ARCHELON_PERF=1 go test ./test/perf -run TestPromises -v -count=1
//
// # How
//
// Both sides are processes of their own with the same listener, connection loop
// and reply writer (package server), so that what differs is the database. The
// clients copy bytes in closed loops over loopback: no driver, no pipelining. Each
// pair runs in short alternating rounds; the ratio is the median of the rounds'
// ratios, which a machine that is busy with something else disturbs least.
package perf
