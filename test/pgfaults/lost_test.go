package pgfaults

import (
	"context"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// forgetful is a PostgreSQL that loses what is committed between freeze and crash, because none of its processes that
// would write it to disk goes on.
type forgetful struct {
	*pgharness.Server
	t      *testing.T
	frozen []int
}

func startForgetful(t *testing.T) *forgetful {
	t.Helper()
	pg, err := pgharness.Start(map[string]string{
		"wal_writer_delay": "10s", "bgwriter_lru_maxpages": "0", "autovacuum_naptime": "1h",
	})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { pg.Close() })
	return &forgetful{Server: pg, t: t}
}

// freeze stops the process that writes the journal, and those by which the stores make their commits durable: they hold the
// stores' locks.
func (f *forgetful) freeze() {
	f.t.Helper()
	out, err := f.SQL(f.URL(), "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter' UNION SELECT pid FROM pg_locks WHERE locktype = 'advisory'")
	if err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGSTOP)
		}
		if err != nil {
			f.t.Fatal(err)
		}
		f.frozen = append(f.frozen, pid)
	}
}

// crash ends the server and starts it again.
func (f *forgetful) crash() {
	f.t.Helper()
	f.Kill()
	for _, pid := range f.frozen {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone
	}
	f.frozen = nil
	if err := f.Run(); err != nil {
		f.t.Fatal(err)
	}
}

// lossy is a collection whose writes are acknowledged before they are durable.
func lossy(coll *mongo.Collection) *mongo.Collection {
	off := false
	return coll.Database().Collection(coll.Name(), options.Collection().SetWriteConcern(&writeconcern.WriteConcern{W: 1, Journal: &off}))
}

// insertAll inserts a document for each _id, one by one.
func insertAll(t *testing.T, coll *mongo.Collection, docs ...bson.D) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), recovery)
	defer cancel()
	for _, doc := range docs {
		if _, err := coll.InsertOne(ctx, doc); err != nil {
			t.Fatal(err)
		}
	}
}

func numbered(from, to int) (docs []bson.D) {
	for i := from; i <= to; i++ {
		docs = append(docs, bson.D{{Key: "_id", Value: i}})
	}
	return docs
}

// ids are the _ids of a collection in natural order.
func ids(t *testing.T, coll *mongo.Collection) (list []int) {
	t.Helper()
	cur, err := coll.Find(t.Context(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var docs []struct {
		ID int `bson:"_id"`
	}
	if err := cur.All(t.Context(), &docs); err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		list = append(list, d.ID)
	}
	return list
}

func (f *forgetful) client(parameters string) *mongo.Client {
	f.t.Helper()
	return harness.Connect(f.t, options.Client().ApplyURI(serve(f.t, f.URL()+parameters).URI()).SetDirect(true))
}

// TestLostCounts loses insertions: they are not counted.
func TestLostCounts(t *testing.T) {
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		t.Run(name, func(t *testing.T) {
			pg := startForgetful(t)
			coll := pg.client(parameters).Database("faults").Collection("docs")
			insertAll(t, coll, numbered(1, 5)...)
			pg.freeze()
			insertAll(t, lossy(coll), numbered(6, 15)...)
			pg.crash()
			insertAll(t, coll, numbered(100, 100)...)
			if left := ids(t, coll); len(left) != 6 {
				t.Fatalf("nothing was lost: %v", left)
			}
			if n, err := coll.EstimatedDocumentCount(t.Context()); n != 6 || err != nil {
				t.Errorf("of 6 documents %d are counted, %v", n, err)
			}
		})
	}
}

// TestLostOrder loses insertions into a capped collection, and the removals that went with them.
func TestLostOrder(t *testing.T) {
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		t.Run(name, func(t *testing.T) {
			pg := startForgetful(t)
			db := pg.client(parameters).Database("faults")
			if err := db.CreateCollection(t.Context(), "docs", options.CreateCollection().SetCapped(true).SetSizeInBytes(4096).SetMaxDocuments(3)); err != nil {
				t.Fatal(err)
			}
			coll := db.Collection("docs")
			insertAll(t, coll, numbered(1, 3)...)
			pg.freeze()
			insertAll(t, lossy(coll), numbered(4, 7)...)
			pg.crash()
			insertAll(t, coll, numbered(100, 100)...)
			if left := ids(t, coll); len(left) != 3 || left[0] != 2 || left[2] != 100 {
				t.Errorf("%v are left", left)
			}
		})
	}
}

