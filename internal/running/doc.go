// Package running is what a server that executes commands knows of those that run now: the context that ends one of them
// for killOp, at its time limit and with its connection, and the list in which currentOp finds them.
//
// Both are made for every command, so neither allocates in the common case: a Context has no channel until somebody waits
// for it, an Entry is a part of what it lists.
//
// The package imports internal/mongoerr alone.
package running
