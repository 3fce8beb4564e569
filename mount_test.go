package archelon_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// thumbs is a service with a command, a stream, and a command that waits.
type thumbs struct {
	*service.Service
	begun, release chan struct{}
}

func newThumbs() *thumbs {
	s := &thumbs{
		Service: service.New("thumbs", service.Config{Quiesce: -1}), begun: make(chan struct{}, 10), release: make(chan struct{}),
	}
	service.Handle(s.Service, service.Command{Name: "make", Help: "Makes a thumbnail."}, func(_ context.Context, req struct {
		Make string `bson:"make"`
		Size int    `bson:"size"`
	}) (bson.D, error) {
		if req.Size > 100 {
			e := service.Errorf(10_000_300, "%d is too large", req.Size).WithLabels("Tidy")
			e.Name = "TooLarge"
			return nil, e
		}
		return bson.D{{Key: "thumb", Value: fmt.Sprintf("%s@%d", req.Make, req.Size)}}, nil
	})
	service.Stream(s.Service, service.Command{Name: "countTo"}, func(_ context.Context, req struct{ N int }) iter.Seq2[bson.D, error] {
		return func(yield func(bson.D, error) bool) {
			for i := range req.N {
				if !yield(bson.D{{Key: "i", Value: i}}, nil) {
					return
				}
			}
		}
	})
	service.Handle(s.Service, service.Command{Name: "nap"}, func(ctx context.Context, _ struct{}) (bson.D, error) {
		s.begun <- struct{}{}
		select {
		case <-s.release:
			return bson.D{{Key: "rested", Value: true}}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return s
}

func command(name string, value any, more ...bson.E) bson.D {
	return append(bson.D{{Key: name, Value: value}}, more...)
}

func run(t *testing.T, db *mongo.Database, cmd bson.D) bson.Raw {
	t.Helper()
	reply, err := db.RunCommand(t.Context(), cmd).Raw()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return reply
}

// refused runs a command that fails with a code, and returns the error.
func refused(t *testing.T, db *mongo.Database, cmd bson.D, code int32) mongo.CommandError {
	t.Helper()
	err := db.RunCommand(t.Context(), cmd).Err()
	var ce mongo.CommandError
	if !errors.As(err, &ce) || ce.Code != code {
		t.Errorf("%v: %v, want code %d", cmd, err, code)
	}
	return ce
}

func count(t *testing.T, cur *mongo.Cursor, err error) int {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var all []bson.Raw
	if err := cur.All(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestMountBesideData(t *testing.T) {
	svc := newThumbs()
	_, client := start(t, archelon.Config{Storage: archelon.StorageMemory, Mounts: []archelon.Mount{
		{Database: "thumbs", Commands: svc.Commands(), Handler: svc.Service},
	}})
	db := client.Database("thumbs")
	listed := func(empty bool) bool {
		list, err := client.ListDatabases(t.Context(), bson.D{{Key: "empty", Value: empty}, {Key: "name", Value: "thumbs"}})
		return err == nil && len(list.Databases) == 1
	}
	if !listed(true) {
		t.Error("a mounted database is not listed")
	}
	if _, err := db.Collection("pictures").InsertOne(t.Context(), bson.D{{Key: "_id", Value: "cat"}}); err != nil {
		t.Fatal(err)
	}
	if !listed(false) {
		t.Error("a database with data is not listed as such")
	}
	if got := run(t, db, command("make", "cat", bson.E{Key: "size", Value: 64})).Lookup("thumb").StringValue(); got != "cat@64" {
		t.Error(got)
	}
	run(t, db, command("MAKE", "cat", bson.E{Key: "size", Value: 64}))
	if e := refused(t, db, command("make", "cat", bson.E{Key: "size", Value: 640}), 10_000_300); e.Name != "TooLarge" || !e.HasErrorLabel("Tidy") {
		t.Errorf("%+v", e)
	}
	refused(t, db, command("make", "cat", bson.E{Key: "size", Value: "x"}), 14)
	refused(t, db, command("maek", "cat"), 59)
	refused(t, client.Database("other"), command("make", "cat", bson.E{Key: "size", Value: 64}), 59)

	t.Run("cursors", func(t *testing.T) {
		cur, err := db.RunCommandCursor(t.Context(), command("countTo", 1, bson.E{Key: "n", Value: 300}, bson.E{Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 7}}}))
		if n := count(t, cur, err); n != 300 {
			t.Errorf("%d documents", n)
		}
		cur, err = db.Collection("$cmd").Find(t.Context(), command("countTo", 1, bson.E{Key: "n", Value: 300}), options.Find().SetBatchSize(7))
		if n := count(t, cur, err); n != 300 {
			t.Errorf("%d documents by find", n)
		}
		first := run(t, db, command("countTo", 1, bson.E{Key: "n", Value: 3000}, bson.E{Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 1}}}))
		id := first.Lookup("cursor", "id").AsInt64()
		killed := run(t, db, command("killCursors", "$cmd.countTo", bson.E{Key: "cursors", Value: bson.A{id}}))
		if n, _ := killed.Lookup("cursorsKilled").Array().Values(); len(n) != 1 {
			t.Errorf("%s", killed)
		}
		refused(t, db, command("getMore", id, bson.E{Key: "collection", Value: "$cmd.countTo"}), 43)
		cur, err = db.Collection("pictures").Find(t.Context(), bson.D{})
		if n := count(t, cur, err); n != 1 {
			t.Errorf("%d pictures", n)
		}
	})
	t.Run("described", func(t *testing.T) {
		commands := run(t, db, command("listCommands", 1)).Lookup("commands").Document()
		made := commands.Lookup("make").Document()
		if made.Lookup("help").StringValue() != "Makes a thumbnail." || !made.Lookup("mounted").Boolean() || made.Lookup("request", "$jsonSchema").Type != bson.TypeEmbeddedDocument {
			t.Errorf("%s", made)
		}
		if _, err := commands.LookupErr("find"); err != nil {
			t.Error("the database's commands are gone")
		}
		if _, err := run(t, client.Database("other"), command("listCommands", 1)).LookupErr("commands", "make"); err == nil {
			t.Error("listed in another database")
		}
		if help := run(t, db, command("make", 1, bson.E{Key: "help", Value: true})).Lookup("help").StringValue(); !strings.Contains(help, "Makes a thumbnail.") {
			t.Error(help)
		}
		status := run(t, client.Database("admin"), command("serverStatus", 1)).Lookup("services", "0").Document()
		if n := status.Lookup("commands", "make", "total").AsInt64(); n < 4 || status.Lookup("database").StringValue() != "thumbs" {
			t.Errorf("%s", status)
		}
	})
	t.Run("transactions", func(t *testing.T) {
		err := client.UseSession(t.Context(), func(ctx context.Context) error {
			s := mongo.SessionFromContext(ctx)
			if err := s.StartTransaction(); err != nil {
				return err
			}
			defer func() { _ = s.AbortTransaction(ctx) }()
			if _, err := db.Collection("pictures").InsertOne(ctx, bson.D{}); err != nil {
				return err
			}
			return db.RunCommand(ctx, command("make", "cat", bson.E{Key: "size", Value: 64})).Err()
		})
		var ce mongo.CommandError
		if !errors.As(err, &ce) || ce.Code != 263 {
			t.Errorf("%v", err)
		}
	})
}

func TestMountWholeDatabase(t *testing.T) {
	pong := server.NewMux()
	pong.HandleFunc("find", func(_ context.Context, _ *server.Request, reply *server.Reply) error {
		return server.Errorf(2, "there is nothing to find")
	})
	db, client := start(t, archelon.Config{Storage: archelon.StorageMemory})
	if err := db.Mount(archelon.Mount{Database: "own", Handler: pong}); err != nil {
		t.Fatal(err)
	}
	if err := db.Mount(archelon.Mount{Commands: []string{"everywhere"}, Handler: pong}); err != nil {
		t.Fatal(err)
	}
	refused(t, client.Database("own"), command("find", "x"), 2)
	refused(t, client.Database("own"), command("insert", "x"), 59)
	run(t, client.Database("own"), command("hello", 1))
	if names, err := client.ListDatabaseNames(t.Context(), bson.D{}); err != nil || !slices.Contains(names, "own") {
		t.Errorf("%v %v", names, err)
	}
	if !run(t, client.Database("any"), command("listCommands", 1)).Lookup("commands", "everywhere", "mounted").Boolean() {
		t.Error("not listed")
	}
}

func TestMountRefused(t *testing.T) {
	db, client := start(t, archelon.Config{Storage: archelon.StorageMemory})
	nobody := server.NewMux()
	if _, err := client.Database("full").Collection("c").InsertOne(t.Context(), bson.D{}); err != nil {
		t.Fatal(err)
	}
	for _, m := range []archelon.Mount{{Database: "taken", Handler: nobody}, {Database: "d", Commands: []string{"make"}, Handler: nobody}} {
		if err := db.Mount(m); err != nil {
			t.Fatal(err)
		}
	}
	for want, m := range map[string]archelon.Mount{
		`"find" clashes with the database's own command "find"`:             {Database: "d", Commands: []string{"x", "find"}, Handler: nobody},
		`"listcollections" clashes with the database's own command "listC`:  {Commands: []string{"listcollections"}, Handler: nobody},
		`"Hello" clashes with the database's own command "hello"`:           {Database: "d", Subprocess: &service.Subprocess{Command: "x", Commands: []service.Command{{Name: "Hello"}}}},
		`the command "a" is named twice`:                                    {Database: "d", Subprocess: &service.Subprocess{Command: "x", Commands: []service.Command{{Name: "A", Aliases: []string{"a"}}}}},
		`no command; it answers no commands`:                                {Database: "d", Subprocess: &service.Subprocess{}},
		`the database "full" has collections`:                               {Database: "full", Handler: nobody},
		`the database "taken" is mounted already`:                           {Database: "taken", Handler: nobody},
		`the database "d" has mounted commands`:                             {Database: "d", Handler: nobody},
		`mount commands Make: the command "Make" is mounted already`:        {Commands: []string{"Make"}, Handler: nobody},
		`mount commands of database d: the command "mAke" is mounted alrea`: {Database: "d", Commands: []string{"mAke"}, Handler: nobody},
		`the database "admin" is the server's own`:                          {Database: "admin", Handler: nobody},
		`"a.b" cannot be the name of a database`:                            {Database: "a.b", Handler: nobody},
		`"$x" cannot be the name of a command`:                              {Database: "d", Commands: []string{"$x"}, Handler: nobody},
		`neither a database nor commands are named`:                         {Handler: nobody},
		`exactly one of a handler, a URI and a subprocess`:                  {Database: "e"},
		`mongodb+srv`: {Database: "e", URI: "mongodb+srv://x/"},
	} {
		err := db.Mount(m)
		if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), "\n", "; "), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestMountRemote(t *testing.T) {
	svc := newThumbs()
	far, err := archelon.Open(archelon.Config{Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"},
		Mounts: []archelon.Mount{{Commands: svc.Commands(), Handler: svc.Service}}})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- far.Serve(context.Background()) }()
	_, client := start(t, archelon.Config{Storage: archelon.StorageMemory, Mounts: []archelon.Mount{
		{Database: "far", URI: far.URI()},
		{Commands: []string{"make", "countTo"}, URI: far.URI()},
	}})
	coll := client.Database("far").Collection("c")
	docs := make([]any, 250)
	for i := range docs {
		docs[i] = bson.D{{Key: "_id", Value: i}}
	}
	if _, err := coll.InsertMany(t.Context(), docs); err != nil {
		t.Fatal(err)
	}
	cur, err := coll.Find(t.Context(), bson.D{}, options.Find().SetBatchSize(20))
	if n := count(t, cur, err); n != 250 {
		t.Errorf("%d documents", n)
	}
	if _, err := coll.InsertOne(t.Context(), docs[0]); !mongo.IsDuplicateKeyError(err) {
		t.Error(err)
	}
	refused(t, client.Database("far"), command("nothing", 1), 59)
	reply := run(t, client.Database("far"), command("count", "c"))
	if _, err := reply.LookupErr("$clusterTime"); err == nil {
		t.Errorf("a cluster time of another deployment: %s", reply)
	}

	db := client.Database("any")
	if e := refused(t, db, command("make", "cat", bson.E{Key: "size", Value: 640}), 10_000_300); e.Name != "TooLarge" || !e.HasErrorLabel("Tidy") {
		t.Errorf("%+v", e)
	}
	cur, err = db.RunCommandCursor(t.Context(), command("countTo", 1, bson.E{Key: "n", Value: 300}, bson.E{Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 7}}}))
	if n := count(t, cur, err); n != 300 {
		t.Errorf("%d documents", n)
	}
	if !run(t, db, command("listCommands", 1)).Lookup("commands", "countTo", "stream").Boolean() {
		t.Error("a remote command is not described")
	}

	if err := errors.Join(far.Close(), <-served); err != nil {
		t.Fatal(err)
	}
	err = client.Database("far").RunCommand(t.Context(), command("count", "c", bson.E{Key: "maxTimeMS", Value: 300})).Err()
	var ce mongo.CommandError
	if !errors.As(err, &ce) || !slices.Contains([]int32{6, 50, 89}, ce.Code) {
		t.Errorf("%v", err)
	}
	if _, err := client.Database("near").Collection("c").InsertOne(t.Context(), bson.D{}); err != nil {
		t.Errorf("the database is hit, too: %v", err)
	}
}

