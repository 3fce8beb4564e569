package archelon_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// running returns the operation of a command that runs, as $currentOp or currentOp shows it, and waits for it.
func running(t *testing.T, client *mongo.Client, name string) bson.Raw {
	t.Helper()
	var ops []bson.Raw
	eventually(t, name+" is among the operations", func() bool {
		cur, err := client.Database("admin").Aggregate(t.Context(), mongo.Pipeline{
			{{Key: "$currentOp", Value: bson.D{}}}, {{Key: "$match", Value: bson.D{{Key: "command." + name, Value: bson.D{{Key: "$exists", Value: true}}}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := cur.All(t.Context(), &ops); err != nil {
			t.Fatal(err)
		}
		return len(ops) == 1
	})
	return ops[0]
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !cond(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("never happened: ", what)
		}
	}
}

// background runs f until the test ends.
func background(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// anyRunning tells whether a command of a service runs.
func anyRunning(m []service.CommandMetrics, name string) bool {
	return slices.ContainsFunc(m, func(c service.CommandMetrics) bool { return c.Name == name && c.Running > 0 })
}

func TestMountedOperations(t *testing.T) {
	remote := newThumbs()
	instance, err := remote.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, instance.Serve)
	local := newThumbs()
	_, client := start(t, archelon.Config{Storage: archelon.StorageMemory, Mounts: []archelon.Mount{
		{Database: "here", Commands: local.Commands(), Handler: local.Service},
		{Database: "there", Commands: []string{"nap"}, URI: instance.URI()},
		{Database: "all", URI: instance.URI()},
	}})
	for _, place := range []struct {
		db  string
		svc *thumbs
	}{{"here", local}, {"there", remote}, {"all", remote}} {
		t.Run(place.db, func(t *testing.T) {
			ended := make(chan error, 1)
			go func() {
				ended <- client.Database(place.db).RunCommand(t.Context(), command("nap", 1, bson.E{Key: "comment", Value: "deep"})).Err()
			}()
			<-place.svc.begun
			op := running(t, client, "nap")
			if ns := op.Lookup("ns").StringValue(); ns != place.db+".$cmd" {
				t.Errorf("namespace %s", ns)
			}
			if op.Lookup("command", "comment").StringValue() != "deep" || op.Lookup("client").StringValue() == "" {
				t.Error(op)
			}
			if _, ok := op.Lookup("microsecs_running").AsInt64OK(); !ok || !op.Lookup("active").Boolean() {
				t.Error(op)
			}
			admin := client.Database("admin")
			byCommand := run(t, admin, command("currentOp", 1, bson.E{Key: "opid", Value: op.Lookup("opid").AsInt64()}))
			if ops, err := byCommand.Lookup("inprog").Array().Values(); err != nil || len(ops) != 1 {
				t.Error(byCommand)
			}
			run(t, admin, command("killOp", 1, bson.E{Key: "op", Value: op.Lookup("opid").AsInt64()}))
			var ce mongo.CommandError
			if err := <-ended; !errors.As(err, &ce) || ce.Code != 11601 {
				t.Errorf("killed: %v", err)
			}
			// The service has noticed, and so has the connection to it: others are not disturbed.
			eventually(t, "the service has stopped, too", func() bool { return !anyRunning(place.svc.Metrics(), "nap") })
		})
	}
	if got := run(t, client.Database("all"), command("make", "cat", bson.E{Key: "size", Value: 4})).Lookup("thumb").StringValue(); got != "cat@4" {
		t.Error(got)
	}
}

func TestUnmount(t *testing.T) {
	local, remote := newThumbs(), newThumbs()
	instance, err := remote.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, instance.Serve)
	db, client := start(t, archelon.Config{Storage: archelon.StorageMemory, Mounts: []archelon.Mount{
		{Database: "here", Commands: local.Commands(), Handler: local.Service},
		{Database: "there", URI: instance.URI()},
	}})
	for name, want := range map[string]string{"": `no database "nowhere"`, "nap": `no command "nap"`} {
		if err := db.Unmount(t.Context(), "nowhere", name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("unmount of nothing: %v", err)
		}
	}
	size := bson.E{Key: "size", Value: 4}
	for _, place := range []struct {
		db, command string
		svc         *thumbs
		again       archelon.Mount
	}{
		{"here", "nap", local, archelon.Mount{Database: "here", Commands: []string{"make"}, URI: instance.URI()}},
		{"there", "", remote, archelon.Mount{Database: "there", Commands: []string{"make"}, URI: instance.URI()}},
	} {
		t.Run(place.db, func(t *testing.T) {
			d := client.Database(place.db)
			cur, err := d.RunCommandCursor(t.Context(), command("countTo", 1, bson.E{Key: "n", Value: 30}, bson.E{Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 7}}}))
			if err != nil {
				t.Fatal(err)
			}
			slept := make(chan error, 1)
			go func() { slept <- d.RunCommand(t.Context(), command("nap", 1)).Err() }()
			<-place.svc.begun
			unmounted := make(chan error, 1)
			go func() { unmounted <- db.Unmount(t.Context(), place.db, place.command) }()
			eventually(t, "new commands are refused", func() bool { return d.RunCommand(t.Context(), command("make", "cat", size)).Err() != nil })
			refused(t, d, command("make", "cat", size), 59)
			if err := db.Unmount(t.Context(), place.db, place.command); err == nil {
				t.Error("unmounted twice")
			}
			if n := count(t, cur, nil); n != 30 {
				t.Errorf("%d documents", n)
			}
			select {
			case err := <-unmounted:
				t.Fatalf("unmounted with a command running: %v", err)
			case <-time.After(50 * time.Millisecond):
			}
			close(place.svc.release)
			if err := <-slept; err != nil {
				t.Error(err)
			}
			if err := <-unmounted; err != nil {
				t.Error(err)
			}
			if err := db.Mount(place.again); err != nil {
				t.Fatal(err)
			}
			run(t, d, command("make", "cat", size))
		})
	}

	t.Run("cut off", func(t *testing.T) {
		busy := newThumbs()
		waits := server.HandlerFunc(func(ctx context.Context, _ *server.Request, _ *server.Reply) error {
			busy.begun <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		})
		if err := db.Mount(archelon.Mount{Database: "busy", Handler: waits}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- client.Database("busy").RunCommand(t.Context(), command("wait", 1)).Err() }()
		<-busy.begun
		soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if err := db.Unmount(soon, "busy", ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		var ce mongo.CommandError
		if err := <-ended; !errors.As(err, &ce) || ce.Code != 6 {
			t.Errorf("cut off: %v", err)
		}
	})
}
