package expr

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/cockroachdb/apd/v3"
)

// Hyperbolic functions of decimals by way of e^x and ln with enough guard
// digits that cancellation near zero leaves 34.

// hyperDigits covers arguments down to 1E-40: below, the odd functions are the
// identity.
const hyperDigits = 130

// expPair returns e^x and e^-x; ok is false when they leave decimal128's range.
func expPair(d bsonval.Decimal) (up, down *apd.Decimal, ok bool) {
	x := d.Apd()
	if adjusted(x) >= 5 {
		return nil, nil, false
	}
	c := workContext(hyperDigits)
	up, down = new(apd.Decimal), new(apd.Decimal)
	if _, err := c.Exp(up, x); err != nil {
		return nil, nil, false
	}
	_, err := c.Quo(down, apd.New(1, 0), up)
	return up, down, err == nil
}

func decimalSinh(d bsonval.Decimal) bsonval.Decimal {
	if !d.IsFinite() || tiny(d) {
		return d
	}
	up, down, ok := expPair(d)
	if !ok {
		return signed(bsonval.DecimalInfinity, d.Negative())
	}
	c := workContext(hyperDigits)
	_, _ = c.Sub(up, up, down)
	_, _ = c.Quo(up, up, apd.New(2, 0))
	return padDecimal(up)
}

func decimalCosh(d bsonval.Decimal) bsonval.Decimal {
	switch {
	case d.IsNaN():
		return d
	case d.IsInf():
		return bsonval.DecimalInfinity
	case tiny(d):
		return bsonval.DecimalFromInt64(1)
	}
	up, down, ok := expPair(d)
	if !ok {
		return bsonval.DecimalInfinity
	}
	c := workContext(hyperDigits)
	_, _ = c.Add(up, up, down)
	_, _ = c.Quo(up, up, apd.New(2, 0))
	return padDecimal(up)
}

func decimalTanh(d bsonval.Decimal) bsonval.Decimal {
	one := bsonval.DecimalFromInt64(1)
	switch {
	case d.IsNaN():
		return d
	case d.IsInf():
		return signed(one, d.Negative())
	case tiny(d):
		return d
	}
	if adjusted(d.Apd()) >= 2 {
		return signed(one, d.Negative())
	}
	up, down, ok := expPair(d)
	if !ok {
		return signed(one, d.Negative())
	}
	c := workContext(hyperDigits)
	var a, b apd.Decimal
	_, _ = c.Sub(&a, up, down)
	_, _ = c.Add(&b, up, down)
	_, _ = c.Quo(&a, &a, &b)
	return padDecimal(&a)
}

// decimalAsinh is sign(x)·ln(|x| + √(x²+1)).
func decimalAsinh(d bsonval.Decimal) bsonval.Decimal {
	if !d.IsFinite() || tiny(d) {
		return d
	}
	c, x := workContext(hyperDigits), d.Abs().Apd()
	var r apd.Decimal
	_, _ = c.Mul(&r, x, x)
	_, _ = c.Add(&r, &r, apd.New(1, 0))
	_, _ = c.Sqrt(&r, &r)
	_, _ = c.Add(&r, &r, x)
	if _, err := c.Ln(&r, &r); err != nil {
		return bsonval.DecimalNaN
	}
	return signed(padDecimal(&r), d.Negative())
}

// decimalAcosh is ln(x + √(x²−1)).
func decimalAcosh(d bsonval.Decimal) bsonval.Decimal {
	if !d.IsFinite() {
		return d
	}
	c, x := workContext(hyperDigits), d.Apd()
	var r apd.Decimal
	_, _ = c.Mul(&r, x, x)
	_, _ = c.Sub(&r, &r, apd.New(1, 0))
	if r.Coeff.Sign() == 0 {
		return bsonval.DecimalFromInt64(0)
	}
	_, _ = c.Sqrt(&r, &r)
	_, _ = c.Add(&r, &r, x)
	if _, err := c.Ln(&r, &r); err != nil {
		return bsonval.DecimalNaN
	}
	return padDecimal(&r)
}

// decimalAtanh is ln((1+x)/(1−x))/2.
func decimalAtanh(d bsonval.Decimal) bsonval.Decimal {
	if d.IsNaN() || tiny(d) {
		return d
	}
	c, x := workContext(hyperDigits), d.Apd()
	var above, below apd.Decimal
	_, _ = c.Add(&above, apd.New(1, 0), x)
	_, _ = c.Sub(&below, apd.New(1, 0), x)
	if above.Coeff.Sign() == 0 || below.Coeff.Sign() == 0 {
		return signed(bsonval.DecimalInfinity, d.Negative())
	}
	_, _ = c.Quo(&above, &above, &below)
	if _, err := c.Ln(&above, &above); err != nil {
		return bsonval.DecimalNaN
	}
	_, _ = c.Quo(&above, &above, apd.New(2, 0))
	return padDecimal(&above)
}
