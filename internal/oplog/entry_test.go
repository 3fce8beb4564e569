package oplog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var ui = UUID{0x5e, 0x0b, 0x2a, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}

// golden entries: their text is in testdata/entries.txt.
func goldenEntries(t *testing.T) []struct {
	name  string
	bytes []byte
} {
	one := bsonval.Int32(1)
	session := Session{LSID: js(t, `{"id":"s","uid":"u"}`), TxnNumber: 7, Chained: true, Prev: NoOpTime}
	entry := func(op Op, s Session) []byte {
		b := op.Append([]byte("before"), &s)[len("before"):]
		Stamp(b, 5<<32|9, 1700000000123, 0)
		return b
	}
	retried := InsertOp("db.c", ui, one, js(t, `{"_id":1}`))
	retried.StmtIDs = []int32{3}
	several := retried
	several.StmtIDs = []int32{3, 4}
	image := UpdateOp("db.c", ui, one, js(t, `{"u":{"a":1}}`))
	image.StmtIDs, image.NeedsRetryImage = []int32{0}, PreImage
	txn := NewTransaction(session.LSID, 7)
	for _, op := range []Op{CommandOp("db", ui, Create("c", nil, nil), nil), InsertOp("db.c", ui, one, js(t, `{"_id":1}`))} {
		if _, err := txn.Add(&op); err != nil {
			t.Fatal(err)
		}
	}
	return []struct {
		name  string
		bytes []byte
	}{
		{"insert", entry(InsertOp("db.c", ui, one, js(t, `{"_id":1,"a":2}`)), Session{})},
		{"update", entry(UpdateOp("db.c", ui, one, js(t, `{"u":{"a":1}}`)), Session{})},
		{"replace", entry(ReplaceOp("db.c", ui, one, js(t, `{"_id":1,"b":2}`)), Session{})},
		{"delete", entry(DeleteOp("db.c", ui, one), Session{})},
		{"retryable insert", entry(retried, session)},
		{"several statements", entry(several, session)},
		{"findAndModify", entry(image, session)},
		{"transaction", txn.Finish()},
		{"create", entry(CommandOp("db", ui, Create("c", js(t, `{"capped":true,"size":4096}`), js(t, `{"v":2,"key":{"_id":1},"name":"_id_"}`)), nil), Session{})},
		{"createIndexes", entry(CommandOp("db", ui, CreateIndexes("c", js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)), nil), Session{})},
		{"startIndexBuild", entry(CommandOp("db", ui, StartIndexBuild("c", UUID{1}, js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)), nil), Session{})},
		{"commitIndexBuild", entry(CommandOp("db", ui, CommitIndexBuild("c", UUID{1}, js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)), nil), Session{})},
		{"abortIndexBuild", entry(CommandOp("db", ui, AbortIndexBuild("c", UUID{1}, js(t, `{"ok":false}`), js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)), nil), Session{})},
		{"dropIndexes", entry(CommandOp("db", ui, DropIndexes("c", "a_1"), js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)), Session{})},
		{"drop", entry(CommandOp("db", ui, Drop("c"), NumRecords(12)), Session{})},
		{"dropDatabase", entry(CommandOp("db", UUID{}, DropDatabase(), nil), Session{})},
		{"renameCollection", entry(CommandOp("db", ui, RenameCollection("db.c", "db.d", UUID{2}), NumRecords(1)), Session{})},
		{"collMod", entry(CommandOp("db", ui, CollMod("c", js(t, `{"validationLevel":"off"}`)), CollModOld(js(t, `{}`), js(t, `{"hidden_old":false}`))), Session{})},
		{"convertToCapped", entry(CommandOp("db", ui, ConvertToCapped("c", bsonval.Int32(4096)), nil), Session{})},
		{"noop", entry(NoopOp("", Message("periodic noop"), nil), Session{})},
	}
}

func TestEntriesAgainstGoldens(t *testing.T) {
	var b strings.Builder
	for _, g := range goldenEntries(t) {
		if err := bsonval.Validate(g.bytes); err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		b.WriteString(g.name + "\n  " + show(g.bytes) + "\n")
	}
	path := filepath.Join("testdata", "entries.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.String(); got != string(want) {
		t.Errorf("entries are not those of %s (UPDATE_GOLDEN=1 rewrites it):\n%s", path, got)
	}
}

