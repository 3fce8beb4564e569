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

// relay copies bytes between the clients of a listener and a server: the least that any hop costs. It returns when the
// listener is closed; made is told of each connection.
func relay(l net.Listener, target string, made func(net.Conn)) {
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
		made(c)
		made(s)
		// io.Copy would splice within the kernel, as no hop that reads what it passes can.
		pass := func(to, from net.Conn) {
			_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
			to.Close()
		}
		go pass(s, c)
		go pass(c, s)
	}
}

// startRelay runs a relay until the benchmark ends.
func startRelay(b *testing.B, target string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(b, err)
	var mu sync.Mutex
	var conns []net.Conn
	var work sync.WaitGroup
	work.Go(func() {
		relay(l, target, func(c net.Conn) {
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, c)
		})
	})
	b.Cleanup(func() {
		l.Close()
		work.Wait()
		for _, c := range conns {
			c.Close()
		}
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
