package service

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service/internal/shape"
)

// Command says what is known about a command beside its handler. Only Name has to be set.
type Command struct {
	// Name is the name as help and listCommands show it. Clients may write it in any case.
	Name string
	// Aliases are further names.
	Aliases []string
	// Help says what the command does in one sentence.
	Help string
	// AdminOnly commands run against the admin database only.
	AdminOnly bool
	// NoAuth commands run for everybody, without asking Config.Auth and Config.Authorize.
	NoAuth bool
	// SecondaryOK commands run on instances that are not active, see Lease.
	SecondaryOK bool
	// Once commands run once for each pair of lsid and txnNumber, however often a driver sends it: later calls get the
	// first one's result from Config.Results. A handler that returns its context's error, or one with a label that makes
	// drivers retry, says that it had no effect, and runs again. Calls without txnNumber are not counted.
	Once bool
	// Live streams are feeds that wait for news: their cursors are tailable and await data.
	Live bool
	// Request and Reply are schemas, {$jsonSchema: …}, of raw commands; those of others follow from their types.
	Request, Reply bson.Raw
}

// Error is an error with a MongoDB code, as clients see it.
type Error = server.Error

// Code is a MongoDB error code.
type Code = server.Code

// Errorf makes an error with a code and a formatted message. Codes of one's own should be above 10,000,000, where
// MongoDB has none, and can be named with Error.Name.
func Errorf(code Code, format string, args ...any) *Error {
	return server.Errorf(code, format, args...)
}

// Validator is a request that checks itself after it has been decoded. An error without a code becomes BadValue.
type Validator interface{ Validate() error }

// row is a command as the service holds it.
type row struct {
	Command
	// first is what happens to the first field, see Call.parse.
	first firstField
	// run answers a command, open starts a stream; one of them is set.
	run  func(ctx context.Context, c *Call) error
	open func(c *Call) (producer, error)

	// builtin commands are every service's, and may be replaced unless they are fixed.
	builtin, fixed bool
	// direct commands run outside all accounting: they wait for the end of the service.
	direct bool
	// whileDraining commands run when new work is refused.
	whileDraining bool
	apiV1         bool

	counts counts
}

func (r *row) stream() bool { return r.open != nil }

// firstField says how the arguments begin.
type firstField uint8

const (
	firstAsSent    firstField = iota // with the first field as the client wrote it
	firstCanonical                   // with the first field under the command's name
	firstDropped                     // with the second field
)

// producer runs a stream: it calls emit for each document, which fails when nobody wants more.
type producer func(ctx context.Context, emit func(doc bsonval.Doc) error) error

// Handle registers f as a command. Like all registration it panics if the name is taken or the types cannot be
// documents: these are mistakes of the program.
func Handle[Req, Resp any](s *Service, c Command, f func(context.Context, Req) (Resp, error)) {
	in, out := mustShape[Req](c), mustShape[Resp](c)
	s.register(typedRow(c, in, out, &row{run: func(ctx context.Context, call *Call) error {
		var req Req
		if err := call.decode(in, reflect.ValueOf(&req)); err != nil {
			return err
		}
		resp, err := f(ctx, req)
		if err != nil {
			return err
		}
		return call.answer(out, reflect.ValueOf(&resp).Elem())
	}}))
}

// Stream registers f as a command whose results a client reads with a cursor. The sequence runs in a goroutine of its
// own, at most some items ahead of the client, and ends with its first error. Its context ends with the cursor.
func Stream[Req, Item any](s *Service, c Command, f func(context.Context, Req) iter.Seq2[Item, error]) {
	in, out := mustShape[Req](c), mustShape[Item](c)
	s.register(typedRow(c, in, out, &row{open: func(call *Call) (producer, error) {
		var req Req
		if err := call.decode(in, reflect.ValueOf(&req)); err != nil {
			return nil, err
		}
		return func(ctx context.Context, emit func(bsonval.Doc) error) error {
			for item, err := range f(ctx, req) {
				if err != nil {
					return err
				}
				doc, err := out.AppendDoc(nil, reflect.ValueOf(&item).Elem())
				if err != nil {
					return err
				}
				if err := emit(doc); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}}))
}

// HandleRaw registers a command that reads its arguments (Call.Args) and writes its reply (Call.Reply) as bytes.
func (s *Service) HandleRaw(c Command, f func(context.Context, *Call) error) {
	s.register(&row{Command: c, run: f})
}

// StreamRaw is Stream for documents as bytes. The call's arguments stay valid.
func (s *Service) StreamRaw(c Command, f func(context.Context, *Call) iter.Seq2[bson.Raw, error]) {
	s.register(&row{Command: c, open: func(call *Call) (producer, error) {
		return func(ctx context.Context, emit func(bsonval.Doc) error) error {
			for doc, err := range f(ctx, call) {
				if err != nil {
					return err
				}
				if err := bsonval.Validate(bsonval.Doc(doc)); err != nil {
					return err
				}
				if err := emit(bsonval.Doc(doc).Clone()); err != nil {
					return err
				}
			}
			return nil
		}, nil
	}})
}

// typedRow completes a row with what follows from its types.
func typedRow(c Command, in, out *shape.Shape, r *row) *row {
	r.Command = c
	r.Request, r.Reply = bson.Raw(in.Schema(shape.Request)), bson.Raw(out.Schema(shape.Reply))
	for _, name := range in.Fields() {
		if name != c.Name && (isGeneric(name) || r.stream() && isCursorArgument(name)) {
			panic(fmt.Sprintf("service: command %q: the field %q means the same for all commands", c.Name, name))
		}
	}
	switch {
	case in.HasField(c.Name):
		r.first = firstCanonical
	case in.IsStruct():
		r.first = firstDropped
	}
	return r
}

func mustShape[T any](c Command) *shape.Shape {
	s, err := shape.Of(reflect.TypeFor[T]())
	if err != nil {
		panic(fmt.Sprintf("service: command %q: %v", c.Name, err))
	}
	return s
}

// decode reads the arguments into the value that p points to.
func (c *Call) decode(s *shape.Shape, p reflect.Value) error {
	if err := s.Decode(c.row.Name, c.args, p.Elem()); err != nil {
		return err
	}
	v, ok := p.Interface().(Validator)
	if !ok {
		if v, ok = p.Elem().Interface().(Validator); !ok { // the request is a pointer
			return nil
		}
	}
	err := v.Validate()
	if err == nil || mongoerr.As(err) != nil {
		return err
	}
	return mongoerr.New(mongoerr.BadValue, "%s: %v", c.row.Name, err)
}

// answer appends the reply's fields.
func (c *Call) answer(s *shape.Shape, v reflect.Value) error {
	if s.HasField("ok") || !s.IsStruct() {
		d, err := s.AppendDoc(nil, v)
		if err != nil {
			return fmt.Errorf("reply of %s: %w", c.row.Name, err)
		}
		c.reply.AppendDoc(d)
		return nil
	}
	b, err := s.AppendFields(c.reply.Buf, v)
	if err != nil {
		return fmt.Errorf("reply of %s: %w", c.row.Name, err)
	}
	c.reply.Buf = b
	return nil
}
