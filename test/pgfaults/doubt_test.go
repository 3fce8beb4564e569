package pgfaults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/archelon-db/archelon/test/harness"
)

// TestDoubtfulDefinitions has PostgreSQL crash while changes of definitions wait for a standby. They fail, and have happened or are
// lost; the process goes on with what has become of them, and so does the next one.
func TestDoubtfulDefinitions(t *testing.T) {
	run := func(c *mongo.Collection, command bson.D) error {
		return c.Database().RunCommand(t.Context(), command).Err()
	}
	changes := []func(*mongo.Collection) error{
		func(c *mongo.Collection) error { return run(c, bson.D{{Key: "create", Value: c.Name() + "_new"}}) },
		func(c *mongo.Collection) error { return run(c, bson.D{{Key: "drop", Value: c.Name()}}) },
		func(c *mongo.Collection) error {
			return run(c, bson.D{{Key: "dropIndexes", Value: c.Name()}, {Key: "index", Value: "*"}})
		},
		func(c *mongo.Collection) error {
			rename := bson.D{{Key: "renameCollection", Value: "faults." + c.Name()}, {Key: "to", Value: "faults." + c.Name() + "_new"}}
			return c.Database().Client().Database("admin").RunCommand(t.Context(), rename).Err()
		},
	}
	for name, parameters := range map[string]string{"shared": "", "alone": "&shared=false"} {
		t.Run(name, func(t *testing.T) {
			pg := startForgetful(t)
			process := serve(t, pg.URL()+parameters)
			client := harness.Connect(t, options.Client().ApplyURI(process.URI()).SetDirect(true).SetRetryWrites(true))
			db := client.Database("faults")
			var collections []string
			for i, change := range changes {
				for _, lost := range []bool{false, true} {
					coll := db.Collection(fmt.Sprintf("change%d_%t", i, lost))
					if _, err := coll.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "a", Value: 1}}}); err != nil {
						t.Fatal(err)
					}
					insertAll(t, coll, numbered(1, 1)...)
					waitForStandbys(t, pg.Server, "nobody")
					if lost {
						pg.freeze()
					}
					failed := make(chan error)
					go func() { failed <- change(coll) }()
					<-time.After(300 * time.Millisecond)
					pg.crash()
					waitForStandbys(t, pg.Server, "")
					if err := <-failed; err == nil {
						t.Errorf("%s is done without the standby", coll.Name())
					}
					for _, c := range []string{coll.Name(), coll.Name() + "_new"} {
						insertAll(t, db.Collection(c), numbered(100, 100)...)
						collections = append(collections, c)
					}
				}
			}
			before := described(t, db, collections)
			t.Log(before)
			process.Kill()
			<-time.After(200 * time.Millisecond)
			if after := described(t, pg.client(parameters).Database("faults"), collections); !slices.Equal(before, after) {
				t.Errorf("%q become %q", before, after)
			}
		})
	}
}

// described tells of the collections' documents and indexes.
func described(t *testing.T, db *mongo.Database, collections []string) (all []string) {
	t.Helper()
	for _, name := range collections {
		list, err := db.Collection(name).Indexes().ListSpecifications(t.Context())
		if err != nil {
			t.Error(err)
		}
		all = append(all, fmt.Sprint(name, ": ", ids(t, db.Collection(name)), ", indexes: ", len(list)))
	}
	return all
}
