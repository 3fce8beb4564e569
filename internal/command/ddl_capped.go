package command

import (
	"context"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// cappedCommands are the commands that make capped collections of others.
func cappedCommands() []*Command {
	return []*Command{
		{
			Name: "convertToCapped", Help: "Makes a collection capped.", First: FirstCollection, WriteConcern: true,
			Fields: []Field{{Name: "size", Kind: Any}}, Loose: true, Run: runConvertToCapped,
		},
		{
			Name: "cloneCollectionAsCapped", Help: "Copies a collection to a capped one.", First: FirstValue,
			FirstKind: Any, WriteConcern: true, Loose: true, Run: runCloneAsCapped,
			Fields: []Field{{Name: "toCollection", Kind: Any}, {Name: "size", Kind: Any}},
		},
	}
}

// maxCappedBytes is the largest capped collection.
const maxCappedBytes = 1 << 50

// cappedSize is the size asked for of a capped collection.
func (c *Call) cappedSize() (int64, error) {
	v := c.Arg("size")
	n := v.TruncInt64()
	if v.Type() == bsonval.TypeDecimal128 {
		n = bsonval.Double(math.RoundToEven(v.AsDouble())).TruncInt64()
	}
	switch {
	case !v.IsNumber() || v.IsNaN() || n < 1:
		return 0, mongoerr.New(mongoerr.InvalidOptions, "Capped collection size must be greater than zero")
	case n > maxCappedBytes:
		return 0, mongoerr.New(mongoerr.BadValue, "Capped collection size must be >= 1 and <= %d", maxCappedBytes)
	}
	return n, nil
}

func runConvertToCapped(ctx context.Context, c *Call) error {
	size, err := c.cappedSize()
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(c.Coll, "system.buckets."):
		return mongoerr.New(mongoerr.IllegalOperation, "cannot convert a time-series collection to capped: %s", c.Namespace())
	case strings.HasPrefix(c.Coll, "system."):
		return mongoerr.New(mongoerr.BadValue, "cannot convert system collection %s to capped", c.Namespace())
	}
	return c.Database().ConvertToCapped(ctx, c.Namespace(), size)
}

func runCloneAsCapped(ctx context.Context, c *Call) error {
	to := c.Arg("toCollection")
	switch {
	case c.First.Type() != bsonval.TypeString:
		return mongoerr.New(mongoerr.TypeMismatch, "First element must be of type String, but found %s in command", c.First.Type())
	case to.Type() != bsonval.TypeString:
		return mongoerr.New(mongoerr.TypeMismatch, "'toCollection' must be of type String")
	}
	for _, name := range []string{c.First.Str(), to.Str()} {
		if err := CheckCollectionName(c.DB, name); err != nil {
			return err
		}
		if strings.Contains(name, "$") {
			return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified '%s.%s'", c.DB, name)
		}
	}
	size, err := c.cappedSize()
	if err != nil {
		return err
	}
	snap := c.Database().Catalog()
	from, target := snap.Collection(c.DB, c.First.Str()), snap.Collection(c.DB, to.Str())
	switch {
	case from != nil && from.IsView():
		return mongoerr.New(mongoerr.CommandNotSupportedOnView, "cloneCollectionAsCapped not supported for views: %s.%s", c.DB, c.First.Str())
	case from == nil:
		return mongoerr.New(mongoerr.NamespaceNotFound, "source collection %s.%s does not exist", c.DB, c.First.Str())
	case target != nil && target.IsView():
		return mongoerr.New(mongoerr.CommandNotSupportedOnView, "cloneCollectionAsCapped not supported for views: %s.%s", c.DB, to.Str())
	case target != nil:
		return mongoerr.New(mongoerr.NamespaceExists, "cloneCollectionAsCapped failed - destination collection %s.%s already exists.", c.DB, to.Str())
	}
	if strings.HasPrefix(to.Str(), "system.buckets.") {
		return mongoerr.New(mongoerr.IllegalOperation, "Creation of a bucket collection is only permitted with the time-series options")
	}
	return c.Database().CloneAsCapped(ctx, database.Namespace{DB: c.DB, Coll: strings.Clone(c.First.Str())},
		database.Namespace{DB: c.DB, Coll: strings.Clone(to.Str())}, size)
}
