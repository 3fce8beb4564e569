package auth

import (
	"context"
	"testing"

	"github.com/archelon-db/archelon/server"
)

// BenchmarkAuthorize is what a command costs more on a server with users.
func BenchmarkAuthorize(b *testing.B) {
	a := account(b, "alice", "admin", "secret", roles("readWrite@shop", "read@bank", "clusterMonitor@admin"))
	g := NewGuard(NewMemory(a), nil)
	conn := server.NewLocalConn()
	g.client(conn).accept(conn, a, g.store.Version())
	req := server.NewRequest(conn, "shop", doc(b, `{"find": "c", "filter": {"_id": 1}}`))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.authorize(context.Background(), req, nil); err != nil {
			b.Fatal(err)
		}
	}
}
