package wire

import "fmt"

// Codes that MongoDB answers malformed messages with.
const (
	codeUnauthorized             = 13
	codeProtocolError            = 17
	codeInvalidBSON              = 22
	codeIllegalOpMsgFlag         = 223
	codeTooManyDocumentSequences = 233
	codeChecksumMismatch         = 288
	codeBSONObjectSize           = 10334
	codeBadNumberToReturn        = 16979
	codeMultipleBodies           = 40430
	codeDuplicateSequence        = 40431
	codeUnknownSectionKind       = 40432
	codeSequenceAlsoInBody       = 40433
	codeNoBody                   = 40587
)

// Error says why a message is malformed.
type Error struct {
	// Code is the error code MongoDB reports.
	Code int32
	// Message is the text for the client, in MongoDB's words where it has some.
	Message string
	// Fatal is set when the connection cannot go on: the boundaries of the message, or what the client expects
	// back, are unknown. MongoDB then closes the connection without an answer.
	Fatal bool
}

// Error implements the error interface.
func (e *Error) Error() string { return e.Message }

func errorf(code int32, fatal bool, format string, args ...any) *Error {
	return &Error{Code: code, Fatal: fatal, Message: fmt.Sprintf(format, args...)}
}

var (
	errTruncated      = &Error{Code: codeProtocolError, Fatal: true, Message: "message is shorter than its header declares"}
	errTruncatedBody  = &Error{Code: codeInvalidBSON, Message: "message ends within a section"}
	errUnterminated   = &Error{Code: codeInvalidBSON, Message: "string in message is not terminated"}
	errTruncatedQuery = &Error{Code: codeProtocolError, Fatal: true, Message: "OP_QUERY ends early"}
	errTruncatedReply = &Error{Code: codeProtocolError, Fatal: true, Message: "OP_REPLY ends early"}
)
