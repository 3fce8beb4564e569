package expr

import "github.com/archelon-db/archelon/internal/bsonval"

// State is the sum as a value, for states that are spilled to disk.
func (s *Sum) State() bsonval.Value {
	b := bsonval.NewArrayBuilder()
	b.Add(bsonval.Double(s.high)).Add(bsonval.Double(s.low)).Add(bsonval.Double(s.special))
	b.Add(bsonval.Int32(int32(s.typ))).Add(bsonval.DecimalValue(s.decimal))
	return bsonval.Array(b.Build())
}

// SumFromState is the inverse of State.
func SumFromState(v bsonval.Value) Sum {
	parts := v.Doc().Values(make([]bsonval.Value, 0, 5))
	if len(parts) != 5 {
		return Sum{}
	}
	return Sum{high: parts[0].Double(), low: parts[1].Double(), special: parts[2].Double(),
		typ: bsonval.Type(parts[3].Int32()), decimal: parts[4].Decimal()}
}
