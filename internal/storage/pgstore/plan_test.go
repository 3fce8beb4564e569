package pgstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestPlans compares PostgreSQL's plans of the statements of the hot paths with
// testdata/plans.txt: each uses the index and reads no row that it does not return.
func TestPlans(t *testing.T) {
	s := open(t, freshURL(t))
	ctx := context.Background()
	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.CreateTable(1))
	must(t, tx.CreateIndex(1, 1, true))
	must(t, tx.CreateIndex(1, 2, false))
	for i := range 2000 {
		id, err := tx.Insert(ctx, 1, []byte("document"))
		must(t, err)
		must(t, tx.PutEntry(ctx, 1, benchKey(i), id, nil))
		must(t, tx.PutEntry(ctx, 2, benchKey(i/10), id, nil))
	}
	commit(t, tx)
	table, unique, multi := s.ids.all[objectKey{kindTable, 1}], s.ids.all[objectKey{kindIndex, 1}], s.ids.all[objectKey{kindIndex, 2}]
	id := binary.BigEndian.AppendUint64(nil, 77)
	ids, keys, above := array{elem: oidInt8}, array{elem: oidBytea}, array{elem: oidBytea}
	for _, n := range []int{30, 10, 20} {
		ids.addInt(int64(n))
		keys.add(benchKey(n))
		above.add(benchKey(n + 1))
	}
	var got strings.Builder
	for _, c := range []struct {
		name  string
		sql   string
		limit int
		args  [][]byte
	}{
		{"record by id", table.sql.get, 0, [][]byte{id}},
		{"record claimed", table.sql.lock, 0, [][]byte{id}},
		{"key of a unique index", unique.sql.lookup, 0, [][]byte{benchKey(500)}},
		{"table scan, first 20", table.scan(scanShape{}), 20, nil},
		{"table scan without records", table.scan(scanShape{bare: true}), 20, nil},
		{"table scan backwards", table.scan(scanShape{reverse: true, upper: true}), 20, [][]byte{id}},
		{"equality, with records", multi.scan(scanShape{fetch: true, lower: true, upper: true}), 0, [][]byte{benchKey(5), benchKey(6)}},
		{"range of 20, with records", unique.scan(scanShape{fetch: true, lower: true}), 20, [][]byte{benchKey(700)}},
		{"sorted backwards, first 20", multi.scan(scanShape{fetch: true, reverse: true}), 20, nil},
		{"continued behind an entry", multi.scan(scanShape{fetch: true, after: true}), 20, [][]byte{benchKey(5), id}},
		{"records by ids", table.sql.getAny, 0, [][]byte{ids.bytes()}},
		{"keys of a unique index", unique.sql.lookupAny, 0, [][]byte{keys.bytes()}},
		{"records claimed together", table.sql.lockMany, 0, [][]byte{ids.bytes()}},
		{"keys looked up together", unique.sql.lookupMany, 0, [][]byte{ids.bytes(), keys.bytes()}},
		{"records changed together", table.sql.updateAll, 0, [][]byte{ids.bytes(), keys.bytes()}},
		{"records removed together", table.sql.removeAll, 0, [][]byte{ids.bytes()}},
		{"covered range", multi.scan(scanShape{lower: true, upper: true}), 0, [][]byte{benchKey(10), benchKey(20)}},
		{"covered count", multi.count(countShape{lower: true, upper: true}), 0, [][]byte{benchKey(10), benchKey(20)}},
		{"covered count of records", multi.count(countShape{lower: true, upper: true, once: true}), 0, [][]byte{benchKey(10), benchKey(20)}},
		{"covered count up to a limit", multi.count(countShape{lower: true, upper: true, most: true}), 0, [][]byte{benchKey(10), benchKey(20), binary.BigEndian.AppendUint64(nil, 50)}},
		{"covered count of several ranges", multi.count(countShape{runs: true}), 0, [][]byte{keys.bytes(), above.bytes()}},
		{"count of all", table.count(countShape{}), 0, nil},
	} {
		fmt.Fprintf(&got, "== %s\n%s\n", c.name, explain(t, s, c.sql, c.limit, c.args))
	}
	golden(t, s, "testdata/plans.txt", got.String())
}

var schemaName = regexp.MustCompile(`"?s[0-9]+"?\.`)

// spellings are what other versions of PostgreSQL write for the same plan, and what 14 to 17 do.
var spellings = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`"position"\(([\w.]+), ('[^']*'::bytea)\)`), "POSITION(($2) IN ($1))"}, // 13
	{regexp.MustCompile(`( rows=\d+)\.00\b`), "$1"},                                            // 18: a mean with its decimals
	{regexp.MustCompile(`(?m)^ +Heap Fetches: \d+\n`), ""},                                     // whether it was vacuumed
	{regexp.MustCompile(`(?m)^ +Index Searches: \d+\n`), ""},                                   // 18
	{regexp.MustCompile(`(?m)^ +Batches: .*\n`), ""},                                           // a size
}

// explain runs a statement and returns its plan, without what differs from schema to schema and version to version.
func explain(t *testing.T, s *Store, sql string, limit int, args [][]byte) string {
	t.Helper()
	c, err := s.pool.acquire(t.Context())
	must(t, err)
	defer s.pool.release(c)
	c.end()
	if limit > 0 { // the portal is asked for so many rows
		sql += fmt.Sprintf(" LIMIT %d", limit)
	}
	var out []string
	c.add("EXPLAIN (ANALYZE, BUFFERS OFF, COSTS OFF, TIMING OFF, SUMMARY OFF) "+sql, func(v [][]byte) { out = append(out, string(v[0])) }, args...)
	must(t, c.run(t.Context()))
	plan := schemaName.ReplaceAllString(strings.Join(out, "\n")+"\n", "")
	for _, s := range spellings {
		plan = s.pattern.ReplaceAllString(plan, s.instead)
	}
	return strings.TrimSuffix(plan, "\n")
}
