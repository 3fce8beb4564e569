package command

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// defaultAwait is how long a getMore waits for new documents if nothing else is asked for.
const defaultAwait = time.Second

// cursorCommands are the commands that work on open cursors.
func cursorCommands() []*Command {
	return []*Command{
		{
			Name: "getMore", Help: "Returns the next documents of a cursor.", First: FirstValue, FirstKind: Long, APIv1: true,
			SecondaryOK: true, InTransaction: true, Transient: true, OwnMaxTime: true,
			Fields: []Field{
				{Name: "collection", Kind: Any, Required: true}, {Name: "batchSize", Kind: Int, NonNegative: true},
				{Name: "term", Kind: Long, Unsupported: true}, {Name: "lastKnownCommittedOpTime", Kind: Object, Unsupported: true},
				{Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
			},
			Run: runGetMore,
		},
		{
			Name: "killCursors", Help: "Closes cursors.", First: FirstCollection, APIv1: true, SecondaryOK: true, InTransaction: true, Transient: true,
			Fields: []Field{{Name: "cursors", Kind: Array, Required: true}}, Run: runKillCursors,
		},
	}
}

// FirstBatch answers with the first documents of a cursor, which stays open if there are more. size < 0 means as many as
// fit.
func (c *Call) FirstBatch(ctx context.Context, cur *database.Cursor, ns string, size int64, single bool) error {
	_, err := c.batch(ctx, cur, "firstBatch", ns, size, single, 0)
	return err
}

// batch answers with documents of a cursor, which waits for them if it has the patience, and says whether the cursor stays
// open.
func (c *Call) batch(ctx context.Context, cur *database.Cursor, name, ns string, size int64, single bool, patience time.Duration,
) (open bool, err error) {
	b, doc := bsonval.BeginElement(c.Reply.Buf, bsonval.TypeDocument, "cursor")
	b, at := bsonval.BeginElement(b, bsonval.TypeArray, name)
	b, _, more, err := cur.AwaitBatch(ctx, b, int(min(size, math.MaxInt32)), patience)
	c.waited += cur.Waited()
	token := cur.ResumeToken()
	if err != nil {
		c.watches = token != nil
		cur.Close()
		return false, err
	}
	b = bsonval.EndDoc(b, at)
	if token != nil {
		b = bsonval.AppendElement(b, "postBatchResumeToken", bsonval.Document(token))
	}
	if t, ok := cur.SnapshotTime(); ok {
		b = appendTimestamp(b, "atClusterTime", t)
	}
	id := int64(0)
	if more && !single {
		id = cur.Park()
	} else {
		cur.Close()
	}
	b = bsonval.AppendElement(b, "id", bsonval.Int64(id))
	b = bsonval.AppendElement(b, "ns", bsonval.String(ns))
	c.Reply.Buf = bsonval.EndDoc(b, doc)
	return id != 0, nil
}

// runGetMore answers with one batch, or, if the client allows it, with a stream of batches until the cursor is closed.
func runGetMore(ctx context.Context, c *Call) error {
	c.Commands.stats.getMores.Add(1)
	v := c.Arg("collection")
	if v.Type() != bsonval.TypeString {
		return wrongType("getMore", "collection", v.Type(), String)
	}
	c.Coll = c.Str("collection")
	if err := CheckCollectionName(c.DB, c.Coll); err != nil {
		return err
	}
	if c.DB == "local" && c.Coll == "oplog.rs" {
		defer c.Commands.stats.oplogGetMores.since(time.Now())
	}
	for {
		open, err := c.getMore(ctx)
		if err != nil || !open || !c.Req.ExhaustAllowed() {
			return err
		}
		c.Reply.OK()
		end := len(c.Reply.Buf)
		if c.Commands.replicated {
			c.Reply.Buf = c.Commands.appendTimes(c.Reply.Buf)
		}
		if err := c.Reply.Send(); errors.Is(err, server.ErrNoExhaust) {
			c.Reply.Buf = c.Reply.Buf[:end] // it is the answer, and goes out as others do
			return nil
		} else if err != nil {
			c.Database().KillCursor(c.First.Int64(), c.Namespace()) // nobody will ask for it
			return err
		}
	}
}

// getMore answers with the next documents of a cursor and says whether it stays open.
func (c *Call) getMore(ctx context.Context) (open bool, err error) {
	owner := ""
	if c.Session != nil {
		owner = c.Session.Owner()
	}
	if err := c.checkCursorUser(c.First.Int64(), false); err != nil {
		return false, err
	}
	cur, err := c.Database().CheckOut(c.First.Int64(), c.Namespace(), owner, c.txn)
	if err != nil {
		return false, err
	}
	c.durable = cur.Durable()
	if c.durable && cur.ResumeToken() == nil { // a stream shows only what is durable
		if err := c.noteGeneration(ctx); err != nil {
			cur.Park()
			return false, err
		}
	}
	if err := c.failGetMore(); err != nil {
		cur.Close()
		return false, err
	}
	patience := defaultAwait
	if !c.generic.maxTimeMS.IsMissing() && cur.AwaitsData() {
		patience = time.Duration(c.MaxTimeMS) * time.Millisecond
	} else if !c.generic.maxTimeMS.IsMissing() {
		cur.Park()
		return false, mongoerr.New(mongoerr.BadValue, "cannot set maxTimeMS on getMore command for a non-awaitData cursor")
	}
	size := c.Int64("batchSize", 0)
	if size == 0 {
		size = -1
	}
	return c.batch(ctx, cur, "nextBatch", c.Namespace().String(), size, false, patience)
}

func runKillCursors(_ context.Context, c *Call) error {
	ids := c.Doc("cursors")
	it := ids.Iter()
	for i := 0; it.Next(); i++ {
		if it.Value().Type() != bsonval.TypeInt64 {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'killCursors.cursors.%d' is the wrong type '%s', expected type 'long'", i, it.Value().Type())
		}
	}
	it = ids.Iter()
	for it.Next() {
		if err := c.checkCursorUser(it.Value().Int64(), true); err != nil {
			return err
		}
	}
	killed, missing := bsonval.NewArrayBuilder(), bsonval.NewArrayBuilder()
	it = ids.Iter()
	for it.Next() {
		if c.Database().KillCursor(it.Value().Int64(), c.Namespace()) {
			killed.Add(it.Value())
		} else {
			missing.Add(it.Value())
		}
	}
	c.Append("cursorsKilled", bsonval.Array(killed.Build()))
	c.Append("cursorsNotFound", bsonval.Array(missing.Build()))
	c.Append("cursorsAlive", bsonval.Array(bsonval.EmptyDoc))
	c.Append("cursorsUnknown", bsonval.Array(bsonval.EmptyDoc))
	return nil
}
