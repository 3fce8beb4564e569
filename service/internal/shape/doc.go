// Package shape compiles a Go type once into what a service needs of it: a decoder that checks a document against the
// type and says what is wrong where, an encoder, and a schema.
//
// The struct tags are those of the official driver (`bson:"name,omitempty,inline,minsize"`), and what the encoder writes
// is what the driver would write. The decoder is stricter: a field is required unless it is a pointer or its tag says
// omitempty; null stands for an absent field, as in MongoDB's commands; unknown and repeated fields are errors, unless an
// inline map takes them. A further tag, `doc:"…"`, becomes the field's description in the schema.
//
// Decoded values may keep slices of the document: the caller hands over bytes that nobody changes any more.
//
// The package imports internal/bsonval, internal/mongoerr and the driver's bson package, for types that it does not
// know itself. It holds no state: a Shape is immutable and safe for concurrent use.
package shape
