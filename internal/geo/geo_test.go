package geo_test

import (
	"math"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func parse(t testing.TB, s string) bsonval.Value {
	t.Helper()
	var d bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(`{"v":`+s+`}`), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return bsonval.Doc(d).Lookup("v")
}

const square = `{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]],[[4,4],[6,4],[6,6],[4,6],[4,4]]]}`

func TestRelations(t *testing.T) {
	tests := []struct {
		g                    string
		contains, intersects bool
	}{
		{`[1,1]`, true, true},
		{`[5,5]`, false, false},
		{`[20,20]`, false, false},
		{`[1000,5]`, false, false},
		{`{"type":"Point","coordinates":[0,5]}`, true, true},
		{`{"type":"LineString","coordinates":[[1,1],[2,2]]}`, true, true},
		{`{"type":"LineString","coordinates":[[1,5],[9,5]]}`, false, true},
		{`{"type":"LineString","coordinates":[[-1,5],[-2,5]]}`, false, false},
		{`{"type":"Polygon","coordinates":[[[1,1],[2,1],[2,2],[1,1]]]}`, true, true},
		{`{"type":"Polygon","coordinates":[[[3,3],[7,3],[7,7],[3,7],[3,3]]]}`, false, true},
		{`{"type":"Polygon","coordinates":[[[-20,-20],[20,-20],[20,20],[-20,20],[-20,-20]]]}`, false, true},
		{`{"type":"MultiPoint","coordinates":[[1,1],[50,50]]}`, false, true},
	}
	s, err := geo.ParseGeoJSON(parse(t, square).Doc())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		g, ok := geo.ParseStored(parse(t, tt.g))
		if !ok {
			t.Errorf("%s: not a geometry", tt.g)
			continue
		}
		if got := s.Contains(g); got != tt.contains {
			t.Errorf("%s contained: %v", tt.g, got)
		}
		if got := s.Intersects(g); got != tt.intersects {
			t.Errorf("%s intersects: %v", tt.g, got)
		}
		if s.Intersects(g) != g.Intersects(s) {
			t.Errorf("%s: intersection is not symmetric", tt.g)
		}
	}
}

func TestDistance(t *testing.T) {
	from, _ := geo.ParseStored(parse(t, `[0,0]`))
	p, _ := from.Point()
	to, _ := geo.ParseStored(parse(t, `{"type":"LineString","coordinates":[[1,-1],[1,1]]}`))
	if got := to.Distance(p.S2()) * 180 / math.Pi; math.Abs(got-1) > 1e-9 {
		t.Errorf("got %v degrees", got)
	}
}

func TestErrors(t *testing.T) {
	for _, s := range []string{
		`{"type":"Point"}`, `{"type":"Foo","coordinates":[0,0]}`, `{"type":"Point","coordinates":[0,91]}`,
		`{"type":"LineString","coordinates":[[0,0],[0,0]]}`, `{"type":"Polygon","coordinates":[[[0,0],[1,1],[1,0]]]}`,
		`{"type":"Polygon","coordinates":[[[0,0],[10,10],[10,0],[0,10],[0,0]]]}`, `{"type":"Polygon","coordinates":[]}`,
		`{"type":"GeometryCollection","geometries":[1]}`, `{"type":"Point","coordinates":[0,0],"crs":{"type":"x"}}`,
	} {
		if _, err := geo.ParseGeoJSON(parse(t, s).Doc()); !mongoerr.Is(err, mongoerr.BadValue) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// FuzzParse checks that no bytes make the parsers or the relations panic.
func FuzzParse(f *testing.F) {
	f.Add([]byte(parse(f, square).Doc()))
	f.Add([]byte(parse(f, `{"$box":[[0,0],[3,3]]}`).Doc()))
	f.Add([]byte(parse(f, `{"$centerSphere":[[0,0],1]}`).Doc()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		s, err := geo.ParseGeoJSON(parse(t, square).Doc())
		if err != nil {
			t.Fatal(err)
		}
		if g, ok := geo.ParseStored(bsonval.Document(b)); ok {
			s.Contains(g)
			s.Intersects(g)
		}
		if r, err := geo.ParseRegion(b); err == nil {
			r.Contains(s)
			geo.SphereRanges(r)
			geo.Grid{Min: -180, Max: 180, Bits: 26}.Ranges(r)
		}
		if g, err := geo.ParseIndexed(bsonval.Document(b)); err == nil && len(g.Cells(nil, geo.Levels{Finest: geo.DefaultFinestLevel})) == 0 {
			t.Error("a geometry without cells")
		}
	})
}
