package pgshared

import (
	"errors"
	"fmt"
	"net/url"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// TestMissingIsDropped drops a table with SQL: what wants it says so, and the collection can be dropped, and made again.
func TestMissingIsDropped(t *testing.T) {
	t.Parallel()
	p := start(t)
	ctx := context30(t)
	one, two := p.to(p.a).Database("d").Collection("gone"), p.to(p.b).Database("d").Collection("gone")
	for i := range 3 {
		_, err := one.InsertOne(ctx, d("_id", i))
		must(t, err)
	}
	store, err := url.Parse(p.url)
	must(t, err)
	sql := func(statement string) string {
		t.Helper()
		out, err := postgres.server.SQL(postgres.server.URL(), statement)
		must(t, err)
		return out
	}
	sql(sql(fmt.Sprintf("SELECT format('DROP TABLE %%I.%%I', namespace, relation) FROM %s.ids WHERE kind = 't' AND collection = 'gone'", store.Query().Get("schema"))))
	for what, err := range map[string]error{
		"find":        two.FindOne(ctx, d("_id", 1)).Err(),
		"createIndex": func() error { _, err := two.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("a", 1)}); return err }(),
	} {
		var e mongo.ServerError
		if !errors.As(err, &e) || !e.HasErrorCode(301) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, two.Drop(ctx))
	if n, err := one.CountDocuments(ctx, bson.D{}); n != 0 || err != nil {
		t.Errorf("%d documents after the drop, %v", n, err)
	}
	_, err = one.InsertOne(ctx, d("_id", 1))
	must(t, err)
	if kept, n := count(t, two); n != 1 || kept != 1 {
		t.Errorf("%d documents, %d counted", n, kept)
	}
}
