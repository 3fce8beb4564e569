package expr

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// StdDev computes a standard deviation in one pass (Welford's method). Values
// that are no numbers are ignored. The zero StdDev is empty.
type StdDev struct {
	Count    int64
	Mean, M2 float64 // M2 is the sum of squared distances from the mean
}

// Add adds a value.
func (s *StdDev) Add(v bsonval.Value) {
	if !v.IsNumber() {
		return
	}
	s.Count++
	x := v.AsDouble()
	if delta := x - s.Mean; delta != 0 {
		s.Mean += delta / float64(s.Count)
		s.M2 += delta * (x - s.Mean)
	}
}

// Merge adds the values of another one.
func (s *StdDev) Merge(o *StdDev) {
	if o.Count == 0 {
		return
	}
	delta := o.Mean - s.Mean
	total := s.Count + o.Count
	if delta != 0 {
		s.Mean = (float64(s.Count)*s.Mean + float64(o.Count)*o.Mean) / float64(total)
		s.M2 += delta * delta * float64(s.Count) * float64(o.Count) / float64(total)
	}
	s.M2 += o.M2
	s.Count = total
}

// Value is the deviation, of a sample or of the whole population; null if there
// are too few values.
func (s *StdDev) Value(sample bool) bsonval.Value {
	n := s.Count
	if sample {
		n--
	}
	if n <= 0 {
		return bsonval.Null
	}
	return bsonval.Double(math.Sqrt(s.M2 / float64(n)))
}
