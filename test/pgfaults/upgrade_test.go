package pgfaults

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// dump is a store of format 1 as pg_dump wrote it; contents is what the program of that time found in it.
const (
	dump     = "../../internal/storage/pgstore/testdata/format1.sql"
	contents = "testdata/format1.jsonl"
)

// stored is a collection of the old store.
type stored struct {
	Database, Collection string
	Documents, Indexes   []json.RawMessage
}

// restore puts the old store into a new database and returns its address.
func restore(t *testing.T, name string) string {
	t.Helper()
	url := database(t, name)
	b, err := os.ReadFile(dump)
	if err != nil {
		t.Fatal(err)
	}
	sql(t, url, string(b))
	return url
}

// TestUpgrade opens a store of the first format: everything is there, in its new place, and can be written.
func TestUpgrade(t *testing.T) {
	url := restore(t, "upgrade")
	s := serve(t, url)
	readOld(t, s)
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	orders := client.Database("shop").Collection("orders")
	if _, err := orders.InsertOne(t.Context(), bson.D{{Key: "_id", Value: "new"}, {Key: "country", Value: "FR"}}); err != nil {
		t.Fatal(err)
	}
	if n, err := orders.CountDocuments(t.Context(), bson.D{{Key: "country", Value: "FR"}}); err != nil || n != 4 {
		t.Errorf("%d orders from France, %v", n, err)
	}
	if _, err := orders.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: "new"}}); err != nil {
		t.Fatal(err)
	}
	validate(t, orders)
	for query, want := range map[string]string{
		"SELECT version FROM archelon.format": "2",
		"SELECT schema, relation FROM archelon.catalogue WHERE collection = 'orders' AND index_name IS NULL":     "archelon_shop|orders_3",
		"SELECT relation FROM archelon.catalogue WHERE collection = 'orders' AND index_name LIKE '%French%'":     `orders_3_text "in" French_x12`,
		"SELECT count(*) FROM archelon.catalogue WHERE collection = 'orders' AND index_name IS NOT NULL":         "9",
		"SELECT relation FROM archelon.catalogue WHERE collection = 'after' AND index_name IS NULL":              "after_26",
		"SELECT count(*) FROM archelon_shop.orders_3":                                                            "11",
		"SELECT count(*) FROM archelon.catalogue WHERE database = 'shop' AND schema <> 'archelon_shop'":          "0",
		"SELECT count(*) FROM archelon.catalogue c WHERE to_regclass(format('%I.%I', schema, relation)) IS NULL": "0",
	} {
		if got := sql(t, url, query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	s.Stop(t)
	readOld(t, serve(t, url)) // and once more, now that it is of the new format
}

// readOld compares everything with what the program of the old format had found.
func readOld(t *testing.T, s *harness.Server) {
	t.Helper()
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	f, err := os.Open(contents)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	names := map[string][]string{}
	for lines.Scan() {
		var want stored
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		names[want.Database] = append(names[want.Database], want.Collection)
		coll := client.Database(want.Database).Collection(want.Collection)
		cur, err := coll.Find(t.Context(), bson.D{})
		compare(t, coll.Name(), cur, err, want.Documents)
		if want.Indexes != nil {
			cur, err = coll.Indexes().List(t.Context())
			compare(t, "indexes of "+coll.Name(), cur, err, want.Indexes)
			validate(t, coll)
		}
	}
	for db, want := range names {
		got, err := client.Database(db).ListCollectionNames(t.Context(), bson.D{})
		slices.Sort(got)
		if slices.Sort(want); err != nil || !slices.Equal(got, want) {
			t.Errorf("collections of %s: %q, want %q, %v", db, got, want, err)
		}
	}
}

// compare reads a cursor to its end.
func compare(t *testing.T, what string, cur *mongo.Cursor, err error, want []json.RawMessage) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	var got []json.RawMessage
	for cur.Next(t.Context()) {
		b, err := bson.MarshalExtJSON(cur.Current, true, false)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b)
	}
	if err := cur.Err(); err != nil || !slices.EqualFunc(got, want, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
		t.Errorf("%s: %v, got\n%s\nwant\n%s", what, err, got, want)
	}
}

// TestNewerFormat opens a store that a newer version has written.
func TestNewerFormat(t *testing.T) {
	url := restore(t, "newer")
	sql(t, url, "UPDATE archelon.format SET version = 1000")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, harness.Build(t), "serve", "--listen", "127.0.0.1:0", "--storage", url).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "format 1000") || !strings.Contains(string(out), "use the newer version") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestCatalogue runs the queries that the documentation shows, on names of all kinds.
