package pgstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/archelon-db/archelon/internal/storage"
)

// wideRow is the width from which on PostgreSQL stores documents compressed or
// elsewhere, so that each function that looks at one would fetch it anew.
const wideRow = 2000

// Reduces returns the clauses that scans leave out records by: all.
func (s *Store) Reduces(c storage.Contains) storage.Contains { return c }

// condition describes what is asked of records in letters, on which the text of the
// statement depends, and gives the arguments. Each clause is one of
//
//	n, then 1 or m for each length: strings that have a field's name in common,
//	   one or more of each length: the name is looked for once, and what stands
//	   around its first occurrence compared, so that a clause costs no more than
//	   one pass through the document;
//	p, then 1 for each: strings that are looked for one by one
//
// and a w in front says that documents are wide.
func condition(c storage.Contains, width int64) (letters string, args [][]byte) {
	if len(c) == 0 {
		return "", nil
	}
	var b strings.Builder
	if width >= wideRow {
		b.WriteByte('w')
	}
	for _, clause := range c {
		name := commonName(clause)
		if name == nil {
			b.WriteByte('p')
			b.WriteString(strings.Repeat("1", len(clause)))
			args = append(args, clause...)
			continue
		}
		b.WriteByte('n')
		args = append(args, name)
		for _, group := range byLength(clause) {
			args = append(args, binary.BigEndian.AppendUint64(nil, uint64(len(group[0]))))
			if len(group) == 1 {
				b.WriteByte('1')
				args = append(args, group[0])
				continue
			}
			b.WriteByte('m')
			list := array{elem: oidBytea}
			for _, s := range group {
				list.add(s)
			}
			args = append(args, list.bytes())
		}
	}
	return b.String(), args
}

// commonName is the field name, with its NUL, that all strings of a clause have
// behind their first byte; nil if there is none, or a single string.
func commonName(clause [][]byte) []byte {
	var name []byte
	if len(clause) == 1 {
		return nil // nothing is simpler than looking for it
	}
	for _, s := range clause {
		end := bytes.IndexByte(s[min(1, len(s)):], 0)
		if end < 1 {
			return nil
		}
		if name == nil {
			name = s[1 : end+2]
		} else if !bytes.Equal(name, s[1:end+2]) {
			return nil
		}
	}
	return name
}

// byLength puts strings of the same length together.
func byLength(clause [][]byte) [][][]byte {
	var groups [][][]byte
next:
	for _, s := range clause {
		for i, g := range groups {
			if len(g[0]) == len(s) {
				groups[i] = append(g, s)
				continue next
			}
		}
		groups = append(groups, [][]byte{s})
	}
	return groups
}

// records begins a table scan with a condition. Subqueries with OFFSET are computed
// once for each row, and not once for each use.
func (o *object) records(contains string) string {
	wide := strings.HasPrefix(contains, "w")
	var b strings.Builder
	if wide {
		fmt.Fprintf(&b, "SELECT x.rid, w.doc FROM %s x, LATERAL (SELECT x.doc || ''::bytea AS doc OFFSET 0) w", o.name)
	} else {
		fmt.Fprintf(&b, "SELECT x.rid, x.doc FROM %s x", o.name)
	}
	return b.String()
}

// entries begins an index scan, perhaps with the records and a condition on them.
func (o *object) entries(fetch bool, contains string) string {
	const entry = "SELECT x.rid, x.key, x.bits, x.tail"
	switch {
	case !fetch:
		return fmt.Sprintf("%s FROM %s x", entry, o.name)
	case strings.HasPrefix(contains, "w"):
		return fmt.Sprintf("%s, w.doc FROM %s x LEFT JOIN %s t ON t.rid = x.rid CROSS JOIN LATERAL (SELECT t.doc || ''::bytea AS doc OFFSET 0) w",
			entry, o.name, o.docs)
	}
	return fmt.Sprintf("%s, t.doc FROM %s x LEFT JOIN %s t ON t.rid = x.rid", entry, o.name, o.docs)
}

// holds is the condition itself on a column, whose arguments follow the first n.
func holds(doc, contains string, n int) string {
	if strings.HasPrefix(contains, "w") {
		doc, contains = "w.doc", contains[1:]
	}
	var clauses []string
	for _, clause := range strings.FieldsFunc(strings.NewReplacer("n", " n", "p", " p").Replace(contains), func(r rune) bool { return r == ' ' }) {
		var any []string
		if clause[0] == 'p' {
			for range clause[1:] {
				n++
				any = append(any, fmt.Sprintf("position($%d::bytea IN %s) > 0", n, doc))
			}
			clauses = append(clauses, "("+strings.Join(any, " OR ")+")")
			continue
		}
		n++
		name := n
		for _, kind := range clause[1:] {
			equal := "= $%d::bytea"
			if kind == 'm' {
				equal = "= ANY ($%d::bytea[])"
			}
			any = append(any, fmt.Sprintf("substring(d FROM 1 FOR $%d::int8::int4) "+equal, n+1, n+2))
			n += 2
		}
		// The name may come again, and the first time have been something else. From
		// the third byte on is behind the first time's beginning.
		any = append(any, fmt.Sprintf("position($%d::bytea IN substring(d FROM 3)) > 0", name))
		clauses = append(clauses, fmt.Sprintf("(SELECT %s FROM (SELECT substring(%s FROM NULLIF(position($%d::bytea IN %s), 0) - 1) AS d OFFSET 0) c)",
			strings.Join(any, " OR "), doc, name, doc))
	}
	return strings.Join(clauses, " AND ")
}
