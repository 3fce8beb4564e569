package database

import (
	"fmt"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// TestWritersReused checks that writes of different kinds, which leave their buffers to
// the next one, leave nothing else: neither a document's bytes nor those of a request.
func TestWritersReused(t *testing.T) {
	d := open(t)
	for i := range 4 {
		insert(t, d, doc(t, fmt.Sprintf(`{"_id": %d, "n": 0}`, i)))
	}
	constant := doc(t, `{"u": [{"$replaceWith": {"$literal": {"text": "constant"}}}]}`).Lookup("u")
	request := constant.Clone()
	long := strings.Repeat("x", maxRoomBytes)
	change := func(id int, u bsonval.Value) {
		t.Helper()
		op := d.NewOp(t.Context())
		filter := doc(t, fmt.Sprintf(`{"_id": %d}`, id))
		res, err := d.Update(t.Context(), op, ns, &UpdateStatement{Filter: filter, Update: u, Upsert: id > 3})
		if err != nil || id <= 3 && res.Modified != 1 || id > 3 && res.Upserted.Int64() != int64(id) {
			t.Fatal(id, res, err)
		}
	}
	operators := func(json string) {
		t.Helper()
		u := doc(t, json)
		change(0, bsonval.Document(u))
		clear(u) // the request is over
	}
	operators(`{"$set": {"a": "first", "b.c": 1}}`)
	change(1, request)
	operators(`{"$inc": {"n": 1}, "$set": {"a": "second"}}`)
	if !bsonval.Identical(request, constant) {
		t.Fatal("an update has changed the request of another")
	}
	change(2, bsonval.Document(doc(t, `{"text": "replaced"}`)))
	operators(`{"$inc": {"n": 1}, "$unset": {"b": ""}}`)
	change(3, bsonval.Document(doc(t, `{"$set": {"long": "`+long+`"}}`)))
	operators(`{"$set": {"a": "third"}, "$push": {"list": {"$each": [1, 2]}}}`)
	change(4, bsonval.Document(doc(t, `{"$set": {"a": "upserted"}}`)))
	found, err := d.FindAndModify(t.Context(), d.NewOp(t.Context()), ns, &FindAndModify{
		Filter: doc(t, `{"_id": 0}`), Update: bsonval.Document(doc(t, `{"$inc": {"n": 1}}`)), New: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	value := bsonval.FormatDoc(found.Value)
	operators(`{"$inc": {"n": 100}}`)
	if got := bsonval.FormatDoc(found.Value); got != value {
		t.Errorf("findAndModify's document has become %s, was %s", got, value)
	}
	for id, want := range []string{
		`{"_id": 0, "n": 103, "a": "third", "list": [1, 2]}`, `{"_id": 1, "text": "constant"}`, `{"_id": 2, "text": "replaced"}`,
		`{"_id": 3, "n": 0, "long": "` + long + `"}`, `{"_id": 4, "a": "upserted"}`,
	} {
		want := bsonval.FormatDoc(doc(t, want))
		if got := findByID(t, d, ns, fmt.Sprintf(`{"_id": %d}`, id)); got != want {
			t.Errorf("_id %d: %.100s, want %.100s", id, got, want)
		}
	}
}
