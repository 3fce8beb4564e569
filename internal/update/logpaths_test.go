package update

import (
	"slices"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

func TestLoggedPaths(t *testing.T) {
	one := bsonval.Int32(1)
	push := bsonval.NewBuilder().StartArray("$each").Add(one).End().Int32("$slice", 3).Build()
	u := bsonval.NewBuilder().
		StartDoc("$set").Int32("a.b", 1).Int32("c.$[].d", 1).Int32("e.$.f", 1).End().
		StartDoc("$push").Int32("plain", 1).Doc("sliced", push).End().
		StartDoc("$rename").Str("from", "to").End().Build()
	p, err := Compile(bsonval.Document(u), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := p.LoggedPaths()
	slices.Sort(got)
	if want := []string{"a.b", "c.$[].d", "e.$.f", "from", "sliced", "to"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	r, err := Compile(bsonval.Document(bsonval.NewBuilder().Int32("a", 1).Build()), Options{})
	if err != nil || r.LoggedPaths() != nil {
		t.Errorf("a replacement logs no paths: %v %v", r.LoggedPaths(), err)
	}
}
