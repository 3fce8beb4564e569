package pebblestore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// TestDamagedTables overwrites the tables of a store: opening it says so.
func TestDamagedTables(t *testing.T) {
	dir, l := t.TempDir(), &ledger{}
	s := open(t, Config{Dir: dir})
	if err := l.continueTo(s, 50); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("tables %v, %v", tables, err)
	}
	for _, name := range tables {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, make([]byte, info.Size()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err = Open(Config{Dir: dir})
	if err == nil {
		s.Close()
	}
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("opened: %v", err)
	}
}

// TestDamageFound: a store that finds a damaged file while it is open refuses writes, can be read and closes.
func TestDamageFound(t *testing.T) {
	l := &ledger{}
	s := open(t, Config{Dir: t.TempDir()})
	if err := l.continueTo(s, 5); err != nil {
		t.Fatal(err)
	}
	s.damaged(pebble.DataCorruptionInfo{Path: "000005.sst", Details: pebble.ErrCorruption})
	var failed *FailedError
	if err := l.commit(s, l.acked+1); !errors.As(err, &failed) || !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged store accepts a write: %v", err)
	}
	acked, tried := l.progress()
	if err := l.check(s, acked, tried); err != nil {
		t.Errorf("reading: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}
