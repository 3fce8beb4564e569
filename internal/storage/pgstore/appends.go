package pgstore

import (
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// minAppends is how many log records go as arrays.
const minAppends = 4

// appendSQL inserts a log record under the time that the commit has just drawn,
// less $1, and stamps it: that time less $4 at $3, the time before it at $5.
func (s *Store) appendSQL(table string) string {
	return s.stampSQL(table, "(SELECT $1::int8 AS n, $2::bytea AS doc, $3::int8 AS at, $4::int8 AS back, $5::int8 AS prev)")
}

// appendManySQL is appendSQL for arrays of all of these.
func (s *Store) appendManySQL(table string) string {
	return s.stampSQL(table, "unnest($1::int8[], $2::bytea[], $3::int8[], $4::int8[], $5::int8[])")
}

// commitSQL draws the time of a commit with the beginning of a statement that has some arguments, and
// inserts the commit's only log record, which the arguments after those are.
func (s *Store) commitSQL(table, commit string, args int) string {
	return commit + ", c AS (" + placedSQL + ") " + s.insertSQL(table, fmt.Sprintf("SELECT c.pos AS id, r.* FROM c, (SELECT $%d::bytea AS doc, "+
		"$%d::int8 AS at, $%d::int8 AS back, $%d::int8 AS prev) r", args+1, args+2, args+3, args+4)) + " RETURNING rid"
}

func (s *Store) stampSQL(table, rows string) string {
	return s.insertSQL(table, "SELECT currval('"+s.schema+".clock') - n AS id, r.* FROM "+rows+" AS r(n, doc, at, back, prev)")
}

// insertSQL inserts rows of (id, doc, at, back, prev), stamped.
func (s *Store) insertSQL(table, rows string) string {
	le8 := s.schema + ".le8"
	return "INSERT INTO " + table + " (rid, doc) SELECT id, CASE WHEN prev <= 0 THEN d ELSE overlay(d PLACING " + le8 +
		"(id - 1) FROM prev::int4 + 1) END FROM (SELECT id, prev, CASE WHEN at < 0 THEN doc ELSE overlay(doc PLACING " +
		le8 + "(id - back) FROM at::int4 + 1) END AS d FROM (" + rows + ") v) w"
}

// sendPlaced is sendPlace for a commit with one log record, in one statement.
func (tx *txn) sendPlaced(last, slot []byte, e *storage.Expectation, placed func([][]byte)) {
	c, a := tx.c, tx.appends[0]
	a.setWall(tx.s.clock.Now().UnixMilli())
	at, back, prev := c.i8(int64(a.stamp.Time)), c.i8(int64(a.stamp.Back)), c.i8(int64(a.stamp.Prev))
	if e != nil {
		c.add(a.o.sql.commitLogIf, placed, c.i8(1), last, slot, e.Key, e.Value, a.doc, at, back, prev)
		return
	}
	c.add(a.o.sql.commitLog, placed, c.i8(1), last, slot, a.doc, at, back, prev)
}

// sendAppends queues the log records of a commit that has drawn a number of times.
func (tx *txn) sendAppends(times int) {
	c := tx.c
	wall := tx.s.clock.Now().UnixMilli()
	n := 0
	for rest := tx.appends; len(rest) > 0; {
		run := 1
		for run < min(len(rest), maxQueued) && rest[run].o == rest[0].o {
			run++
		}
		if run < minAppends {
			run = 1
		}
		ids, docs := array{elem: oidInt8}, array{elem: oidBytea}
		at, back, prev := array{elem: oidInt8}, array{elem: oidInt8}, array{elem: oidInt8}
		if run > 1 {
			size := 0
			for _, a := range rest[:run] {
				size += len(a.doc)
			}
			docs.room(run, size)
			for _, a := range []*array{&ids, &at, &back, &prev} {
				a.room(run, 8*run)
			}
		}
		for _, a := range rest[:run] {
			if !a.stamp.Same {
				n++
			}
			a.setWall(wall)
			if run == 1 {
				c.add(a.o.sql.appendLog, nil, c.i8(int64(times-n)), a.doc, c.i8(int64(a.stamp.Time)), c.i8(int64(a.stamp.Back)), c.i8(int64(a.stamp.Prev)))
				continue
			}
			ids.addInt(int64(times - n))
			docs.add(a.doc)
			at.addInt(int64(a.stamp.Time))
			back.addInt(int64(a.stamp.Back))
			prev.addInt(int64(a.stamp.Prev))
		}
		if run > 1 {
			c.add(rest[0].o.sql.appendMany, nil, ids.bytes(), docs.bytes(), at.bytes(), back.bytes(), prev.bytes())
		}
		rest = rest[run:]
	}
}
