package server

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Doc is the bytes of one BSON document.
type Doc = bsonval.Doc

// Code is a MongoDB error code.
type Code = mongoerr.Code

// Error is an error with a MongoDB code, as a client sees it.
type Error = mongoerr.Error

// Errorf makes an error with a MongoDB code and a formatted message.
func Errorf(code Code, format string, args ...any) *Error { return mongoerr.New(code, format, args...) }

// Handler answers commands.
//
// Handle appends the fields of its reply to reply and returns nil, or returns an error, in which case what it appended
// is dropped. The server adds `ok` and closes the document.
//
// The context ends when the client goes away or the server is forced to stop; it is the connection's, so it outlives
// the call only as long as the connection does. req and reply, and all bytes reachable through them, are valid until
// Handle returns. Calls for one connection are sequential; calls for several are concurrent.
type Handler interface {
	Handle(ctx context.Context, req *Request, reply *Reply) error
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, req *Request, reply *Reply) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, req *Request, reply *Reply) error {
	return f(ctx, req, reply)
}

// ErrHangUp is returned by a handler that wants the connection closed without an answer to the request.
var ErrHangUp = errors.New("connection closed instead of an answer")

// Middleware wraps a handler. What it does before calling the inner handler sees the request, what it does after sees
// the reply (Reply.Elements) or the error.
type Middleware func(Handler) Handler

// Chain wraps h so that the first middleware is the outermost.
func Chain(h Handler, middleware ...Middleware) Handler {
	for i := len(middleware) - 1; i >= 0; i-- {
		h = middleware[i](h)
	}
	return h
}
