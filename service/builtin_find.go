package service

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// findStream answers a find with the cursor of a stream.
func (s *Service) findStream(ctx *opContext, c *Call, r *row, body bsonval.Doc, req findRequest) error {
	nested := &Call{service: s, req: server.NewRequest(c.req.Conn, c.db, body), reply: c.reply, row: r, db: c.db}
	if req.Limit != nil {
		if *req.Limit < 0 {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'limit' value must be >= 0, actual value '%d'", *req.Limit)
		}
		nested.cursor.limit = *req.Limit
	}
	if req.BatchSize != nil {
		if *req.BatchSize < 0 {
			return mongoerr.New(mongoerr.BadValue, "BSON field 'batchSize' value must be >= 0, actual value '%d'", *req.BatchSize)
		}
		nested.cursor.batchSize, nested.cursor.hasBatch = *req.BatchSize, true
	}
	nested.cursor.single = req.SingleBatch
	return s.dispatch(ctx, nested)
}

// findReply answers a find with the reply of a command as its only document. A failed command fails the find, so that
// drivers see the code and the labels.
func (s *Service) findReply(ctx *opContext, c *Call, body bsonval.Doc) error {
	doc, err := server.Call(ctx, s, server.NewRequest(c.req.Conn, c.db, body))
	if err != nil {
		return err
	}
	if e := errorOf(doc); e != nil {
		return e
	}
	b, cursor := bsonval.BeginElement(c.reply.Buf, bsonval.TypeDocument, "cursor")
	b, batch := bsonval.BeginElement(b, bsonval.TypeArray, "firstBatch")
	b = bsonval.AppendElement(b, "0", bsonval.Document(doc))
	b = bsonval.EndDoc(b, batch)
	b = bsonval.AppendElement(b, "id", bsonval.Int64(0))
	b = bsonval.AppendElement(b, "ns", bsonval.String(c.db+".$cmd"))
	c.reply.Buf = bsonval.EndDoc(b, cursor)
	return nil
}
