package geo_test

import (
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/geo"
)

func drawCoordinates(t *rapid.T, spread float64) (x, y float64) {
	// Often in one small area, sometimes anywhere, sometimes at the edges.
	switch rapid.IntRange(0, 9).Draw(t, "area") {
	case 0:
		return rapid.Float64Range(-180, 180).Draw(t, "x"), rapid.Float64Range(-90, 90).Draw(t, "y")
	case 1:
		return rapid.SampledFrom([]float64{-180, 180, 0, 179.9999}).Draw(t, "x"), rapid.SampledFrom([]float64{-90, 90, 0, 89.9999}).Draw(t, "y")
	}
	return rapid.Float64Range(10-spread, 10+spread).Draw(t, "x"), rapid.Float64Range(45-spread, 45+spread).Draw(t, "y")
}

// drawGeometry makes GeoJSON text of a point, a line, or a triangle or square.
func drawGeometry(t *rapid.T) string {
	spread := rapid.SampledFrom([]float64{1e-6, 0.01, 1, 30}).Draw(t, "spread")
	x, y := drawCoordinates(t, spread)
	switch rapid.IntRange(0, 3).Draw(t, "type") {
	case 0:
		return fmt.Sprintf(`{"type":"Point","coordinates":[%v,%v]}`, x, y)
	case 1:
		return fmt.Sprintf(`[%v,%v]`, x, y)
	case 2:
		x2, y2 := drawCoordinates(t, spread)
		return fmt.Sprintf(`{"type":"LineString","coordinates":[[%v,%v],[%v,%v]]}`, x, y, x2, y2)
	}
	return polygon(max(min(x, 179-spread), -179), max(min(y, 89-spread), -89), spread)
}

func polygon(x, y, size float64) string {
	return fmt.Sprintf(`{"type":"Polygon","coordinates":[[[%v,%v],[%v,%v],[%v,%v],[%v,%v],[%v,%v]]]}`,
		x, y, x+size, y, x+size, y+size, x, y+size, x, y)
}

func within(ranges []geo.Range, cells ...int64) bool {
	for _, c := range cells {
		for _, r := range ranges {
			if c >= r.Lo && c <= r.Hi {
				return true
			}
		}
	}
	return false
}

func ext(t *rapid.T, s string) bsonval.Value {
	var d bson.Raw
	if err := bson.UnmarshalExtJSON([]byte(`{"v":`+s+`}`), false, &d); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return bsonval.Doc(d).Lookup("v")
}

// TestSphereCovering checks that whatever is in a region is in its ranges.
func TestSphereCovering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := drawGeometry(t)
		g, err := geo.ParseIndexed(ext(t, text))
		if err != nil {
			t.Skip(err.Error())
		}
		cells := g.Cells(nil, geo.Levels{Finest: geo.DefaultFinestLevel})
		if len(cells) == 0 || len(cells) > 100 {
			t.Fatalf("%s: %d cells", text, len(cells))
		}
		other := drawGeometry(t)
		if r, err := geo.ParseIndexed(ext(t, other)); err == nil {
			ranges, _ := geo.SphereRanges(r)
			if (r.Contains(g) || r.Intersects(g)) && !within(ranges, cells...) {
				t.Fatalf("%s meets %s, but not in the index", other, text)
			}
		}
		x, y := drawCoordinates(t, 1)
		radius := rapid.SampledFrom([]float64{0, 1e-6, 0.01, 1, 4}).Draw(t, "radius")
		circle := fmt.Sprintf(`{"$centerSphere":[[%v,%v],%v]}`, x, y, radius)
		r, err := geo.ParseRegion(ext(t, circle).Doc())
		if err != nil {
			t.Fatal(err)
		}
		ranges, _ := geo.SphereRanges(r)
		if r.Contains(g) && !within(ranges, cells...) {
			t.Fatalf("%s is in %s, but not in the index", text, circle)
		}
		center := r.(*geo.Cap).Center
		distance := g.Distance(center.S2())
		if lo := distance * rapid.Float64Range(0, 1).Draw(t, "lo"); !within(geo.SphereRing(center, lo, distance), cells...) {
			t.Fatalf("%s is %v from %v,%v, but not in the index's ring", text, distance, x, y)
		}
	})
}

// TestGridCovering does the same for the plane.
func TestGridCovering(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		grid := geo.Grid{Min: -180, Max: 180, Bits: rapid.SampledFrom([]int{1, 2, 26, 32}).Draw(t, "bits")}
		spread := rapid.SampledFrom([]float64{1e-6, 0.01, 1, 30}).Draw(t, "spread")
		pair := func() string {
			x, y := drawCoordinates(t, spread)
			return fmt.Sprintf(`[%v,%v]`, x, y)
		}
		text := pair()
		g, _ := geo.ParseStored(ext(t, text))
		p, _ := g.Point()
		cell := grid.Cell(p.X, p.Y)
		size := rapid.SampledFrom([]float64{0, 1e-6, 0.02, 1, 50}).Draw(t, "size")
		region := rapid.SampledFrom([]string{
			`{"$box":[` + pair() + `,` + pair() + `]}`, fmt.Sprintf(`{"$center":[%s,%v]}`, pair(), size),
			`{"$polygon":[` + pair() + `,` + pair() + `,` + pair() + `,` + pair() + `]}`,
			fmt.Sprintf(`{"$centerSphere":[%s,%v]}`, pair(), size),
		}).Draw(t, "region")
		r, err := geo.ParseRegion(ext(t, region).Doc())
		if err != nil {
			t.Fatal(err)
		}
		ranges, ok := grid.Ranges(r)
		if !ok || len(ranges) > 100 {
			t.Fatalf("%s: %d ranges", region, len(ranges))
		}
		if r.Contains(g) && !within(ranges, cell) {
			t.Fatalf("%s is in %s, but not in the index", text, region)
		}
	})
}

// TestCoveringIsTight checks that places well outside of a region are not looked at.
func TestCoveringIsTight(t *testing.T) {
	near := parse(t, polygon(10, 45, 0.1))
	g, err := geo.ParseGeoJSON(near.Doc())
	if err != nil {
		t.Fatal(err)
	}
	ranges, _ := geo.SphereRanges(g)
	for _, s := range []string{`[9.9,45]`, `[10.2,45.05]`, `[10.05,45.2]`, `[-170,-45]`} {
		far, _ := geo.ParseStored(parse(t, s))
		if within(ranges, far.Cells(nil, geo.Levels{Finest: geo.DefaultFinestLevel})...) {
			t.Errorf("%s is looked at", s)
		}
	}
	box, _ := geo.ParseRegion(parse(t, `{"$box":[[10,45],[10.1,45.1]]}`).Doc())
	grid := geo.Grid{Min: -180, Max: 180, Bits: 26}
	flat, _ := grid.Ranges(box)
	for _, p := range [][2]float64{{9.9, 45}, {10.2, 45.05}, {-170, -45}} {
		if within(flat, grid.Cell(p[0], p[1])) {
			t.Errorf("%v is looked at", p)
		}
	}
	if len(flat) > 48 || len(ranges) > 200 {
		t.Errorf("%d and %d ranges", len(flat), len(ranges))
	}
}
