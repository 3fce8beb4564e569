// Package streams follows the real binary with change streams while many writers change it, consumers are killed and
// resumed, and the server ends and starts again: each consumer must see each event once and in order, and nothing that
// the server does not have. It has tests only.
//
// ARCHELON_STREAM_ROUNDS is the number of the server's lives (default 4), ARCHELON_STREAM_SEED what draws them.
//
// It may import the official driver and package harness, nothing of the server.
package streams
