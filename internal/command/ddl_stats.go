package command

import (
	"context"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func statsCommands() []*Command {
	return []*Command{
		{
			Name: "collStats", Aliases: []string{"collstats"}, Help: "Tells the sizes of a collection.", First: FirstCollection,
			SecondaryOK: true, Run: runCollStats,
			Fields: []Field{
				{Name: "scale", Kind: Int}, {Name: "verbose", Kind: SafeBool}, {Name: "waitForLock", Kind: SafeBool},
				{Name: "numericOnly", Kind: SafeBool},
			},
		},
		{
			Name: "dbStats", Aliases: []string{"dbstats"}, Help: "Tells the sizes of the database.", SecondaryOK: true, Run: runDBStats,
			Fields: []Field{{Name: "scale", Kind: Int}, {Name: "freeStorage", Kind: SafeBool}},
		},
		{
			Name: "dataSize", Aliases: []string{"datasize"}, Help: "Measures the documents of a part of a collection.",
			First: FirstNamespace, SecondaryOK: true, Run: runDataSize,
			Fields: []Field{
				{Name: "keyPattern", Kind: Object}, {Name: "min", Kind: Object}, {Name: "max", Kind: Object},
				{Name: "estimate", Kind: SafeBool}, {Name: "maxSize", Kind: Int}, {Name: "maxObjects", Kind: Int},
			},
		},
	}
}

// scale returns the argument of that name, by which sizes are divided.
func (c *Call) scale() (int64, error) {
	n := c.Int64("scale", 1)
	if n < 1 {
		return 0, mongoerr.New(mongoerr.BadValue, "BSON field 'scale' value must be >= 1, actual value '%d'", n)
	}
	return n, nil
}

func runCollStats(ctx context.Context, c *Call) error {
	scale, err := c.scale()
	if err != nil {
		return err
	}
	stats, err := c.Database().CollStats(ctx, c.Namespace())
	if err != nil {
		return err
	}
	b := bsonval.NewBuilder().Str("ns", c.Namespace().String())
	stats.Append(b, scale)
	c.appendFields(b.Build())
	return nil
}

func runDBStats(ctx context.Context, c *Call) error {
	scale, err := c.scale()
	if err != nil {
		return err
	}
	s, err := c.Database().DBStats(ctx, c.DB)
	if err != nil {
		return err
	}
	average := 0.0
	if s.Objects > 0 {
		average = float64(s.DataSize) / float64(s.Objects)
	}
	size := func(n int64) float64 { return float64(n) / float64(scale) }
	b := bsonval.NewBuilder().Str("db", c.DB).Int64("collections", s.Collections).Int64("views", s.Views).Int64("objects", s.Objects).
		Double("avgObjSize", average).Double("dataSize", size(s.DataSize)).Double("storageSize", size(s.StorageSize))
	if c.Bool("freeStorage") {
		b.Double("freeStorageSize", 0)
	}
	b.Int64("indexes", s.Indexes).Double("indexSize", size(s.IndexesSize))
	if c.Bool("freeStorage") {
		b.Double("indexFreeStorageSize", 0)
	}
	b.Double("totalSize", size(s.StorageSize+s.IndexesSize))
	if c.Bool("freeStorage") {
		b.Double("totalFreeStorageSize", 0)
	}
	c.appendFields(b.Int64("scaleFactor", scale).Build())
	return nil
}

func runDataSize(ctx context.Context, c *Call) error {
	start := time.Now()
	if c.First.Type() != bsonval.TypeString {
		return wrongType("dataSize", "dataSize", c.First.Type(), String)
	}
	ns, err := fullNamespace(strings.Clone(c.First.Str()))
	if err != nil {
		return err
	}
	q := &database.SizeQuery{
		KeyPattern: c.Doc("keyPattern"), Min: c.Doc("min"), Max: c.Doc("max"), Estimate: c.Bool("estimate"),
		MaxSize: c.Int64("maxSize", 0), MaxObjects: c.Int64("maxObjects", 0),
	}
	size, count, limited, err := c.Database().DataSize(ctx, ns, q)
	if err != nil {
		return err
	}
	c.Append("size", bsonval.Int64(size))
	c.Append("numObjects", bsonval.Int64(count))
	if limited {
		c.Append("maxReached", bsonval.True)
	}
	c.Append("millis", bsonval.Int64(time.Since(start).Milliseconds()))
	c.Append("estimate", bsonval.Bool(q.Estimate))
	return nil
}
