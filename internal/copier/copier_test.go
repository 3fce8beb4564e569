package copier

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/archelon-db/archelon/internal/bsonval"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFilter(t *testing.T) {
	f := filter{include: []string{"shop", "a.b*", "x.*y*z"}, exclude: []string{"shop.tmp*", "*.secret"}}
	for name, want := range map[string]bool{
		"shop.orders": true, "shop.tmp1": false, "shop.secret": false, "a.b": true, "a.bc.d": true, "a.c": false, "x.1y2z": true,
		"x.yz": true, "x.zy": false, "shopping.x": false,
	} {
		if got := f.wants(splitNamespace(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !f.follows(namespace{"a", "tmp.agg_out.7"}) || f.follows(namespace{"y", "tmp.agg_out.7"}) || f.follows(namespace{"a", "tmp"}) {
		t.Error("collections that are made for a while")
	}
	if all := (&filter{}); !all.wants(namespace{"any", "thing"}) {
		t.Error("no filter wants everything")
	}
}

func ids(values ...bsonval.Value) (docs []Doc) {
	for _, v := range values {
		docs = append(docs, bsonval.NewBuilder().Value("_id", v).Build())
	}
	return docs
}

func TestCutAt(t *testing.T) {
	var docs []Doc
	for i := range 35 {
		docs = append(docs, ids(bsonval.Int32(int32(i/2)))...)
	}
	ranges := cutAt(docs, 10)
	var text []string
	for _, r := range ranges {
		text = append(text, fmt.Sprintf("%d:%s-%s", r.n, bsonval.Format(r.min), bsonval.Format(r.max)))
	}
	if got := strings.Join(text, " "); got != "0:missing-5 1:5-10 2:10-15 3:15-missing" {
		t.Errorf("got %s", got)
	}
	if got := cutAt(docs[:5], 10); len(got) != 1 {
		t.Errorf("%d ranges of five documents", len(got))
	}
}

// TestCopiedAt finds the time of a document by its range, also after a range was cut where it was interrupted.
func TestCopiedAt(t *testing.T) {
	five, ten := bsonval.Int32(5), bsonval.Double(10)
	c := &collection{options: bsonval.EmptyDoc, ranges: []*span{
		{n: 2, min: bsonval.Int64(7), after: true, max: ten, at: 30, done: true},
		{n: 1, min: five, max: ten, at: 20},
		{n: 3, min: ten, at: 40, done: true},
		{n: 0, max: five, at: 10, done: true},
	}}
	c.arrange()
	if s := c.ranges[1]; s.n != 1 || !s.done || !bsonval.Equal(s.max, bsonval.Int32(7)) {
		t.Errorf("the range of which another has the rest: %+v", s)
	}
	for _, tt := range []struct {
		id bsonval.Value
		at uint64
	}{
		{bsonval.MinKey, 10}, {bsonval.Null, 10}, {bsonval.Double(4.9), 10}, {bsonval.Int64(5), 20}, {bsonval.Double(7), 20},
		{bsonval.Double(7.5), 30}, {bsonval.Int32(10), 40}, {bsonval.String("x"), 40}, {bsonval.MaxKey, 40},
	} {
		if got := c.copiedAt(tt.id); got != tt.at {
			t.Errorf("%s: %d, want %d", bsonval.Format(tt.id), got, tt.at)
		}
	}
	c.options = bsonval.NewBuilder().StartDoc("collation").End().Build()
	if c.copiedAt(five) != 0 || (&collection{options: bsonval.EmptyDoc}).copiedAt(five) != 0 {
		t.Error("documents that are read at no single time")
	}
}

func TestStateDocuments(t *testing.T) {
	c := &collection{
		key: "ab/c", options: js(t, `{"capped":true}`), docs: 7, bytes: 8, natural: true, split: true,
		from: namespace{"d", "a.b"}, to: namespace{"d", "x.y"},
	}
	s := &state{collections: map[string]*collection{}}
	back := s.readCollection(c.key, c.document())
	if !bytes.Equal(back.document(), c.document()) || back.from != c.from || back.to != c.to {
		t.Errorf("collection: %+v", back)
	}
	r := &span{n: 12, min: bsonval.Null, max: bsonval.Int32(1), after: true, last: bsonval.MinKey, at: 77, docs: 9, done: true}
	again := readSpan("12", c.rangeDocument(r))
	if !bytes.Equal(c.rangeDocument(again), c.rangeDocument(r)) {
		t.Errorf("range: %+v", again)
	}
}

func TestChangeSpecs(t *testing.T) {
	specs := []Doc{js(t, `{"key":{"a":1},"name":"a_1"}`), js(t, `{"key":{"b":1},"name":"b_1","hidden":true}`)}
	for _, tt := range []struct{ kind, about, want string }{
		{"createIndexes", `{"indexes":[{"key":{"c":1},"name":"c_1"}]}`, "a_1 b_1 hidden c_1"},
		{"createIndexes", `{"indexes":[{"key":{"a":-1},"name":"a_1"}]}`, "b_1 hidden a_1"},
		{"dropIndexes", `{"indexes":[{"key":{"a":1},"name":"a_1"}]}`, "b_1 hidden"},
		{"modify", `{"index":{"name":"a_1","hidden":true}}`, "a_1 hidden b_1 hidden"},
		{"modify", `{"index":{"name":"b_1","hidden":false}}`, "a_1 b_1"},
		{"modify", `{"validator":{}}`, "a_1 b_1 hidden"},
	} {
		e := event{kind: tt.kind, about: js(t, tt.about)}
		var got []string
		for _, d := range e.changeSpecs(slices.Clone(specs)) {
			got = append(got, textOf(d.Lookup("name")))
			if d.Lookup("hidden").Truthy() {
				got = append(got, "hidden")
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: %v, want %s", tt.kind, tt.about, got, tt.want)
		}
	}
}

func TestTokenTime(t *testing.T) {
	for token, want := range map[string]uint64{
		`{"_data":"826B02ED01000000052B0429296E1404"}`: 0x6B02ED0100000005, `{"_data":"82"}`: 0, `{"_data":"zz6B02ED01000000052B"}`: 0,
		`{"_data":7}`: 0, `{}`: 0, `{"_data":"82xxxxxxxxxxxxxxxxxx"}`: 0,
	} {
		if got := tokenTime(js(t, token)); got != want {
			t.Errorf("%s: %x", token, got)
		}
	}
}

func TestPending(t *testing.T) {
	c := &collection{}
	var p pending
	one, real := bsonval.Int32(1), bsonval.Double(1)
	full := func(s string) Doc { return js(t, s) }
	for _, e := range []event{
		{kind: "update", id: one, delta: full(`{"updatedFields":{"a":1}}`)},
		{kind: "delete", id: one},
		{kind: "insert", id: real, full: full(`{"_id":1.0}`)},
		{kind: "update", id: real, delta: full(`{"updatedFields":{"a":2}}`)},
		{kind: "update", id: bsonval.Null, delta: full(`{"updatedFields":{"a":3}}`)},
		{kind: "update", id: bsonval.Null, delta: full(`{"updatedFields":{"a":4}}`)},
		{kind: "delete", id: bsonval.True},
		{kind: "update", id: bsonval.True, delta: full(`{"updatedFields":{"a":4}}`)},
	} {
		p.add(c, &e)
	}
	list := p.of[c].list
	if p.count != 8 || len(list) != 4 {
		t.Fatalf("%d changes of %d documents", p.count, len(list))
	}
	if !list[0].known || list[0].doc != nil || !list[3].known || list[3].doc != nil {
		t.Error("what was deleted")
	}
	if !list[1].known || !bytes.Equal(list[1].doc, full(`{"_id":1.0,"a":2}`)) {
		t.Errorf("what was inserted: %s", bsonval.FormatDoc(list[1].doc))
	}
	if list[2].known || len(list[2].deltas) != 2 {
		t.Error("what was updated")
	}
}

// TestFragile finds documents that a batch must not be applied to twice.
func TestFragile(t *testing.T) {
	c := &collection{key: "k"}
	for _, tt := range []struct {
		fragile bool
		deltas  []string
	}{
		{false, []string{`{"removedFields":["a"]}`, `{"updatedFields":{"a":2}}`}},
		{true, []string{`{"removedFields":["a"]}`, `{"updatedFields":{"a":2}}`, `{"updatedFields":{"b":2}}`}},
		{false, []string{`{"updatedFields":{"b":2}}`, `{"updatedFields":{"a":2}}`}},
	} {
		var p pending
		for _, d := range tt.deltas {
			p.add(c, &event{kind: "update", id: bsonval.Int32(1), delta: js(t, d)})
		}
		f := p.of[c].list[0]
		f.existed = js(t, `{"_id":1,"a":1}`)
		f.doc = f.existed
		for _, d := range f.deltas {
			f.doc = applyDelta(f.doc, d)
		}
		if got := p.fragile(); (len(got) == 1) != tt.fragile {
			t.Errorf("%v: %v", tt.deltas, got)
		}
	}
}

func TestChunks(t *testing.T) {
	large := bsonval.NewBuilder().Value("b", bsonval.Binary(0, make([]byte, maxWriteBytes/2))).Build()
	docs := []Doc{large, large, large, bsonval.EmptyDoc, bsonval.EmptyDoc}
	var sizes []int
	err := chunks(docs, 2, func(part []Doc) error { sizes = append(sizes, len(part)); return nil })
	if err != nil || fmt.Sprint(sizes) != "[1 1 2 1]" {
		t.Errorf("%v %v", sizes, err)
	}
	if !hasEmptyTime(js(t, `{"a":{"$timestamp":{"t":0,"i":0}}}`)) || hasEmptyTime(js(t, `{"a":{"$timestamp":{"t":0,"i":1}}}`)) {
		t.Error("empty timestamps")
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	r.begin("copying", []*collection{{docs: 2000, ranges: []*span{{docs: 500}}}})
	if line := r.line(); line != "copying: 500 documents, 25%" {
		t.Error(line)
	}
	r.copied(500, 3<<20)
	if line := r.line(); !strings.HasPrefix(line, "copying: 1,000 documents, of which 500, 3.0 MiB, in this run, ") || !strings.Contains(line, "50%") {
		t.Error(line)
	}
	fresh := &reporter{phase: "copying", since: time.Now()}
	fresh.copied(500, 3<<20)
	if line := fresh.line(); !strings.HasPrefix(line, "copying: 500 documents, 3.0 MiB, ") {
		t.Error(line)
	}
	r.begin("following", nil)
	r.applied(1)
	r.behind(5<<32, 8<<32)
	if line := r.line(); !strings.Contains(line, "1 change,") || !strings.Contains(line, "3s behind") {
		t.Error(line)
	}
	r.Close()
}
