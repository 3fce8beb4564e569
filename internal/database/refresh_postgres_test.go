package database

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage/pgstore"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestRefreshedSince asks for the definitions while the process is reading older ones: it gets those that there were when it asked.
func TestRefreshedSince(t *testing.T) {
	server, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var dbs [2]*DB
	for i := range dbs {
		engine, err := pgstore.Open(t.Context(), pgstore.Config{URL: server.URL(), Shared: true})
		if err != nil {
			t.Fatal(err)
		}
		if dbs[i], err = Open(t.Context(), Config{Engine: engine, Logger: slog.New(slog.DiscardHandler)}); err != nil {
			t.Fatal(err)
		}
		defer dbs[i].Close()
	}
	one, two := dbs[0], dbs[1]
	create := func(name string) {
		if err := one.Create(t.Context(), Namespace{DB: "d", Coll: name}, bsonval.EmptyDoc); err != nil {
			t.Error(err)
		}
	}

	var asked sync.WaitGroup
	reading := sync.OnceFunc(func() {
		create("late")
		asked.Go(func() {
			if err := two.Refresh(t.Context()); err != nil {
				t.Error(err)
			}
			if two.Catalog().Collection("d", "late") == nil {
				t.Error("what was created before is not there")
			}
		})
		create("later") // takes long enough for that to wait
	})
	two.OnReload(func(context.Context) error { // called when they have been read
		reading()
		return nil
	})
	create("early")
	if err := two.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked.Wait()
}
