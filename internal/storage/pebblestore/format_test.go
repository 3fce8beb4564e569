package pebblestore

import (
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/storage"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestGoldenFormat pins every byte of a small store's keys and values. A change
// here needs a new formatVersion and code that reads the old one.
func TestGoldenFormat(t *testing.T) {
	wall := func() time.Time { return time.UnixMilli(1_000) }
	s := open(t, Config{Memory: true, Clock: clock.New(wall)})
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tx := s.Begin(storage.TxnOptions{})
	must(tx.CreateTable(1))
	must(tx.CreateTable(0x01020304))
	must(tx.CreateIndex(1, 1, true))
	must(tx.CreateIndex(0x01020304, 2, false))
	id, err := tx.Insert(ctx, 1, []byte("first"))
	must(err)
	must(tx.PutEntry(ctx, 1, []byte("key\x04"), id, nil))
	must(tx.PutEntry(ctx, 2, []byte("key\x04"), id, []byte{0xbb}))
	id, err = tx.Insert(ctx, 1, []byte("second"))
	must(err)
	must(tx.PutEntry(ctx, 1, []byte("\x00\xff\x04"), id, []byte{0xaa}))
	must(tx.PutEntry(ctx, 2, []byte("key\x04"), id, nil))
	must(tx.PutMeta(ctx, []byte("name"), []byte("value")))
	_, err = tx.Commit(ctx)
	must(err)
	tx = s.Begin(storage.TxnOptions{})
	must(tx.DropTable(0x01020304))
	must(tx.CreateTable(2))
	must(tx.CreateTable(3))
	must(tx.Append(ctx, 2, []byte("<12345678|12345678>"), storage.LogStamp{Time: 1, Wall: 10}))
	must(tx.Append(ctx, 3, []byte("<12345678>"), storage.LogStamp{Time: 1, Wall: -1, Same: true}))
	must(tx.Append(ctx, 2, []byte("log"), storage.LogStamp{Time: -1, Wall: -1}))
	_, err = tx.Commit(ctx)
	must(err)
	tx = s.Begin(storage.TxnOptions{})
	must(tx.Append(ctx, 2, []byte("more"), storage.LogStamp{Time: -1, Wall: -1}))
	_, err = tx.Commit(ctx)
	must(err)

	var b strings.Builder
	it, err := s.db.NewIter(nil)
	must(err)
	for ok := it.First(); ok; ok = it.Next() {
		fmt.Fprintf(&b, "%s = %s\n", hex.EncodeToString(it.Key()), hex.EncodeToString(it.Value()))
	}
	must(it.Close())
	b.WriteString(s.format.text())
	golden(t, "format1.txt", b.String())
}

// TestOldPosition opens a store from before positions were times: they were
// numbers from 1 on.
func TestOldPosition(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Config{Dir: "store", FS: fs})
	if err := s.db.Set(positionKey, []byte{0, 0, 0, 0, 0, 0, 0x12, 0x34}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: "store", FS: fs})
	if p := s.Visible(); p != 0x1234 {
		t.Fatalf("position %x", p)
	}
	tx := s.Begin(storage.TxnOptions{})
	if err := tx.CreateTable(1); err != nil {
		t.Fatal(err)
	}
	if pos, err := tx.Commit(context.Background()); err != nil || uint64(pos) != s.Clock().Time() {
		t.Fatalf("position %x, %v", pos, err)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Fatalf("the format has changed:\n%s", d)
	}
}

func TestParseFormat(t *testing.T) {
	good := format{version: 1, id: storeID{1, 2, 15: 255}}
	if f, err := parseFormat(good.text()); err != nil || f != good {
		t.Fatalf("%+v %v", f, err)
	}
	if f, err := parseFormat("archelon store format 17\nwhatever"); err != nil || f.version != 17 {
		t.Fatalf("newer: %+v %v", f, err)
	}
	for _, text := range []string{"", "x", "archelon store format 0\n", "archelon store format 1", "archelon store format 1\nid 12\n",
		good.text() + "x", strings.Replace(good.text(), "id", "ID", 1), strings.ReplaceAll(good.text(), "0", "g")} {
		if _, err := parseFormat(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
}

func FuzzParseFormat(f *testing.F) {
	f.Add(format{version: 1}.text())
	f.Add("archelon store format 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFormat(text)
		if err == nil && got.version == 1 && !strings.EqualFold(got.text(), strings.Replace(text, "format "+version(text), "format 1", 1)) {
			t.Fatalf("%q reads as %q", text, got.text())
		}
	})
}

// version is the number in the first line, as written: it may have zeros before.
func version(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return strings.TrimPrefix(first, formatLine)
}

func FuzzParseCreated(f *testing.F) {
	f.Add([]byte("ct\x00\x00\x00\x01"), []byte(nil))
	f.Add([]byte("ci\x00\x00\x00\x01"), []byte("\x01\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := parseCreated(key, value)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		if key[0] == prefixCreated && string(appendCreatedKey(nil, r.kind, r.id)) != string(key) {
			t.Fatalf("%x reads as %+v", key, r)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	write := func(fs vfs.FS, name, text string) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		f.Write([]byte(text))
		f.Close()
	}
	for _, c := range []struct {
		name    string
		prepare func(fs *vfs.MemFS)
		want    error
		hint    string
	}{
		{"Locked", func(fs *vfs.MemFS) { open(t, Config{Dir: "d", FS: fs}) }, ErrLocked, "stop the other process"},
		{"Newer", func(fs *vfs.MemFS) { write(fs, "d/"+formatFile, "archelon store format 99\n") }, ErrNewerFormat, "newer version"},
		{"Garbage", func(fs *vfs.MemFS) { write(fs, "d/"+formatFile, "\x00\x00") }, ErrDamaged, "backup"},
		{"Foreign", func(fs *vfs.MemFS) { write(fs, "d/photo.jpg", "…") }, ErrNotAStore, "photo.jpg"},
		{"OtherHeader", func(fs *vfs.MemFS) {
			open(t, Config{Dir: "d", FS: fs}).Close()
			write(fs, "d/"+formatFile, format{version: 1}.text())
		}, ErrDamaged, "backup"},
		{"MissingManifest", func(fs *vfs.MemFS) {
			open(t, Config{Dir: "d", FS: fs}).Close()
			names, _ := fs.List("d")
			for _, n := range names {
				if strings.HasPrefix(n, "MANIFEST") {
					fs.Remove("d/" + n)
				}
			}
		}, ErrDamaged, "backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			if err := fs.MkdirAll("d", 0o755); err != nil {
				t.Fatal(err)
			}
			c.prepare(fs)
			_, err := Open(Config{Dir: "d", FS: fs})
			var oerr *OpenError
			if !errors.Is(err, c.want) || !errors.As(err, &oerr) || !strings.Contains(err.Error(), c.hint) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestOpenRealFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := open(t, Config{Dir: dir})
	id := s.ID()
	if len(id) != 32 || strings.Trim(id, "0") == "" {
		t.Fatalf("store id %q", id)
	}
	if _, err := Open(Config{Dir: dir}); !errors.Is(err, ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "lost+found"), 0o755); err != nil {
		t.Fatal(err)
	}
	if s = open(t, Config{Dir: dir}); s.ID() != id {
		t.Fatalf("id %s became %s", id, s.ID())
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: filepath.Join(file, "x")}); !errors.Is(err, ErrNotWritable) {
		t.Fatalf("got %v", err)
	}
}
