package enginetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// The log tables of the cases below.
const (
	logTable   storage.TableID = 7
	otherTable storage.TableID = 8
)

// unstamped is the stamp of a record that does not hold its time.
var unstamped = storage.LogStamp{Time: -1, Wall: -1}

// stamped is the stamp of logRecord.
var stamped = storage.LogStamp{Time: 1, Wall: 10}

// logRecord is a record with room for its stamp around marks that must not change.
func logRecord(text string) []byte { return []byte("<........|........>" + text) }

// withLogs creates the log tables.
func withLogs(run func(f *fixture)) func(f *fixture) {
	return func(f *fixture) {
		f.write(func(tx storage.Txn) { f.ok(errors.Join(tx.CreateTable(logTable), tx.CreateTable(otherTable))) })
		run(f)
	}
}

// append queues logRecords in a transaction.
func (f *fixture) append(tx storage.Txn, texts ...string) {
	f.Helper()
	for _, s := range texts {
		f.ok(tx.Append(f.ctx, logTable, logRecord(s), stamped))
	}
}

// logged is a record of a log table.
type logged struct {
	id   storage.RecordID
	text string
}

// log returns the records of a log table of logRecords, and checks their stamps.
func (f *fixture) log(tx storage.Txn, t storage.TableID, r storage.RecordRange) []logged {
	f.Helper()
	it, err := tx.Scan(f.ctx, t, r)
	f.ok(err)
	defer it.Close()
	var out []logged
	for it.Next() {
		text, err := readLogRecord(it.ID(), it.Doc())
		f.ok(err)
		out = append(out, logged{it.ID(), text})
	}
	f.ok(it.Err())
	return out
}

func readLogRecord(id storage.RecordID, doc []byte) (string, error) {
	if len(doc) < 19 || doc[0] != '<' || doc[9] != '|' || doc[18] != '>' {
		return "", fmt.Errorf("record %d is %q", id, doc)
	}
	if got := binary.LittleEndian.Uint64(doc[1:]); got != uint64(id) {
		return "", fmt.Errorf("record %d says it is %d", id, got)
	}
	wall := time.UnixMilli(int64(binary.LittleEndian.Uint64(doc[10:])))
	if d := time.Since(wall); d < -time.Minute || d > time.Minute {
		return "", fmt.Errorf("record %d was written at %v", id, wall)
	}
	return string(doc[19:]), nil
}

// texts is the committed log as "text text …".
func (f *fixture) texts() string {
	f.Helper()
	tx := f.begin()
	defer tx.Rollback()
	return textsOf(f.log(tx, logTable, storage.RecordRange{}))
}

func textsOf(log []logged) string {
	var out []string
	for _, l := range log {
		out = append(out, l.text)
	}
	return strings.Join(out, " ")
}

