package failpoint

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

type kind uint8

const (
	off kind = iota
	alwaysOn
	random
	times // the next visits fire, then none does
	skip  // all visits fire but the next
)

// Mode says which visits of a point fire. The zero Mode is off.
type Mode struct {
	kind   kind
	left   int64   // of times and skip
	chance float64 // of random
}

// next says whether a visit fires.
func (m *Mode) next(draw func() float64) bool {
	switch m.kind {
	case alwaysOn:
		return true
	case random:
		return draw() < m.chance
	case times:
		if m.left--; m.left <= 0 {
			*m = Mode{}
		}
		return true
	case skip:
		if m.left > 0 {
			m.left--
			return false
		}
		return true
	}
	return false
}

// ParseMode reads the mode of a fail point: "off", "alwaysOn", {times: n}, {skip: n} or {activationProbability: p}.
func ParseMode(v bsonval.Value) (Mode, error) {
	switch v.Type() {
	case bsonval.TypeMissing:
		return Mode{}, mongoerr.New(mongoerr.IllegalOperation, "When setting a failpoint, you must supply a 'mode'")
	case bsonval.TypeString:
		switch v.Str() {
		case "off":
			return Mode{}, nil
		case "alwaysOn":
			return Mode{kind: alwaysOn}, nil
		}
		return Mode{}, mongoerr.New(mongoerr.BadValue, "unknown mode: %s", v.Str())
	case bsonval.TypeDocument:
		return parseModeDoc(v.Doc())
	}
	return Mode{}, mongoerr.New(mongoerr.TypeMismatch, "'mode' must be a string or JSON object")
}

func parseModeDoc(d bsonval.Doc) (Mode, error) {
	name, v, ok := d.First()
	if !ok || d.Len() != 1 {
		return Mode{}, mongoerr.New(mongoerr.BadValue, "'mode' must be one of 'off', 'alwaysOn', 'times', 'skip' and 'activationProbability'")
	}
	switch name {
	case "times", "skip":
		if !v.IsNumber() {
			return Mode{}, mongoerr.New(mongoerr.TypeMismatch, "'%s' option to 'mode' must be a number", name)
		}
		n, whole := v.AsInt64()
		if !whole || n < 0 {
			return Mode{}, mongoerr.New(mongoerr.BadValue, "'%s' option to 'mode' must be positive", name)
		}
		if n > math.MaxInt32 {
			return Mode{}, mongoerr.New(mongoerr.BadValue, "'%s' option to 'mode' is too large", name)
		}
		m := Mode{kind: times, left: n}
		if name == "skip" {
			m.kind = skip
		} else if n == 0 {
			m.kind = off
		}
		return m, nil
	case "activationProbability":
		if !v.IsNumber() {
			return Mode{}, mongoerr.New(mongoerr.TypeMismatch, "the value to the 'activationProbability' option must be a double between 0 and 1")
		}
		p := v.AsDouble()
		if !(p >= 0 && p <= 1) {
			return Mode{}, mongoerr.New(mongoerr.BadValue, "activationProbability must be between 0.0 and 1.0; found %v", p)
		}
		return Mode{kind: random, chance: p}, nil
	}
	return Mode{}, mongoerr.New(mongoerr.BadValue, "'mode' must be one of 'off', 'alwaysOn', 'times', 'skip' and 'activationProbability'")
}
