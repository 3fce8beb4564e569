package copy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// many is the number of documents of the largest collection.
const many = 3000

// seed writes one of everything.
func seed(t *testing.T, client *mongo.Client) {
	t.Helper()
	ctx, must, db := t.Context(), must(t), client.Database("Shop")
	ids := []any{
		bson.MinKey{}, nil, int32(1), 2.5, int64(3), "a", "", d("x", 1), d("x", d("$y", "z")), bson.NewObjectID(), true, false,
		bson.DateTime(77), bson.Timestamp{T: 5, I: 6}, bson.Binary{Subtype: 4, Data: make([]byte, 16)}, bson.MaxKey{},
	}
	for i, id := range ids {
		must(db.Collection("any ids").InsertOne(ctx, bson.D{{Key: "_id", Value: id}, {Key: "n", Value: i}, {Key: "i.$a", Value: 1}}))
	}
	must(nil, db.RunCommand(ctx, d("insert", "times", "bypassEmptyTsReplacement", true, "documents",
		bson.A{d("_id", 1, "ts", bson.Timestamp{}, "n", int64(1)), d("_id", 2, "n", bson.Decimal128{})})).Err())

	items := db.Collection("items")
	var docs []any
	for i := range many {
		docs = append(docs, d("_id", fmt.Sprintf("item-%d", i*7919%many), "n", i, "text", strings.Repeat("word ", 20), "u", i, "list", bson.A{i, i + 1}))
	}
	must(items.InsertMany(ctx, docs))
	must(items.Indexes().CreateMany(ctx, []mongo.IndexModel{
		{Keys: d("n", 1, "text", -1)},
		{Keys: d("u", 1), Options: options.Index().SetUnique(true)},
		{Keys: d("list", 1), Options: options.Index().SetSparse(true).SetName("multi")},
		{Keys: d("n", -1), Options: options.Index().SetPartialFilterExpression(d("n", d("$gt", many-1000)))},
		{Keys: d("text", "text")},
		{Keys: d("h", "hashed")},
		{Keys: d("at", 1), Options: options.Index().SetExpireAfterSeconds(3600).SetHidden(true)},
	}))

	must(nil, db.CreateCollection(ctx, "capped", options.CreateCollection().SetCapped(true).SetSizeInBytes(1<<20).SetMaxDocuments(100)))
	for i := range 250 {
		must(db.Collection("capped").InsertOne(ctx, d("_id", 1000-i)))
	}
	must(nil, db.CreateCollection(ctx, "ruled", options.CreateCollection().SetValidator(d("a", d("$type", "int"))).
		SetCollation(&options.Collation{Locale: "de", Strength: 2})))
	must(db.Collection("ruled").InsertMany(ctx, []any{d("_id", "ä", "a", 1), d("_id", "B", "a", 2), d("_id", "c", "a", 3)}))
	must(db.Collection("ruled").InsertOne(ctx, d("_id", "d", "a", "no"), options.InsertOne().SetBypassDocumentValidation(true)))
	must(nil, db.RunCommand(ctx, d("create", "clustered", "clusteredIndex", d("key", d("_id", 1), "unique", true), "expireAfterSeconds", 86400)).Err())
	must(db.Collection("clustered").InsertMany(ctx, []any{d("_id", 1), d("_id", 2)}))
	must(nil, db.CreateCollection(ctx, "empty", options.CreateCollection().SetChangeStreamPreAndPostImages(d("enabled", true))))
	must(nil, db.CreateView(ctx, "dear", "items", bson.A{d("$match", d("n", d("$gt", 100)))}))
	must(nil, db.CreateView(ctx, "a view of dear", "dear", bson.A{}))
	must(client.Database("other").Collection("system.js").InsertOne(ctx, d("_id", "f", "value", bson.JavaScript("function() {}"))))
	must(client.Database("other").Collection("left").InsertOne(ctx, d("_id", 1)))
}

// order is the natural order of the capped collection.
func order(t *testing.T, client *mongo.Client) (ids []int32) {
	t.Helper()
	var docs []struct {
		ID int32 `bson:"_id"`
	}
	cur, err := client.Database("Shop").Collection("capped").Find(t.Context(), bson.D{})
	if err == nil {
		err = cur.All(t.Context(), &docs)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range docs {
		ids = append(ids, x.ID)
	}
	return ids
}

// postgres starts a PostgreSQL for the test and returns its address.
func postgres(t *testing.T) string {
	t.Helper()
	pg, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pg.Close() })
	return pg.URL()
}

