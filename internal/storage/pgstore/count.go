package pgstore

import (
	"context"
	"encoding/binary"
	"slices"
	"strconv"

	"github.com/archelon-db/archelon/internal/storage"
)

var _ storage.Counter = (*txn)(nil)

// countShape is what the text of a count's statement depends on.
type countShape struct {
	lower, upper bool
	runs         bool // the bounds are arrays
	once, most   bool
}

// count is the statement of a count; its arguments are the bounds, lower and upper, and how many are counted at most.
func (o *object) count(sh countShape) string {
	if sql, ok := o.statements.Load(sh); ok {
		return sql.(string)
	}
	what, from := "1", o.name+" x"
	if sh.once {
		what = "DISTINCT x.rid"
	}
	column, below := "x.key", " < "
	if o.kind == kindTable {
		column, below = "x.rid", " <= "
	}
	n := 0
	arg := func() string {
		n++
		return "$" + strconv.Itoa(n)
	}
	where, and := "", " WHERE "
	bound := func(condition string) { where, and = where+and+condition, " AND " }
	if sh.runs {
		from = "unnest(" + arg() + "::bytea[], " + arg() + "::bytea[]) AS r(low, high) JOIN " + from + " ON x.key >= r.low AND x.key < r.high"
	}
	if sh.lower {
		bound(column + " >= " + arg())
	}
	if sh.upper {
		bound(column + below + arg())
	}
	sql := "SELECT count(*) FROM " + from + where
	if sh.once || sh.most {
		sql = "SELECT count(*) FROM (SELECT " + what + " FROM " + from + where
		if sh.most {
			sql += " LIMIT " + arg()
		}
		sql += ") c"
	}
	o.statements.Store(sh, sql)
	return sql
}

// CountIndex counts entries in one statement. Bounds that are too long to be stored are left to a scan.
func (tx *txn) CountIndex(ctx context.Context, x storage.IndexID, c storage.IndexCount) (n int64, ok bool, err error) {
	if slices.ContainsFunc(c.Runs, func(r storage.KeyRun) bool {
		return max(len(r.Lower), len(r.Upper)) > maxKey || len(c.Runs) > 1 && (r.Lower == nil || r.Upper == nil)
	}) {
		return 0, false, nil
	}
	if err := tx.enter(ctx); err != nil {
		return 0, false, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindIndex, uint32(x))
	if err != nil {
		return 0, false, err
	}
	if !ok {
		return 0, false, storage.ErrNotFound
	}
	sh := countShape{once: c.Once}
	var args [][]byte
	if len(c.Runs) == 1 {
		r := &c.Runs[0]
		if sh.lower = r.Lower != nil; sh.lower {
			args = append(args, r.Lower)
		}
		if sh.upper = r.Upper != nil; sh.upper {
			args = append(args, r.Upper)
		}
	} else {
		sh.runs = true
		low, high := array{elem: oidBytea}, array{elem: oidBytea}
		for i := range c.Runs {
			low.add(c.Runs[i].Lower)
			high.add(c.Runs[i].Upper)
		}
		args = append(args, low.bytes(), high.bytes())
	}
	n, err = tx.countRows(ctx, o, sh, c.Most, args)
	return n, err == nil, err
}

// CountRecords counts records in one statement.
func (tx *txn) CountRecords(ctx context.Context, t storage.TableID, least, last storage.RecordID, most int64) (int64, error) {
	if err := tx.enter(ctx); err != nil {
		return 0, err
	}
	defer tx.s.gate.RUnlock()
	o, ok, err := tx.object(ctx, kindTable, uint32(t))
	if err != nil || !ok {
		return 0, err
	}
	var args [][]byte
	for _, id := range []storage.RecordID{least, last} {
		if id > 0 {
			args = append(args, binary.BigEndian.AppendUint64(nil, uint64(id)))
		}
	}
	return tx.countRows(ctx, o, countShape{lower: least > 0, upper: last > 0}, most, args)
}

// countRows runs the statement, behind everything the transaction has written.
func (tx *txn) countRows(ctx context.Context, o *object, sh countShape, most int64, args [][]byte) (n int64, err error) {
	if err := tx.start(ctx); err != nil {
		return 0, err
	}
	tx.nreads = untracked
	if err := tx.flush(ctx); err != nil {
		return 0, err
	}
	if sh.most = most > 0; sh.most {
		args = append(args, tx.c.i8(most))
	}
	tx.c.add(o.count(sh), func(v [][]byte) { n = int64Of(v[0]) }, args...)
	return n, tx.run(ctx)
}
