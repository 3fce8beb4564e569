// Package wire reads and writes the messages of the MongoDB wire protocol.
//
// A message is a frame: a 16-byte header that declares the frame's whole length, then a body whose layout the
// opcode decides.
//
//	┌──────────┬────────────┬─────────────┬─────────┬─────────────────────┐
//	│ length:4 │ request:4  │ response:4  │ opcode:4│ body: length - 16   │
//	└──────────┴────────────┴─────────────┴─────────┴─────────────────────┘
//	 all integers little endian
//
// The package understands OP_MSG (with checksums and document sequences), OP_QUERY and OP_REPLY (which drivers
// still use for their first hello), and OP_COMPRESSED (snappy, zlib, zstd). The other legacy opcodes are known by
// name only: MongoDB 8 no longer serves them.
//
// # Parsing
//
// Parse methods take a whole frame and fill a struct whose fields are slices of that frame: nothing is copied and
// nothing is allocated. The result is valid as long as the frame's bytes are. Documents are checked as far as
// needed to find their ends (declared length within bounds, closing zero); their elements are not looked at.
//
// # Limits
//
// A frame is at most MaxMessageSize bytes and a header that says otherwise is refused before anything is
// allocated. Buffers grow as bytes arrive, so a sender that declares 48 MB and sends 20 bytes costs a few
// kilobytes. Decompression never produces more than the declared size, and a declared size above the limit is
// refused before a buffer for it exists.
//
// # Errors
//
// Malformed input yields an *Error carrying the code MongoDB answers with; Error.Fatal tells whether MongoDB closes
// the connection (true) or answers and goes on (false).
//
// The package imports the standard library and the compressors only; it has no logger, no connection and no server
// in it.
package wire
