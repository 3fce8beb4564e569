package pebblestore

import (
	"errors"
	"fmt"
)

// Errors of Open, each wrapped in an [OpenError] that says what to do.
var (
	// ErrLocked: another process, or this one, has the folder open.
	ErrLocked = errors.New("the folder is in use")

	// ErrNotWritable: the folder cannot be created or written.
	ErrNotWritable = errors.New("the folder is not writable")

	// ErrNotAStore: the folder holds files, but no store of ours.
	ErrNotAStore = errors.New("the folder holds other files")

	// ErrNewerFormat: a newer version of the program has written the store.
	ErrNewerFormat = errors.New("the store has a newer format")

	// ErrDamaged: files are missing or their contents fail their checksums.
	ErrDamaged = errors.New("the store is damaged")
)

// OpenError is the error of Open. It unwraps to one of the sentinels above,
// where one fits, and to the cause.
type OpenError struct {
	Dir   string
	Kind  error // one of the sentinels, or nil
	Cause error // nil if the sentinel says it all
	Hint  string
}

func (e *OpenError) Error() string {
	s := fmt.Sprintf("open store %q", e.Dir)
	if e.Kind != nil {
		s += ": " + e.Kind.Error()
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap gives errors.Is and errors.As both the kind and the cause.
func (e *OpenError) Unwrap() []error {
	var errs []error
	if e.Kind != nil {
		errs = append(errs, e.Kind)
	}
	if e.Cause != nil {
		errs = append(errs, e.Cause)
	}
	return errs
}

// FailedError is returned by every commit after the journal has failed or a
// damaged file has been found. After a failed journal the store must be closed
// and opened again; what was acknowledged is on disk.
type FailedError struct {
	Cause error
}

func (e *FailedError) Error() string {
	return "storage failed and accepts no more writes: " + e.Cause.Error()
}

func (e *FailedError) Unwrap() error { return e.Cause }
