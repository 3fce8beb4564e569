package command

import (
	"context"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func dropCommands() []*Command {
	return []*Command{
		{
			Name: "drop", Help: "Drops a collection or a view.", First: FirstCollection, APIv1: true, WriteConcern: true, Run: runDrop,
			Fields: []Field{{Name: "collectionUUID", Kind: UUID}},
		},
		{
			Name: "dropDatabase", Help: "Drops the database.", First: FirstValue, FirstKind: Int, APIv1: true, WriteConcern: true,
			Run: runDropDatabase,
		},
		{
			Name: "renameCollection", Help: "Gives a collection another name.", First: FirstNamespace, AdminOnly: true,
			WriteConcern: true, Run: runRename,
			Fields: []Field{
				{Name: "to", Kind: String, Required: true}, {Name: "dropTarget", Kind: Any},
				// stayTemp is about temporary collections, which do not exist: true and false are the same.
				{Name: "stayTemp", Kind: Bool}, {Name: "collectionUUID", Kind: UUID},
			},
		},
	}
}

// droppable are the collections below "system." that may be dropped.
var droppable = map[string]bool{"system.views": true, "system.profile": true, "system.js": true}

// checkUUID says whether the collection has the UUID the client expects.
func (c *Call) checkUUID(ns database.Namespace) error {
	v := c.Arg("collectionUUID")
	if v.IsMissing() {
		return nil
	}
	coll := c.Database().Catalog().Collection(ns.DB, ns.Coll)
	if coll != nil && !coll.IsView() && string(coll.UUID[:]) == string(v.Bytes()) {
		return nil
	}
	extra := bsonval.NewBuilder().Str("db", ns.DB).Value("collectionUUID", v).Str("expectedCollection", ns.Coll).Null("actualCollection")
	for _, other := range c.Database().Catalog().Collections(ns.DB) {
		if string(other.UUID[:]) == string(v.Bytes()) {
			extra = bsonval.NewBuilder().Str("db", ns.DB).Value("collectionUUID", v).Str("expectedCollection", ns.Coll).
				Str("actualCollection", other.Name)
		}
	}
	return mongoerr.New(mongoerr.CollectionUUIDMismatch, "Collection UUID does not match that specified").WithExtra(extra.Build())
}

func runDrop(ctx context.Context, c *Call) error {
	if strings.HasPrefix(c.Coll, "system.") && !droppable[c.Coll] && !strings.HasPrefix(c.Coll, "system.buckets.") {
		return mongoerr.New(mongoerr.IllegalOperation, "can't drop system collection %s", c.Namespace())
	}
	if err := c.checkUUID(c.Namespace()); err != nil {
		return err
	}
	view := false
	if coll := c.Database().Catalog().Collection(c.DB, c.Coll); coll != nil {
		view = coll.IsView()
	}
	indexes, existed, err := c.Database().Drop(ctx, c.Namespace())
	if err != nil || !existed {
		return err
	}
	if !view {
		c.Append("nIndexesWas", bsonval.Int32(int32(indexes)))
	}
	c.Append("ns", bsonval.String(c.Namespace().String()))
	return nil
}

func runDropDatabase(ctx context.Context, c *Call) error {
	n := c.First.TruncInt64()
	if c.First.Type() == bsonval.TypeDecimal128 {
		n = bsonval.Double(math.RoundToEven(c.First.AsDouble())).TruncInt64()
	}
	switch {
	case c.DB == "admin" || c.DB == "local" && c.Commands.replicated:
		return mongoerr.New(mongoerr.IllegalOperation, "Dropping the '%s' database is prohibited.", c.DB)
	case n != 1:
		return mongoerr.New(5255100, "Have to pass 1 as 'drop' parameter")
	}
	_, err := c.Database().DropDatabase(ctx, c.DB)
	return err
}

func runRename(ctx context.Context, c *Call) error {
	switch {
	case c.First.IsNullish():
		return errMissingField("renameCollection", "renameCollection")
	case c.First.Type() != bsonval.TypeString:
		return wrongType("renameCollection", "renameCollection", c.First.Type(), String)
	}
	if v := c.Arg("dropTarget"); !v.IsMissing() && v.Type() != bsonval.TypeBool {
		return wrongType("renameCollection", "dropTarget", v.Type(), Bool)
	}
	var names [2]database.Namespace
	for i, s := range []string{strings.Clone(c.First.Str()), c.Str("to")} {
		ns, err := renameNamespace(s)
		if err != nil {
			return err
		}
		names[i] = ns
	}
	if err := c.checkUUID(names[0]); err != nil {
		return err
	}
	return c.Database().Rename(ctx, names[0], names[1], c.Bool("dropTarget"))
}

// renameNamespace reads a namespace of a rename; the kernel tells what is wrong with a "$".
func renameNamespace(s string) (database.Namespace, error) {
	ns, err := fullNamespace(s)
	if err != nil {
		return ns, err
	}
	return ns, checkDBName(strings.ReplaceAll(ns.DB, "$", "_"))
}
