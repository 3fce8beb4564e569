package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// toolsModule has mongodump and mongorestore. Its releases are not tagged the way the go command reads, so a branch it is.
const toolsModule, toolsVersion = "github.com/mongodb/mongo-tools", "master"

// databaseTool returns the path of mongodump or mongorestore: that of the user's PATH, or one built into the cache
// folder. The test is skipped where neither can be had.
func databaseTool(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("%s is not installed, and there is no cache folder: %v", name, err)
	}
	bin := filepath.Join(cache, "archelon-e2e", "bin")
	path := filepath.Join(bin, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	temp := t.TempDir()
	cmd := exec.CommandContext(ctx, "go", "install", toolsModule+"/"+name+"/main@"+toolsVersion)
	cmd.Dir, cmd.Env = temp, append(os.Environ(), "GOBIN="+temp, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("%s is not installed and cannot be built; install the MongoDB Database Tools to run this test\n%s", name, out)
	}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(temp, "main"), path); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestDumpAndRestore takes a database with options and indexes through mongodump and mongorestore.
func TestDumpAndRestore(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary and may build tools: run without -short")
	}
	dump, restore := databaseTool(t, "mongodump"), databaseTool(t, "mongorestore")
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	fillShop(t, client.Database("shop"))
	want := describe(t, client.Database("shop"))
	folder := filepath.Join(t.TempDir(), "dump")
	for _, args := range [][]string{
		{dump, "--uri", s.URI(), "--db", "shop", "--out", folder},
		{restore, "--uri", s.URI(), "--nsFrom", "shop.*", "--nsTo", "copy.*", folder},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	same(t, describe(t, client.Database("copy")), want)
}

// TestRestoreByHand takes the same database through the commands that mongodump and mongorestore are made of, so that
// they are tested where the tools cannot be had.
func TestRestoreByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	s := harness.Start(t, harness.Build(t), harness.FreeAddr(t), filepath.Join(t.TempDir(), "data"))
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()))
	from, to := client.Database("shop"), client.Database("copy")
	fillShop(t, from)
	for _, info := range collections(t, from) {
		name := info.Lookup("name").StringValue()
		create := bson.D{{Key: "create", Value: name}}
		elements := must(info.Lookup("options").Document().Elements())(t)
		for _, e := range elements {
			create = append(create, bson.E{Key: e.Key(), Value: e.Value()})
		}
		if index, ok := info.Lookup("idIndex").DocumentOK(); ok {
			create = append(create, bson.E{Key: "idIndex", Value: index})
		}
		must(to.RunCommand(t.Context(), create).Raw())(t)
		if info.Lookup("type").StringValue() == "view" {
			continue
		}
		cur := must(from.Collection(name).Find(t.Context(), bson.D{}, options.Find().SetHint(bson.D{{Key: "_id", Value: 1}})))(t)
		var docs []bson.Raw
		if err := cur.All(t.Context(), &docs); err != nil {
			t.Fatal(err)
		}
		if len(docs) > 0 {
			must(to.RunCommand(t.Context(), bson.D{{Key: "insert", Value: name}, {Key: "documents", Value: docs}, {Key: "ordered", Value: false}, {Key: "bypassDocumentValidation", Value: true}, {Key: "bypassEmptyTsReplacement", Value: true}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}}}).Raw())(t)
		}
		var specs bson.A
		for _, x := range indexes(t, from, name) {
			if x.Lookup("name").StringValue() == "_id_" {
				continue
			}
			var spec bson.D
			if err := bson.Unmarshal(x, &spec); err != nil {
				t.Fatal(err)
			}
			if _, err := x.LookupErr("collation"); err != nil { // the collection's own is meant to be another
				spec = append(spec, bson.E{Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}})
			}
			specs = append(specs, spec)
		}
		if len(specs) > 0 {
			must(to.RunCommand(t.Context(), bson.D{{Key: "createIndexes", Value: name}, {Key: "indexes", Value: specs}, {Key: "ignoreUnknownIndexOptions", Value: true}}).Raw())(t)
		}
	}
	same(t, describe(t, to), describe(t, from))
}

