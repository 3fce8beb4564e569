package gateway_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/gateway"
)

// startRelay copies bytes between clients and a server: the least that any hop costs.
func startRelay(b *testing.B, target string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	var work sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, c, s)
			mu.Unlock()
			// io.Copy would splice within the kernel, as no hop that reads what it passes can.
			work.Go(func() { _, _ = io.Copy(struct{ io.Writer }{s}, struct{ io.Reader }{c}) })
			work.Go(func() { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{s}) })
		}
	})
	b.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}

// BenchmarkPointFind measures a find of one document by _id, over one connection: straight to the database, through a
// relay that only copies bytes, and through a gateway of three routes.
func BenchmarkPointFind(b *testing.B) {
	uri := startDB(b, archelon.Config{})
	direct := uri[len("mongodb://") : len(uri)-1]
	table := to(uri)
	table.Routes = append([]gateway.Route{
		{Command: gateway.Patterns{"echo", "thumbnail"}, Upstream: "main"},
		{Database: gateway.Patterns{"logs_*"}, Upstream: "main"},
	}, table.Routes...)
	_, through := startGateway(b, table)
	coll := connect(b, uri).Database("d").Collection("c")
	for i := range 1000 {
		_, err := coll.InsertOne(b.Context(), bson.D{{Key: "_id", Value: i}, {Key: "name", Value: "a document of the usual kind"}, {Key: "n", Value: i}})
		check(b, err)
	}
	for _, place := range []struct{ name, addr string }{
		{"direct", direct}, {"relay", startRelay(b, direct)}, {"gateway", through[len("mongodb://") : len(through)-1]},
	} {
		b.Run(place.name, func(b *testing.B) {
			conn, err := egress.Connect(b.Context(), egress.Host(place.addr), &egress.ConnConfig{})
			check(b, err)
			defer conn.Close()
			lsid := bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}}}
			cmd, err := egress.NewCommand("d", bson.D{
				{Key: "find", Value: "c"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: 500}}},
				{Key: "limit", Value: 1}, {Key: "singleBatch", Value: true}, {Key: "lsid", Value: lsid},
			})
			check(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if r := conn.Run(b.Context(), &cmd); r.Err() != nil {
					b.Fatal(r.Err())
				}
			}
		})
	}
}
