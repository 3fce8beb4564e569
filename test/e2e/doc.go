// Package e2e holds the end-to-end tests: the real binary, run as a process, used with real drivers and shells.
//
// Each script here is a program of its own that takes a connection string, asserts, and exits non-zero with the name
// of what failed. The tests build the binary, start it, install missing tools ([npm] packages into a cache folder,
// Debian packages when run by root) and run the scripts. Everything is skipped with -short.
//
//   - drivers_test.go: mongosh, the Node.js, Python and Go drivers
//   - places_test.go: the tour of the README on its data, and an import with bad lines
//   - clients_test.go: what shells and graphical clients ask on connecting, and what they stumble over
//   - badinput_test.go: messages that are wrong in every way, while other connections work
//   - process_test.go: flags, environment, config file, refusals to start, damaged data, SIGTERM
//   - dump_test.go: mongodump and mongorestore, where they can be had, and the commands they are made of
//
// It may import the official driver and package harness, nothing of the server.
//
// [npm]: https://www.npmjs.com
package e2e
