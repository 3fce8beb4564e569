package changestream

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

// history is a log: entries of one collection, a transaction, a drop and what
// follows.
func history(t testing.TB) []*oplog.Entry {
	insert := func(ts uint64, id int32) *oplog.Entry {
		return stamped(t, oplog.InsertOp("db.c", ui, bsonval.Int32(id), bsonval.NewBuilder().Int32("_id", id).Build()), ts)
	}
	txn := transaction(t)
	txn.TS = 30
	return []*oplog.Entry{
		insert(10, 1), insert(20, 2), txn,
		stamped(t, oplog.CommandOp("db", ui, oplog.Drop("c"), nil), 40), insert(50, 3), insert(60, 4),
	}
}

// follow delivers what a stream has of a log, as "time/index operation".
func follow(t testing.TB, s *Spec, target Target, now uint64, log []*oplog.Entry) ([]string, []Token, error) {
	stream := NewStream(s.Shape(target), &fakeImages{})
	c := s.Start(now)
	if err := c.CheckHistory(log[0]); err != nil {
		return nil, nil, err
	}
	var out []string
	var tokens []Token
	var failed error
	over := false
	for _, e := range log {
		if e.TS < c.From() || over || failed != nil {
			continue
		}
		err := stream.Events(t.Context(), e, func(ev Event) bool {
			deliver, _, err := c.Pass(ev)
			if failed = err; err != nil {
				return false
			}
			if deliver {
				out = append(out, fmt.Sprintf("%d/%d %s", ev.Token.ClusterTime, ev.Token.TxnOpIndex, ev.Doc.Lookup("operationType").Str()))
				tokens = append(tokens, ev.Token)
				c.Delivered(ev.Token)
				over = ev.Invalidate
			}
			return !over
		})
		if err != nil {
			t.Fatal(err)
		}
		if !over {
			c.Scanned(e.TS)
		}
	}
	return out, append(tokens, c.Token()), failed
}

func TestResumeFromEachEvent(t *testing.T) {
	log := history(t)
	for _, target := range []Target{{"db", "c"}, {DB: "db"}, {}} {
		s := &Spec{StartAt: 1, hasStartAt: true, Expanded: true}
		log[0].TS = 1 // the oldest entry, so that all is there
		all, tokens, err := follow(t, s, target, 0, log)
		if err != nil {
			t.Fatal(err)
		}
		for i := range all {
			next := &Spec{StartAfter: &tokens[i], Expanded: true}
			rest, _, err := follow(t, next, target, 0, log)
			want := all[i+1:]
			if target.Coll != "" && i == len(all)-1 { // the invalidate event
				want = []string{"50/0 insert", "60/0 insert"}
			}
			if err != nil || !slices.Equal(rest, want) {
				t.Errorf("%v after %s: %v %v, want %v", target, all[i], rest, err, want)
			}
		}
		if !slices.IsSortedFunc(tokens, Token.Compare) {
			t.Errorf("%v: tokens out of order", target)
		}
	}
}

