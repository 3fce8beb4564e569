package service

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server/auth"
)

// getMoreRequest is a getMore. The cursor's id has to be a long and nothing else, as in MongoDB.
type getMoreRequest struct {
	GetMore    bson.RawValue `bson:"getMore"`
	Collection string        `bson:"collection"`
	BatchSize  *int64        `bson:"batchSize"`
}

func (s *Service) runGetMore(ctx *opContext, c *Call, req getMoreRequest) error {
	id, ok := req.GetMore.Int64OK()
	if !ok {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'getMore.getMore' is the wrong type '%s', expected type 'long'", bsonval.Type(req.GetMore.Type))
	}
	size := int64(-1)
	if req.BatchSize != nil {
		if *req.BatchSize < 0 {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'batchSize' value must be >= 0, actual value '%d'", *req.BatchSize)
		}
		size = *req.BatchSize
	}
	if size <= 0 {
		size = 1 << 30 // as many as fit a message
	}
	return s.getMore(ctx, c, id, c.db+"."+req.Collection, size)
}

type killCursorsRequest struct {
	KillCursors string          `bson:"killCursors"`
	Cursors     []bson.RawValue `bson:"cursors"`
}

func (s *Service) killCursors(_ *opContext, c *Call, req killCursorsRequest) error {
	killed, missing := bsonval.NewArrayBuilder(), bsonval.NewArrayBuilder()
	for i, v := range req.Cursors {
		if _, ok := v.Int64OK(); !ok {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'killCursors.cursors.%d' is the wrong type '%s', expected type 'long'", i, bsonval.Type(v.Type))
		}
	}
	for _, v := range req.Cursors {
		st := s.cursors.get(v.Int64())
		if st == nil || st.ns() != c.db+"."+req.KillCursors {
			missing.Add(bsonval.Int64(v.Int64()))
			continue
		}
		if err := st.check(c); err != nil && !auth.KillsAnyCursor(c.req.Conn) {
			return err
		}
		s.kill(st)
		killed.Add(bsonval.Int64(v.Int64()))
	}
	c.append("cursorsKilled", bsonval.Array(killed.Build()))
	c.append("cursorsNotFound", bsonval.Array(missing.Build()))
	c.append("cursorsAlive", bsonval.Array(bsonval.EmptyDoc))
	c.append("cursorsUnknown", bsonval.Array(bsonval.EmptyDoc))
	return nil
}

type endSessionsRequest struct {
	Sessions []bson.Raw `bson:"endSessions"`
}

func (s *Service) endSessions(_ *opContext, c *Call, req endSessionsRequest) error {
	ended := map[string]bool{}
	for _, d := range req.Sessions {
		if err := checkLSID(bsonval.Doc(d)); err != nil {
			return err
		}
		if err := checkUser(bsonval.Doc(d), c.User()); err != nil {
			return err
		}
		ended[sessionKey(bsonval.Doc(d), c.User())] = true
	}
	for _, st := range s.cursors.all() {
		if st.owner != "" && ended[st.owner] {
			s.kill(st)
		}
	}
	return nil
}

// findRequest is what a driver sends for find on the collection $cmd.
type findRequest struct {
	Find        string         `bson:"find"`
	Filter      bson.Raw       `bson:"filter,omitempty"`
	Limit       *int64         `bson:"limit"`
	BatchSize   *int64         `bson:"batchSize"`
	SingleBatch bool           `bson:"singleBatch,omitempty"`
	Tailable    bool           `bson:"tailable,omitempty"`
	AwaitData   bool           `bson:"awaitData,omitempty"`
	Rest        map[string]any `bson:",inline"`
}

// find runs the command that is its filter. The reply is the only document of the result; a stream's documents are the
// result's.
func (s *Service) find(ctx *opContext, c *Call, req findRequest) error {
	if req.Find != "$cmd" {
		return mongoerr.New(mongoerr.CommandNotSupported, "the service %s has no collections: find is for commands on '$cmd' only", s.name)
	}
	for name := range req.Rest {
		return mongoerr.New(mongoerr.NotImplemented, "'find.%s' is not implemented for commands", name)
	}
	command := bsonval.Doc(req.Filter)
	if first, v, _ := command.First(); first == "$query" && v.Type() == bsonval.TypeDocument {
		command = v.Doc()
	}
	name, _, ok := command.First()
	if !ok {
		return mongoerr.New(mongoerr.FailedToParse, "the filter names no command")
	}
	r, _ := s.table.find(name)
	switch {
	case r == nil:
		s.unknown.Add(1)
		return s.commandNotFound(name)
	case r.builtin && strings.EqualFold(name, "find"):
		return mongoerr.New(mongoerr.FailedToParse, "find within find")
	case req.Tailable && !r.Live:
		return mongoerr.New(mongoerr.BadValue, "tailable cursor requested for the command %s, which is no live stream", r.Name)
	case req.AwaitData && !req.Tailable:
		return mongoerr.New(mongoerr.FailedToParse, "Cannot set 'awaitData' without also setting 'tailable'")
	}
	body := mergeGeneric(command, c.req.Body)
	if r.stream() {
		return s.findStream(ctx, c, r, body, req)
	}
	return s.findReply(ctx, c, body)
}
