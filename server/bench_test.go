package server

import (
	"bytes"
	"context"
	"io"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/wire"
)

// BenchmarkPing measures one command over loopback, with a client that does nothing but copy bytes.
func BenchmarkPing(b *testing.B) { benchmark(b, bson.D{{Key: "ping", Value: 1}}) }

// BenchmarkReply4K measures a reply of 4 KiB.
func BenchmarkReply4K(b *testing.B) { benchmark(b, bson.D{{Key: "page", Value: 1}}) }

// BenchmarkRequest4K measures a request of 4 KiB.
func BenchmarkRequest4K(b *testing.B) {
	benchmark(b, bson.D{{Key: "ping", Value: 1}, {Key: "pad", Value: bytes.Repeat([]byte{1}, 4000)}})
}

func benchmark(b *testing.B, cmd bson.D) {
	page := must(bson.Marshal(bson.D{{Key: "page", Value: bytes.Repeat([]byte{1}, 4000)}}))
	ts := start(b, State{}, func(_ *Config, m *Mux) {
		m.HandleFunc("page", func(_ context.Context, _ *Request, reply *Reply) error {
			reply.AppendDoc(page)
			return nil
		})
	})
	body := must(bson.Marshal(append(cmd, bson.E{Key: "lsid", Value: bson.D{{Key: "id", Value: make([]byte, 16)}}}, bson.E{Key: "$db", Value: "test"})))
	request := wire.AppendMsg(nil, 1, 0, 0, body)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		c := ts.dial(b)
		reply := make([]byte, 16<<10)
		for pb.Next() {
			if _, err := c.c.Write(request); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(c.c, reply[:wire.HeaderLen]); err != nil {
				b.Error(err)
				return
			}
			h, _ := wire.ParseHeader(reply)
			if _, err := io.ReadFull(c.c, reply[wire.HeaderLen:h.Length]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
