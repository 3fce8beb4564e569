package command

import (
	"context"
	"log/slog"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
	"github.com/archelon-db/archelon/server"
)

// fixture is a database with its commands, called without a network.
type fixture struct {
	t  testing.TB
	cs *Commands
	// handler is what serve offers, cs if nil.
	handler server.Handler
	conn    *server.Conn
	db      *database.DB
}

// open opens a database in a folder, or in memory if dir is empty.
func open(t testing.TB, dir string, posture server.Posture) *fixture {
	t.Helper()
	engine, err := pebblestore.Open(pebblestore.Config{Dir: dir, Memory: dir == ""})
	if err != nil {
		t.Fatal(err)
	}
	return openOn(t, engine, posture)
}

// openOn opens a database on an engine.
func openOn(t testing.TB, engine storage.Engine, posture server.Posture) *fixture {
	t.Helper()
	log := NewLogBuffer(nil)
	logger := slog.New(log)
	dc := database.Config{Engine: engine, Logger: logger}
	if posture == server.ReplicaSet {
		dc.Oplog = &database.OplogConfig{SizeBytes: 16 << 20}
	}
	db, err := database.Open(context.Background(), dc)
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := session.NewRegistry(session.Config{Engine: engine, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	topology := server.NewTopology(server.State{Posture: posture, SetName: "rs0", SetVersion: 1})
	cs, err := New(Config{
		DB: db, Topology: topology, Hello: server.NewHello(server.HelloConfig{Topology: topology}), Sessions: sessions,
		Logger: logger, Log: log, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t: t, cs: cs, conn: server.NewLocalConn(), db: db}
}

func (f *fixture) close() {
	f.t.Helper()
	if err := f.db.Close(); err != nil {
		f.t.Error(err)
	}
}

// newFixture is a database in memory, closed at the end of the test.
func newFixture(t testing.TB) *fixture {
	f := open(t, "", server.ReplicaSet)
	t.Cleanup(f.close)
	return f
}

// run runs a command and returns its reply, which may be an error's.
func (f *fixture) run(db string, cmd bson.D) bsonval.Doc {
	f.t.Helper()
	body, err := bson.Marshal(cmd)
	if err != nil {
		f.t.Fatal(err)
	}
	reply, err := server.Call(f.t.Context(), f.cs, server.NewRequest(f.conn, db, body))
	if err != nil {
		f.t.Fatalf("%v: %v", cmd, err)
	}
	return reply
}

// must runs a command that has to succeed.
func (f *fixture) must(db string, cmd bson.D) bsonval.Doc {
	f.t.Helper()
	reply := f.run(db, cmd)
	if reply.Lookup("ok").AsDouble() != 1 || !reply.Lookup("writeErrors").IsMissing() {
		f.t.Fatalf("%v: %s", cmd, bsonval.FormatDoc(reply))
	}
	return reply
}

// code runs a command and returns the code of its error or of its first write error, 0 for none.
func (f *fixture) code(db string, cmd bson.D) mongoerr.Code {
	f.t.Helper()
	reply := f.run(db, cmd)
	if c := reply.Lookup("code"); !c.IsMissing() {
		return mongoerr.Code(c.Int32())
	}
	if errs := reply.Lookup("writeErrors"); !errs.IsMissing() {
		return mongoerr.Code(errs.Doc().Index(0).Doc().Lookup("code").Int32())
	}
	return 0
}

// count counts the documents that match.
func (f *fixture) count(db, coll string, query bson.D) int64 {
	f.t.Helper()
	return f.must(db, bson.D{{Key: "count", Value: coll}, {Key: "query", Value: query}}).Lookup("n").TruncInt64()
}

func field(key string, value any) bson.E { return bson.E{Key: key, Value: value} }

// mustLSID is the session id of lsid(n).
func mustLSID(t testing.TB, n byte) session.ID {
	t.Helper()
	raw, err := bson.Marshal(lsid(n))
	if err != nil {
		t.Fatal(err)
	}
	id, err := parseLSID("lsid", bsonval.Document(raw))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
