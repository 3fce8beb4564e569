package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/session"
)

// The outcome of a findAndModify is its reply, or, if it has changed a document,
//
//	{lastErrorObject, [value], imageKind: "preImage" | "postImage", image, after}
//
// image is the whole document from before or after the change. It is the value of the reply too unless that is there,
// which a projection made. after is a time before that of the write's entry in the oplog and close to it: the entry's own
// is not known before the commit.

// foundOutcome is the outcome of a findAndModify that is about to commit.
func (c *Call) foundOutcome(s *database.FindAndModify, res *database.FindAndModifyResult) bsonval.Doc {
	if res.Image == nil {
		return foundReply(s, res)
	}
	b, image := lastError(s, res), res.Value
	if res.Image.Doc != nil {
		b.Doc("value", res.Value)
		image = res.Image.Doc
	}
	return b.Str("imageKind", res.Image.Kind).Doc("image", image).Value("after", bsonval.TimestampBits(c.Commands.justBefore())).Build()
}

// justBefore is a time before that of all commits to come: that of the newest one, or a second ago if that is later.
func (cs *Commands) justBefore() uint64 {
	return max(cs.clock.Applied(), uint64(cs.cfg.Now().Unix()-1)<<32)
}

// checkFoundRetry refuses the retry of a findAndModify that is not the one of the outcome.
func (c *Call) checkFoundRetry(s *database.FindAndModify, outcome bsonval.Doc) error {
	last, kind := outcome.Lookup("lastErrorObject"), outcome.Lookup("imageKind").Str()
	was, code := "u", mongoerr.Code(0)
	switch {
	case last.Type() != bsonval.TypeDocument:
		was, code = "another command", 40609
	case last.Doc().Lookup("updatedExisting").IsMissing():
		was = "d"
		if !s.Remove {
			code = 40606
		}
	case !last.Doc().Lookup("upserted").IsMissing():
		was = "i"
		if !s.Upsert {
			code = 40608
		}
	case s.Remove:
		code = 40609
	case s.New && kind == oplog.PreImage:
		return mongoerr.New(40611, "findAndModify retry request: %s wants the document after update returned, but only before "+
			"update document is stored", bsonval.FormatDoc(c.Req.Body))
	case !s.New && kind == oplog.PostImage:
		return mongoerr.New(40612, "findAndModify retry request: %s wants the document before update returned, but only after "+
			"update document is stored", bsonval.FormatDoc(c.Req.Body))
	}
	if code == 0 {
		return nil
	}
	return mongoerr.New(code, "findAndModify retry request: %s is not compatible with previous write in the transaction of type: %s",
		bsonval.FormatDoc(c.Req.Body), was)
}

// appendFound appends the reply that an outcome stands for.
func (c *Call) appendFound(outcome bsonval.Doc) {
	value := outcome.Lookup("value")
	if value.IsMissing() {
		value = outcome.Lookup("image")
	}
	c.Append("lastErrorObject", outcome.Lookup("lastErrorObject"))
	c.Append("value", value)
}

// retryImages are the documents of config.image_collection: the images of the findAndModifies that can be retried and are
// in the oplog still.
func (cs *Commands) retryImages(ctx context.Context) (docs []bsonval.Doc, err error) {
	type kept struct {
		lsid    bsonval.Doc
		number  int64
		outcome bsonval.Doc
	}
	var all []kept
	err = cs.cfg.Sessions.Outcomes(ctx, func(o session.Outcome) bool {
		if d := bsonval.Doc(o.Outcome); len(d) > 5 && !d.Lookup("imageKind").IsMissing() {
			all = append(all, kept{o.LSID, o.TxnNumber, d.Clone()})
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, k := range all {
		ts, err := cs.cfg.DB.ImagedEntry(ctx, k.lsid, k.number, uint64(k.outcome.Lookup("after").Int64()))
		if err != nil {
			return nil, err
		}
		if ts == 0 {
			continue
		}
		docs = append(docs, bsonval.NewBuilder().Doc("_id", k.lsid).Int64("txnNum", k.number).
			Value("ts", bsonval.TimestampBits(ts)).Value("imageKind", k.outcome.Lookup("imageKind")).
			Value("image", k.outcome.Lookup("image")).Bool("invalidated", false).Build())
	}
	return docs, nil
}