func TestCatalogue(t *testing.T) {
	url := database(t, "names")
	s := serve(t, url)
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	ctx := t.Context()
	long := strings.Repeat("größe ", 20)
	type namespace struct{ db, coll string }
	all := []namespace{
		{"shop", "orders"}, {"shop", "Orders"}, {"shop", "a.b"}, {"shop", `"quoted" 'name'; --`}, {"shop", long + "1"}, {"shop", long + "2"},
		{strings.Repeat("d", 63), "c"}, {strings.Repeat("d", 62), "c"}, {"Ünïcödé", "ключ"}, {"other", "orders"},
		{"shop", "x_1"}, {"shop", "100%s"},
	}
	for i, ns := range all {
		coll := client.Database(ns.db).Collection(ns.coll)
		if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatalf("%s.%s: %v", ns.db, ns.coll, err)
		}
		if _, err := coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: strings.Repeat("f", 1+7*i), Value: 1}}}); err != nil {
			t.Fatalf("%s.%s: %v", ns.db, ns.coll, err)
		}
	}
	for i, ns := range all {
		quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
		where := fmt.Sprintf("database = %s AND collection = %s AND index_name IS NULL", quote(ns.db), quote(ns.coll))
		relation := sql(t, url, "SELECT format('%I.%I', schema, relation) FROM archelon.catalogue WHERE "+where)
		if n := sql(t, url, "SELECT count(*) FROM "+relation); n != "1" {
			t.Errorf("%v in %s: %s documents", ns, relation, n)
		}
		var doc struct {
			ID int `bson:"_id"`
		}
		if err := client.Database(ns.db).Collection(ns.coll).FindOne(ctx, bson.D{}).Decode(&doc); err != nil || doc.ID != i {
			t.Errorf("%v: %v, %v", ns, doc, err)
		}
	}
	for _, query := range documented(t) {
		if out := sql(t, url, query); out == "" {
			t.Errorf("nothing came back from\n%s", query)
		}
	}

	// Another name, and a database that goes.
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "renameCollection", Value: "other.orders"}, {Key: "to", Value: "other.renamed"}}).Err(); err != nil {
		t.Fatal(err)
	}
	if got := sql(t, url, "SELECT collection, regexp_replace(relation, '\\d+', 'N') FROM archelon.catalogue WHERE database = 'other' AND index_name IS NULL"); got != "renamed|orders_N" {
		t.Errorf("after a rename: %s", got)
	}
	if err := client.Database("other").Drop(ctx); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		return sql(t, url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'archelon_other'") == "0"
	}, "the schema of a dropped database is still there")
	if got := sql(t, url, "SELECT count(*) FROM archelon.databases WHERE database = 'other'"); got != "0" {
		t.Errorf("a dropped database is still listed")
	}
	if _, err := client.Database("other").Collection("orders").InsertOne(ctx, bson.D{}); err != nil {
		t.Fatal(err)
	}
	if got := sql(t, url, "SELECT DISTINCT schema FROM archelon.catalogue WHERE database = 'other'"); got != "archelon_other" {
		t.Errorf("created again in %q", got)
	}
}

// documented are the SQL examples of the documentation's section on where things lie.
func documented(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "postgres.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## What lies where\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var out []string
	for i, part := range strings.Split(section, "```") {
		if query, ok := strings.CutPrefix(part, "sql\n"); ok && i%2 == 1 {
			out = append(out, query)
		}
	}
	if len(out) < 3 {
		t.Fatalf("there are only %d examples of SQL in docs/postgres.md", len(out))
	}
	return out
}

// TestNoRightToCreateSchemas runs as a user who has one schema and may make no others.
func TestNoRightToCreateSchemas(t *testing.T) {
	role, admin, url := application(t, "guest")
	sql(t, admin, fmt.Sprintf("REVOKE CREATE ON DATABASE %s FROM %s; CREATE SCHEMA archelon AUTHORIZATION %s", role, role, role))
	s := serve(t, url)
	coll := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("shop").Collection("orders")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	if got := sql(t, admin, "SELECT schema FROM archelon.catalogue WHERE collection = 'orders' AND index_name IS NULL"); got != "archelon" {
		t.Errorf("the collection is in schema %q", got)
	}
}
