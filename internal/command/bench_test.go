package command

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
)

// BenchmarkFindByID measures the most frequent query without a network.
func BenchmarkFindByID(b *testing.B) {
	f := newFixture(b)
	docs := make(bson.A, 1000)
	for i := range docs {
		docs[i] = bson.D{field("_id", i), field("s", "some text of a document")}
	}
	f.must("d", bson.D{field("insert", "c"), field("documents", docs)})
	f.bench(b, bson.D{field("find", "c"), field("filter", bson.D{field("_id", 500)}), field("limit", 1), field("singleBatch", true), field("lsid", lsid(1))})
}

// BenchmarkInsertOne measures an insert of one document as a retryable write without a network.
func BenchmarkInsertOne(b *testing.B) {
	f := newFixture(b)
	f.bench(b, bson.D{field("insert", "c"), field("documents", bson.A{bson.D{field("s", "some text of a document")}}), field("lsid", lsid(1))})
}

func (f *fixture) bench(b *testing.B, cmd bson.D) {
	body, err := bson.Marshal(cmd)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		reply, err := server.Call(b.Context(), f.cs, server.NewRequest(f.conn, "d", body))
		if err != nil || reply.Lookup("ok").AsDouble() != 1 {
			b.Fatal(reply, err)
		}
	}
}
