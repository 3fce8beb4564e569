package server

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// FuzzRequest parses frames and lets hello answer what parses.
func FuzzRequest(f *testing.F) {
	for _, cmd := range []bson.D{
		{{Key: "hello", Value: 1}, {Key: "helloOk", Value: true}, {Key: "compression", Value: bson.A{"zstd"}}},
		{{Key: "hello", Value: 1}, {Key: "maxAwaitTimeMS", Value: 0}, {Key: "topologyVersion", Value: bson.D{
			{Key: "processId", Value: bson.ObjectID{}}, {Key: "counter", Value: int64(0)}}}},
		{{Key: "hello", Value: 1}, {Key: "saslSupportedMechs", Value: "a.b"}, {Key: "client", Value: bson.D{
			{Key: "driver", Value: bson.D{{Key: "name", Value: "x"}, {Key: "version", Value: "y"}}},
			{Key: "os", Value: bson.D{{Key: "type", Value: "z"}}}}}},
	} {
		f.Add(wire.AppendMsg(nil, 1, 0, 0, must(bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "admin"})))))
		f.Add(wire.AppendQuery(nil, 1, "admin", must(bson.Marshal(cmd))))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // a hello that would wait does not
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Request{Conn: NewLocalConn()}
		h, err := wire.ParseHeader(b)
		if err != nil {
			return
		}
		if h.OpCode == wire.OpQuery {
			err = r.parseQuery(b)
		} else {
			err = r.parseMsg(b)
		}
		if err != nil {
			return
		}
		hello := NewHello(HelloConfig{Topology: NewTopology(State{Posture: ReplicaSet})})
		r.OpCode = wire.OpMsg
		doc, err := Call(ctx, hello, r)
		if bsonval.Validate(doc) != nil || doc.Lookup("ok").IsMissing() {
			t.Fatalf("malformed reply %x", doc)
		}
		if err != nil && err != context.Canceled && mongoerr.As(err) == nil {
			t.Fatal(err)
		}
	})
}
