// Package pgfaults runs the real binary on a PostgreSQL that misbehaves (killed, cut off, full, forbidding, exhausted)
// and on stores of older formats, and checks through the driver that errors are clear, that nothing acknowledged is
// lost, and that the process recovers by itself.
//
// It may import the official driver and packages harness and pgharness, nothing of the server.
package pgfaults
