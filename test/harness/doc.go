// Package harness builds the real binary and runs it as a process of its own for the end-to-end and crash tests.
//
// It may import the official driver and nothing of the server: what it starts must stand on its own.
package harness
