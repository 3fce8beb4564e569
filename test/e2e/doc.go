// Package e2e holds the end-to-end tests: the real binary, run as a process, used with real drivers and shells.
//
// Each script here is a program of its own that takes a connection string, asserts, and exits non-zero with the name
// of what failed. The tests build the binary, start it, install missing tools ([npm] packages into a cache folder,
// Debian packages when run by root) and run the scripts. Everything is skipped with -short.
//
// It may import the official driver and package harness, nothing of the server.
//
// [npm]: https://www.npmjs.com
package e2e