func TestParseReadsEntries(t *testing.T) {
	for _, g := range goldenEntries(t) {
		e, err := Parse(g.bytes)
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		if g.name != "transaction" && (e.TS != 5<<32|9 || e.Wall != 1700000000123) {
			t.Errorf("%s: time %x, wall %d", g.name, e.TS, e.Wall)
		}
		switch g.name {
		case "update", "findAndModify":
			if d, ok := e.Diff(); !ok || show(d) != show(js(t, `{"u":{"a":1}}`)) || e.ID().Int32() != 1 {
				t.Errorf("%s: %s %v %v", g.name, show(d), ok, e.ID())
			}
		case "replace":
			if _, ok := e.Diff(); ok {
				t.Error("a replacement has no diff")
			}
		case "delete":
			if e.ID().Int32() != 1 || e.UUID != ui || e.DB() != "db" || e.Coll() != "c" {
				t.Errorf("%+v", e)
			}
		case "retryable insert":
			if e.TxnNumber != 7 || e.StmtID.Int32() != 3 || !e.Prev.IsNull() || e.Prev.Term != -1 {
				t.Errorf("%+v", e)
			}
		case "transaction":
			ops := e.Ops()
			var kinds []byte
			for ops.Next() {
				kinds = append(kinds, byte(ops.Op().Kind))
			}
			if string(kinds) != "ci" || ops.Err() != nil || e.Partial() {
				t.Errorf("%s %v", kinds, ops.Err())
			}
		}
	}
}

func TestTransactionIsCutIntoEntries(t *testing.T) {
	txn := NewTransaction(js(t, `{"id":1}`), 2)
	if txn.Finish() != nil {
		t.Error("no operations make no entry")
	}
	big := bsonval.NewBuilder().Int32("_id", 1).Str("s", strings.Repeat("x", 6<<20)).Build()
	op := InsertOp("db.c", ui, bsonval.Int32(1), big)
	var entries [][]byte
	for i := range 5 {
		full, err := txn.Add(&op)
		if err != nil {
			t.Fatal(err)
		}
		if full != nil {
			entries = append(entries, full)
		}
		if e, n := txn.Index(); e != i/2 || n != i%2 {
			t.Errorf("operation %d stands at %d, %d", i, e, n)
		}
	}
	entries = append(entries, txn.Finish())
	if len(entries) != 3 || txn.Len() != 5 {
		t.Fatalf("%d entries of %d operations", len(entries), txn.Len())
	}
	for i, b := range entries {
		if i > 0 {
			Stamp(b, uint64(100+i), 0, uint64(99+i))
		}
		if err := bsonval.Validate(b); err != nil {
			t.Fatal(err)
		}
		e, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if last := i == 2; e.Partial() == last || last != (e.O.Lookup("count").Int64() == 5) {
			t.Errorf("entry %d: partial %v, count %v", i, e.Partial(), e.O.Lookup("count"))
		}
		want := NoOpTime
		if i > 0 {
			want = OpTime{uint64(99 + i), Term}
		}
		if e.Prev != want {
			t.Errorf("entry %d comes after %v", i, e.Prev)
		}
	}
}

func TestTooLargeOperation(t *testing.T) {
	doc := bsonval.NewBuilder().Str("s", strings.Repeat("x", 17<<20)).Build()
	op := ReplaceOp("db.c", ui, bsonval.Int32(1), doc)
	txn := NewTransaction(js(t, `{"id":1}`), 2)
	if _, err := txn.Add(&op); !mongoerr.Is(err, mongoerr.TransactionTooLarge) {
		t.Errorf("%v", err)
	}
	if txn.Finish() != nil {
		t.Error("the refused operation is in no entry")
	}
}

