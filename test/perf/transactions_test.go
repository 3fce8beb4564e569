package perf

import (
	"encoding/binary"
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// measureTransactions compares transactions with single updates, and takes what contention does to both.
func measureTransactions(t *testing.T, r *report, binary string) {
	const clients = 16
	to := start(t, binary, filepath.Join(t.TempDir(), "data"))
	load(t, to.addr, "docs", *scanDocs)
	rest(to)
	var again atomic.Int64
	anywhere := func(c *client) (a, b uint64) {
		n := uint64(*scanDocs)
		a = c.rand.Uint64N(n)
		return a, (a + 1 + c.rand.Uint64N(n-1)) % n
	}
	two := updateTwice(anywhere)
	r.compare(t, "transaction of two updates by _id, 16 clients", newSide(t, to, clients, transaction(&again, anywhere)), newSide(t, to, clients, two), 0.5)

	var widest, narrowest [2]float64
	for _, hot := range []uint64{4096, 256, 16, 4, 2, 1} {
		again.Store(0)
		x := newSide(t, to, clients, transaction(&again, oneOf(hot)))
		y := newSide(t, to, clients, updateHot(hot))
		a, b, ratio := duel(t, x, y)
		r.add(t, line{what: fmt.Sprintf("transactions and single $inc, %d hot documents", hot), ours: count(a.rate()), bare: count(b.rate()), unit: "/s",
			ratio: ratio, note: true, cpu: fmt.Sprintf("%.0f / %.0f", a.cpu(), b.cpu())})
		committed := a.rate() * roundTime.Seconds() * float64(*rounds+1)
		t.Logf("%d hot documents: %.2f attempts for each transaction", hot, 1+float64(again.Load())/max(committed, 1))
		narrowest = [2]float64{a.rate(), b.rate()}
		if hot == 4096 {
			widest = narrowest
		}
	}
	for i, what := range []string{"transactions", "single $inc"} {
		r.add(t, line{what: "one hot document to 4,096, " + what, ours: count(narrowest[i]), bare: count(widest[i]), unit: "/s",
			ratio: narrowest[i] / widest[i], promise: [2]float64{0.1, 0.3}[i]})
	}
}

// oneOf draws one of the first n documents, and one that is the client's own.
func oneOf(n uint64) func(c *client) (a, b uint64) {
	return func(c *client) (a, b uint64) {
		own := 5000 + binary.LittleEndian.Uint64(c.lsid.Lookup("id").Bytes())%uint64(*scanDocs-5000)
		return c.rand.Uint64N(n), own
	}
}

// raise is an update statement whose _id is set anew for each use, at idAt.
func raise() []byte {
	change := bsonval.NewBuilder().StartDoc("$inc").Int32("updates", 1).Build()
	return bsonval.NewBuilder().Doc("q", idDoc(nil, 0)).Doc("u", change).Build()
}

// idAt is where the _id is in raise: behind the statement's length, the type and name of q, and the same of _id.
const idAt = 4 + 1 + 2 + idOffset

// update begins an update of one document; the caller adds what it wants and calls endUpdate.
func (c *client) update() {
	c.begin()
	c.field("update", bsonval.String("docs"))
	c.field("ordered", bsonval.Bool(true))
}

func (c *client) endUpdate(stmt []byte, id uint64) {
	c.end("updates", stmt)
	binary.LittleEndian.PutUint64(c.out[len(c.out)-len(stmt)+idAt:], id)
}

// one checks that an update has changed its document.
func one(reply bsonval.Doc, err error) error {
	if err == nil && reply.Lookup("nModified").Int64() != 1 {
		err = fmt.Errorf("nothing modified: %s", bsonval.FormatDoc(reply))
	}
	return err
}

// updateTwice does two single updates.
func updateTwice(pick func(*client) (a, b uint64)) func(c *client) (int, error) {
	stmt := raise()
	return func(c *client) (int, error) {
		a, b := pick(c)
		for _, id := range []uint64{a, b} {
			c.update()
			c.endUpdate(stmt, id)
			if err := one(c.call()); err != nil {
				return 0, err
			}
		}
		return 1, nil
	}
}

// updateHot does one single update of one of n documents.
func updateHot(n uint64) func(c *client) (int, error) {
	stmt := raise()
	return func(c *client) (int, error) {
		c.update()
		c.endUpdate(stmt, c.rand.Uint64N(n))
		return 1, one(c.call())
	}
}

// transaction does two updates in one transaction. If others are in its way it begins anew, after a pause as drivers
// make it: at most 5 ms for the first time, half as much again for each further one, up to half a second.
func transaction(again *atomic.Int64, pick func(*client) (a, b uint64)) func(c *client) (int, error) {
	const first, growth, longest = 5 * time.Millisecond, 1.5, 500 * time.Millisecond
	stmt := raise()
	return func(c *client) (int, error) {
		a, b := pick(c)
		for n := 0; ; n++ {
			done, err := c.attempt(stmt, a, b)
			if done || err != nil {
				return 1, err
			}
			again.Add(1)
			pause := min(float64(first)*math.Pow(growth, float64(n)), float64(longest))
			time.Sleep(time.Duration(pause * c.rand.Float64()))
		}
	}
}

// attempt does a transaction once; done is false if it may be tried again.
func (c *client) attempt(stmt []byte, a, b uint64) (done bool, err error) {
	c.txn++
	for i, id := range []uint64{a, b} {
		c.update()
		c.field("txnNumber", bsonval.Int64(c.txn))
		if i == 0 {
			c.field("startTransaction", bsonval.Bool(true))
		}
		c.field("autocommit", bsonval.Bool(false))
		c.endUpdate(stmt, id)
		if transient, err := c.transient(); transient || err != nil {
			return false, err
		}
	}
	c.begin()
	c.field("commitTransaction", bsonval.Int32(1))
	c.field("txnNumber", bsonval.Int64(c.txn))
	c.field("autocommit", bsonval.Bool(false))
	c.endOn("admin", "")
	transient, err := c.transient()
	return !transient && err == nil, err
}

// transient sends a statement of a transaction and says whether the transaction is to be tried again.
func (c *client) transient() (bool, error) {
	reply, err := c.answer()
	if err != nil || good(reply) {
		return false, err
	}
	for it := reply.Lookup("errorLabels").Doc().Iter(); it.Next(); {
		if it.Value().Str() == "TransientTransactionError" {
			return true, nil
		}
	}
	return false, fmt.Errorf("%s", bsonval.FormatDoc(reply))
}
