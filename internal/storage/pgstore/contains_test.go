package pgstore

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// holdsAll is what Contains asks for.
func holdsAll(c storage.Contains, doc []byte) bool {
	for _, clause := range c {
		one := false
		for _, s := range clause {
			one = one || bytes.Contains(doc, s)
		}
		if !one {
			return false
		}
	}
	return true
}

// TestContains compares scans with random conditions with looking at the records,
// short and wide ones.
func TestContains(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int, alphabet string) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = alphabet[rng.IntN(len(alphabet))]
		}
		return b
	}
	const letters = "ab\x00\x00\x01\x02"
	for _, pad := range []int{0, 3000} {
		id := storage.TableID(1 + pad)
		tx := s.Begin(storage.TxnOptions{})
		must(t, tx.CreateTable(id))
		docs := map[storage.RecordID][]byte{}
		for range 300 {
			doc := append(random(rng.IntN(40), letters), bytes.Repeat([]byte("z"), pad)...)
			doc = append(doc, random(rng.IntN(10), letters)...)
			rid, err := tx.Insert(ctx, id, doc)
			must(t, err)
			docs[rid] = doc
		}
		commit(t, tx)
		tx = s.Begin(storage.TxnOptions{ReadOnly: true})
		defer tx.Rollback()
		left, extra := 0, 0
		for range 200 {
			var c storage.Contains
			for range 1 + rng.IntN(2) {
				var clause [][]byte
				name := append(random(1+rng.IntN(2), "ab"), 0)
				named := rng.IntN(3) > 0
				for range 1 + rng.IntN(4) {
					if named {
						clause = append(clause, slicesOf(random(1, "\x01\x02a"), name, random(rng.IntN(3), letters)))
					} else {
						clause = append(clause, random(1+rng.IntN(3), letters))
					}
				}
				c = append(c, clause)
			}
			it, err := tx.Scan(ctx, id, storage.RecordRange{Contains: c, Reverse: rng.IntN(2) == 0})
			must(t, err)
			found := map[storage.RecordID]bool{}
			for it.Next() {
				if !bytes.Equal(it.Doc(), docs[it.ID()]) {
					t.Fatalf("record %d is not what it was", it.ID())
				}
				found[it.ID()] = true
				if !holdsAll(c, it.Doc()) {
					extra++
				}
			}
			must(t, it.Err())
			must(t, it.Close())
			for rid, doc := range docs {
				if !found[rid] && holdsAll(c, doc) {
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

func slicesOf(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestContainsPlans compares PostgreSQL's plans of scans with conditions with
// testdata/contains.txt.
func TestContainsPlans(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	for i := range 1000 {
		_, err := tx.Insert(ctx, 1, []byte(fmt.Sprintf("\x02name\x00value %d\x00", i)))
		must(t, err)
	}
	commit(t, tx)
	table := s.ids.all[objectKey{kindTable, 1}]
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
	const golden = "testdata/contains.txt"
	if os.Getenv("UPDATE_GOLDEN") != "" {
		must(t, os.WriteFile(golden, []byte(got.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if got.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}
