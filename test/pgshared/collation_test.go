package pgshared

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// TestCollationOfAnother makes a collection again through one process, now with a collation, and writes it at once through the
// other, which knows the one before: the filters go by the collation.
func TestCollationOfAnother(t *testing.T) {
	t.Parallel()
	p := start(t)
	one, two := p.to(p.a).Database("d"), p.to(p.b).Database("d")
	ctx, ok := context30(t), check(t)
	filter, change := d("k", "A"), d("$set", d("n", 1))
	update := func(ctx context.Context, c *mongo.Collection) (n int64, err error) {
		res, err := c.UpdateOne(ctx, filter, change, options.UpdateOne().SetUpsert(true))
		if err == nil {
			n = res.MatchedCount
		}
		return n, err
	}
	for _, write := range []struct {
		name string
		run  func(c *mongo.Collection) (int64, error)
	}{
		{"upsert", func(c *mongo.Collection) (int64, error) { return update(ctx, c) }},
		{"updateMany", func(c *mongo.Collection) (n int64, err error) {
			res, err := c.UpdateMany(ctx, filter, change)
			if err == nil {
				n = res.MatchedCount
			}
			return n, err
		}},
		{"bulkWrite", func(c *mongo.Collection) (n int64, err error) {
			res, err := c.BulkWrite(ctx, []mongo.WriteModel{
				mongo.NewInsertOneModel().SetDocument(d("k", "c")),
				mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(change),
				mongo.NewInsertOneModel().SetDocument(d("k", "e")),
			})
			if err == nil {
				n = res.MatchedCount
			}
			return n, err
		}},
		{"deleteOne", func(c *mongo.Collection) (n int64, err error) {
			res, err := c.DeleteOne(ctx, filter)
			if err == nil {
				n = res.DeletedCount
			}
			return n, err
		}},
		{"deleteMany", func(c *mongo.Collection) (n int64, err error) {
			res, err := c.DeleteMany(ctx, filter)
			if err == nil {
				n = res.DeletedCount
			}
			return n, err
		}},
		{"findOneAndUpdate", func(c *mongo.Collection) (int64, error) { return 1, c.FindOneAndUpdate(ctx, filter, change).Err() }},
		{"findOneAndDelete", func(c *mongo.Collection) (int64, error) { return 1, c.FindOneAndDelete(ctx, filter).Err() }},
		{"transaction", func(c *mongo.Collection) (n int64, err error) {
			session, err := c.Database().Client().StartSession()
			if err != nil {
				return 0, err
			}
			defer session.EndSession(ctx)
			_, err = session.WithTransaction(ctx, func(ctx context.Context) (any, error) {
				n, err = update(ctx, c)
				return nil, err
			})
			return n, err
		}},
	} {
		ok(one.Collection(write.name).InsertOne(ctx, d("_id", 1, "k", "a")))
		if n, err := two.Collection(write.name).CountDocuments(ctx, bson.D{}); n != 1 || err != nil {
			t.Fatalf("%d documents, %v", n, err)
		}
		must(t, one.Collection(write.name).Drop(ctx))
		must(t, one.CreateCollection(ctx, write.name, options.CreateCollection().SetCollation(&options.Collation{Locale: "en", Strength: 2})))
		ok(one.Collection(write.name).InsertOne(ctx, d("_id", 1, "k", "a")))
		if n, err := write.run(two.Collection(write.name)); n != 1 || err != nil {
			t.Errorf("%s: %d documents, %v", write.name, n, err)
		}
	}
}
