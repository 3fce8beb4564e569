package enginetest

import (
	"bytes"
	"fmt"
	"math"

	"github.com/archelon-db/archelon/internal/storage"
)

var tableCases = []testCase{
	{"InsertGetUpdateDelete", func(f *fixture) {
		ids := f.insert("a", "b", "c")
		f.write(func(tx storage.Txn) {
			f.equal(f.get(tx, ids[1]), "b")
			f.ok(tx.Update(f.ctx, table, ids[1], []byte("B")))
			f.equal(f.get(tx, ids[1]), "B")
			f.ok(tx.Delete(f.ctx, table, ids[2]))
			f.equal(f.get(tx, ids[2]), "-")
			f.want(tx.Update(f.ctx, table, ids[2], []byte("x")), storage.ErrNotFound)
			f.want(tx.Delete(f.ctx, table, ids[2]), storage.ErrNotFound)
			f.want(tx.Lock(f.ctx, table, ids[2]), storage.ErrNotFound)
		})
		tx := f.begin()
		f.equal(f.docs(tx, storage.RecordRange{}), []string{"a", "B"})
		f.want(tx.Update(f.ctx, table, 999, []byte("x")), storage.ErrNotFound)
		f.want(tx.Delete(f.ctx, table, 999), storage.ErrNotFound)
	}},
	{"IdsIncrease", func(f *fixture) {
		early := f.begin()
		f.equal(f.docs(early, storage.RecordRange{}), []string{})
		ids := f.insert("a", "b")
		late := f.insertIn(early, "c")
		if ids[0] < 1 || ids[1] <= ids[0] || late <= ids[1] {
			f.Fatalf("ids %v, then %d", ids, late)
		}
		f.commit(early)
		f.equal(f.docs(f.begin(), storage.RecordRange{}), []string{"a", "b", "c"})
	}},
	{"ScanRanges", func(f *fixture) {
		ids := f.insert("a", "b", "c", "d", "e")
		tx := f.begin()
		for _, c := range []struct {
			r    storage.RecordRange
			want string
		}{
			{storage.RecordRange{}, "[a b c d e]"},
			{storage.RecordRange{Reverse: true}, "[e d c b a]"},
			{storage.RecordRange{Min: ids[1]}, "[b c d e]"},
			{storage.RecordRange{Max: ids[3]}, "[a b c d]"},
			{storage.RecordRange{Min: ids[1], Max: ids[3]}, "[b c d]"},
			{storage.RecordRange{Min: ids[1], Max: ids[3], Reverse: true}, "[d c b]"},
			{storage.RecordRange{Min: ids[2], Max: ids[2]}, "[c]"},
			{storage.RecordRange{Min: ids[3], Max: ids[1]}, "[]"},
			{storage.RecordRange{Min: ids[4] + 1}, "[]"},
			{storage.RecordRange{Max: math.MaxInt64}, "[a b c d e]"},
		} {
			f.equal(f.docs(tx, c.r), c.want)
		}
	}},
	{"ScanHints", func(f *fixture) {
		f.insert("\x02a\x00x", "\x02a\x00y", "\x02b\x00\x02a\x00x", "a\x00", "none")
		tx := f.begin()
		f.insertIn(tx, "own \x02a\x00x")
		for _, c := range []struct {
			contains storage.Contains
			want     []string // that must not be left out
		}{
			{storage.Contains{{[]byte("\x02a\x00x"), []byte("\x04a\x00")}}, []string{"\x02a\x00x", "\x02b\x00\x02a\x00x", "own \x02a\x00x"}},
			{storage.Contains{{[]byte("a\x00")}, {[]byte("b"), []byte("y")}}, []string{"\x02a\x00y", "\x02b\x00\x02a\x00x"}},
			{storage.Contains{{[]byte("nowhere")}}, nil},
		} {
			for _, likely := range []int64{0, 1, 100} {
				got := f.docs(tx, storage.RecordRange{Contains: c.contains, Likely: likely})
				at := 0
				for _, d := range got {
					if at < len(c.want) && d == c.want[at] {
						at++
					}
				}
				if at < len(c.want) {
					f.Errorf("%q: %q, and not all of %q", c.contains, got, c.want)
				}
			}
		}
	}},
	{"ScanLoose", func(f *fixture) {
		ids := f.insert("a", "b", "c", "d", "e", "f", "g")
		tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
		f.docs(tx, storage.RecordRange{}) // some engines know now how wide records are
		tx.Rollback()
		for _, likely := range []int64{0, 1, 3, 7, 100} {
			for _, c := range []struct {
				r    storage.RecordRange
				want string
			}{
				{storage.RecordRange{}, "[a b c d e f g]"},
				{storage.RecordRange{Reverse: true}, "[g f e d c b a]"},
				{storage.RecordRange{Min: ids[2], Max: ids[5]}, "[c d e f]"},
				{storage.RecordRange{Min: ids[2], Max: ids[5], Reverse: true}, "[f e d c]"},
			} {
				c.r.Likely, c.r.Loose = likely, true
				tx := f.e.Begin(storage.TxnOptions{ReadOnly: true})
				f.equal(f.docs(tx, c.r), c.want)
				f.equal(f.get(tx, ids[1]), "b")
				f.equal(f.docs(tx, c.r), c.want)
				tx.Rollback()
			}
		}
	}},
	{"ReadSingle", func(f *fixture) {
		id := f.insert("a")[0]
		f.write(func(tx storage.Txn) { f.ok(tx.PutEntry(f.ctx, unique, []byte("k\x04"), id, nil)) })
		tx := f.e.Begin(storage.TxnOptions{ReadOnly: true, Single: true})
		defer tx.Rollback()
		got, err := tx.LookupUnique(f.ctx, unique, []byte("k\x04"))
		f.ok(err)
		f.equal(got, id)
		f.equal(f.get(tx, id), "a")
		_, err = tx.LookupUnique(f.ctx, unique, []byte("l\x04"))
		f.want(err, storage.ErrNotFound)
		f.want(tx.Delete(f.ctx, table, id), storage.ErrReadOnly)
	}},
	{"ScanOwnWrites", func(f *fixture) {
		ids := f.insert("a", "b", "c", "d")
		tx := f.begin()
		f.ok(tx.Update(f.ctx, table, ids[1], []byte("B")))
		f.ok(tx.Delete(f.ctx, table, ids[2]))
		e := f.insertIn(tx, "e")
		x := f.insertIn(tx, "x")
		f.ok(tx.Delete(f.ctx, table, x))
		f.equal(f.docs(tx, storage.RecordRange{}), "[a B d e]")
		f.equal(f.docs(tx, storage.RecordRange{Reverse: true}), "[e d B a]")
		f.equal(f.docs(tx, storage.RecordRange{Min: ids[1], Max: ids[3], Reverse: true}), "[d B]")
		f.equal(f.docs(tx, storage.RecordRange{Min: e}), "[e]")
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[a b c d]")
		f.commit(tx)
		f.equal(f.docs(f.begin(), storage.RecordRange{}), "[a B d e]")
	}},
	{"ScanWhileWriting", func(f *fixture) {
		f.insert("0", "1", "2", "3", "4", "5", "6", "7")
		for _, reverse := range []bool{false, true} {
			for _, before := range []bool{false, true} {
				tx := f.begin()
				if before {
					f.insertIn(tx, "8")
				}
				it, err := tx.Scan(f.ctx, table, storage.RecordRange{Reverse: reverse})
				f.ok(err)
				var seen []string
				for it.Next() {
					seen = append(seen, string(it.Doc()))
					switch len(seen) % 3 {
					case 0:
						f.ok(tx.Update(f.ctx, table, it.ID(), []byte("changed")))
					case 1:
						f.ok(tx.Delete(f.ctx, table, it.ID()))
					case 2:
						f.insertIn(tx, "new")
					}
				}
				f.ok(it.Err())
				f.ok(it.Close())
				want := []string{"0", "1", "2", "3", "4", "5", "6", "7"}
				if before {
					want = append(want, "8")
				}
				if reverse {
					for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
						want[i], want[j] = want[j], want[i]
					}
				}
				f.equal(seen, want)
				tx.Rollback()
			}
		}
	}},
	{"LargeRecords", func(f *fixture) {
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MB
		var id storage.RecordID
		f.write(func(tx storage.Txn) {
			var err error
			id, err = tx.Insert(f.ctx, table, big)
			f.ok(err)
			empty := f.insertIn(tx, "")
			f.equal(f.get(tx, empty), "")
		})
		b, err := f.begin().Get(f.ctx, table, id)
		f.ok(err)
		if !bytes.Equal(b, big) {
			f.Fatalf("got %d bytes back", len(b))
		}
	}},
	{"ArgumentsAreCopied", func(f *fixture) {
		doc, key := []byte("doc"), ukey("key")
		tx := f.begin()
		id, err := tx.Insert(f.ctx, table, doc)
		f.ok(err)
		f.ok(tx.PutEntry(f.ctx, unique, key, id, nil))
		copy(doc, "xxx")
		copy(key, "xxx")
		f.equal(f.get(tx, id), "doc")
		f.commit(tx)
		f.equal(f.now(id), "doc")
		f.equal(f.lookup(f.begin(), "key"), id)
	}},
	{"ValuesStayValid", func(f *fixture) {
		var docs []string
		for i := range 40 {
			docs = append(docs, fmt.Sprintf("doc %d", i))
		}
		ids := f.insert(docs...)
		tx := f.begin()
		var got [][]byte
		for _, id := range ids {
			b, err := tx.Get(f.ctx, table, id)
			f.ok(err)
			got = append(got, b)
		}
		for i, b := range got {
			f.equal(string(b), docs[i])
		}
	}},
	{"TablesAreApart", func(f *fixture) {
		f.write(func(tx storage.Txn) {
			f.ok(tx.CreateTable(7))
			f.ok(tx.CreateTable(math.MaxUint32))
			for _, t := range []storage.TableID{7, math.MaxUint32} {
				_, err := tx.Insert(f.ctx, t, fmt.Append(nil, t))
				f.ok(err)
			}
		})
		f.insert("a")
		tx := f.begin()
		for _, t := range []storage.TableID{7, math.MaxUint32} {
			it, err := tx.Scan(f.ctx, t, storage.RecordRange{})
			f.ok(err)
			n := 0
			for it.Next() {
				n++
				f.equal(string(it.Doc()), t)
			}
			f.ok(it.Close())
			f.equal(n, 1)
		}
		f.equal(f.docs(tx, storage.RecordRange{}), "[a]")
	}},
}
