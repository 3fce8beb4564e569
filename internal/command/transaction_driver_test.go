package command

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/archelon-db/archelon/server"
)

const (
	accounts       = 5
	balance        = 100
	transfersEach  = 15
	transferTeller = 8
)

// TestTransfers moves money between accounts from several clients at once: none is made or lost, whoever looks.
func TestTransfers(t *testing.T) {
	f := newFixture(t)
	client := f.serve()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := client.Database("bank").Collection("accounts")
	for i := range accounts {
		if _, err := c.InsertOne(ctx, bson.D{field("_id", i), field("balance", balance)}); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var attempts atomic.Int64
	var tellers sync.WaitGroup
	for n := range transferTeller {
		tellers.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			for range transfersEach {
				if err := transfer(ctx, client, r, &attempts); err != nil {
					t.Errorf("transfer: %v", err)
					return
				}
			}
		})
	}
	tellers.Wait()
	t.Logf("%d attempts for %d transfers", attempts.Load(), transferTeller*transfersEach)
	sum, log := total(ctx, t, c)
	if sum != accounts*balance {
		t.Errorf("there are %d in all, want %d", sum, accounts*balance)
	}
	if log != transferTeller*transfersEach {
		t.Errorf("%d transfers are on record, want %d", log, transferTeller*transfersEach)
	}
	if s := f.must("admin", bson.D{field("serverStatus", 1)}).LookupPath("transactions", "currentOpen"); s.Int64() != 0 {
		t.Errorf("%d transactions left open", s.Int64())
	}
	if v := f.must("bank", bson.D{field("validate", "accounts")}); !v.Lookup("valid").Truthy() {
		t.Error("the collection is damaged")
	}
}

// transfer moves an amount between two accounts and puts it on record, having looked whether the books are right.
func transfer(ctx context.Context, client *mongo.Client, r *rand.Rand, attempts *atomic.Int64) error {
	s, err := client.StartSession()
	if err != nil {
		return err
	}
	defer s.EndSession(context.Background())
	db := client.Database("bank")
	from, to, amount := r.IntN(accounts), r.IntN(accounts), 1+r.IntN(5)
	_, err = s.WithTransaction(ctx, func(ctx context.Context) (any, error) {
		attempts.Add(1)
		cur, err := db.Collection("accounts").Find(ctx, bson.D{}, options.Find().SetBatchSize(2))
		if err != nil {
			return nil, err
		}
		var all []struct{ Balance int }
		if err := cur.All(ctx, &all); err != nil {
			return nil, err
		}
		sum := 0
		for _, a := range all {
			sum += a.Balance
		}
		if sum != accounts*balance {
			return nil, errors.New("a transaction sees money made or lost")
		}
		for id, by := range map[int]int{from: -amount, to: amount} {
			if from == to {
				by = 0
			}
			up := bson.D{field("$inc", bson.D{field("balance", by), field("moves", 1)})}
			if _, err := db.Collection("accounts").UpdateOne(ctx, bson.D{field("_id", id)}, up); err != nil {
				return nil, err
			}
		}
		return db.Collection("log").InsertOne(ctx, bson.D{field("from", from), field("to", to), field("amount", amount)})
	}, options.Transaction().SetReadConcern(readconcern.Snapshot()))
	return err
}

func total(ctx context.Context, t *testing.T, c *mongo.Collection) (sum int, log int64) {
	t.Helper()
	cur, err := c.Aggregate(ctx, bson.A{bson.D{field("$group", bson.D{field("_id", nil), field("sum", bson.D{field("$sum", "$balance")})})}})
	if err != nil {
		t.Fatal(err)
	}
	var out []struct{ Sum int }
	if err := cur.All(ctx, &out); err != nil || len(out) != 1 {
		t.Fatalf("%v, %v", out, err)
	}
	if log, err = c.Database().Collection("log").CountDocuments(ctx, bson.D{}); err != nil {
		t.Fatal(err)
	}
	return out[0].Sum, log
}

// cutter makes connections that can be cut on the client's side.
type cutter struct {
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func (d *cutter) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.conns = append(d.conns, conn)
	}
	return conn, err
}

func (d *cutter) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		c.Close()
	}
}

// TestCommitAfterLostReply cuts the connection when a transaction has been committed and before the client knows.
func TestCommitAfterLostReply(t *testing.T) {
	f := newFixture(t)
	var commits atomic.Int64
	var dialer cutter
	f.handler = server.HandlerFunc(func(ctx context.Context, req *server.Request, reply *server.Reply) error {
		err := f.cs.Handle(ctx, req, reply)
		if req.Command == "commitTransaction" && commits.Add(1) == 1 {
			dialer.cut()
		}
		return err
	})
	client := f.serve(options.Client().SetDialer(&dialer))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	runs := 0
	err := client.UseSession(ctx, func(ctx context.Context) error {
		_, err := mongo.SessionFromContext(ctx).WithTransaction(ctx, func(ctx context.Context) (any, error) {
			runs++
			return client.Database("d").Collection("c").InsertOne(ctx, bson.D{field("run", runs)})
		})
		return err
	})
	if err != nil || runs != 1 || commits.Load() != 2 {
		t.Errorf("%v, the body ran %d times, %d commits were sent", err, runs, commits.Load())
	}
	if n := f.count("d", "c", bson.D{}); n != 1 {
		t.Errorf("%d documents", n)
	}
}
