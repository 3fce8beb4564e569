package pgstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestContains compares scans with random conditions with looking at the records,
// short and wide ones.
func TestContains(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, pad := range []int{0, 3000} {
		id := storage.TableID(1 + pad)
		tx := s.Begin(storage.TxnOptions{})
		must(t, tx.CreateTable(id))
		docs := map[storage.RecordID][]byte{}
		for range 300 {
			doc := randomRecord(rng, pad)
			rid, err := tx.Insert(ctx, id, doc)
			must(t, err)
			docs[rid] = doc
		}
		commit(t, tx)
		tx = s.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		left, extra := 0, 0
		for range 200 {
			c := randomContains(rng)
			it, err := tx.Scan(ctx, id, storage.RecordRange{Contains: c, Reverse: rng.IntN(2) == 0})
			must(t, err)
			found := map[storage.RecordID]bool{}
			for it.Next() {
				if !bytes.Equal(it.Doc(), docs[it.ID()]) {
					t.Fatalf("record %d is not what it was", it.ID())
				}
				found[it.ID()] = true
				if !c.In(it.Doc()) {
					extra++
				}
			}
			must(t, it.Err())
			must(t, it.Close())
			for rid, doc := range docs {
				if !found[rid] && c.In(doc) {
					t.Fatalf("%q is missing for %q", doc, c)
				}
			}
			left += len(docs) - len(found)
		}
		if left == 0 || extra*4 > left {
			t.Errorf("%d records were left out, %d should have been as well", left, extra)
		}
	}
}

const recordLetters = "ab\x00\x00\x01\x02"

func randomBytes(rng *rand.Rand, n int, alphabet string) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return b
}

// randomRecord is a record in whose middle there is nothing to be found.
func randomRecord(rng *rand.Rand, pad int) []byte {
	doc := append(randomBytes(rng, rng.IntN(40), recordLetters), bytes.Repeat([]byte("z"), pad)...)
	return append(doc, randomBytes(rng, rng.IntN(10), recordLetters)...)
}

func randomContains(rng *rand.Rand) (c storage.Contains) {
	for range 1 + rng.IntN(2) {
		var clause [][]byte
		name := append(randomBytes(rng, 1+rng.IntN(2), "ab"), 0)
		named := rng.IntN(3) > 0
		for range 1 + rng.IntN(4) {
			if named {
				clause = append(clause, slicesOf(randomBytes(rng, 1, "\x01\x02a"), name, randomBytes(rng, rng.IntN(3), recordLetters)))
			} else {
				clause = append(clause, randomBytes(rng, 1+rng.IntN(3), recordLetters))
			}
		}
		c = append(c, clause)
	}
	return c
}

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestContainsPlans compares PostgreSQL's plans of scans with conditions with
// testdata/contains.txt.
func TestContainsPlans(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	must(t, tx.CreateIndex(1, 1, false))
	for i := range 1000 {
		id, err := tx.Insert(ctx, 1, []byte(fmt.Sprintf("\x02name\x00value %d\x00", i)))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, benchKey(i/10), id, nil))
	}
	commit(t, tx)
	table, index := s.ids.all[objectKey{kindTable, 1}], s.ids.all[objectKey{kindIndex, 1}]
	var got strings.Builder
	for _, c := range []struct {
		name     string
		width    int64
		contains storage.Contains
	}{
		{"a value", 100, storage.Contains{{[]byte("\x02name\x00value 7\x00"), []byte("\x04name\x00")}}},
		{"one of several", 100, storage.Contains{{[]byte("\x02name\x00value 1"), []byte("\x02name\x00value 2"), []byte("\x04name\x00")}}},
		{"a name", 100, storage.Contains{{[]byte("other\x00")}}},
		{"a value in wide documents", 10000, storage.Contains{{[]byte("\x02name\x00value 7\x00"), []byte("\x04name\x00")}}},
		{"two conditions", 100, storage.Contains{{[]byte("\x02name\x00value 7\x00")}, {[]byte("other\x00"), []byte("7")}}},
	} {
		letters, args := condition(c.contains, c.width)
		sql := table.scan(scanShape{contains: letters})
		fmt.Fprintf(&got, "== %s (%s)\n%s\n%s\n", c.name, letters, schemaName.ReplaceAllString(sql, ""), explain(t, s, sql, 0, args))
	}
	value := storage.Contains{{[]byte("\x02name\x00value 7\x00"), []byte("\x04name\x00")}}
	for _, c := range []struct {
		name     string
		width    int64
		shape    scanShape
		bounds   [][]byte
		contains storage.Contains
	}{
		{"range of an index", 100, scanShape{lower: true, upper: true}, [][]byte{benchKey(0), benchKey(30)}, value},
		{"backwards, two conditions", 100, scanShape{reverse: true, upper: true}, [][]byte{benchKey(30)},
			storage.Contains{{[]byte("\x02name\x00value 7\x00")}, {[]byte("\x05name\x00"), []byte("7")}}},
		{"continued behind an entry", 100, scanShape{upper: true, after: true},
			[][]byte{benchKey(30), benchKey(1), binary.BigEndian.AppendUint64(nil, 12)}, storage.Contains{{[]byte("value 27\x00")}}},
		{"range of an index, wide documents", 10000, scanShape{lower: true, upper: true}, [][]byte{benchKey(0), benchKey(30)}, value},
	} {
		letters, args := condition(c.contains, c.width)
		c.shape.fetch, c.shape.contains = true, letters
		sql := index.scan(c.shape)
		fmt.Fprintf(&got, "== %s (%s)\n%s\n%s\n", c.name, letters, schemaName.ReplaceAllString(sql, ""),
			explain(t, s, sql, 0, append(c.bounds, args...)))
	}
	golden(t, s, "testdata/contains.txt", got.String())
}
