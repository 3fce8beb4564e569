package changestream

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

var ui = oplog.UUID{0x5e, 0x0b, 0x2a, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}

var one = bsonval.Int32(1)

func js(t testing.TB, s string) bsonval.Doc {
	t.Helper()
	var d bson.D
	if err := bson.UnmarshalExtJSON([]byte(s), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	b, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func spec(t testing.TB, s string) *Spec {
	t.Helper()
	p, err := Parse(bsonval.Document(js(t, s)))
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return p
}

// stamped makes an entry of an operation at a time.
func stamped(t testing.TB, op oplog.Op, ts uint64) *oplog.Entry {
	t.Helper()
	b := op.Append(nil, &oplog.Session{})
	oplog.Stamp(b, ts, 1700000000000, 0)
	return parsed(t, b)
}

func parsed(t testing.TB, b []byte) *oplog.Entry {
	t.Helper()
	e, err := oplog.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return &e
}

// fakeImages has the images of some documents.
type fakeImages struct {
	now    bsonval.Doc
	before map[PreImageID]bsonval.Doc
	uuid   oplog.UUID // what Current was asked for
}

func (f *fakeImages) Current(_ context.Context, _ string, uuid oplog.UUID, _ bsonval.Doc) (bsonval.Doc, error) {
	f.uuid = uuid
	return f.now, nil
}

func (f *fakeImages) Before(_ context.Context, id PreImageID) (bsonval.Doc, error) {
	return f.before[id], nil
}

func events(t testing.TB, s *Stream, e *oplog.Entry) []Event {
	t.Helper()
	var out []Event
	if err := s.Events(t.Context(), e, func(ev Event) bool { out = append(out, ev); return true }); err != nil {
		t.Fatal(err)
	}
	return out
}

const ts = 7<<32 | 1

func transaction(t testing.TB) *oplog.Entry {
	txn := oplog.NewTransaction(js(t, `{"id":"s"}`), 3)
	for _, op := range []oplog.Op{
		oplog.CommandOp("db", ui, oplog.Create("c", nil, nil), nil),
		oplog.InsertOp("db.c", ui, one, js(t, `{"_id":1}`)),
		oplog.InsertOp("other.c", ui, one, js(t, `{"_id":1}`)),
		oplog.UpdateOp("db.c", ui, one, js(t, `{"u":{"a":1}}`)),
		oplog.DeleteOp("db.d", ui, one),
	} {
		if _, err := txn.Add(&op); err != nil {
			t.Fatal(err)
		}
	}
	b := txn.Finish()
	oplog.Stamp(b, ts, 1700000000000, 0)
	return parsed(t, b)
}

func TestEventsAgainstGoldens(t *testing.T) {
	index := js(t, `{"v":2,"key":{"a":1},"name":"a_1"}`)
	entries := []struct {
		name  string
		entry *oplog.Entry
	}{
		{"insert", stamped(t, oplog.InsertOp("db.c", ui, one, js(t, `{"_id":1,"a":2}`)), ts)},
		{"update", stamped(t, oplog.UpdateOp("db.c", ui, one, js(t, `{"d":{"x":false},"u":{"a":1,"b.c":2}}`)), ts)},
		{"replace", stamped(t, oplog.ReplaceOp("db.c", ui, one, js(t, `{"_id":1,"b":2}`)), ts)},
		{"delete", stamped(t, oplog.DeleteOp("db.c", ui, one), ts)},
		{"transaction", transaction(t)},
		{"create", stamped(t, oplog.CommandOp("db", ui, oplog.Create("c", js(t, `{"capped":true,"size":4096}`), js(t, `{"v":2,"key":{"_id":1},"name":"_id_"}`)), nil), ts)},
		{"create timeseries", stamped(t, oplog.CommandOp("db", ui, oplog.Create("c", js(t, `{"timeseries":{"timeField":"t"}}`), nil), nil), ts)},
		{"create view", stamped(t, oplog.InsertOp("db.system.views", ui, bsonval.String("db.c"), js(t, `{"_id":"db.c","viewOn":"x","pipeline":[]}`)), ts)},
		{"modify view", stamped(t, oplog.ReplaceOp("db.system.views", ui, bsonval.String("db.c"), js(t, `{"_id":"db.c","viewOn":"y","pipeline":[]}`)), ts)},
		{"drop view", stamped(t, oplog.DeleteOp("db.system.views", ui, bsonval.String("db.c")), ts)},
		{"createIndexes", stamped(t, oplog.CommandOp("db", ui, oplog.CreateIndexes("c", index), nil), ts)},
		{"startIndexBuild", stamped(t, oplog.CommandOp("db", ui, oplog.StartIndexBuild("c", oplog.UUID{1}, index), nil), ts)},
		{"commitIndexBuild", stamped(t, oplog.CommandOp("db", ui, oplog.CommitIndexBuild("c", oplog.UUID{1}, index), nil), ts)},
		{"dropIndexes", stamped(t, oplog.CommandOp("db", ui, oplog.DropIndexes("c", "a_1"), index), ts)},
		{"modify", stamped(t, oplog.CommandOp("db", ui, oplog.CollMod("c", js(t, `{"index":{"name":"a_1","hidden":true}}`)),
			oplog.CollModOld(js(t, `{"uuid":1}`), js(t, `{"hidden":false}`))), ts)},
		{"drop", stamped(t, oplog.CommandOp("db", ui, oplog.Drop("c"), oplog.NumRecords(2)), ts)},
		{"rename", stamped(t, oplog.CommandOp("db", ui, oplog.RenameCollection("db.c", "db.d", oplog.UUID{2}), oplog.NumRecords(1)), ts)},
		{"rename to", stamped(t, oplog.CommandOp("db", ui, oplog.RenameCollection("db.x", "db.c", oplog.UUID{}), nil), ts)},
		{"dropDatabase", stamped(t, oplog.CommandOp("db", oplog.UUID{}, oplog.DropDatabase(), nil), ts)},
		{"system collection", stamped(t, oplog.InsertOp("db.system.profile", ui, one, js(t, `{"_id":1}`)), ts)},
		{"internal database", stamped(t, oplog.InsertOp("config.c", ui, one, js(t, `{"_id":1}`)), ts)},
		{"noop", stamped(t, oplog.NoopOp("", oplog.Message("periodic noop"), nil), ts)},
		{"another database", stamped(t, oplog.InsertOp("other.c", ui, one, js(t, `{"_id":1}`)), ts)},
	}
	images := &fakeImages{now: js(t, `{"_id":1,"now":true}`), before: map[PreImageID]bsonval.Doc{
		{ui, ts, 0}: js(t, `{"_id":1,"x":1,"a":0}`), {ui, ts, 3}: js(t, `{"_id":1}`),
	}}
	streams := []struct {
		name   string
		spec   string
		target Target
	}{
		{"collection", `{}`, Target{"db", "c"}},
		{"collection, all images", `{"fullDocument":"required","fullDocumentBeforeChange":"whenAvailable","showExpandedEvents":true}`, Target{"db", "c"}},
		{"database, look-up", `{"fullDocument":"updateLookup","showRawUpdateDescription":true}`, Target{DB: "db"}},
		{"everything, expanded", `{"showExpandedEvents":true}`, Target{}},
	}
	var b strings.Builder
	for _, s := range streams {
		stream := NewStream(spec(t, s.spec).Shape(s.target), images)
		for _, e := range entries {
			b.WriteString(s.name + ": " + e.name + "\n")
			for _, ev := range events(t, stream, e.entry) {
				if err := bsonval.Validate(ev.Doc); err != nil {
					t.Fatal(err)
				}
				text := bsonval.FormatDoc(ev.Doc)
				b.WriteString("  " + strings.Replace(text, ev.Token.String(), fmt.Sprintf("token %d %v", ev.Token.TxnOpIndex, ev.Token.FromInvalidate), 1))
				if ev.Invalidate {
					b.WriteString(" END")
				}
				b.WriteString("\n")
			}
		}
	}
	path := filepath.Join("testdata", "events.txt")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("events are not those of %s (UPDATE_GOLDEN=1 rewrites it):\n%s", path, b.String())
	}
}

func TestRequiredImages(t *testing.T) {
	update := stamped(t, oplog.UpdateOp("db.c", ui, one, js(t, `{"u":{"a":1}}`)), ts)
	insert := stamped(t, oplog.InsertOp("db.c", ui, one, js(t, `{"_id":1}`)), ts)
	for _, s := range []string{`{"fullDocument":"required"}`, `{"fullDocumentBeforeChange":"required"}`} {
		stream := NewStream(spec(t, s).Shape(Target{"db", "c"}), &fakeImages{})
		err := stream.Events(t.Context(), update, func(Event) bool { t.Error("no event"); return true })
		if !mongoerr.Is(err, mongoerr.NoMatchingDocument) {
			t.Errorf("%s: %v", s, err)
		}
		if n := len(events(t, stream, insert)); n != 1 {
			t.Errorf("%s: %d events of an insert", s, n)
		}
	}
	stream := NewStream(spec(t, `{"fullDocument":"whenAvailable","fullDocumentBeforeChange":"whenAvailable"}`).Shape(Target{}), &fakeImages{})
	d := events(t, stream, update)[0].Doc
	if d.Lookup("fullDocument").Type() != bsonval.TypeNull || d.Lookup("fullDocumentBeforeChange").Type() != bsonval.TypeNull {
		t.Errorf("%s", bsonval.FormatDoc(d))
	}
	images := &fakeImages{}
	stream = NewStream(spec(t, `{"fullDocument":"updateLookup","matchCollectionUUIDForUpdateLookup":true}`).Shape(Target{}), images)
	if d := events(t, stream, update)[0].Doc; d.Lookup("fullDocument").Type() != bsonval.TypeNull || images.uuid != ui {
		t.Errorf("%s, looked up in %x", bsonval.FormatDoc(d), images.uuid)
	}
}

func TestEventsStop(t *testing.T) {
	n := 0
	stream := NewStream(spec(t, `{}`).Shape(Target{}), &fakeImages{})
	err := stream.Events(t.Context(), transaction(t), func(Event) bool { n++; return false })
	if n != 1 || err != nil {
		t.Errorf("%d events, %v", n, err)
	}
	bad := parsed(t, js(t, `{"op":"c","ns":"admin.$cmd","o":{"applyOps":[1]}}`))
	if err := stream.Events(t.Context(), bad, func(Event) bool { return true }); !errors.Is(err, oplog.ErrEntry) {
		t.Errorf("%v", err)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(js(f, `{"op":"c","ns":"admin.$cmd","o":{"applyOps":[{"op":"u","ns":"a.b","o":{"$v":2,"diff":{"u":{"a":1}}},"o2":{"_id":1}}]},"lsid":{},"txnNumber":1}`)))
	f.Add([]byte(js(f, `{"op":"c","ns":"a.$cmd","o":{"renameCollection":"a.b","to":"a.c"}}`)))
	f.Add([]byte(js(f, `{"op":"d","ns":"a.system.views","o":{"_id":"a.v"}}`)))
	shape := Shape{Expanded: true, FullDocument: ImageWhenAvailable, BeforeChange: ImageWhenAvailable}
	stream := NewStream(shape, &fakeImages{before: map[PreImageID]bsonval.Doc{{}: bsonval.EmptyDoc}})
	router := NewRouter[int]()
	router.Add(Target{"a", "b"}, 1)
	router.Add(Target{}, 2)
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := oplog.Parse(b)
		if err != nil || bsonval.Validate(b) != nil {
			return
		}
		router.Route(&e)
		_ = stream.Events(t.Context(), &e, func(ev Event) bool {
			if _, err := Decode(ev.Token.String()); err != nil {
				t.Fatalf("%s: %v", ev.Token, err)
			}
			return true
		})
	})
}

func BenchmarkInsertEvent(b *testing.B) {
	stream := NewStream(spec(b, `{}`).Shape(Target{"db", "c"}), &fakeImages{})
	e := stamped(b, oplog.InsertOp("db.c", ui, one, js(b, `{"_id":1,"a":2,"text":"some text of a usual length"}`)), ts)
	b.ReportAllocs()
	for b.Loop() {
		_ = stream.Events(context.Background(), e, func(Event) bool { return true })
	}
}
