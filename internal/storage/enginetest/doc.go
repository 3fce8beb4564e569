// Package enginetest is the test suite that every storage engine passes.
//
// An engine's own test calls [Run] with a harness that opens empty stores. The
// suite checks the contract in package storage: order, iterators, isolation,
// unique keys, savepoints, drops, logs, retained states, races, and, with rapid,
// random interleavings of several transactions against a model that is too simple
// to be wrong.
//
// It imports storage and the standard library, testing tools, and no engine.
package enginetest
