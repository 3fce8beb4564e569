package perf

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/wire"
)

// dbName is the database that everything happens in.
const dbName = "perf"

// client is a connection that sends one message at a time.
type client struct {
	c    net.Conn
	rand *rand.Rand
	lsid bsonval.Doc
	out  []byte
	in   []byte
	txn  int64 // the last transaction number used

	inside *inside // answers instead of c, if set
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	cl := newClient()
	cl.c = c
	return cl
}

func newClient() *client {
	id := make([]byte, 16)
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for i := range id {
		id[i] = byte(r.Uint32())
	}
	lsid := bsonval.NewBuilder().Value("id", bsonval.Binary(4, id)).Build()
	return &client{rand: r, lsid: lsid, in: make([]byte, 64<<10)}
}

// begin starts a command message whose body is open at its end; end closes it.
func (c *client) begin() {
	c.out = wire.AppendMsgStart(c.out[:0], 1, 0, 0)
	c.out, _ = bsonval.BeginDoc(c.out)
}

func (c *client) field(key string, v bsonval.Value) { c.out = bsonval.AppendElement(c.out, key, v) }

// end appends what drivers append to every command, and documents as a sequence
// if it has a name, and closes the message.
func (c *client) end(sequence string, docs ...[]byte) { c.endOn(dbName, sequence, docs...) }

// endOn is end for a database of the caller's.
func (c *client) endOn(db, sequence string, docs ...[]byte) {
	c.field("lsid", bsonval.Document(c.lsid))
	c.field("$db", bsonval.String(db))
	c.out = bsonval.EndDoc(c.out, wire.MsgBodyOffset)
	if sequence != "" {
		c.out = wire.AppendSequence(c.out, sequence, docs...)
	}
	c.out = wire.FinishMessage(c.out, 0)
}

// call sends the message and returns the reply, which is valid until the next, if it is good.
func (c *client) call() (bsonval.Doc, error) {
	reply, err := c.answer()
	if err == nil && !good(reply) {
		err = fmt.Errorf("%s", bsonval.FormatDoc(reply))
	}
	return reply, err
}

func good(reply bsonval.Doc) bool {
	return reply.Lookup("ok").AsDouble() == 1 && reply.Lookup("writeErrors").IsMissing()
}

// answer sends the message and returns the reply, good or bad.
func (c *client) answer() (bsonval.Doc, error) {
	if c.inside != nil {
		return c.inside.answer(c.out)
	}
	if _, err := c.c.Write(c.out); err != nil {
		return nil, err
	}
	have, want := 0, wire.HeaderLen
	for have < want {
		n, err := io.ReadAtLeast(c.c, c.in[have:], want-have)
		if err != nil {
			return nil, err
		}
		have += n
		h, err := wire.ParseHeader(c.in)
		if err != nil {
			return nil, err
		}
		if want = int(h.Length); want > len(c.in) {
			c.in = append(c.in, make([]byte, want-len(c.in))...)
		}
	}
	return bsonval.Doc(c.in[wire.MsgBodyOffset:want]), nil
}

// must is call for the preparations of a test.
func (c *client) must(t testing.TB) bsonval.Doc {
	t.Helper()
	reply, err := c.call()
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// target is a server process.
type target struct {
	addr string
	pid  int
}

// side is one of two servers compared, or one of two loads.
type side struct {
	target  target
	clients []*client
	// op does the operation once and returns how much it was worth.
	op func(c *client) (int, error)
}

func newSide(t testing.TB, to target, n int, op func(c *client) (int, error)) *side {
	s := &side{target: to, op: op}
	for range n {
		s.clients = append(s.clients, dial(t, to.addr))
	}
	return s
}

// run lets all clients work for a while and returns the rate per second and the
// server's processor time for each unit of it, in microseconds.
func (s *side) run(t testing.TB, d time.Duration) (rate, cpu float64) {
	t.Helper()
	counts, errs, times := make([]int, len(s.clients)), make([]error, len(s.clients)), make([]time.Duration, len(s.clients))
	before := processorTime(s.target.pid)
	start := time.Now()
	var wg sync.WaitGroup
	for i, c := range s.clients {
		wg.Go(func() {
			for time.Since(start) < d && errs[i] == nil {
				n, err := s.op(c)
				counts[i], errs[i] = counts[i]+n, err
			}
			times[i] = time.Since(start)
		})
	}
	wg.Wait()
	total := 0
	for i, n := range counts {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		rate += float64(n) / times[i].Seconds()
		total += n
	}
	used := processorTime(s.target.pid) - before
	return rate, float64(used.Nanoseconds()) / 1000 / float64(max(total, 1))
}
