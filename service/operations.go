package service

import (
	"fmt"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
)

// operation is what a call is to currentOp and killOp. The fields are set before it is listed and change no more; the
// request's bytes are valid while it is listed.
type operation struct {
	running.Entry[*Call]
	started time.Time
	ctx     opContext
}

// interrupt ends the calls that match with an error for their clients.
func (s *Service) interrupt(e *mongoerr.Error, match func(*Call) bool) {
	s.ops.Each(func(c *Call) {
		if match(c) {
			c.op.ctx.Kill(e)
		}
	})
}

// opTimeFormat is how $currentOp writes times.
const opTimeFormat = "2006-01-02T15:04:05.000+00:00"

// currentOps describes the running calls.
func (s *Service) currentOps() []bsonval.Doc {
	now := time.Now()
	var list []bsonval.Doc
	s.ops.Each(func(c *Call) { list = append(list, s.describe(c, now.Sub(c.op.started).Microseconds())) })
	return list
}

// describe is one call as currentOp shows it. It copies what belongs to the call.
func (s *Service) describe(c *Call, micros int64) bsonval.Doc {
	conn := c.req.Conn
	b := bsonval.NewBuilder().Str("type", "op").Str("host", s.host).Str("desc", fmt.Sprintf("conn%d", conn.ID()))
	b.Int32("connectionId", int32(conn.ID())).Str("client", clientAddress(conn))
	if meta := conn.Metadata(); meta != nil {
		if app := meta.LookupPath("application", "name"); !app.IsMissing() {
			b.Value("appName", app)
		}
		b.Doc("clientMetadata", meta)
	}
	b.Bool("active", true).Str("currentOpTime", c.op.started.UTC().Format(opTimeFormat)).Bool("isFromUserConnection", true)
	b.Int32("opid", c.op.ID)
	if u := conn.User(); u != nil {
		b.StartArray("effectiveUsers").Add(bsonval.Document(bsonval.NewBuilder().Str("user", u.Name).Str("db", u.DB).Build())).End()
	}
	b.Value("lsid", c.generic.get(argLSID))
	b.Int64("secs_running", micros/1e6).Int64("microsecs_running", micros).Str("op", "command").Str("ns", c.db+".$cmd")
	b.Str("service", s.name).Doc("command", shortened(c.req.Body))
	b.Value("comment", c.generic.get(argComment))
	if c.op.ctx.Killed() {
		b.Bool("killPending", true)
	}
	return b.Build()
}

// maxShownCommand is how many bytes of arguments currentOp shows: a list of calls has to fit a reply.
const maxShownCommand = 1 << 10

func shortened(command bsonval.Doc) bsonval.Doc {
	if len(command) <= maxShownCommand {
		return command
	}
	b := bsonval.NewBuilder()
	it := command.Iter()
	for it.Next() {
		if b.Len()+len(it.Raw()) > maxShownCommand {
			b.Str(it.KeyStr(), fmt.Sprintf("<%d bytes>", len(it.Raw())))
			break
		}
		b.Value(it.KeyStr(), it.Value())
	}
	return b.Build()
}

// filterOps returns the documents whose fields have the values that the filter names, by dotted path. Query operators are
// refused: a service has no query language.
func filterOps(docs []bsonval.Doc, filter bsonval.Doc) ([]bsonval.Doc, error) {
	it := filter.Iter()
	for it.Next() {
		name, v := it.KeyStr(), it.Value()
		if strings.HasPrefix(name, "$") {
			return nil, mongoerr.New(mongoerr.NotImplemented, "operator '%s' is not implemented: a service filters by equality", name)
		}
		if v.Type() == bsonval.TypeDocument {
			if op, _, ok := v.Doc().First(); ok && strings.HasPrefix(op, "$") {
				return nil, mongoerr.New(mongoerr.NotImplemented, "operator '%s' is not implemented: a service filters by equality", op)
			}
		}
		kept := docs[:0:0]
		for _, d := range docs {
			if got := d.LookupPath(strings.Split(name, ".")...); !got.IsMissing() && bsonval.Equal(got, v) {
				kept = append(kept, d)
			}
		}
		docs = kept
	}
	return docs, nil
}
