package service

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
)

// currentOp lists the running calls; further arguments are a filter.
func (s *Service) currentOp(_ *opContext, c *Call, _ bson.Raw) error {
	filter := bsonval.NewBuilder()
	it := c.args.Iter()
	it.Next() // the command's name
	for it.Next() {
		switch it.KeyStr() {
		case "$all", "$ownOps", "$truncateOps":
			// Nobody has an account, so all operations are one's own, and long commands are always shortened.
		default:
			filter.Value(it.KeyStr(), it.Value())
		}
	}
	docs, err := filterOps(s.currentOps(), filter.Build())
	if err != nil {
		return err
	}
	b := bsonval.NewBuilder().StartArray("inprog")
	for _, d := range docs {
		b.Add(bsonval.Document(d))
	}
	c.reply.AppendDoc(b.End().Build())
	return nil
}

func (s *Service) killOp(_ *opContext, c *Call, req struct {
	Op int64 `bson:"op"`
}) error {
	s.interrupt(running.ErrInterrupted, func(c *Call) bool { return int64(c.op.ID) == req.Op })
	c.append("info", bsonval.String("attempting to kill op"))
	return nil
}

// aggregateRequest is what shells send for db.currentOp().
type aggregateRequest struct {
	Aggregate bson.RawValue `bson:"aggregate"`
	Pipeline  []bson.Raw    `bson:"pipeline"`
	Cursor    bson.Raw      `bson:"cursor,omitempty"`
}

// aggregate answers a $currentOp, and a $match of values that may follow it.
func (s *Service) aggregate(_ *opContext, c *Call, req aggregateRequest) error {
	docs, filter := s.currentOps(), bsonval.EmptyDoc
	for i, stage := range req.Pipeline {
		name, arg, _ := bsonval.Doc(stage).First()
		switch {
		case i == 0 && name == "$currentOp" && arg.Type() == bsonval.TypeDocument:
			if err := checkCurrentOpOptions(arg.Doc()); err != nil {
				return err
			}
		case i == 1 && name == "$match" && arg.Type() == bsonval.TypeDocument:
			filter = arg.Doc()
		default:
			return mongoerr.New(mongoerr.NotImplemented, "stage %d, '%s', is not implemented: a service aggregates $currentOp and a $match only", i, name)
		}
	}
	if v, ok := req.Aggregate.AsInt64OK(); !ok || v != 1 || len(req.Pipeline) == 0 {
		return mongoerr.New(mongoerr.CommandNotSupported, "the service %s has no collections to aggregate", s.name)
	}
	docs, err := filterOps(docs, filter)
	if err != nil {
		return err
	}
	b := bsonval.NewBuilder().StartDoc("cursor").StartArray("firstBatch")
	for _, d := range docs {
		b.Add(bsonval.Document(d))
	}
	c.reply.AppendDoc(b.End().Int64("id", 0).Str("ns", "admin.$cmd.aggregate").End().Build())
	return nil
}

// checkCurrentOpOptions lets those options pass that change nothing where nobody has an account and no transaction is
// open.
func checkCurrentOpOptions(d bsonval.Doc) error {
	it := d.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "allUsers", "idleSessions", "localOps", "truncateOps":
		case "idleConnections", "idleCursors", "backtrace", "targetAllNodes":
			if it.Value().Truthy() {
				return mongoerr.New(mongoerr.NotImplemented, "'$currentOp.%s' is not implemented", it.Key())
			}
		default:
			return mongoerr.New(40415, "BSON field '$currentOp.%s' is an unknown field.", it.Key())
		}
	}
	return nil
}
