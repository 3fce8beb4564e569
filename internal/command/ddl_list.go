package command

import (
	"context"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func listingCommands() []*Command {
	return []*Command{
		{
			Name: "listCollections", Help: "Lists the collections and views of the database.", APIv1: true, SecondaryOK: true,
			Fields: []Field{
				{Name: "filter", Kind: Object}, {Name: "nameOnly", Kind: Bool}, {Name: "authorizedCollections", Kind: Bool},
				{Name: "cursor", Kind: Object}, {Name: "includePendingDrops", Kind: Bool},
			},
			Run: runListCollections,
		},
		{
			Name: "listDatabases", Help: "Lists the databases.", AdminOnly: true, APIv1: true, SecondaryOK: true,
			Fields: []Field{
				{Name: "filter", Kind: Object}, {Name: "nameOnly", Kind: Bool}, {Name: "authorizedDatabases", Kind: Bool},
			},
			Run: runListDatabases,
		},
		{
			Name: "listIndexes", Help: "Lists the indexes of a collection.", First: FirstCollectionOrUUID, APIv1: true, SecondaryOK: true,
			Fields: []Field{
				{Name: "cursor", Kind: Object}, {Name: "includeBuildUUIDs", Kind: Bool}, {Name: "includeIndexBuildInfo", Kind: Bool},
			},
			Run: runListIndexes,
		},
	}
}

func runListCollections(ctx context.Context, c *Call) error {
	docs := c.Database().ListCollections(c.DB, c.Bool("nameOnly"))
	docs, err := c.selectDocs(ctx, c.Doc("filter"), docs)
	if err != nil {
		return err
	}
	return c.listReply(ctx, "$cmd.listCollections", docs)
}

// alwaysListed are the databases that exist without collections.
var alwaysListed = []string{"admin", "config", "local"}

func runListDatabases(ctx context.Context, c *Call) error {
	names := c.Database().Catalog().Databases()
	for _, name := range alwaysListed {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	mounted := c.mountedDatabases(names)
	names = append(names, mounted...)
	slices.Sort(names)
	var docs []bsonval.Doc
	for _, name := range names {
		if slices.Contains(mounted, name) {
			docs = append(docs, describeMounted(name, c.Bool("nameOnly")))
			continue
		}
		doc, err := describeDatabase(ctx, c.Database(), name, c.Bool("nameOnly"))
		if err != nil {
			return err
		}
		docs = append(docs, doc)
	}
	docs, err := c.selectDocs(ctx, c.Doc("filter"), docs)
	if err != nil {
		return err
	}
	list := bsonval.NewArrayBuilder()
	total := int64(0)
	for _, d := range docs {
		list.Add(bsonval.Document(d))
		total += d.Lookup("sizeOnDisk").TruncInt64()
	}
	c.Append("databases", bsonval.Array(list.Build()))
	if !c.Bool("nameOnly") {
		c.Append("totalSize", bsonval.Int64(total))
		c.Append("totalSizeMb", bsonval.Int64(total>>20))
	}
	return nil
}

// mountedDatabases are those that have no collections, but something mounted.
func (c *Call) mountedDatabases(listed []string) []string {
	if c.Commands.cfg.Mounted == nil {
		return nil
	}
	return slices.DeleteFunc(c.Commands.cfg.Mounted.Databases(), func(name string) bool { return slices.Contains(listed, name) })
}

// describeMounted describes a database without collections in a list: it has no data here.
func describeMounted(name string, nameOnly bool) bsonval.Doc {
	b := bsonval.NewBuilder().Str("name", name)
	if !nameOnly {
		b.Int64("sizeOnDisk", 0).Bool("empty", true)
	}
	return b.Build()
}

// describeDatabase describes a database in a list. Those listed are never empty: one without collections is gone, and
// those of the server itself hold its own state.
func describeDatabase(ctx context.Context, db *database.DB, name string, nameOnly bool) (bsonval.Doc, error) {
	b := bsonval.NewBuilder().Str("name", name)
	if nameOnly {
		return b.Build(), nil
	}
	s, err := db.DBStats(ctx, name)
	if err != nil {
		return nil, err
	}
	return b.Int64("sizeOnDisk", s.StorageSize+s.IndexesSize).Bool("empty", false).Build(), nil
}

func runListIndexes(ctx context.Context, c *Call) error {
	if c.Bool("includeBuildUUIDs") && c.Bool("includeIndexBuildInfo") {
		return mongoerr.New(mongoerr.InvalidOptions, "The includeBuildUUIDs flag and includeBuildIndexInfo flag cannot both be set to true")
	}
	coll := c.Database().Catalog().Collection(c.DB, c.Coll)
	var docs []bsonval.Doc
	switch {
	case c.Coll == "system.views" && c.Database().HasViews(c.DB) || c.Database().ShowsRetryImages(c.Namespace()):
		docs = []bsonval.Doc{bsonval.NewBuilder().Int32("v", 2).StartDoc("key").Int32("_id", 1).End().Str("name", "_id_").Build()}
	case coll == nil:
		return mongoerr.New(mongoerr.NamespaceNotFound, "ns does not exist: %s", c.Namespace())
	case coll.IsView():
		return mongoerr.New(mongoerr.CommandNotSupportedOnView, "Namespace %s is a view, not a collection", c.Namespace())
	default:
		for _, x := range coll.Indexes {
			spec := x.Spec
			if c.Bool("includeIndexBuildInfo") {
				spec = bsonval.NewBuilder().Doc("spec", spec).Build()
			}
			docs = append(docs, spec)
		}
	}
	return c.listReply(ctx, c.Coll, docs)
}