// TestLostMultikey loses the document by which an index has got arrays.
func TestLostMultikey(t *testing.T) {
	array := func(id int) bson.D { return bson.D{{Key: "_id", Value: id}, {Key: "a", Value: bson.A{5, 20}}} }
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		t.Run(name, func(t *testing.T) {
			pg := startForgetful(t)
			first := serve(t, pg.URL()+parameters)
			client := harness.Connect(t, options.Client().ApplyURI(first.URI()).SetDirect(true))
			coll := client.Database("faults").Collection("docs")
			if _, err := coll.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}}}); err != nil {
				t.Fatal(err)
			}
			pg.freeze()
			insertAll(t, lossy(coll), array(1))
			pg.crash()
			insertAll(t, coll, array(2))
			if left := ids(t, coll); len(left) != 1 {
				t.Fatalf("nothing was lost: %v", left)
			}
			first.Kill()
			<-time.After(100 * time.Millisecond)
			other := pg.client(parameters).Database("faults").Collection("docs")
			between := bson.D{{Key: "a", Value: bson.D{{Key: "$gt", Value: 6}, {Key: "$lt", Value: 10}}}}
			if n, err := other.CountDocuments(t.Context(), between, options.Count().SetHint(bson.D{{Key: "a", Value: 1}})); n != 1 || err != nil {
				t.Errorf("%d documents found, %v", n, err)
			}
		})
	}
}

// TestSnapshotAfterRestart reads a snapshot before PostgreSQL is started again and, nothing having been written, after it.
func TestSnapshotAfterRestart(t *testing.T) {
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		t.Run(name, func(t *testing.T) {
			pg := startForgetful(t)
			client := pg.client(parameters)
			coll := client.Database("faults").Collection("docs")
			insertAll(t, coll, numbered(1, 1)...)
			read := func() error {
				session, err := client.StartSession(options.Session().SetSnapshot(true))
				if err != nil {
					return err
				}
				defer session.EndSession(t.Context())
				return coll.FindOne(mongo.NewSessionContext(t.Context(), session), bson.D{}).Err()
			}
			if err := read(); err != nil {
				t.Fatal(err)
			}
			pg.crash()
			for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
				if coll.FindOne(t.Context(), bson.D{}).Err() == nil {
					break
				}
			}
			for i := range 10 {
				if err := read(); err != nil {
					t.Errorf("%d: %v", i, err)
				}
				<-time.After(300 * time.Millisecond)
			}
		})
	}
}

// TestBuildCutOff has PostgreSQL crash while an index is registered, which happens although it has failed, and be away while one
// is built: nothing is left of either, and the next attempt succeeds.
func TestBuildCutOff(t *testing.T) {
	index := mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}, {Key: "b", Value: 1}}}
	create := func(coll *mongo.Collection) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := coll.Indexes().CreateOne(ctx, index)
		return err
	}
	unfinished := func(coll *mongo.Collection) bool {
		var stats struct{ IndexBuilds []string }
		err := coll.Database().RunCommand(t.Context(), bson.D{{Key: "collStats", Value: coll.Name()}}).Decode(&stats)
		return err != nil || len(stats.IndexBuilds) > 0
	}
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		for what, cut := range map[string]func(f *forgetful, failed chan error){
			"registered": func(f *forgetful, failed chan error) {
				<-time.After(500 * time.Millisecond) // it waits for a standby
				f.crash()
				waitForStandbys(t, f.Server, "")
				if err := <-failed; err == nil {
					t.Error("the index was created without the standby")
				}
			},
			"built": func(f *forgetful, failed chan error) {
				f.Kill()
				if err := <-failed; err == nil {
					t.Error("the index was created without PostgreSQL")
				}
				if err := f.Run(); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				f := &forgetful{Server: ownServer(t), t: t}
				coll := f.client(parameters).Database("faults").Collection("docs")
				docs := make([]any, 20000)
				for i := range docs {
					docs[i] = bson.D{{Key: "_id", Value: i}, {Key: "a", Value: i}, {Key: "b", Value: bson.A{i, i + 1, i + 2, i + 3, i + 4}}}
				}
				if _, err := coll.InsertMany(t.Context(), docs); err != nil {
					t.Fatal(err)
				}
				if what == "registered" {
					waitForStandbys(t, f.Server, "nobody")
				}
				failed := make(chan error, 1)
				go func() { failed <- create(coll) }()
				if what == "built" {
					await(t, func() bool { return unfinished(coll) }, "no index is built")
				}
				cut(f, failed)
				await(t, func() bool { return !unfinished(coll) }, "an index is left that nobody builds")
				if err := create(coll); err != nil {
					t.Error(err)
				}
			})
		}
	}
}