// TestMountDrains holds a call while the server stops: new ones are refused, the database answers still, the call succeeds.
func TestMountDrains(t *testing.T) {
	svc := newThumbs()
	db, err := archelon.Open(archelon.Config{Storage: archelon.StorageMemory, Listen: []string{"127.0.0.1:0"},
		Mounts: []archelon.Mount{{Database: "thumbs", Commands: svc.Commands(), Handler: svc.Service}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- db.Serve(ctx) }()
	client, err := mongo.Connect(options.Client().ApplyURI(db.URI()).SetServerSelectionTimeout(2 * time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(context.Background()) }()
	here := client.Database("thumbs")
	napped := make(chan error, 1)
	go func() { napped <- here.RunCommand(context.Background(), command("nap", 1)).Err() }()
	<-svc.begun
	stop()
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := here.RunCommand(t.Context(), command("make", "x", bson.E{Key: "size", Value: 1})).Err()
		var ce mongo.CommandError
		if errors.As(err, &ce) && ce.Code == 6 {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("not refused: %v", err)
		}
	}
	if err := client.Database("other").RunCommand(t.Context(), command("ping", 1)).Err(); err != nil {
		t.Errorf("the database has stopped before the mount: %v", err)
	}
	close(svc.release)
	if err := <-napped; err != nil {
		t.Errorf("the call: %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
