package plan

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// boundRecords bounds the scan of a log, whose records have the time of the field ts
// as their ids, by what the filter says of ts. The bounds are inclusive even if the
// filter's are not, so that the scan stands on the record it begins with.
func (p *planner) boundRecords(plan *Plan) {
	if !p.coll.Log {
		return
	}
	for _, q := range p.preds.list {
		if q.path != "ts" || q.group != 0 || len(q.set.list) == 0 {
			continue
		}
		lo, hi := q.set.list[0].lo.v, q.set.list[len(q.set.list)-1].hi.v
		if lo.Type() == bsonval.TypeTimestamp {
			plan.MinRecord = max(plan.MinRecord, recordOf(lo))
		}
		if hi.Type() == bsonval.TypeTimestamp {
			if n := max(recordOf(hi), 1); plan.MaxRecord == 0 || n < plan.MaxRecord {
				plan.MaxRecord = n
			}
		}
	}
}

// recordOf is a timestamp as a record's id.
func recordOf(v bsonval.Value) int64 {
	if bits := v.Int64(); bits >= 0 {
		return bits
	}
	return math.MaxInt64 // of the second half of time
}
