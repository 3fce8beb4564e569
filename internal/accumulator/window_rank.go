package accumulator

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

var windowRankOperators = []windowOperator{
	{"$denseRank", "Returns a document's rank, without gaps after ties.", compileRank(func(r *ranking) int64 { return r.dense })},
	{"$documentNumber", "Returns a document's position.", compileRank(func(r *ranking) int64 { return r.number })},
	{"$rank", "Returns a document's rank, with gaps after ties.", compileRank(func(r *ranking) int64 { return r.rank })},
	{"$shift", "Returns a value from a document some positions away.", compileShift},
}

// ranking counts positions, and ranks by equal sort values.
type ranking struct{ number, rank, dense int64 }

func compileRank(result func(*ranking) int64) func(*windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	return func(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
		if !s.window.IsMissing() || s.extra != "" {
			return nil, mongoerr.New(5371601, "Rank style window functions take no other arguments")
		}
		if s.arg.Type() != bsonval.TypeDocument || !s.arg.Doc().IsEmpty() {
			return nil, mongoerr.New(5371603, "%s must be specified with '{}' as the value", s.name)
		}
		if s.sortBy == nil || len(s.sortBy.Parts()) != 1 {
			return nil, mongoerr.New(5371602, "%s must be specified with a top level sortBy expression with exactly one element", s.name)
		}
		return func(p *partition) ([]bsonval.Value, error) {
			results := make([]bsonval.Value, len(p.docs))
			var r ranking
			var last, key []byte
			for i, d := range p.docs {
				var err error
				if key, err = s.sortBy.AppendMeta(key[:0], d, p.c.Meta, p.c.Env.Collator); err != nil {
					return nil, err
				}
				r.number++
				if i == 0 || string(key) != string(last) {
					r.rank = r.number
					r.dense++
				}
				last, key = key, last
				results[i] = intOrLong(result(&r))
			}
			return results, nil
		}, nil
	}
}

func intOrLong(n int64) bsonval.Value {
	if n == int64(int32(n)) {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

func compileShift(s *windowSpec) (func(*partition) ([]bsonval.Value, error), error) {
	if err := s.checkNoWindow(); err != nil {
		return nil, err
	}
	if s.sortBy == nil {
		return nil, mongoerr.New(mongoerr.FailedToParse, "'$shift' requires a sortBy")
	}
	raw, err := splitArguments(s.name, s.arg, mongoerr.FailedToParse, mongoerr.FailedToParse,
		namedArgument{"output", mongoerr.FailedToParse}, namedArgument{"by", mongoerr.FailedToParse}, namedArgument{"default", 0})
	if err != nil {
		return nil, err
	}
	by, ok := raw[1].AsInt64()
	if !ok || by != int64(int32(by)) {
		return nil, mongoerr.New(mongoerr.FailedToParse, "'$shift:by' field must be an integer, but found by: %s", bsonval.Format(raw[1]))
	}
	output, err := s.c.Compile(raw[0])
	if err != nil {
		return nil, err
	}
	otherwise := bsonval.Null
	if !raw[2].IsMissing() {
		e, err := s.c.Compile(raw[2])
		if err != nil {
			return nil, err
		}
		if otherwise, ok = expr.ConstantValue(e); !ok {
			return nil, mongoerr.New(mongoerr.FailedToParse, "'$shift:default' expression must yield a constant value.")
		}
	}
	return func(p *partition) ([]bsonval.Value, error) {
		values, err := p.values(output)
		if err != nil {
			return nil, err
		}
		results := make([]bsonval.Value, len(values))
		for i := range results {
			results[i] = otherwise
			if at := int64(i) + by; at >= 0 && at < int64(len(values)) {
				results[i] = nullIfMissing(values[at]).Clone()
			}
		}
		return results, nil
	}, nil
}

func nullIfMissing(v bsonval.Value) bsonval.Value {
	if v.IsMissing() {
		return bsonval.Null
	}
	return v
}
