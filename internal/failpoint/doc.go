// Package failpoint is the set of fail points of a server: named places in the code that tests make misbehave from
// outside, as in MongoDB's test builds.
//
// A [Point] that is off costs one atomic load. One that is on decides by its mode whether a visit fires; what firing
// means, and which visits count, is the business of whoever owns the place.
//
// # What may be imported
//
// bsonval, mongoerr.
package failpoint