func TestStart(t *testing.T) {
	log := history(t)
	target := Target{"db", "c"}
	got, tokens, err := follow(t, &Spec{}, target, 20, log)
	if want := []string{"30/1 insert", "30/3 update", "40/0 drop", "40/0 invalidate"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
	if last := tokens[len(tokens)-1]; !last.FromInvalidate {
		t.Errorf("%+v", last)
	}
	got, tokens, err = follow(t, &Spec{StartAt: 50, hasStartAt: true}, Target{DB: "elsewhere"}, 0, log)
	if len(got) != 0 || err != nil || tokens[0] != HighWaterMarkAt(60) {
		t.Errorf("%v %v %v", got, tokens, err)
	}
	mark := HighWaterMarkAt(50)
	if got, _, err = follow(t, &Spec{ResumeAfter: &mark}, target, 0, log); err != nil || !slices.Equal(got, []string{"50/0 insert", "60/0 insert"}) {
		t.Errorf("%v %v", got, err)
	}
}

func TestResumeFails(t *testing.T) {
	log := history(t)
	strange := Token{ClusterTime: 20, UUID: oplog.UUID{9}, Fragment: Whole}
	if _, _, err := follow(t, &Spec{ResumeAfter: &strange}, Target{"db", "c"}, 0, log); !mongoerr.Is(err, mongoerr.ChangeStreamFatalError) {
		t.Errorf("a token of another stream: %v", err)
	}
	old := HighWaterMarkAt(5)
	if _, _, err := follow(t, &Spec{ResumeAfter: &old}, Target{}, 0, log); !mongoerr.Is(err, mongoerr.ChangeStreamHistoryLost) {
		t.Errorf("a time before the log: %v", err)
	}
	first := stamped(t, oplog.NoopOp("", oplog.Message("initiating set"), nil), 9)
	if err := (&Spec{StartAt: 5, hasStartAt: true}).Start(0).CheckHistory(first); err != nil {
		t.Errorf("a time before the very first entry: %v", err)
	}
	split := Token{ClusterTime: 20, Fragment: 1}
	if c := (&Spec{ResumeAfter: &split}).Start(0); !c.Splits() || !mongoerr.Is(ErrNoSplit(), mongoerr.ChangeStreamFatalError) {
		t.Error("inside a split event")
	}
}

func TestCheckID(t *testing.T) {
	event := js(t, `{"_id":{"_data":"82"},"a":1}`)
	if err := CheckID(event, js(t, `{"b":1,"_id":{"_data":"82"}}`)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{`{}`, `{"_id":1}`, `{"_id":{"_data":"83"}}`} {
		if err := CheckID(event, js(t, s)); !mongoerr.Is(err, mongoerr.ChangeStreamFatalError) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestSplit(t *testing.T) {
	token := Token{ClusterTime: 5, Fragment: Whole}
	text := func(n int) string { return strings.Repeat("x", n) }
	event := bsonval.NewBuilder().Doc("_id", token.Doc()).Str("big", text(600)).Str("operationType", "update").
		Str("bigger", text(700)).Str("small", "s").Build()
	parts, err := Split(event, token, 1000, 0)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	var names []string
	for i, p := range parts {
		if len(p.Doc) > 1000 || p.Token.Fragment != i {
			t.Errorf("part %d has %d bytes, %+v", i, len(p.Doc), p.Token)
		}
		if s := p.Doc.Lookup("splitEvent").Doc(); s.Lookup("fragment").Int32() != int32(i+1) || s.Lookup("of").Int32() != 2 {
			t.Errorf("%s", bsonval.FormatDoc(s))
		}
		back, err := DecodeDoc(p.Doc.Lookup("_id").Doc())
		if err != nil || back != p.Token {
			t.Errorf("%+v %v", back, err)
		}
		it := p.Doc.Iter()
		for it.Next() {
			names = append(names, it.KeyStr())
		}
	}
	if got, want := strings.Join(names, " "), "_id splitEvent small operationType big _id splitEvent bigger"; got != want {
		t.Errorf("%s", got)
	}
	if rest, err := Split(event, token, 1000, 1); err != nil || len(rest) != 1 || rest[0].Token.Fragment != 1 {
		t.Errorf("%v %v", rest, err)
	}
	if rest, err := Split(event, token, 1000, 2); err != nil || len(rest) != 0 {
		t.Errorf("%v %v", rest, err)
	}
	if whole, err := Split(event, token, 5000, 0); err != nil || len(whole) != 1 || whole[0].Token != token {
		t.Errorf("%v %v", whole, err)
	}
	if _, err := Split(event, token, 5000, 1); !mongoerr.Is(err, mongoerr.ChangeStreamFatalError) {
		t.Errorf("%v", err)
	}
	if _, err := Split(event, token, 500, 0); !mongoerr.Is(err, mongoerr.BSONObjectTooLarge) {
		t.Errorf("%v", err)
	}
	if !mongoerr.Is(ErrTooLarge(1<<30), mongoerr.BSONObjectTooLarge) {
		t.Error("an event that may not be split")
	}
}

func TestRouter(t *testing.T) {
	r := NewRouter[string]()
	e := stamped(t, oplog.InsertOp("db.c", ui, one, js(t, `{"_id":1}`)), ts)
	if r.Route(e) != nil {
		t.Error("no streams")
	}
	for name, target := range map[string]Target{"c": {"db", "c"}, "d": {"db", "d"}, "db": {DB: "db"}, "all": {}, "other": {DB: "other"}} {
		r.Add(target, name)
	}
	view := oplog.InsertOp("db.system.views", ui, bsonval.String("db.c"), js(t, `{"_id":"db.c","viewOn":"x"}`))
	for _, c := range []struct {
		entry *oplog.Entry
		want  string
	}{
		{e, "all c db"},
		{stamped(t, oplog.DeleteOp("db.x", ui, one), ts), "all db"},
		{stamped(t, oplog.DeleteOp("db.system.profile", ui, one), ts), ""},
		{stamped(t, oplog.DeleteOp("admin.c", ui, one), ts), ""},
		{stamped(t, view, ts), "all c db"},
		{stamped(t, oplog.CommandOp("db", ui, oplog.Drop("d"), nil), ts), "all d db"},
		{stamped(t, oplog.CommandOp("db", ui, oplog.RenameCollection("db.c", "other.c", oplog.UUID{}), nil), ts), "all c db other"},
		{stamped(t, oplog.CommandOp("db", ui, oplog.RenameCollection("db.x", "db.d", oplog.UUID{}), nil), ts), "all d db"},
		{stamped(t, oplog.CommandOp("db", oplog.UUID{}, oplog.DropDatabase(), nil), ts), "all c d db"},
		{stamped(t, oplog.CommandOp("third", oplog.UUID{}, oplog.DropDatabase(), nil), ts), "all"},
		{stamped(t, oplog.CommandOp("db", ui, oplog.StartIndexBuild("c", ui), nil), ts), ""},
		{stamped(t, oplog.NoopOp("", oplog.Message("x"), nil), ts), ""},
		{transaction(t), "all c d db other"},
	} {
		for range 2 {
			got := slices.Sorted(slices.Values(r.Route(c.entry)))
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s %s goes to %v, want %s", c.entry.NS, bsonval.FormatDoc(c.entry.O), got, c.want)
			}
		}
	}
	r.Remove(Target{"db", "c"}, "c")
	r.Remove(Target{}, "all")
	if got := r.Route(e); !slices.Equal(got, []string{"db"}) {
		t.Errorf("%v", got)
	}
	for i := range 2 * maxLists {
		r.list(fmt.Sprintf("db.c%d", i))
	}
	if len(r.lists) > maxLists {
		t.Errorf("%d lists", len(r.lists))
	}
}

func BenchmarkRoute(b *testing.B) {
	r := NewRouter[int]()
	for i := range 1000 {
		r.Add(Target{"db", fmt.Sprintf("c%d", i)}, i)
	}
	e := stamped(b, oplog.InsertOp("db.c7", ui, one, js(b, `{"_id":1}`)), ts)
	b.ReportAllocs()
	for b.Loop() {
		r.Route(e)
	}
}