// fillShop makes a database with most of what a dump has to keep.
func fillShop(t *testing.T, db *mongo.Database) {
	t.Helper()
	validator := bson.D{{Key: "$jsonSchema", Value: bson.D{{Key: "required", Value: bson.A{"sku"}}}}}
	for _, command := range []bson.D{
		{{Key: "create", Value: "orders"}, {Key: "validator", Value: validator}, {Key: "validationLevel", Value: "moderate"}, {Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}, {Key: "strength", Value: 2}}}},
		{{Key: "create", Value: "empty"}},
		{{Key: "create", Value: "recent"}, {Key: "viewOn", Value: "orders"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$match", Value: bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 990}}}}}}}}, {Key: "collation", Value: bson.D{{Key: "locale", Value: "en"}, {Key: "strength", Value: 2}}}},
		{{Key: "createIndexes", Value: "orders"}, {Key: "indexes", Value: bson.A{
			bson.D{{Key: "key", Value: bson.D{{Key: "sku", Value: 1}}}, {Key: "name", Value: "sku_1"}, {Key: "unique", Value: true}},
			bson.D{{Key: "key", Value: bson.D{{Key: "n", Value: -1}, {Key: "tags", Value: 1.0}}}, {Key: "name", Value: "by n"}, {Key: "partialFilterExpression", Value: bson.D{{Key: "n", Value: bson.D{{Key: "$gt", Value: 100}}}}}},
			bson.D{{Key: "key", Value: bson.D{{Key: "at", Value: 1}}}, {Key: "name", Value: "at_1"}, {Key: "expireAfterSeconds", Value: 3600}},
			bson.D{{Key: "key", Value: bson.D{{Key: "x", Value: 1}}}, {Key: "name", Value: "x_1"}, {Key: "sparse", Value: true}, {Key: "hidden", Value: true}, {Key: "collation", Value: bson.D{{Key: "locale", Value: "simple"}}}},
		}}},
	} {
		must(db.RunCommand(t.Context(), command).Raw())(t)
	}
	var docs []any
	for i := range 1000 {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "sku", Value: bson.NewObjectID().Hex()}, {Key: "n", Value: int64(i)}, {Key: "tags", Value: bson.A{"a", i % 7}}, {Key: "at", Value: time.Now().Truncate(time.Millisecond)}, {Key: "price", Value: bson.NewDecimal128(0x3040000000000000, uint64(i))}})
	}
	must(db.Collection("orders").InsertMany(t.Context(), docs))(t)
	must(db.RunCommand(t.Context(), bson.D{{Key: "insert", Value: "orders"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: "stamp"}, {Key: "sku", Value: "s"}, {Key: "ts", Value: bson.Timestamp{}}}}}, {Key: "bypassEmptyTsReplacement", Value: true}}).Raw())(t)
}

