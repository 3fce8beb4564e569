package enginetest

import (
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// fill puts entries a/1 b/2 b/3 b/4 c/5 d/6 into the multi index and a/1 b/2 c/5
// d/6 into the unique one.
func (f *fixture) fill() {
	f.Helper()
	f.insert("r1", "r2", "r3", "r4", "r5", "r6")
	f.write(func(tx storage.Txn) {
		for i, k := range []string{"a", "b", "b", "b", "c", "d"} {
			id := storage.RecordID(i + 1)
			f.ok(f.put(tx, multi, k, id))
			if id != 3 && id != 4 {
				f.ok(f.put(tx, unique, k, id))
			}
		}
	})
}

var indexCases = []testCase{
	{"ScanRanges", func(f *fixture) {
		f.fill()
		tx := f.begin()
		for _, c := range []struct {
			r             storage.IndexRange
			multi, unique string
		}{
			{storage.IndexRange{}, "[a/1 b/2 b/3 b/4 c/5 d/6]", "[a/1 b/2 c/5 d/6]"},
			{storage.IndexRange{Reverse: true}, "[d/6 c/5 b/4 b/3 b/2 a/1]", "[d/6 c/5 b/2 a/1]"},
			{storage.IndexRange{Lower: ukey("b")}, "[b/2 b/3 b/4 c/5 d/6]", "[b/2 c/5 d/6]"},
			{storage.IndexRange{Upper: ukey("b")}, "[a/1]", "[a/1]"},
			{storage.IndexRange{Lower: ukey("b"), Upper: ukey("d")}, "[b/2 b/3 b/4 c/5]", "[b/2 c/5]"},
			{storage.IndexRange{Lower: ukey("b"), Upper: ukey("d"), Reverse: true}, "[c/5 b/4 b/3 b/2]", "[c/5 b/2]"},
			{storage.IndexRange{Lower: []byte("b"), Upper: []byte("b\xff")}, "[b/2 b/3 b/4]", "[b/2]"},
			{storage.IndexRange{Lower: append(ukey("b"), 0xff)}, "[c/5 d/6]", "[c/5 d/6]"},
			{storage.IndexRange{Upper: append(ukey("b"), 0xff)}, "[a/1 b/2 b/3 b/4]", "[a/1 b/2]"},
			{storage.IndexRange{Lower: ukey("d"), Upper: ukey("b")}, "[]", "[]"},
			{storage.IndexRange{Upper: []byte{}}, "[]", "[]"},
			{storage.IndexRange{After: ukey("b"), AfterID: 2}, "[b/3 b/4 c/5 d/6]", "[c/5 d/6]"},
			{storage.IndexRange{After: ukey("b"), AfterID: 1}, "[b/2 b/3 b/4 c/5 d/6]", "[b/2 c/5 d/6]"},
			{storage.IndexRange{After: ukey("b"), AfterID: 9}, "[c/5 d/6]", "[c/5 d/6]"},
			{storage.IndexRange{After: ukey("bb"), AfterID: 1}, "[c/5 d/6]", "[c/5 d/6]"},
			{storage.IndexRange{After: ukey("d"), AfterID: 6}, "[]", "[]"},
			{storage.IndexRange{After: ukey("b"), AfterID: 3, Reverse: true}, "[b/2 a/1]", "[b/2 a/1]"},
			{storage.IndexRange{After: ukey("b"), AfterID: 2, Reverse: true}, "[a/1]", "[a/1]"},
			{storage.IndexRange{After: ukey("bb"), AfterID: 1, Reverse: true}, "[b/4 b/3 b/2 a/1]", "[b/2 a/1]"},
			{storage.IndexRange{After: ukey("a"), AfterID: 1, Lower: ukey("c")}, "[c/5 d/6]", "[c/5 d/6]"},
			{storage.IndexRange{After: ukey("d"), AfterID: 6, Upper: ukey("c"), Reverse: true}, "[b/4 b/3 b/2 a/1]", "[b/2 a/1]"},
		} {
			f.equal(fmt.Sprintf("%+v %v", c.r, f.entries(tx, multi, c.r)), fmt.Sprintf("%+v %s", c.r, c.multi))
			f.equal(fmt.Sprintf("%+v %v", c.r, f.entries(tx, unique, c.r)), fmt.Sprintf("%+v %s", c.r, c.unique))
		}
	}},
	{"SeekGE", func(f *fixture) {
		f.fill()
		tx := f.begin()
		// One committed index, one with everything written by the transaction.
		own := f.begin()
		f.ok(own.CreateIndex(table, 50, false))
		for i, k := range []string{"a", "b", "b", "b", "c", "d"} {
			f.ok(f.put(own, 50, k, storage.RecordID(i+1)))
		}
		for _, c := range []struct {
			tx storage.Txn
			x  storage.IndexID
		}{{tx, multi}, {own, 50}} {
			it, err := c.tx.ScanIndex(f.ctx, c.x, storage.IndexRange{})
			f.ok(err)
			f.equal(it.SeekGE(ukey("b")), true)
			f.equal(entry(it), "b/2")
			f.equal(it.Next(), true)
			f.equal(entry(it), "b/3")
			f.equal(it.SeekGE(ukey("a")), true) // behind: the next one
			f.equal(entry(it), "b/4")
			f.equal(it.SeekGE(ukey("bb")), true)
			f.equal(entry(it), "c/5")
			f.equal(it.SeekGE(ukey("x")), false)
			f.ok(it.Err())
			f.ok(it.Close())

			it, err = c.tx.ScanIndex(f.ctx, c.x, storage.IndexRange{Reverse: true})
			f.ok(err)
			f.equal(it.Next(), true)
			f.equal(entry(it), "d/6")
			f.equal(it.SeekGE(ukey("b")), true)
			f.equal(entry(it), "b/4")
			f.equal(it.SeekGE(ukey("c")), true) // behind: the next one
			f.equal(entry(it), "b/3")
			f.equal(it.SeekGE([]byte("b")), true)
			f.equal(entry(it), "a/1")
			f.equal(it.SeekGE(ukey("A")), false)
			f.ok(it.Close())
		}
	}},
	{"OwnWrites", func(f *fixture) {
		f.fill()
		tx := f.begin()
		f.del(tx, multi, "b", 3)
		f.ok(f.put(tx, multi, "aa", 3))
		f.ok(f.put(tx, multi, "z", 9))
		f.del(tx, multi, "nope", 1)
		f.equal(f.entries(tx, multi, storage.IndexRange{}), "[a/1 aa/3 b/2 b/4 c/5 d/6 z/9]")
		f.equal(f.entries(tx, multi, storage.IndexRange{Reverse: true}), "[z/9 d/6 c/5 b/4 b/2 aa/3 a/1]")
		f.equal(f.entries(tx, multi, storage.IndexRange{After: ukey("aa"), AfterID: 3, Upper: ukey("d")}), "[b/2 b/4 c/5]")
		f.equal(f.entries(tx, multi, storage.IndexRange{After: ukey("b"), AfterID: 4, Reverse: true}), "[b/2 aa/3 a/1]")
		f.equal(f.entries(f.begin(), multi, storage.IndexRange{}), "[a/1 b/2 b/3 b/4 c/5 d/6]")
		f.commit(tx)
		f.equal(f.entries(f.begin(), multi, storage.IndexRange{}), "[a/1 aa/3 b/2 b/4 c/5 d/6 z/9]")
	}},
	{"FetchAndTypeBits", func(f *fixture) {
		ids := f.insert("one", "two", "three")
		f.write(func(tx storage.Txn) {
			for i, x := range []storage.IndexID{unique, multi} {
				for j, id := range ids {
					f.ok(tx.PutEntry(f.ctx, x, ukey(string(rune('a'+j))), id, fmt.Appendf(nil, "t%d", i)))
				}
			}
			f.ok(tx.PutEntry(f.ctx, multi, ukey("torn"), 77, nil))
		})
		tx := f.begin()
		f.ok(tx.Update(f.ctx, table, ids[1], []byte("TWO")))
		for i, x := range []storage.IndexID{unique, multi} {
			it, err := tx.ScanIndex(f.ctx, x, storage.IndexRange{Fetch: table})
			f.ok(err)
			var got []string
			for it.Next() {
				doc := it.Doc()
				got = append(got, string(doc))
				if it.ID() == 77 {
					f.equal(doc == nil, true)
					continue
				}
				f.equal(string(it.TypeBits()), fmt.Sprintf("t%d", i))
				f.equal(string(it.Doc()), string(doc))
			}
			f.ok(it.Err())
			f.ok(it.Close())
			f.equal(got[:3], "[one TWO three]")
		}
		it, err := tx.ScanIndex(f.ctx, unique, storage.IndexRange{})
		f.ok(err)
		f.equal(it.Next(), true)
		f.equal(it.Doc() == nil, true)
		f.ok(it.Close())
	}},
	{"FetchMany", func(f *fixture) {
		const n = 400
		var want, torn []string
		f.write(func(tx storage.Txn) {
			for i := range n {
				id := f.insertIn(tx, fmt.Sprint(i))
				f.ok(tx.PutEntry(f.ctx, unique, []byte{byte(i >> 8), byte(i), 4}, id, nil))
				f.ok(tx.PutEntry(f.ctx, multi, []byte{byte(i * 7), 4}, id, nil))
				if i%50 == 20 {
					f.ok(tx.Delete(f.ctx, table, id)) // its entries are torn
					torn = append(torn, fmt.Sprint(i))
					want = append(want, "torn")
				} else {
					want = append(want, fmt.Sprint(i))
				}
			}
		})
		for _, r := range []storage.IndexRange{{Fetch: table}, {Fetch: table, Reverse: true}} {
			for _, x := range []storage.IndexID{unique, multi} {
				it, err := f.begin().ScanIndex(f.ctx, x, r)
				f.ok(err)
				got := make([]string, n)
				missing := 0
				for it.Next() {
					doc := it.Doc()
					if doc == nil {
						missing++
						got[int(it.ID())-1] = "torn"
					} else {
						got[int(it.ID())-1] = string(doc)
					}
				}
				f.ok(it.Close())
				f.equal(got, want)
				f.equal(missing, len(torn))
			}
		}
	}},
	{"FetchHints", func(f *fixture) {
		f.insert("\x02a\x00x", "\x02a\x00y", "\x02b\x00\x02a\x00x", "a\x00", "none", "\x02a\x00x")
		f.write(func(tx storage.Txn) {
			for i, k := range []string{"a", "b", "b", "c", "c", "d"} {
				f.ok(f.put(tx, multi, k, storage.RecordID(i+1)))
				f.ok(f.put(tx, unique, fmt.Sprint(k, i+1), storage.RecordID(i+1)))
			}
			f.ok(f.put(tx, multi, "torn", 77))
		})
		tx := f.begin()
		own := f.insertIn(tx, "own \x02a\x00x")
		f.ok(f.put(tx, multi, "bb", own))
		f.ok(f.put(tx, unique, "bb", own))
		hint := storage.Contains{{[]byte("\x02a\x00x"), []byte("\x04a\x00")}}
		for _, c := range []struct {
			r             storage.IndexRange
			multi, unique []storage.RecordID // that must not be left out
		}{
			{storage.IndexRange{}, []storage.RecordID{1, 3, own, 6, 77}, []storage.RecordID{1, 3, own, 6}},
			{storage.IndexRange{Reverse: true, Upper: ukey("e")}, []storage.RecordID{6, own, 3, 1}, []storage.RecordID{6, own, 3, 1}},
			{storage.IndexRange{Lower: ukey("b"), Upper: ukey("d")}, []storage.RecordID{3, own}, []storage.RecordID{3, own}},
			{storage.IndexRange{After: ukey("b"), AfterID: 2, Likely: 1}, []storage.RecordID{3, own, 6, 77}, []storage.RecordID{3, own, 6}},
			{storage.IndexRange{After: ukey("bb"), AfterID: own}, []storage.RecordID{6, 77}, []storage.RecordID{6}},
		} {
			for x, want := range map[storage.IndexID][]storage.RecordID{multi: c.multi, unique: c.unique} {
				for _, narrow := range []bool{false, true} {
					c.r.Fetch, c.r.Contains = table, hint
					if narrow {
						c.r.Contains = nil
					}
					at := 0
					it, err := tx.ScanIndex(f.ctx, x, c.r)
					f.ok(err)
					if n, ok := it.(storage.Narrower); ok && narrow {
						n.Narrow(hint, nil, 0)
					}
					var got []storage.RecordID
					for it.Next() {
						got = append(got, it.ID())
						f.equal(it.Doc() == nil, it.ID() == 77)
						if at < len(want) && it.ID() == want[at] {
							at++
						}
					}
					f.ok(it.Err())
					f.ok(it.Close())
					if at < len(want) {
						f.Errorf("%+v: %v, and not all of %v", c.r, got, want)
					}
				}
			}
		}
	}},
	{"PutTwiceSetsTypeBits", func(f *fixture) {
		for _, x := range []storage.IndexID{unique, multi} {
			f.write(func(tx storage.Txn) { f.ok(tx.PutEntry(f.ctx, x, ukey("k"), 1, []byte("old"))) })
			f.write(func(tx storage.Txn) { f.ok(tx.PutEntry(f.ctx, x, ukey("k"), 1, []byte("new"))) })
			it, err := f.begin().ScanIndex(f.ctx, x, storage.IndexRange{})
			f.ok(err)
			f.equal(it.Next(), true)
			f.equal(string(it.TypeBits()), "new")
			f.equal(it.Next(), false)
			f.ok(it.Close())
		}
	}},
	{"UniqueDuplicates", func(f *fixture) {
		f.fill()
		tx := f.begin()
		var dup *storage.DuplicateKeyError
		if err := f.put(tx, unique, "b", 9); !errors.As(err, &dup) || dup.Record != 2 || dup.Index != unique {
			f.Fatalf("got %v", err)
		}
		f.ok(f.put(tx, unique, "b", 2)) // its own
		f.ok(f.put(tx, unique, "n", 9))
		if err := f.put(tx, unique, "n", 10); !errors.As(err, &dup) || dup.Record != 9 {
			f.Fatalf("got %v", err)
		}
		f.del(tx, unique, "c", 2) // not the holder
		f.equal(f.lookup(tx, "c"), 5)
		f.equal(f.lookup(tx, "b"), 2)
		f.equal(f.lookup(tx, "zz"), 0)
		f.commit(tx)
		f.equal(f.entries(f.begin(), unique, storage.IndexRange{}), "[a/1 b/2 c/5 d/6 n/9]")
	}},
	{"UniqueMove", func(f *fixture) {
		f.fill()
		f.write(func(tx storage.Txn) {
			f.del(tx, unique, "b", 2)
			f.equal(f.lookup(tx, "b"), 0)
			f.ok(f.put(tx, unique, "b", 3)) // to another record
			f.equal(f.lookup(tx, "b"), 3)
			f.del(tx, unique, "c", 5)
			f.ok(f.put(tx, unique, "c", 5)) // and back to the same
			f.ok(f.put(tx, unique, "e", 7))
			f.del(tx, unique, "e", 7) // never there
		})
		f.equal(f.entries(f.begin(), unique, storage.IndexRange{}), "[a/1 b/3 c/5 d/6]")
	}},
	{"AfterAMovedKey", func(f *fixture) {
		f.fill()
		f.write(func(tx storage.Txn) {
			f.del(tx, unique, "b", 2)
			f.ok(f.put(tx, unique, "b", 4))
		})
		tx := f.begin()
		f.equal(f.entries(tx, unique, storage.IndexRange{After: ukey("b"), AfterID: 2}), "[b/4 c/5 d/6]")
		f.equal(f.entries(tx, unique, storage.IndexRange{After: ukey("b"), AfterID: 4}), "[c/5 d/6]")
		f.equal(f.entries(tx, unique, storage.IndexRange{After: ukey("b"), AfterID: 5, Reverse: true}), "[b/4 a/1]")
	}},
	{"MovingUnderAScan", func(f *fixture) {
		f.fill()
		tx := f.begin()
		it, err := tx.ScanIndex(f.ctx, multi, storage.IndexRange{})
		f.ok(err)
		var seen []string
		for it.Next() {
			seen = append(seen, entry(it))
			key, id := string(it.Key()[:len(it.Key())-1]), it.ID()
			f.del(tx, multi, key, id)
			f.ok(f.put(tx, multi, "x"+key, id)) // ahead of the scan
		}
		f.ok(it.Close())
		f.equal(seen, "[a/1 b/2 b/3 b/4 c/5 d/6]")
		f.equal(f.entries(tx, multi, storage.IndexRange{}), "[xa/1 xb/2 xb/3 xb/4 xc/5 xd/6]")
	}},
}

var metaCases = []testCase{
	{"PutGetDeleteScan", func(f *fixture) {
		f.write(func(tx storage.Txn) {
			for _, k := range []string{"c/1", "c/2", "c/3", "d/1", "b", "c\xff", "\xff\xff"} {
				f.ok(tx.PutMeta(f.ctx, []byte(k), []byte("v"+k)))
			}
		})
		tx := f.begin()
		v, err := tx.GetMeta(f.ctx, []byte("c/2"))
		f.ok(err)
		f.equal(string(v), "vc/2")
		_, err = tx.GetMeta(f.ctx, []byte("nope"))
		f.want(err, storage.ErrNotFound)
		f.ok(tx.DeleteMeta(f.ctx, []byte("c/2")))
		f.ok(tx.DeleteMeta(f.ctx, []byte("nope")))
		f.ok(tx.PutMeta(f.ctx, []byte("c/4"), nil))
		_, err = tx.GetMeta(f.ctx, []byte("c/2"))
		f.want(err, storage.ErrNotFound)
		scan := func(tx storage.Txn, prefix string, max int) string {
			var got []string
			f.ok(tx.ScanMeta(f.ctx, []byte(prefix), func(k, v []byte) bool {
				got = append(got, fmt.Sprintf("%q=%q", k, v))
				return len(got) < max
			}))
			return fmt.Sprint(got)
		}
		f.equal(scan(tx, "c/", 9), `["c/1"="vc/1" "c/3"="vc/3" "c/4"=""]`)
		f.equal(scan(tx, "c/", 2), `["c/1"="vc/1" "c/3"="vc/3"]`)
		f.equal(scan(tx, "", 2), `["b"="vb" "c/1"="vc/1"]`)
		f.equal(scan(tx, "\xff", 9), `["\xff\xff"="v\xff\xff"]`)
		f.equal(scan(f.begin(), "c/", 9), `["c/1"="vc/1" "c/2"="vc/2" "c/3"="vc/3"]`)
	}},
	{"FirstWriterWins", func(f *fixture) {
		a, b := f.begin(), f.begin()
		f.ok(a.PutMeta(f.ctx, []byte("k"), []byte("a")))
		f.want(b.PutMeta(f.ctx, []byte("k"), []byte("b")), storage.ErrWriteConflict)
		f.commit(a)
	}},
}
