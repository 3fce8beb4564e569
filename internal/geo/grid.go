package geo

import (
	"math"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"
)

// Grid is the grid of a flat index: the square from Min to Max in both
// coordinates, halved Bits times each way. A cell's number interleaves the bits
// of its column and row, so that each quadrant is a range of numbers.
type Grid struct {
	Min, Max float64
	Bits     int
}

// MaxGridBits is the largest number of bits of a coordinate.
const MaxGridBits = 32

// maxGridRanges is how many quadrants a region is covered with.
const maxGridRanges = 48

// Holds says whether a point lies on the grid, edges included.
func (g Grid) Holds(x, y float64) bool {
	return x >= g.Min && x <= g.Max && y >= g.Min && y <= g.Max
}

// Cell is the number of the cell of a point on the grid.
func (g Grid) Cell(x, y float64) int64 {
	return signed(spread(g.step(x))<<1|spread(g.step(y)), 2*g.Bits)
}

// step is the row or column of a coordinate.
func (g Grid) step(v float64) uint64 {
	steps := math.Ldexp(1, g.Bits)
	n := math.Floor((v - g.Min) / (g.Max - g.Min) * steps)
	return uint64(min(max(n, 0), steps-1))
}

// spread puts a zero bit before each of the 32 low bits.
func spread(v uint64) uint64 {
	v = (v | v<<16) & 0x0000ffff0000ffff
	v = (v | v<<8) & 0x00ff00ff00ff00ff
	v = (v | v<<4) & 0x0f0f0f0f0f0f0f0f
	v = (v | v<<2) & 0x3333333333333333
	return (v | v<<1) & 0x5555555555555555
}

// signed makes the leading bits of a cell number a signed number in the same order.
func signed(v uint64, bits int) int64 {
	return int64(v<<(64-bits) ^ 1<<63)
}

// Extent is the largest distance in the plane of a place on the grid from a point.
func (g Grid) Extent(p Point) float64 {
	return math.Hypot(max(p.X-g.Min, g.Max-p.X), max(p.Y-g.Min, g.Max-p.Y))
}

// Ranges are the cells that may hold points of a region; ok is false for GeoJSON.
func (g Grid) Ranges(r Region) (ranges []Range, ok bool) {
	switch r := r.(type) {
	case *Box:
		return g.cover(r.overlap), true
	case *Circle:
		return g.cover((&flatRing{r.X, r.Y, 0, r.Radius}).overlap), true
	case *FlatPolygon:
		return g.cover(r.overlap), true
	case *Cap:
		return g.cover(r.overlapOf()), true
	}
	return nil, false
}

// Ring are the cells that may hold points at a distance between lo and hi in the
// plane.
func (g Grid) Ring(center Point, lo, hi float64) []Range {
	return g.cover((&flatRing{center.X, center.Y, lo, hi}).overlap)
}

// overlap is how a rectangle and a region lie.
type overlap int

const (
	apart   overlap = iota
	partial         // they may have points in common
	within          // the rectangle is inside the region
)

// quadrant is a square of the grid: its leading bits.
type quadrant struct {
	x, y  uint64
	level int
}

// cover covers a region with quadrants: those in its inside whole, those on its
// edge halved as long as there are few.
func (g Grid) cover(of func(b *Box) overlap) []Range {
	var done []quadrant
	edge := []quadrant{{}}
	for level := 1; level <= g.Bits && len(edge) > 0; level++ {
		var next, inside []quadrant
		for _, q := range edge {
			for i := range uint64(4) {
				child := quadrant{q.x<<1 | i>>1, q.y<<1 | i&1, level}
				switch of(g.box(child)) {
				case partial:
					next = append(next, child)
				case within:
					inside = append(inside, child)
				}
			}
		}
		if len(done)+len(inside)+len(next) > maxGridRanges {
			break
		}
		done, edge = append(done, inside...), next
	}
	ranges := make([]Range, 0, len(done)+len(edge))
	for _, q := range append(done, edge...) {
		ranges = append(ranges, q.cells())
	}
	return ranges
}