func TestParseRefuses(t *testing.T) {
	for _, s := range []string{
		`{}`, `{"op":"i"}`, `{"op":"z","o":{}}`, `{"op":"in","o":{}}`, `{"op":"i","o":1}`, `{"op":"i","o":{},"ns":1}`, `{"op":"i","o":{},"ui":1}`,
		`{"op":"i","o":{},"o2":1}`, `{"op":"i","o":{},"lsid":1}`, `{"op":"i","o":{},"txnNumber":"1"}`, `{"op":"i","o":{},"ts":1}`,
		`{"op":"i","o":{},"wall":1}`, `{"op":"i","o":{},"prevOpTime":{"ts":1}}`, `{"op":"i","o":{},"prevOpTime":1}`,
	} {
		if _, err := Parse(js(t, s)); !errors.Is(err, ErrEntry) {
			t.Errorf("%s: %v", s, err)
		}
	}
	bad, err := Parse(js(t, `{"op":"c","ns":"a.$cmd","o":{"applyOps":[1]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if ops := bad.Ops(); ops.Next() || ops.Err() == nil {
		t.Error("an operation that is a number")
	}
}

func TestUpdateDescription(t *testing.T) {
	for _, c := range []struct{ name, diff, want string }{
		{"all", `{"d":{"x":false},"u":{"a":1},"i":{"b":2},"ss":{"d":{"y":false},"u":{"z":3}},"sl":{"a":true,"l":4,"u1":5,"s2":{"u":{"q":6}}}}`,
			`{"updatedFields":{"a":1,"b":2,"s.z":3,"l.1":5,"l.2.q":6},"removedFields":["x","s.y"],"truncatedArrays":[{"field":"l","newSize":4}],"disambiguatedPaths":{}}`},
		{"a dot", `{"u":{"home.town":"London"},"sh":{"sa.b":{"d":{"c":false}}}}`,
			`{"updatedFields":{"home.town":"London"},"removedFields":["h.a.b.c"],"truncatedArrays":[],"disambiguatedPaths":{"home.town":["home.town"],"h.a.b.c":["h","a.b","c"]}}`},
		{"numbers", `{"u":{"0":1},"sa":{"u":{"0":2,"01":3}},"sr":{"a":true,"s0":{"u":{"0":4}},"u1":5}}`,
			`{"updatedFields":{"0":1,"a.0":2,"a.01":3,"r.0.0":4,"r.1":5},"removedFields":[],"truncatedArrays":[],"disambiguatedPaths":{"a.0":["a","0"],"r.0.0":["r",0,"0"]}}`},
		{"nested truncation", `{"sa":{"a":true,"s0":{"a":true,"l":1}}}`,
			`{"updatedFields":{},"removedFields":[],"truncatedArrays":[{"field":"a.0","newSize":1}],"disambiguatedPaths":{}}`},
	} {
		got, err := UpdateDescription(js(t, c.diff), true)
		if err != nil || !bytes.Equal(got, js(t, c.want)) {
			t.Errorf("%s: %v\n got %s\nwant %s", c.name, err, show(got), show(js(t, c.want)))
		}
	}
	if got, err := UpdateDescription(js(t, `{"u":{"a.b":1}}`), false); err != nil || !got.Lookup("disambiguatedPaths").IsMissing() {
		t.Errorf("%s %v", show(got), err)
	}
	for _, s := range []string{`{"x":1}`, `{"u":1}`, `{"sa":{"a":true,"x1":1}}`, `{"sa":{"a":true,"s1":1}}`, `{"sa":{"a":true,"u":1}}`} {
		if _, err := UpdateDescription(js(t, s), true); !errors.Is(err, ErrDiff) {
			t.Errorf("%s: %v", s, err)
		}
		if _, err := Apply(js(t, `{"a":[1]}`), js(t, s)); !errors.Is(err, ErrDiff) {
			t.Errorf("%s applied: %v", s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(js(f, `{"op":"c","ns":"a.$cmd","o":{"applyOps":[{"op":"i","ns":"a.b","o":{"_id":1},"o2":{"_id":1}}],"partialTxn":true},"lsid":{},"txnNumber":1}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			return
		}
		_, _ = e.Verb()
		_, _ = e.Diff()
		_, _, _ = e.ID(), e.DB(), e.Coll()
		ops := e.Ops()
		for ops.Next() {
			_ = ops.Op().ID()
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	doc := js(b, `{"_id":1,"a":2,"text":"some text of a usual length"}`)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		op := InsertOp("db.collection", ui, bsonval.Int32(1), doc)
		buf = op.Append(buf[:0], &Session{})
	}
}
