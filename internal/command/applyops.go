package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func applyOpsCommand() *Command {
	return &Command{
		Name: "applyOps", Help: "Applies entries of an oplog.", WriteConcern: true, Run: runApplyOps,
		Fields: []Field{
			{Name: "alwaysUpsert", Kind: Bool}, {Name: "allowAtomic", Kind: Bool}, {Name: "bypassDocumentValidation", Kind: SafeBool},
			{Name: "preCondition", Kind: Any, Unsupported: true}, {Name: "oplogApplicationMode", Kind: Any, Unsupported: true},
		},
	}
}

// runApplyOps applies the operations one by one, whatever allowAtomic says: MongoDB does, too.
func runApplyOps(ctx context.Context, c *Call) error {
	if c.First.Type() != bsonval.TypeArray {
		return wrongType("applyOps", "applyOps", c.First.Type(), Array)
	}
	var entries []bsonval.Doc
	it := c.First.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return wrongType("applyOps", "applyOps."+it.KeyStr(), it.Value().Type(), Object)
		}
		entries = append(entries, it.Value().Doc())
	}
	op := c.writeOp(ctx)
	op.KeepEmptyTimestamps = true
	done, err := c.Database().ApplyOps(ctx, op, entries, c.Bool("alwaysUpsert"))
	b := bsonval.NewBuilder().Int32("applied", int32(len(done.Results))).StartArray("results")
	for _, ok := range done.Results {
		b.Bool("", ok)
	}
	b.End()
	if err == nil {
		c.appendFields(b.Build())
		return nil
	}
	if e := mongoerr.As(err); e != nil && len(done.Results) > 0 {
		return e.WithExtra(b.Build())
	}
	return err
}