var logCases = []testCase{
	{"Append", withLogs(func(f *fixture) {
		before := f.e.Clock().Time()
		tx := f.begin()
		f.append(tx, "a", "b")
		id := f.insertIn(tx, "record")
		f.append(tx, "c")
		f.equal(len(f.log(tx, logTable, storage.RecordRange{})), 0)
		f.commit(tx)
		f.equal(f.now(id), "record")
		f.write(func(tx storage.Txn) { f.append(tx, "d") })

		tx = f.begin()
		log := f.log(tx, logTable, storage.RecordRange{})
		f.equal(textsOf(log), "a b c d")
		a, d := log[0].id, log[3].id
		f.equal(log[1].id, a+1)
		f.equal(log[2].id, a+2)
		if uint64(a) <= before || d <= a+2 || uint64(d) > f.e.Clock().Applied() || f.e.Clock().Applied() > f.e.Clock().Time() {
			f.Fatalf("ids %v, the time was %d and is %d", log, before, f.e.Clock().Time())
		}
		doc, err := tx.Get(f.ctx, logTable, a+1)
		f.ok(err)
		text, err := readLogRecord(a+1, doc)
		f.ok(err)
		f.equal(text, "b")
		f.equal(textsOf(f.log(tx, logTable, storage.RecordRange{Min: a + 1, Max: a + 2})), "b c")
		f.equal(textsOf(f.log(tx, logTable, storage.RecordRange{Max: a + 1, Reverse: true})), "b a")
	})},
	{"Stamps", withLogs(func(f *fixture) {
		tx := f.begin()
		f.ok(tx.Append(f.ctx, logTable, []byte("short"), unstamped))
		f.ok(tx.Append(f.ctx, logTable, []byte("12345678"), storage.LogStamp{Time: 0, Wall: -1}))
		big := strings.Repeat("x", 100_000)
		f.append(tx, big)
		for _, bad := range []storage.LogStamp{{Time: 1, Wall: -1}, {Time: -1, Wall: 1}, {Time: -2, Wall: -1}, {Time: math.MaxInt - 7, Wall: -1}, {Time: -1, Wall: -1, Prev: 1}, {Time: -1, Wall: -1, Prev: -1}} {
			if err := tx.Append(f.ctx, logTable, []byte("12345678"), bad); err == nil {
				f.Fatalf("stamp %+v is accepted", bad)
			}
		}
		f.commit(tx)
		tx = f.begin()
		it, err := tx.Scan(f.ctx, logTable, storage.RecordRange{})
		f.ok(err)
		defer it.Close()
		f.equal(it.Next(), true)
		f.equal(string(it.Doc()), "short")
		f.equal(it.Next(), true)
		f.equal(binary.LittleEndian.Uint64(it.Doc()), it.ID())
		f.equal(it.Next(), true)
		text, err := readLogRecord(it.ID(), it.Doc())
		f.ok(err)
		f.equal(text == big, true)
		f.equal(it.Next(), false)
	})},
	{"Same", withLogs(func(f *fixture) {
		same := stamped
		same.Same = true
		tx := f.begin()
		if err := tx.Append(f.ctx, otherTable, logRecord("-"), same); err == nil {
			f.Fatalf("the same id as nothing")
		}
		f.append(tx, "a")
		f.ok(tx.Append(f.ctx, otherTable, logRecord("of a"), same))
		f.append(tx, "b", "c")
		f.ok(tx.Append(f.ctx, otherTable, logRecord("of c"), same))
		f.append(tx, "d")
		f.commit(tx)
		tx = f.begin()
		log, other := f.log(tx, logTable, storage.RecordRange{}), f.log(tx, otherTable, storage.RecordRange{})
		f.equal(textsOf(log), "a b c d")
		f.equal(log[3].id, log[0].id+3)
		f.equal(other, []logged{{log[0].id, "of a"}, {log[2].id, "of c"}})
	})},
	{"Links", withLogs(func(f *fixture) {
		// A chain of three, each with the id of the one before, and a record beside
		// the last one with the id of the first.
		tx := f.begin()
		for range 3 {
			f.ok(tx.Append(f.ctx, logTable, make([]byte, 17), storage.LogStamp{Time: 0, Wall: -1, Prev: 9}))
		}
		f.ok(tx.Append(f.ctx, otherTable, make([]byte, 8), storage.LogStamp{Time: 0, Wall: -1, Back: 2, Same: true}))
		f.commit(tx)
		tx = f.begin()
		it, err := tx.Scan(f.ctx, logTable, storage.RecordRange{})
		f.ok(err)
		defer it.Close()
		var ids []storage.RecordID
		for it.Next() {
			ids = append(ids, it.ID())
			f.equal(binary.LittleEndian.Uint64(it.Doc()), it.ID())
			f.equal(binary.LittleEndian.Uint64(it.Doc()[9:]), it.ID()-1)
		}
		doc, err := tx.Get(f.ctx, otherTable, ids[2])
		f.ok(err)
		f.equal(binary.LittleEndian.Uint64(doc), ids[0])
	})},
	{"RollbackTo", withLogs(func(f *fixture) {
		tx := f.begin()
		f.append(tx, "a")
		sp := tx.Savepoint()
		f.append(tx, "b")
		f.ok(tx.Truncate(f.ctx, logTable, math.MaxInt64))
		f.insertIn(tx, "gone")
		f.append(tx, "c")
		f.ok(tx.RollbackTo(sp))
		f.append(tx, "d")
		f.commit(tx)
		f.equal(f.texts(), "a d")
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[]")

		tx = f.begin()
		f.append(tx, "e")
		f.ok(tx.RollbackTo(0))
		f.commit(tx)
		tx = f.begin()
		f.append(tx, "f")
		tx.Rollback()
		f.equal(f.texts(), "a d")
	})},
	{"Truncate", withLogs(func(f *fixture) {
		f.write(func(tx storage.Txn) { f.append(tx, "a", "b", "c", "d") })
		f.write(func(tx storage.Txn) { f.ok(tx.Append(f.ctx, otherTable, logRecord("other"), stamped)) })
		old := f.begin()
		log := f.log(old, logTable, storage.RecordRange{})
		get := func(tx storage.Txn, id storage.RecordID) error {
			_, err := tx.Get(f.ctx, logTable, id)
			return err
		}
		for range 2 { // the second may come from a cache
			f.ok(get(f.begin(), log[0].id))
			f.ok(get(f.begin(), log[2].id))
		}
		tx := f.begin()
		f.ok(tx.Truncate(f.ctx, logTable, log[2].id))
		f.ok(get(f.begin(), log[0].id))
		f.commit(tx)
		f.equal(f.texts(), "c d")
		f.want(get(f.begin(), log[0].id), storage.ErrNotFound)
		f.ok(get(f.begin(), log[2].id))
		f.ok(get(old, log[0].id))
		f.equal(textsOf(f.log(old, logTable, storage.RecordRange{})), "a b c d")

		f.write(func(tx storage.Txn) {
			f.append(tx, "e")
			f.ok(tx.Truncate(f.ctx, logTable, math.MaxInt64))
			f.append(tx, "f")
		})
		f.equal(f.texts(), "e f")
		f.write(func(tx storage.Txn) { f.ok(tx.Truncate(f.ctx, logTable, 0)) })
		f.equal(f.texts(), "e f")
		f.equal(len(f.log(f.begin(), otherTable, storage.RecordRange{})), 1)
	})},
	{"Refused", withLogs(func(f *fixture) {
		tx := f.begin()
		f.want(tx.Append(f.ctx, 99, nil, unstamped), storage.ErrNotFound)
		f.want(tx.Truncate(f.ctx, 99, 1), storage.ErrNotFound)
		f.commit(tx)
		f.want(tx.Append(f.ctx, logTable, nil, unstamped), storage.ErrClosed)
		f.want(tx.Truncate(f.ctx, logTable, 1), storage.ErrClosed)
		tx = f.e.Begin(storage.TxnOptions{ReadOnly: true})
		f.want(tx.Append(f.ctx, logTable, nil, unstamped), storage.ErrReadOnly)
		f.want(tx.Truncate(f.ctx, logTable, 1), storage.ErrReadOnly)
		tx.Rollback()

		// An Append keeps the table from being dropped, and the other way round.
		tx = f.begin()
		f.append(tx, "a")
		dropping := f.begin()
		f.want(dropping.DropTable(logTable), storage.ErrWriteConflict)
		dropping.Rollback()
		f.commit(tx)
		f.write(func(tx storage.Txn) {
			f.ok(tx.DropTable(logTable))
			f.want(f.begin().Append(f.ctx, logTable, nil, unstamped), storage.ErrWriteConflict)
			f.want(tx.Append(f.ctx, logTable, nil, unstamped), storage.ErrNotFound)
		})
		f.want(f.begin().Append(f.ctx, logTable, nil, unstamped), storage.ErrNotFound)
	})},
	{"ManyAppends", withLogs(func(f *fixture) {
		const many = 1500
		f.write(func(tx storage.Txn) {
			for i := range many {
				doc := make([]byte, 32)
				binary.LittleEndian.PutUint64(doc, uint64(i))
				stamp := storage.LogStamp{Time: 8, Wall: 24}
				if i > 0 {
					stamp.Prev = 16
				}
				if i == 7 {
					stamp.Back = 3
				}
				f.ok(tx.Append(f.ctx, logTable, doc, stamp))
			}
			stamp := unstamped
			stamp.Same = true
			f.ok(tx.Append(f.ctx, otherTable, []byte("same"), stamp))
		})
		it, err := f.begin().Scan(f.ctx, logTable, storage.RecordRange{})
		f.ok(err)
		defer it.Close()
		n, last := 0, storage.RecordID(0)
		for ; it.Next(); n++ {
			id, doc := it.ID(), it.Doc()
			time, prev := uint64(id), uint64(id)-1
			if n == 7 {
				time -= 3
			}
			if n == 0 {
				prev = 0
			}
			at := func(offset int) uint64 { return binary.LittleEndian.Uint64(doc[offset:]) }
			if at(0) != uint64(n) || n > 0 && id != last+1 || at(8) != time || at(16) != prev || at(24) == 0 {
				f.Fatalf("record %d: %d %x", n, id, doc)
			}
			last = id
		}
		f.ok(it.Err())
		f.equal(n, many)
		other, err := f.begin().Get(f.ctx, otherTable, last)
		f.ok(err)
		f.equal(string(other), "same")
	})},
	{"NoHoles", withLogs(noHoles)},
	{"Durable", withLogs(func(f *fixture) {
		upTo, grown := f.e.Durable()
		_, again := f.e.Durable()
		pos := f.write(func(tx storage.Txn) { f.append(tx, "a") })
		for range 2 {
			select {
			case <-grown:
			case <-time.After(10 * time.Second):
				f.Fatalf("nobody is told of a durable commit")
			}
			grown = again
		}
		log := f.log(f.begin(), logTable, storage.RecordRange{})
		now, grown := f.e.Durable()
		if now < uint64(log[0].id) || now <= upTo {
			f.Fatalf("durable to %d, then %d; the record is %d, its commit %d", upTo, now, log[0].id, pos)
		}
		tx := f.e.Begin(storage.TxnOptions{NoSync: true})
		f.append(tx, "b", "c")
		f.commit(tx)
		f.ok(f.e.Sync(f.ctx))
		<-grown
		log = f.log(f.begin(), logTable, storage.RecordRange{})
		if now, _ := f.e.Durable(); now < uint64(log[2].id) || now > f.e.Clock().Time() {
			f.Fatalf("durable to %d, the record is %d", now, log[2].id)
		}
	})},
	{"Reopen", withLogs(func(f *fixture) {
		if f.h.Reopen == nil {
			f.TB.(interface{ Skip(...any) }).Skip("the engine keeps nothing")
		}
		// The store is written with a clock ahead of the one it is opened with.
		f.ok(f.e.Clock().Advance(f.e.Clock().Time() + 3600<<32))
		f.write(func(tx storage.Txn) { f.append(tx, "a", "b") })
		before := f.e.Clock().Time()
		f.e = f.h.Reopen(f.TB, f.e)
		log := f.log(f.begin(), logTable, storage.RecordRange{})
		last := uint64(log[1].id)
		upTo, _ := f.e.Durable()
		if now := f.e.Clock().Time(); last > now || last > upTo || last > f.e.Clock().Applied() {
			f.Fatalf("last id %d, time %d then %d, applied %d, durable %d", last, before, now, f.e.Clock().Applied(), upTo)
		}
		f.write(func(tx storage.Txn) { f.append(tx, "c") })
		f.equal(f.texts(), "a b c")
	})},
}

