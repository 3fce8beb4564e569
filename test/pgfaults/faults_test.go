package pgfaults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/test/pgharness"
)

// What clients see of a fault.
const (
	hostUnreachable    = 6
	operationFailed    = 96
	overloaded         = 462
	notWritablePrimary = 10107
	outOfDiskSpace     = 14031
)

// TestConnectionsCut ends connections under load, one here and there and all at once.
func TestConnectionsCut(t *testing.T) {
	url := database(t, "cut")
	l := startLoad(t, serve(t, url), 100)
	for range 15 {
		which := "random() < 0.3"
		if rand.IntN(3) == 0 {
			which = "true"
		}
		sql(t, url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND "+which)
		<-time.After(time.Duration(rand.IntN(150)) * time.Millisecond)
	}
	l.failed(t, hostUnreachable, 0)
	l.check(t, hostUnreachable)
}

// TestRetried cuts all connections again and again while a driver writes with retryable writes: its second attempt
// succeeds, and writes once.
func TestRetried(t *testing.T) {
	const cuts = 8
	url := database(t, "retried")
	s := serve(t, url)
	coll := harness.Connect(t, options.Client().ApplyURI(s.URI())).Database("faults").Collection("docs")
	ctx := t.Context()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range cuts {
			<-time.After(400 * time.Millisecond)
			if _, err := server.SQL(url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
				t.Error(err)
			}
		}
	}()
	sum, unknown := 0, 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		_, err := coll.UpdateOne(ctx, bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: 1}}}}, options.UpdateOne().SetUpsert(true))
		if err == nil {
			sum++
			continue
		}
		t.Log(err)
		unknown++ // both attempts were cut
	}
	var counter struct{ N int }
	if err := coll.FindOne(ctx, bson.D{}).Decode(&counter); err != nil || counter.N < sum || counter.N > sum+unknown {
		t.Errorf("the counter is at %d after %d acknowledged increments and %d errors, %v", counter.N, sum, unknown, err)
	}
	if unknown > 2 {
		t.Errorf("%d increments failed in %d cuts", unknown, cuts)
	}
}

// TestTransactionCut cuts the connection of a transaction: whatever statement comes next, drivers are told to start it again.
func TestTransactionCut(t *testing.T) {
	url := database(t, "transaction")
	coll := harness.Connect(t, options.Client().ApplyURI(serve(t, url).URI())).Database("faults").Collection("docs")
	if _, err := coll.InsertOne(t.Context(), bson.D{{Key: "_id", Value: 1}}); err != nil {
		t.Fatal(err)
	}
	id, set := bson.D{{Key: "_id", Value: 1}}, bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: 1}}}}
	for name, statement := range map[string]func(context.Context) error{
		"insert": func(ctx context.Context) error {
			_, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: 2}})
			return err
		},
		"update": func(ctx context.Context) error {
			_, err := coll.UpdateOne(ctx, id, set)
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := coll.DeleteOne(ctx, id)
			return err
		},
		"bulk": func(ctx context.Context) error {
			_, err := coll.BulkWrite(ctx, []mongo.WriteModel{mongo.NewUpdateOneModel().SetFilter(id).SetUpdate(set), mongo.NewDeleteOneModel().SetFilter(id)})
			return err
		},
		"find": func(ctx context.Context) error { return coll.FindOne(ctx, id).Err() },
	} {
		t.Run(name, func(t *testing.T) {
			session, err := coll.Database().Client().StartSession()
			if err != nil {
				t.Fatal(err)
			}
			defer session.EndSession(t.Context())
			ctx := mongo.NewSessionContext(t.Context(), session)
			if err := session.StartTransaction(); err != nil {
				t.Fatal(err)
			}
			if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "first"}}); err != nil {
				t.Fatal(err)
			}
			sql(t, url, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
			err = statement(ctx)
			var se mongo.ServerError
			if !errors.As(err, &se) || !se.HasErrorLabel("TransientTransactionError") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPostmasterKilled kills PostgreSQL under load and starts it again.
func TestPostmasterKilled(t *testing.T) {
	pg := ownServer(t)
	l := startLoad(t, serve(t, pg.URL()), 100)
	for range 2 {
		pg.Kill()
		<-time.After(300 * time.Millisecond)
		if err := pg.Run(); err != nil {
			t.Fatal(err)
		}
		l.await(t)
	}
	l.check(t, hostUnreachable)
}

// diskSize is the size of the file system that is to run full.
const diskSize = 128 << 20

// TestDiskFull fills the file system of the data, and makes room.
func TestDiskFull(t *testing.T) {
	pg := ownServer(t)
	dir := smallDisk(t, pg)
	for _, statement := range []string{"CREATE TABLESPACE small LOCATION '" + dir + "'", "CREATE DATABASE small TABLESPACE small"} {
		if _, err := pg.SQL(pg.URL(), statement); err != nil {
			t.Fatal(err)
		}
	}
	l := startLoad(t, serve(t, pg.Named("small", "")), 20_000)
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, diskSize), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	l.failed(t, outOfDiskSpace, 0)
	// Reads go on.
	if n, err := l.coll.CountDocuments(t.Context(), bson.D{}); err != nil || n == 0 {
		t.Errorf("reading on a full disk: %d documents, %v", n, err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	l.check(t, outOfDiskSpace)
}

// ownServer starts a PostgreSQL for one test.
func ownServer(t *testing.T) *pgharness.Server {
	t.Helper()
	pg, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Error(err)
		}
	})
	return pg
}

