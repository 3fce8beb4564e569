package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Limits of what evaluating one expression may hold. Without them a few dozen
// bytes of $reduce and $concat take all memory there is.
const (
	// maxValueBytes bounds each value that an expression makes: MongoDB's limit of
	// a buffer.
	maxValueBytes = 64 << 20

	// maxHeldBytes bounds all values together that wait to be used as arguments or
	// variables.
	maxHeldBytes = 256 << 20

	// minHeldBytes is the size from which on a value is counted as held.
	minHeldBytes = 64 << 10
)

// errTooLarge is the error of a value of more than maxValueBytes.
func errTooLarge(t bsonval.Type, n int) error {
	if t == bsonval.TypeString {
		return mongoerr.New(13548, "BufBuilder attempted to grow() to %d bytes, past the 64MB limit.", n)
	}
	return mongoerr.New(mongoerr.ExceededMemoryLimit, "an expression would use too much memory for a value of type %s (%d bytes) "+
		"and cannot spill to disk. Memory limit: %d bytes", t, n, maxValueBytes)
}

// checkSize fails if a value of n bytes is too large.
func checkSize(t bsonval.Type, n int) error {
	if n > maxValueBytes {
		return errTooLarge(t, n)
	}
	return nil
}

// limited is v, or an error if it is too large.
func limited(v bsonval.Value, err error) (bsonval.Value, error) {
	if n := len(v.Bytes()); n > maxValueBytes && err == nil {
		return bsonval.Missing, errTooLarge(v.Type(), n)
	}
	return v, err
}

// hold counts the value of an expression that is kept while others are
// evaluated. What the document or the expression holds anyway does not count.
// Whoever holds restores c.held when the values are used.
func (c *Context) hold(e Expr, v bsonval.Value) error {
	n := len(v.Bytes())
	if n < minHeldBytes {
		return nil
	}
	switch e.(type) {
	case constant, *fieldPath, *varPath, rootDoc:
		return nil
	}
	if c.held += n; c.held > maxHeldBytes {
		return mongoerr.New(mongoerr.ExceededMemoryLimit, "the values of an expression would use too much memory (%d bytes) "+
			"and cannot spill to disk. Memory limit: %d bytes", c.held, maxHeldBytes)
	}
	return nil
}