// noHoles lets committers race and readers follow the log by id: a reader that
// continues behind the last id it has seen misses none, sees those of one
// transaction together, and Applied keeps what it promises.
func noHoles(f *fixture) {
	const committers, rounds, readers = 16, 25, 2
	total := 0
	for i := range rounds {
		total += committers * (1 + i%3)
	}
	var found [readers]map[string]bool
	var positions sync.Map // storage.Position → struct{}
	f.parallel(committers+readers, func(w int) (err error) {
		if w < readers {
			found[w], err = f.follow(total)
			return err
		}
		for i := range rounds {
			tx := f.e.Begin(storage.TxnOptions{NoSync: i%4 == 0})
			for k := range 1 + i%3 {
				if err := tx.Append(f.ctx, logTable, logRecord(fmt.Sprintf("%d/%d/%d/%d", w, i, k, 1+i%3)), stamped); err != nil {
					return err
				}
			}
			pos, err := tx.Commit(f.ctx)
			if err != nil {
				return err
			}
			if _, twice := positions.LoadOrStore(pos, nil); twice {
				return fmt.Errorf("two commits at %d", pos)
			}
		}
		return nil
	})
	for _, m := range found {
		f.equal(len(m), total)
	}
}

// follow reads a log from its start until it has n records.
func (f *fixture) follow(n int) (map[string]bool, error) {
	seen := map[string]bool{}
	last := storage.RecordID(0)
	deadline := time.Now().Add(time.Minute)
	for len(seen) < n {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d records of %d, the last is %d", len(seen), n, last)
		}
		applied := f.e.Clock().Applied()
		tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
		it, err := tx.Scan(f.ctx, logTable, storage.RecordRange{Min: last + 1})
		if err != nil {
			return nil, err
		}
		left := 0 // records still to come of the transaction that was read last
		for it.Next() {
			text, rerr := readLogRecord(it.ID(), it.Doc())
			var w, i, k, of int
			if rerr == nil {
				_, rerr = fmt.Sscanf(text, "%d/%d/%d/%d", &w, &i, &k, &of)
			}
			if rerr == nil && (seen[text] || left > 0 && (it.ID() != last+1 || k != of-left) || left == 0 && k != 0) {
				rerr = fmt.Errorf("record %d is %s behind %d with %d to come", it.ID(), text, last, left)
			}
			err = errors.Join(err, rerr)
			seen[text] = true
			left = of - k - 1
			last = it.ID()
		}
		if err = errors.Join(err, it.Close()); err == nil && left > 0 {
			err = fmt.Errorf("half of a commit is visible: %d to come behind %d", left, last)
		}
		tx.Rollback()
		if err != nil {
			return nil, err
		}
		// Applied was read before the snapshot was taken: all of it is there.
		if err := f.nothingNew(last, applied); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// nothingNew fails if the log has records behind last with ids up to applied.
func (f *fixture) nothingNew(last storage.RecordID, applied uint64) error {
	if applied <= uint64(last) {
		return nil
	}
	tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
	defer tx.Rollback()
	it, err := tx.Scan(f.ctx, logTable, storage.RecordRange{Min: last + 1, Max: storage.RecordID(applied)})
	if err != nil {
		return err
	}
	if it.Next() {
		err = fmt.Errorf("record %d came after %d was said to be applied and %d was read", it.ID(), applied, last)
	}
	return errors.Join(err, it.Close())
}
