package service_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
	"github.com/archelon-db/archelon/test/harness"
	"github.com/archelon-db/archelon/wire"
)

type echoRequest struct {
	Ping  int32  `bson:"ping"`
	Hello string `bson:"hello"`
}

type echoReply struct {
	Pong echoRequest `bson:"pong"`
}

// benchmarked is a service with the same command in all styles.
func benchmarked() *service.Service {
	svc := service.New("bench", service.Config{Quiesce: -1})
	service.Handle(svc, service.Command{Name: "ping"}, func(_ context.Context, r echoRequest) (echoReply, error) { return echoReply{r}, nil })
	service.Handle(svc, service.Command{Name: "pingD"}, func(_ context.Context, r bson.D) (pong, error) { return pong{r}, nil })
	service.Handle(svc, service.Command{Name: "pingRaw"}, func(_ context.Context, r bson.Raw) (struct{ Pong bson.Raw }, error) {
		return struct{ Pong bson.Raw }{r}, nil
	})
	svc.HandleRaw(service.Command{Name: "pingBytes"}, func(_ context.Context, c *service.Call) error {
		r := c.Reply()
		r.Buf = append(append(r.Buf, "\x03pong\x00"...), c.Args()...)
		return nil
	})
	return svc
}

// echoCommand is what a driver sends.
func echoCommand(b testing.TB, name string) []byte {
	return harness.Doc(b, bson.D{
		{Key: name, Value: int32(1)}, {Key: "hello", Value: "world"}, {Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}},
		{Key: "$db", Value: "test"},
	})
}

// BenchmarkCanned is the server that does nothing but send a document: what an echo is compared with.
func BenchmarkCanned(b *testing.B) {
	canned := harness.Doc(b, bson.D{{Key: "pong", Value: bson.D{{Key: "ping", Value: int32(1)}, {Key: "hello", Value: "world"}}}})
	mux := server.NewMux()
	mux.HandleFunc("ping", func(_ context.Context, _ *server.Request, reply *server.Reply) error {
		reply.AppendDoc(canned)
		return nil
	})
	roundTrips(b, mux, "ping")
}

func BenchmarkEcho(b *testing.B)      { roundTrips(b, benchmarked(), "ping") }
func BenchmarkEchoD(b *testing.B)     { roundTrips(b, benchmarked(), "pingD") }
func BenchmarkEchoRaw(b *testing.B)   { roundTrips(b, benchmarked(), "pingRaw") }
func BenchmarkEchoBytes(b *testing.B) { roundTrips(b, benchmarked(), "pingBytes") }

// roundTrips measures calls over loopback, with clients that do nothing but copy bytes.
func roundTrips(b *testing.B, h server.Handler, name string) {
	s, err := server.Listen(server.Config{Addresses: []string{"127.0.0.1:0"}, Handler: h, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ctx)
	}()
	b.Cleanup(func() {
		stop()
		<-done
	})
	request := wire.AppendMsg(nil, 1, 0, 0, echoCommand(b, name))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		var reply [1 << 10]byte
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			if _, err := io.ReadFull(c, reply[:wire.HeaderLen]); err != nil {
				b.Error(err)
				return
			}
			h, _ := wire.ParseHeader(reply[:])
			if _, err := io.ReadFull(c, reply[wire.HeaderLen:h.Length]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkDispatch measures calls without a network.
func BenchmarkDispatch(b *testing.B) {
	for _, name := range []string{"ping", "pingD", "pingRaw", "pingBytes"} {
		b.Run(name, func(b *testing.B) {
			svc, conn := benchmarked(), server.NewLocalConn()
			body := echoCommand(b, name)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := server.Call(b.Context(), svc, server.NewRequest(conn, "test", body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
