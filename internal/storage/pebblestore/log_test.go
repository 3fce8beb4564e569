package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestSpanPolicy walks through the key space as a compaction does: each log table is
// a span of its own, compressed fast, and the rest is as before.
func TestSpanPolicy(t *testing.T) {
	s := open(t, Config{Memory: true})
	ctx := context.Background()
	spans := func() string {
		var b bytes.Buffer
		for start := []byte{0}; start != nil; {
			policy, end, err := s.spanPolicy(start)
			if err != nil || end != nil && bytes.Compare(end, start) <= 0 {
				t.Fatalf("from %x to %x: %v", start, end, err)
			}
			fmt.Fprintf(&b, "%x %v, ", start, policy.PreferFastCompression)
			start = end
		}
		return b.String()
	}
	write := func(fn func(tx storage.Txn) error) {
		t.Helper()
		tx := s.Begin(storage.TxnOptions{})
		err := fn(tx)
		if err == nil {
			_, err = tx.Commit(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(func(tx storage.Txn) error {
		return errors.Join(tx.CreateTable(1), tx.CreateTable(2), tx.CreateTable(3), tx.CreateTable(9))
	})
	check := func(want string) {
		t.Helper()
		if got := spans(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	check("00 false, ")
	none := storage.LogStamp{Time: -1, Wall: -1}
	for _, table := range []storage.TableID{9, 2, 3, 2} {
		write(func(tx storage.Txn) error { return tx.Append(ctx, table, nil, none) })
	}
	check("00 false, 7400000002 true, 7400000003 true, 7400000004 false, 7400000009 true, 740000000a false, ")
	write(func(tx storage.Txn) error { return tx.DropTable(3) })
	write(func(tx storage.Txn) error { return tx.CreateTable(10) })
	check("00 false, 7400000002 true, 7400000003 false, 7400000009 true, 740000000a false, ")
}

// TestTailOfLogs: the position survives a reopening whichever log table a commit
// appended to last, and when the log is truncated or dropped.
func TestTailOfLogs(t *testing.T) {
	ctx := context.Background()
	none := storage.LogStamp{Time: -1, Wall: -1}
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	for i, fn := range []func(tx storage.Txn) error{
		func(tx storage.Txn) error {
			return errors.Join(tx.CreateTable(1), tx.CreateTable(2), tx.CreateTable(3))
		},
		func(tx storage.Txn) error { return tx.Append(ctx, 1, nil, none) },
		func(tx storage.Txn) error { return tx.Append(ctx, 1, nil, none) },
		func(tx storage.Txn) error {
			same := none
			same.Same = true
			return errors.Join(tx.Append(ctx, 2, nil, none), tx.Append(ctx, 1, nil, none), tx.Append(ctx, 3, nil, same))
		},
		func(tx storage.Txn) error { return tx.Append(ctx, 2, nil, none) },
		func(tx storage.Txn) error { return tx.Truncate(ctx, 2, 1<<62) },
		func(tx storage.Txn) error { return tx.PutMeta(ctx, []byte("k"), nil) },
		func(tx storage.Txn) error {
			return errors.Join(tx.Append(ctx, 2, nil, none), tx.Truncate(ctx, 1, 1<<62))
		},
		func(tx storage.Txn) error { return tx.Append(ctx, 2, nil, none) },
		func(tx storage.Txn) error { return errors.Join(tx.Append(ctx, 1, nil, none), tx.DropTable(2)) },
		func(tx storage.Txn) error { return tx.Append(ctx, 1, nil, none) },
		func(tx storage.Txn) error { return tx.DropTable(1) },
	} {
		tx := s.Begin(storage.TxnOptions{})
		err := fn(tx)
		var pos storage.Position
		if err == nil {
			pos, err = tx.Commit(ctx)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		s = open(t, Config{Dir: dir})
		if got := storage.Position(s.Visible()); got != pos {
			t.Errorf("step %d: position %x, after reopening %x", i, pos, got)
		}
	}
}