// TestEngines copies everything from Pebble to PostgreSQL, and on to a server in memory.
func TestEngines(t *testing.T) {
	url := postgres(t)
	servers := []*harness.Server{start(t, ""), start(t, url), start(t, "memory")}
	client := connect(t, servers[0])
	seed(t, client)
	first, natural := content(t, client), order(t, client)
	if len(first) < 9 {
		t.Fatalf("the source has %d collections", len(first))
	}

	plan := begin(t, servers[0], servers[1], "--dry-run").ended(t, true)
	for _, part := range []string{"Shop.items: 3,000 documents", "7 indexes", "Shop.dear: view of items", "capped: true"} {
		if !strings.Contains(plan, part) {
			t.Errorf("the plan has no %q:\n%s", part, plan)
		}
	}
	for i := range 2 {
		target := connect(t, servers[i+1])
		if left := content(t, target); len(left) > 0 {
			t.Fatalf("the dry run has made %d collections", len(left))
		}
		out := begin(t, servers[i], servers[i+1], "--verify", "--batch", "700").ended(t, true)
		if !strings.Contains(out, "run the same command again to bring later changes over") {
			t.Errorf("the copy says:\n%s", out)
		}
		compare(t, first, content(t, target))
		if got := order(t, target); fmt.Sprint(got) != fmt.Sprint(natural) {
			t.Errorf("natural order of the capped collection: %v, want %v", got, natural)
		}
	}

	// What has changed since comes with the next run.
	must := must(t)
	must(client.Database("Shop").Collection("items").UpdateMany(t.Context(), d("n", d("$lt", 500)), d("$set", d("new.field", 1), "$push", d("list", 5))))
	must(client.Database("Shop").Collection("items").DeleteMany(t.Context(), d("n", d("$gt", many-100))))
	begin(t, servers[0], servers[1], "--verify", "--batch", "700").ended(t, true)
	compare(t, content(t, client), content(t, connect(t, servers[1])))
}

// TestSharedStorage refuses to copy from one process to another that has the same data, and leaves it alone.
func TestSharedStorage(t *testing.T) {
	url := postgres(t)
	from, to := start(t, url), start(t, url)
	client := connect(t, from)
	must(t)(client.Database("x").Collection("one").InsertOne(t.Context(), d("_id", 1)))
	before := content(t, client)
	for _, args := range [][]string{nil, {"--drop"}, {"--restart", "--drop"}} {
		if out := begin(t, from, to, args...).ended(t, false); !strings.Contains(out, "have the same data") {
			t.Errorf("%v: the copy says:\n%s", args, out)
		}
		compare(t, before, content(t, client))
	}
}

// TestStandalone copies from a server that has no log.
func TestStandalone(t *testing.T) {
	addr := harness.FreeAddr(t)
	from := harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", "memory", "--standalone")
	to, must := start(t, "memory"), must(t)
	source := harness.Connect(t, options.Client().ApplyURI(from.URI()).SetDirect(true))
	coll := source.Database("x").Collection("one")
	must(coll.InsertMany(t.Context(), []any{d("_id", 1), d("_id", "a", "u", 1)}))
	must(coll.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: d("u", 1), Options: options.Index().SetUnique(true)}))
	out := begin(t, from, to, "--verify", "--follow").ended(t, true)
	if !strings.Contains(out, "stop writing to the source first") {
		t.Errorf("the copy says:\n%s", out)
	}
	compare(t, content(t, source), content(t, connect(t, to)))
}

// TestRefused has what a copy does not do.
func TestRefused(t *testing.T) {
	from, to := start(t, "memory"), start(t, "memory")
	a, b, must, ctx := connect(t, from), connect(t, to), must(t), t.Context()
	must(a.Database("x").Collection("one").InsertOne(ctx, d("_id", 1)))
	must(a.Database("x").Collection("two").InsertOne(ctx, d("_id", 2)))
	must(b.Database("x").Collection("one").InsertOne(ctx, d("_id", 77)))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "collection x.one has documents: --drop replaces it"},
		{[]string{"--dry-run"}, "the target has a collection x.one already"},
		{[]string{"--jobs", "1000", "--batch", "1000000"}, "batch 1000000"},
		{[]string{"--to", from.URI()}, "the same server"},
	} {
		if out := begin(t, from, to, tt.args...).ended(t, false); !strings.Contains(out, tt.want) {
			t.Errorf("%v: no %q in\n%s", tt.args, tt.want, out)
		}
	}
	begin(t, from, to, "--include", "x.t*").ended(t, true)
	if got := content(t, b); len(got) != 2 || !strings.Contains(begin(t, from, to).ended(t, false), "the state of another copy") {
		t.Errorf("the target has %d collections", len(got))
	}
	begin(t, from, to, "--restart", "--drop").ended(t, true)
	compare(t, content(t, a), content(t, b))
}
