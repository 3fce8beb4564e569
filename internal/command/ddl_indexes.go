package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func indexCommands() []*Command {
	return []*Command{
		{
			Name: "createIndexes", Help: "Creates indexes on a collection.", First: FirstCollection, APIv1: true, WriteConcern: true,
			InTransaction: true,
			Fields: []Field{
				{Name: "indexes", Kind: Array, Required: true}, {Name: "ignoreUnknownIndexOptions", Kind: SafeBool},
				{Name: "commitQuorum", Kind: IntOrString}, {Name: "collectionUUID", Kind: UUID},
			},
			Run: runCreateIndexes,
		},
		{
			Name: "dropIndexes", Aliases: []string{"deleteIndexes"}, Help: "Drops indexes of a collection.", First: FirstCollectionOrUUID,
			APIv1: true, WriteConcern: true, Run: runDropIndexes,
			Fields: []Field{{Name: "index", Kind: Any, Required: true}, {Name: "collectionUUID", Kind: UUID}},
		},
		{
			Name: "reIndex", Help: "Builds all indexes of a collection again; on a standalone only.", First: FirstCollection, Run: runReIndex,
		},
	}
}

// checkCommitQuorum says whether a commit quorum can be reached. There is one voting member.
func (c *Call) checkCommitQuorum() (bsonval.Value, error) {
	v := c.Arg("commitQuorum")
	if v.IsMissing() {
		return bsonval.String("votingMembers"), nil
	}
	if !c.Commands.replicated {
		return v, mongoerr.New(mongoerr.BadValue, "Standalones can't specify commitQuorum")
	}
	if v.Type() == bsonval.TypeString {
		if s := v.Str(); s != "votingMembers" && s != "majority" {
			return v, mongoerr.New(mongoerr.UnsatisfiableCommitQuorum,
				"Commit quorum cannot be satisfied with the current replica set configuration: no tag '%s'", s)
		}
		return v, nil
	}
	switch n := v.TruncInt64(); {
	case n < 0 || n > maxReplicas:
		return v, mongoerr.New(mongoerr.FailedToParse, "commitQuorum has to be a non-negative number and not greater than %d", maxReplicas)
	case n > 1:
		return v, mongoerr.New(mongoerr.UnsatisfiableCommitQuorum,
			"Commit quorum cannot be satisfied with the current replica set configuration: %d of 1 members", n)
	}
	return v, nil
}

func runCreateIndexes(ctx context.Context, c *Call) error {
	quorum, err := c.checkCommitQuorum()
	if err != nil {
		return err
	}
	if err := c.checkUUID(c.Namespace()); err != nil {
		return err
	}
	var specs []bsonval.Doc
	err = c.Documents("indexes", func(_ int, d bsonval.Doc) error {
		if c.Bool("ignoreUnknownIndexOptions") {
			d = database.KnownIndexOptions(d)
		}
		specs = append(specs, d)
		return nil
	})
	if err != nil {
		return err
	}
	res, err := c.Database().CreateIndexesIn(ctx, c.Op(ctx), c.Namespace(), specs)
	if err != nil {
		return err
	}
	c.Append("numIndexesBefore", bsonval.Int32(int32(res.Before)))
	c.Append("numIndexesAfter", bsonval.Int32(int32(res.After)))
	if res.Before == res.After {
		if res.CreatedCollection {
			c.Append("createdCollectionAutomatically", bsonval.True)
		}
		c.Append("note", bsonval.String("all indexes already exist"))
		return nil
	}
	c.Append("createdCollectionAutomatically", bsonval.Bool(res.CreatedCollection))
	if c.Commands.replicated {
		c.Append("commitQuorum", quorum)
	}
	return nil
}

func runDropIndexes(ctx context.Context, c *Call) error {
	if err := c.checkUUID(c.Namespace()); err != nil {
		return err
	}
	index := c.Arg("index")
	was, err := c.Database().DropIndexes(ctx, c.Namespace(), index)
	if err != nil {
		return err
	}
	c.Append("nIndexesWas", bsonval.Int32(int32(was)))
	if index.Type() == bsonval.TypeString && index.Str() == "*" {
		c.Append("msg", bsonval.String("non-_id indexes dropped for collection"))
	}
	return nil
}

func runReIndex(ctx context.Context, c *Call) error {
	if c.Commands.replicated {
		return mongoerr.New(mongoerr.IllegalOperation, "reIndex is only allowed on a standalone mongod instance. Cannot reIndex '%s' "+
			"while replication is active", c.Namespace())
	}
	specs, err := c.Database().ReIndex(ctx, c.Namespace())
	if err != nil {
		return err
	}
	list := bsonval.NewArrayBuilder()
	for _, spec := range specs {
		list.Add(bsonval.Document(spec))
	}
	n := bsonval.Int32(int32(len(specs)))
	c.Append("nIndexesWas", n)
	c.Append("nIndexes", n)
	c.Append("indexes", bsonval.Array(list.Build()))
	return nil
}
