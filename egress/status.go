package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// Doc is the bytes of one BSON document.
type Doc = bsonval.Doc

// Code is a MongoDB error code.
type Code = mongoerr.Code

// Error is an error a remote server answered with: code, message, labels and further fields.
type Error = mongoerr.Error

// Phase says how far a command had come when it failed on this side of the wire.
type Phase uint8

const (
	// PhaseLocal failures happened before anything was sent: no connection was free, the caller gave up, or the pool or
	// the executor was shut down.
	PhaseLocal Phase = iota
	// PhaseHandshake failures happened while a connection was made: dialing, TLS, hello, authentication. The command was
	// not sent.
	PhaseHandshake
	// PhaseCommand failures happened once the command was (perhaps partly) sent: it may have taken effect.
	PhaseCommand
)

// StatusError says that a command has no reply, and why. Servers that hand it to their client answer with its code.
type StatusError struct {
	// Code is the failure in MongoDB's vocabulary: HostUnreachable, NetworkTimeout, CallbackCanceled …
	Code  Code
	Host  Host
	Phase Phase
	// Stale is set if the connection was older than the pool's generation: the failure is of the past and tells nothing
	// new about the host.
	Stale   bool
	Message string
	// Labels are what drivers act on.
	Labels []string
	// Err is the cause, nil if there is no other.
	Err error
}

// Error implements the error interface.
func (e *StatusError) Error() string {
	s := e.Code.Name() + ": " + e.Message
	if e.Host != "" {
		s += " (" + string(e.Host) + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *StatusError) Unwrap() error { return e.Err }

// As lets errors.As find an *Error with the same code, so that servers answer with it.
func (e *StatusError) As(target any) bool {
	t, ok := target.(**mongoerr.Error)
	if ok {
		*t = &mongoerr.Error{Code: e.Code, Message: e.Error(), Labels: slices.Clone(e.Labels)}
	}
	return ok
}

// Timeout tells failures by the clock.
func (e *StatusError) Timeout() bool {
	return e.Code == mongoerr.NetworkTimeout || e.Code == mongoerr.NetworkInterfaceExceededTimeLimit ||
		e.Code == mongoerr.PooledConnectionAcquisitionExceededTimeLimit
}

// Network tells failures of a connection, made or being made, from local ones and from refused credentials.
func (e *StatusError) Network() bool {
	switch e.Code {
	case mongoerr.CallbackCanceled, mongoerr.AuthenticationFailed, mongoerr.IncompatibleServerVersion,
		mongoerr.MechanismUnavailable:
		return false
	}
	return e.Phase != PhaseLocal
}

// statusOf returns the StatusError in err's chain, or nil.
func statusOf(err error) *StatusError {
	if err == nil {
		return nil
	}
	var e *StatusError
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// CodeOf returns the MongoDB code of err, whether it came from a remote server or from this side; 0 if it has none.
func CodeOf(err error) Code {
	if err == nil {
		return 0
	}
	if e := mongoerr.As(err); e != nil {
		return e.Code
	}
	return 0
}

// HasLabel tells whether err carries an error label.
func HasLabel(err error, label string) bool {
	if err == nil {
		return false
	}
	e := mongoerr.As(err)
	return e != nil && slices.Contains(e.Labels, label)
}

func localError(code Code, host Host, format string, args ...any) *StatusError {
	return &StatusError{Code: code, Host: host, Message: fmt.Sprintf(format, args...)}
}

// errorOf makes a StatusError of a failure of I/O or of the protocol. ctx is the one the operation ran under: its end is
// the cause if it has ended.
func errorOf(ctx context.Context, host Host, phase Phase, what string, err error) *StatusError {
	if e := statusOf(err); e != nil {
		return e
	}
	e := &StatusError{Code: mongoerr.HostUnreachable, Host: host, Phase: phase, Message: what, Err: err}
	var protocol *wire.Error
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		e.Code, e.Err = mongoerr.CallbackCanceled, context.Cause(ctx)
	case ctx.Err() != nil:
		e.Code, e.Err = mongoerr.NetworkInterfaceExceededTimeLimit, context.Cause(ctx)
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Code = mongoerr.NetworkTimeout
		if phase == PhaseCommand {
			e.Code = mongoerr.NetworkInterfaceExceededTimeLimit
		}
	case errors.As(err, &protocol):
		e.Code = mongoerr.ProtocolError
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		e.Err = errClosedByPeer
	}
	return e
}

// errClosedByPeer replaces the many ways in which a closed connection shows.
var errClosedByPeer = errors.New("connection closed by peer")

// CommandError returns the error a reply document carries, nil if the command succeeded. It is an *Error; the fields of
// the reply that have no place of their own are in its Extra.
func CommandError(reply Doc) error {
	ok := reply.Lookup("ok")
	if ok.IsNumber() || ok.Type() == bsonval.TypeBool {
		if ok.Truthy() {
			return nil
		}
	} else if reply.Lookup("$err").IsMissing() {
		return mongoerr.New(mongoerr.CommandResultSchemaViolation, "reply without an 'ok' field of type number")
	}
	e := &mongoerr.Error{Code: mongoerr.UnknownError}
	extra, at := bsonval.BeginDoc(nil)
	it := reply.Iter()
	for it.Next() {
		switch v := it.Value(); it.KeyStr() {
		case "ok":
		case "codeName":
			if v.Type() == bsonval.TypeString {
				e.Name = string(v.Bytes())
			}
		case "code":
			if n, ok := v.AsInt64(); ok {
				e.Code = Code(n)
			}
		case "errmsg", "$err":
			if v.Type() == bsonval.TypeString {
				e.Message = string(v.Bytes())
			}
		case "errorLabels":
			if v.Type() == bsonval.TypeArray {
				for l := v.Doc().Iter(); l.Next(); {
					if l.Value().Type() == bsonval.TypeString {
						e.Labels = append(e.Labels, string(l.Value().Bytes()))
					}
				}
			}
		default:
			extra = append(extra, it.Raw()...)
		}
	}
	if e.Name == e.Code.Name() {
		e.Name = ""
	}
	if len(extra) > 4 {
		e.Extra = bsonval.EndDoc(extra, at)
	}
	return e
}