func collections(t *testing.T, db *mongo.Database) []bson.Raw {
	t.Helper()
	cur := must(db.ListCollections(t.Context(), bson.D{{Key: "name", Value: bson.D{{Key: "$ne", Value: "system.views"}}}}))(t)
	var out []bson.Raw
	if err := cur.All(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func indexes(t *testing.T, db *mongo.Database, name string) []bson.Raw {
	t.Helper()
	var out []bson.Raw
	if err := must(db.Collection(name).Indexes().List(t.Context()))(t).All(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// describe is everything that a copy must have in common with its original: by collection, its type, its options, its
// indexes and its documents.
func describe(t *testing.T, db *mongo.Database) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, info := range collections(t, db) {
		name, kind := info.Lookup("name").StringValue(), info.Lookup("type").StringValue()
		lines := []string{kind, info.Lookup("options").String()}
		if kind != "view" {
			for _, x := range indexes(t, db, name) {
				lines = append(lines, x.String())
			}
		}
		cur := must(db.Collection(name).Find(t.Context(), bson.D{}, options.Find().SetSort(bson.D{{Key: "_id", Value: 1}})))(t)
		for cur.Next(t.Context()) {
			lines = append(lines, cur.Current.String())
		}
		if err := cur.Err(); err != nil {
			t.Fatal(err)
		}
		out[name] = lines
	}
	return out
}

// TestDumpWithOplog takes a whole server, written to meanwhile, through mongodump --oplog and mongorestore --oplogReplay.
func TestDumpWithOplog(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary and may build tools: run without -short")
	}
	dump, restore := databaseTool(t, "mongodump"), databaseTool(t, "mongorestore")
	from, to := startPair(t)
	source, target := harness.Connect(t, options.Client().ApplyURI(from.URI())), harness.Connect(t, options.Client().ApplyURI(to.URI()))
	fillShop(t, source.Database("shop"))
	stop := churn(t, source.Database("shop"))
	folder := filepath.Join(t.TempDir(), "dump")
	out, err := exec.CommandContext(t.Context(), dump, "--uri", from.URI(), "--oplog", "--out", folder).CombinedOutput()
	stop()
	if err != nil {
		t.Fatalf("mongodump: %v\n%s", err, out)
	}
	if out, err := exec.CommandContext(t.Context(), restore, "--uri", to.URI(), "--oplogReplay", folder).CombinedOutput(); err != nil {
		t.Fatalf("mongorestore: %v\n%s", err, out)
	}
	// What was written after the dump is not in it: the orders of the restored server are a prefix of the source's history.
	must(target.Database("shop").Collection("orders").CountDocuments(t.Context(), bson.D{}))(t)
	same(t, len(collections(t, target.Database("shop"))), len(collections(t, source.Database("shop"))))
}

// TestOplogReplayByHand does what these tools do: copies documents while they change, then applies the oplog's entries
// since the beginning of the copy. The copy must become the original.
func TestOplogReplayByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("starts the real binary: run without -short")
	}
	from, to := startPair(t)
	source, target := harness.Connect(t, options.Client().ApplyURI(from.URI())), harness.Connect(t, options.Client().ApplyURI(to.URI()))
	shop := source.Database("shop")
	must(shop.Collection("orders").InsertMany(t.Context(), bson.A{bson.D{{Key: "_id", Value: "a"}, {Key: "n", Value: 0}}, bson.D{{Key: "_id", Value: "b"}, {Key: "n", Value: 0}}}))(t)
	log := source.Database("local").Collection("oplog.rs")
	var last struct{ TS bson.Timestamp }
	if err := log.FindOne(t.Context(), bson.D{}, options.FindOne().SetSort(bson.D{{Key: "$natural", Value: -1}})).Decode(&last); err != nil {
		t.Fatal(err)
	}
	stop := churn(t, shop)
	docs := all(t, must(shop.Collection("orders").Find(t.Context(), bson.D{}))(t), nil)
	must(target.Database("shop").Collection("orders").InsertMany(t.Context(), docs))(t)
	stop()
	cur := must(log.Find(t.Context(), bson.D{{Key: "ts", Value: bson.D{{Key: "$gt", Value: last.TS}}}, {Key: "op", Value: bson.D{{Key: "$ne", Value: "n"}}}}))(t)
	applied := 0
	for ; cur.Next(t.Context()); applied++ {
		var entry bson.D
		if err := bson.Unmarshal(cur.Current, &entry); err != nil {
			t.Fatal(err)
		}
		var plain bson.D // mongorestore takes the UUIDs out: those of another server
		for _, e := range entry {
			if e.Key != "ui" {
				plain = append(plain, e)
			}
		}
		must(target.Database("admin").RunCommand(t.Context(), bson.D{{Key: "applyOps", Value: bson.A{plain}}}).Raw())(t)
	}
	if err := cur.Err(); err != nil {
		t.Fatal(err)
	}
	if applied < 100 {
		t.Errorf("only %d entries were there to apply", applied)
	}
	same(t, describe(t, target.Database("shop")), describe(t, shop))
}

func startPair(t *testing.T) (from, to *harness.Server) {
	t.Helper()
	binary := harness.Build(t)
	return harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "from")),
		harness.Start(t, binary, harness.FreeAddr(t), filepath.Join(t.TempDir(), "to"))
}

// churn writes to orders until it is stopped, and at least for a while.
func churn(t *testing.T, db *mongo.Database) (stop func()) {
	t.Helper()
	orders := db.Collection("orders")
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			id := bson.D{{Key: "_id", Value: "new " + string(rune('a'+i%26))}}
			var err error
			switch i % 5 {
			case 0, 1:
				_, err = orders.UpdateOne(context.Background(), bson.D{{Key: "n", Value: bson.D{{Key: "$exists", Value: true}}}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}, {Key: "$push", Value: bson.D{{Key: "seen", Value: bson.D{{Key: "$each", Value: bson.A{i}}, {Key: "$slice", Value: -3}}}}}})
			case 2:
				_, err = orders.ReplaceOne(context.Background(), id, bson.D{{Key: "sku", Value: bson.NewObjectID().Hex()}, {Key: "i", Value: i}}, options.Replace().SetUpsert(true))
			case 3:
				_, err = orders.DeleteOne(context.Background(), id)
			default:
				_, err = orders.UpdateMany(context.Background(), bson.D{{Key: "i", Value: bson.D{{Key: "$lt", Value: i}}}}, bson.A{bson.D{{Key: "$set", Value: bson.D{{Key: "twice", Value: bson.D{{Key: "$multiply", Value: bson.A{"$i", 2}}}}}}}})
			}
			if err != nil {
				t.Errorf("write %d: %v", i, err)
				return
			}
			select {
			case <-quit:
				if i > 200 {
					return
				}
			default:
			}
		}
	}()
	return func() { close(quit); <-done }
}
