package mongoerr

import (
	"errors"
	"fmt"
)

// Code is a MongoDB error code
// (https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml).
// Codes without a name of their own are "location" codes.
type Code int32

// Name returns the code's name: "BadValue", or "Location40415" for location codes.
func (c Code) Name() string {
	if n, ok := codeNames[c]; ok {
		return n
	}
	return fmt.Sprintf("Location%d", int32(c))
}

// Error labels that drivers act on.
const (
	LabelTransientTransaction     = "TransientTransactionError"
	LabelUnknownTransactionCommit = "UnknownTransactionCommitResult"
	LabelRetryableWrite           = "RetryableWriteError"
	LabelSystemOverloaded         = "SystemOverloadedError"
	LabelRetryable                = "RetryableError"
	LabelNonResumableChangeStream = "NonResumableChangeStreamError"
	LabelResumableChangeStream    = "ResumableChangeStreamError"
)

// Error is an error with a MongoDB code, as a client sees it.
type Error struct {
	Code    Code
	Message string
	Labels  []string

	// Name is the name of a code that is not MongoDB's. Empty means Code.Name.
	Name string

	// Extra is BSON of further reply fields (keyPattern and keyValue of a
	// duplicate key, errInfo of a failed validation): the elements of a whole
	// document. Nil for most errors.
	Extra []byte
}

// New makes an error with a formatted message.
func New(code Code, format string, args ...any) *Error {
	if len(args) == 0 {
		return &Error{Code: code, Message: format}
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string { return e.Message }

// CodeName is the name of the error's code.
func (e *Error) CodeName() string {
	if e.Name != "" {
		return e.Name
	}
	return e.Code.Name()
}

// WithLabels returns a copy of e with labels added.
func (e *Error) WithLabels(labels ...string) *Error {
	c := *e
	c.Labels = append(append([]string(nil), e.Labels...), labels...)
	return &c
}

// WithExtra returns a copy of e with further reply fields, a BSON document.
func (e *Error) WithExtra(doc []byte) *Error {
	c := *e
	c.Extra = doc
	return &c
}

// Wrap returns a copy of e with a prefix before its message.
func (e *Error) Wrap(prefix string) *Error {
	c := *e
	c.Message = prefix + e.Message
	return &c
}

// As returns the *Error in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Is says whether err carries the code.
func Is(err error, code Code) bool {
	e := As(err)
	return e != nil && e.Code == code
}