// smallDisk gives a server a folder on a file system of its own of diskSize.
func smallDisk(t *testing.T, pg *pgharness.Server) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("a file system of its own for PostgreSQL needs root")
	}
	dir, err := pg.Folder("small")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d,mode=0700", diskSize), "archelon-test", dir).CombinedOutput()
	if err != nil {
		t.Skipf("a file system of its own for PostgreSQL: %v: %s", err, out)
	}
	t.Cleanup(func() {
		pg.Stop() // and wait for its processes, which have files open
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	if err := pg.Own(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// application makes a role that is no superuser, with a database of the same name, and returns the address of it as the
// superuser and as that role.
func application(t *testing.T, name string) (role, admin, url string) {
	t.Helper()
	if server == nil {
		t.Skip(pgharness.ErrNotInstalled)
	}
	role = unique(name)
	admin, err := server.Database(role)
	if err != nil {
		t.Fatal(err)
	}
	sql(t, admin, fmt.Sprintf("CREATE ROLE %s LOGIN; GRANT CREATE ON DATABASE %s TO %s", role, role, role))
	return role, admin, server.Named(role, role)
}

// TestPermissions takes rights away and gives them back.
func TestPermissions(t *testing.T) {
	role, admin, url := application(t, "rights")
	s := serve(t, url)
	l := startLoad(t, s, 100)
	table := sql(t, admin, "SELECT format('%I.%I', schema, relation) FROM archelon.catalogue WHERE collection = 'docs' AND index_name IS NULL")
	for _, what := range []string{"INSERT, UPDATE ON TABLE " + table, "ALL ON TABLE archelon.commits", "USAGE ON SCHEMA archelon_faults", "USAGE ON SCHEMA archelon"} {
		before := l.count(operationFailed)
		sql(t, admin, "REVOKE "+what+" FROM "+role)
		l.failed(t, operationFailed, before)
		sql(t, admin, "GRANT "+what+" TO "+role)
		l.await(t)
	}
	l.check(t, operationFailed)
}

// TestReadOnly makes PostgreSQL refuse writes for a while, as a standby does.
func TestReadOnly(t *testing.T) {
	role, admin, url := application(t, "readonly")
	l := startLoad(t, serve(t, url), 100)
	cut := ";SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '" + role + "'"
	sql(t, admin, "ALTER ROLE "+role+" SET default_transaction_read_only = on"+cut)
	l.failed(t, notWritablePrimary, 0)
	sql(t, admin, "ALTER ROLE "+role+" RESET default_transaction_read_only"+cut)
	l.check(t, notWritablePrimary, hostUnreachable)
}

// TestPoolExhausted holds all connections with transactions: what comes then is told to try again, and not left hanging.
func TestPoolExhausted(t *testing.T) {
	const connections = 4
	s := serve(t, fmt.Sprintf("%s&pool_max_conns=%d", database(t, "pool"), connections))
	client := harness.Connect(t, options.Client().ApplyURI(s.URI()).SetRetryWrites(false).SetRetryReads(false).SetDirect(true))
	coll := client.Database("faults").Collection("docs")
	ctx := t.Context()
	if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "first"}}); err != nil {
		t.Fatal(err)
	}
	known, err := client.StartSession() // the process has read of it what is stored
	if err != nil {
		t.Fatal(err)
	}
	defer known.EndSession(context.WithoutCancel(ctx))
	local := options.Transaction().SetReadConcern(readconcern.Local())
	if _, err := known.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		return coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "before"}})
	}, local); err != nil {
		t.Fatal(err)
	}
	var sessions []*mongo.Session
	for i := range connections {
		session, err := client.StartSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(context.WithoutCancel(ctx))
		if err := session.StartTransaction(); err != nil {
			t.Fatal(err)
		}
		if _, err := coll.InsertOne(mongo.NewSessionContext(ctx, session), bson.D{{Key: "_id", Value: i}}); err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, session)
	}
	further, err := client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer further.EndSession(context.WithoutCancel(ctx))
	if err := errors.Join(further.StartTransaction(), known.StartTransaction(local)); err != nil {
		t.Fatal(err)
	}
	insert := func(session *mongo.Session) func() error {
		return func() error {
			_, err := coll.InsertOne(mongo.NewSessionContext(ctx, session), bson.D{{Key: "_id", Value: "refused"}})
			return err
		}
	}
	for _, refused := range []struct { // all need a connection of their own
		name, again, notAgain string
		run                   func() error
	}{
		{"a transaction that cannot begin", "RetryableError", "TransientTransactionError", insert(further)},
		{"a transaction that has begun", "TransientTransactionError", "RetryableError", insert(known)},
		{"a scan", "RetryableError", "TransientTransactionError", func() error {
			_, err := coll.CountDocuments(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: 0}}}})
			return err
		}},
	} {
		began := time.Now()
		err := refused.run()
		took := time.Since(began)
		var ce mongo.CommandError
		if !errors.As(err, &ce) || ce.Code != overloaded || !ce.HasErrorLabel("SystemOverloadedError") ||
			!ce.HasErrorLabel(refused.again) || ce.HasErrorLabel(refused.notAgain) {
			t.Errorf("%s with all connections in use: %v, %q", refused.name, err, ce.Labels)
		}
		if took > 15*time.Second {
			t.Errorf("it took %s to refuse %s", took, refused.name)
		}
	}
	for _, session := range sessions {
		if err := session.CommitTransaction(ctx); err != nil {
			t.Errorf("a transaction that was admitted: %v", err)
		}
	}
	if _, err := coll.InsertOne(ctx, bson.D{{Key: "_id", Value: "accepted"}}); err != nil {
		t.Error(err)
	}
	if n, err := coll.CountDocuments(ctx, bson.D{}); err != nil || n != connections+3 {
		t.Errorf("%d documents, %v", n, err)
	}
}
