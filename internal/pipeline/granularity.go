package pipeline

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// series is a series of preferred numbers, repeated in each decade: the
// Renard series, the E series, 1-2-5; or the powers of two.
type series struct {
	numbers []float64 // of one decade, ascending
	powers2 bool
}

// seriesByName returns the series of a granularity, or nil.
func seriesByName(name string) *series {
	switch name {
	case "R5":
		return &series{numbers: []float64{10, 16, 25, 40, 63}}
	case "R10":
		return &series{numbers: every(renard80, 8)}
	case "R20":
		return &series{numbers: every(renard80, 4)}
	case "R40":
		return &series{numbers: every(renard80, 2)}
	case "R80":
		return &series{numbers: every(renard80, 1)}
	case "1-2-5":
		return &series{numbers: []float64{10, 20, 50}}
	case "E6":
		return &series{numbers: []float64{10, 15, 22, 33, 47, 68}}
	case "E12":
		return &series{numbers: []float64{10, 12, 15, 18, 22, 27, 33, 39, 47, 56, 68, 82}}
	case "E24":
		return &series{numbers: []float64{10, 11, 12, 13, 15, 16, 18, 20, 22, 24, 27, 30, 33, 36, 39, 43, 47, 51, 56, 62, 68, 75, 82, 91}}
	case "E48":
		return &series{numbers: eSeries(48)}
	case "E96":
		return &series{numbers: eSeries(96)}
	case "E192":
		return &series{numbers: eSeries(192)}
	case "POWERSOF2":
		return &series{powers2: true}
	}
	return nil
}

// renard80 is the series R80 of ISO 3; R10, R20 and R40 are parts of it.
var renard80 = [80]float64{
	100, 103, 106, 109, 112, 115, 118, 122, 125, 128, 132, 136, 140, 145, 150, 155, 160, 165, 170, 175,
	180, 185, 190, 195, 200, 206, 212, 218, 224, 230, 236, 243, 250, 258, 265, 272, 280, 290, 300, 307,
	315, 325, 335, 345, 355, 365, 375, 387, 400, 412, 425, 437, 450, 462, 475, 487, 500, 515, 530, 545,
	560, 580, 600, 615, 630, 650, 670, 690, 710, 730, 750, 775, 800, 825, 850, 875, 900, 925, 950, 975,
}

func every(list [80]float64, n int) []float64 {
	var out []float64
	for i := 0; i < len(list); i += n {
		out = append(out, list[i])
	}
	return out
}

// eSeries computes a series of IEC 60063 with three digits.
func eSeries(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Round(100 * math.Pow(10, float64(i)/float64(n)))
		if out[i] == 919 {
			out[i] = 920 // the one value that the standard rounds up
		}
	}
	return out
}

// check checks that a value can be rounded.
func (s *series) check(v bsonval.Value) error {
	switch {
	case !v.IsNumber():
		return mongoerr.New(40258, "$bucketAuto can specify a 'granularity' with numeric boundaries only, but found a value of type: %s", v.Type())
	case v.IsNaN():
		return mongoerr.New(40259, "$bucketAuto can specify a 'granularity' with numeric boundaries only, but found a NaN")
	case v.AsDouble() < 0:
		return mongoerr.New(40260, "$bucketAuto can specify a 'granularity' with non-negative numbers only, but found a negative number")
	}
	return nil
}

// up is the smallest number of the series above v.
func (s *series) up(v bsonval.Value) bsonval.Value {
	f := v.AsDouble()
	if f == 0 || math.IsInf(f, 0) {
		return s.typed(v, f)
	}
	if s.powers2 {
		r := math.Exp2(math.Floor(math.Log2(f)) + 1)
		return s.typed(v, r)
	}
	for scale := s.scale(f); ; scale++ {
		for _, n := range s.numbers {
			if r := scaled(n, scale); r > f {
				return s.typed(v, r)
			}
		}
	}
}

// down is the largest number of the series below v.
func (s *series) down(v bsonval.Value) bsonval.Value {
	f := v.AsDouble()
	if f == 0 || math.IsInf(f, 0) {
		return s.typed(v, f)
	}
	if s.powers2 {
		return s.typed(v, math.Exp2(math.Ceil(math.Log2(f))-1))
	}
	for scale := s.scale(f); ; scale-- {
		for i := len(s.numbers) - 1; i >= 0; i-- {
			if r := scaled(s.numbers[i], scale); r < f {
				return s.typed(v, r)
			}
		}
	}
}

// scale is the power of ten that brings the series near f.
func (s *series) scale(f float64) int {
	return int(math.Floor(math.Log10(f))) - int(math.Floor(math.Log10(s.numbers[0])))
}

// scaled is n·10^scale with the error of one operation only.
func scaled(n float64, scale int) float64 {
	if scale < 0 {
		return n / math.Pow(10, float64(-scale))
	}
	return n * math.Pow(10, float64(scale))
}

// typed gives a rounded number the type that MongoDB gives it.
func (s *series) typed(v bsonval.Value, f float64) bsonval.Value {
	switch {
	case v.Type() == bsonval.TypeDecimal128:
		return bsonval.DecimalValue(bsonval.DecimalFromDouble(f))
	case s.powers2 && v.Type() != bsonval.TypeDouble && f >= 1 && f < 1<<62:
		if f < 1<<31 && v.Type() == bsonval.TypeInt32 {
			return bsonval.Int32(int32(f))
		}
		return bsonval.Int64(int64(f))
	}
	return bsonval.Double(f)
}
