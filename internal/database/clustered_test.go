package database

import (
	"slices"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func TestClusteredCollection(t *testing.T) {
	d := open(t)
	createCapped(t, d, ns, `{"clusteredIndex": {"key": {"_id": 1}, "unique": true, "name": "mine"}}`)
	insert(t, d, doc(t, `{"_id": 3, "x": 1}`), doc(t, `{"_id": 1, "x": 1}`), doc(t, `{"_id": 4, "x": 2}`), doc(t, `{"_id": 2, "x": 1}`))
	for _, c := range []struct {
		filter, sort string
		want         []int64
	}{
		{`{}`, `{}`, []int64{1, 2, 3, 4}},
		{`{}`, `{"$natural": -1}`, []int64{4, 3, 2, 1}},
		{`{"x": 1}`, `{}`, []int64{1, 2, 3}},
		{`{"_id": {"$gt": 1, "$lt": 4}}`, `{}`, []int64{2, 3}},
		{`{"_id": {"$gt": 1}}`, `{"$natural": -1}`, []int64{4, 3, 2}},
		{`{"_id": 3}`, `{}`, []int64{3}},
		{`{}`, `{"x": -1, "_id": 1}`, []int64{4, 1, 2, 3}},
	} {
		if got := findIDs(t, d, &FindQuery{Filter: doc(t, c.filter), Sort: doc(t, c.sort)}); !slices.Equal(got, c.want) {
			t.Errorf("%s sorted by %s: %v, want %v", c.filter, c.sort, got, c.want)
		}
	}
	created, err := d.CreateIndexes(t.Context(), ns, []bsonval.Doc{doc(t, `{"key": {"x": 1}, "name": "x_1"}`), doc(t, `{"key": {"_id": 1}, "name": "_id_"}`)})
	if err != nil || created.Before != 0 || created.After != 1 {
		t.Errorf("createIndexes: %+v %v", created, err)
	}
	_, err = d.DropIndexes(t.Context(), ns, bsonval.String("mine"))
	fails(t, err, 5979800)
	_, err = d.CollMod(t.Context(), ns, doc(t, `{"index": {"name": "mine", "hidden": true}}`))
	fails(t, err, mongoerr.IndexNotFound)
	sound(t, d, ns)

	copied := Namespace{DB: ns.DB, Coll: "copy"}
	fails(t, d.CloneAsCapped(t.Context(), ns, copied, 1000), 0)
	cur, err := d.Find(t.Context(), d.NewOp(t.Context()), copied, &FindQuery{})
	if err != nil {
		t.Fatal(err)
	}
	defer cur.Close()
	if got, _ := idsOf(t, cur, 0); !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Errorf("capped copy: %v", got)
	}
}

func TestClusteredExpires(t *testing.T) {
	d := open(t)
	createCapped(t, d, ns, `{"clusteredIndex": {"key": {"_id": 1}, "unique": true}}`)
	now := time.Now()
	insert(t, d, bsonval.NewBuilder().Date("_id", now.UnixMilli()-5000).Build(), bsonval.NewBuilder().Date("_id", now.UnixMilli()).Build())
	if n := d.Expire(t.Context(), now); n != 0 {
		t.Errorf("%d expired without a time to live", n)
	}
	for _, step := range []struct {
		change string
		code   mongoerr.Code
		want   int64
	}{
		{`{"expireAfterSeconds": "never"}`, mongoerr.InvalidOptions, 0}, {`{"expireAfterSeconds": 3}`, 0, 1}, {`{"expireAfterSeconds": "off"}`, 0, 0},
	} {
		_, err := d.CollMod(t.Context(), ns, doc(t, step.change))
		fails(t, err, step.code)
		if n := d.Expire(t.Context(), now.Add(time.Second)); n != step.want {
			t.Errorf("%s: %d expired, want %d", step.change, n, step.want)
		}
	}
}
