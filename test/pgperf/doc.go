// Package pgperf measures how the engine in PostgreSQL might answer a filter that no
// index serves, in plain SQL, beside the one that it has chosen; and what it saves to
// tell it of conditions that an index leaves to the documents. It has tests only:
//
//	ARCHELON_PERF=1 go test ./test/pgperf -v -count=1
//
// docs/postgres.md has the figures and what follows from them. The engine itself is
// measured by test/perf.
package pgperf