// cells are the numbers of the cells in a quadrant.
func (q quadrant) cells() Range {
	if q.level == 0 {
		return Range{math.MinInt64, math.MaxInt64}
	}
	lo := signed(spread(q.x)<<1|spread(q.y), 2*q.level)
	return Range{lo, int64(uint64(lo) + (1<<(64-2*q.level) - 1))}
}

// box is a quadrant's square, a little larger than it is.
func (g Grid) box(q quadrant) *Box {
	size := math.Ldexp(g.Max-g.Min, -q.level)
	slack := (g.Max - g.Min) * 1e-12
	x, y := g.Min+float64(q.x)*size, g.Min+float64(q.y)*size
	return &Box{x - slack, y - slack, x + size + slack, y + size + slack}
}

func (b *Box) overlap(o *Box) overlap {
	switch {
	case o.MinX > b.MaxX || o.MaxX < b.MinX || o.MinY > b.MaxY || o.MaxY < b.MinY:
		return apart
	case o.MinX >= b.MinX && o.MaxX <= b.MaxX && o.MinY >= b.MinY && o.MaxY <= b.MaxY:
		return within
	}
	return partial
}

// flatRing is the points at a distance between lo and hi in the plane.
type flatRing struct{ x, y, lo, hi float64 }

func (r *flatRing) overlap(b *Box) overlap {
	near := math.Hypot(max(b.MinX-r.x, 0, r.x-b.MaxX), max(b.MinY-r.y, 0, r.y-b.MaxY))
	far := math.Hypot(max(r.x-b.MinX, b.MaxX-r.x), max(r.y-b.MinY, b.MaxY-r.y))
	switch {
	case near > r.hi || far < r.lo:
		return apart
	case near >= r.lo && far <= r.hi:
		return within
	}
	return partial
}

func (f *FlatPolygon) overlap(b *Box) overlap {
	for i := range f.xs {
		j := (i + 1) % len(f.xs)
		if b.crossed(f.xs[i], f.ys[i], f.xs[j], f.ys[j]) {
			return partial
		}
	}
	if f.contains((b.MinX+b.MaxX)/2, (b.MinY+b.MaxY)/2) {
		return within
	}
	return apart
}

// crossed says whether a line has points in a box: whether what is left of it
// between the box's sides is anything.
func (b *Box) crossed(x1, y1, x2, y2 float64) bool {
	from, to := 0.0, 1.0
	clip := func(at, step, lo, hi float64) bool {
		if step == 0 {
			return at >= lo && at <= hi
		}
		in, out := (lo-at)/step, (hi-at)/step
		if in > out {
			in, out = out, in
		}
		from, to = max(from, in), min(to, out)
		return from <= to
	}
	return clip(x1, x2-x1, b.MinX, b.MaxX) && clip(y1, y2-y1, b.MinY, b.MaxY)
}

// overlapOf compares rectangles of longitudes and latitudes with the one around a
// cap.
func (c *Cap) overlapOf() func(b *Box) overlap {
	const slack = 1e-5 // degrees
	rect := s2.CapFromCenterAngle(c.Center.s, s1.Angle(min(c.Radius, math.Pi))).RectBound()
	degrees := func(radians float64) float64 { return radians * 180 / math.Pi }
	south, north := degrees(rect.Lat.Lo)-slack, degrees(rect.Lat.Hi)+slack
	west, east := degrees(rect.Lng.Lo)-slack, degrees(rect.Lng.Hi)+slack
	boxes := []Box{{west, south, east, north}}
	switch {
	case rect.Lng.IsFull():
		boxes[0].MinX, boxes[0].MaxX = -180-slack, 180+slack
	case rect.Lng.IsInverted(): // over the date line
		boxes = []Box{{-180 - slack, south, east, north}, {west, south, 180 + slack, north}}
	case west < -180:
		boxes = append(boxes, Box{west + 360, south, 180 + slack, north})
	case east > 180:
		boxes = append(boxes, Box{-180 - slack, south, east - 360, north})
	}
	return func(b *Box) overlap {
		for i := range boxes {
			if boxes[i].overlap(b) != apart {
				return partial
			}
		}
		return apart
	}
}
