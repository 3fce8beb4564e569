package pgperf

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/test/pgharness"
)

// TestCandidates measures ways to find documents by a field without an index:
// reading everything, a condition on the bytes of the BSON, a jsonb column beside
// it, and several connections that read a part each. The client applies the filter
// to all that it is sent, as the engine does.
func TestCandidates(t *testing.T) {
	if os.Getenv("ARCHELON_PERF") == "" {
		t.Skip("set ARCHELON_PERF=1 to measure")
	}
	s, err := pgharness.Start(map[string]string{"fsync": "off", "shared_buffers": "512MB", "max_wal_size": "4GB"})
	if err != nil {
		t.Skip(err)
	}
	defer s.Close()
	c := &candidates{t: t, url: s.URL()}
	t.Logf("| %-26s | %-6s | %-8s | %9s | %s |", "documents", "filter", "way", "docs/s", "CPU ns per doc: PostgreSQL, client")
	for _, size := range []struct {
		name        string
		bytes, docs int
		columns     []string
	}{
		{"300 bytes", 300, 100_000, []string{"doc bytea", "doc bytea, js jsonb"}},
		{"10 kB, compressed (pglz)", 10_000, 5_000, []string{"doc bytea", "doc bytea, js jsonb"}},
		{"10 kB, not compressed", 10_000, 5_000, []string{"doc bytea /* external */"}},
	} {
		c.measure(size.name, size.bytes, size.docs, size.columns)
	}
}

type candidates struct {
	t   *testing.T
	url string
}

// words make text that compresses as prose does, more or less.
var words = strings.Fields("the of and to in that was his he it with is for as had you not be her on at by which have or from this him but all she they were my are me one their so an said them we who would been will no when there if more out up into do any your what has man could other than our some very time upon about may its only now like little then can should made did us such great before must two these see know over much down after first good men own never most old shall day where those came come himself way work life without go make well through being long say might how am too def again")

func candidateDoc(i, size int) (bsonval.Doc, string) {
	pick := func(every int) string {
		if i%every == 0 {
			return "yes"
		}
		return fmt.Sprintf("no%d", i%97)
	}
	b := bsonval.NewBuilder().Int32("_id", int32(i)).Str("rare", pick(10_000)).Str("some", pick(100)).Str("half", pick(2))
	b.Int32("number", int32(i)).Double("score", float64(i%1000)/7).Str("customer", fmt.Sprintf("customer %d", i%5000)).Date("at", int64(1_700_000_000_000+i))
	js := fmt.Sprintf(`{"_id":%d,"rare":%q,"some":%q,"half":%q,"number":%d,"score":%g,"customer":"customer %d","at":%d`,
		i, pick(10_000), pick(100), pick(2), i, float64(i%1000)/7, i%5000, 1_700_000_000_000+i)
	var text strings.Builder
	for n := i; text.Len() < size-b.Len()-20; n = n*1103515245 + 12345 {
		text.WriteString(words[uint32(n)>>8%uint32(len(words))])
		text.WriteByte(' ')
	}
	return b.Str("text", text.String()).Build(), js + fmt.Sprintf(`,"text":%q}`, text.String())
}

func (c *candidates) connect() *pgx.Conn {
	conn, err := pgx.Connect(context.Background(), c.url)
	if err != nil {
		c.t.Fatal(err)
	}
	pids.Store(conn.PgConn().PID(), nil)
	return conn
}

func (c *candidates) measure(name string, size, docs int, columns []string) {
	ctx := context.Background()
	conns := make([]*pgx.Conn, 4)
	for i := range conns {
		conns[i] = c.connect()
		defer conns[i].Close(ctx)
	}
	for _, column := range columns {
		table := "c" + fmt.Sprint(time.Now().UnixNano())
		exec := func(sql string) {
			if _, err := conns[0].Exec(ctx, sql); err != nil {
				c.t.Fatal(err)
			}
		}
		exec("CREATE TABLE " + table + " (rid int8 PRIMARY KEY, " + column + ")")
		if strings.Contains(column, "external") {
			exec("ALTER TABLE " + table + " ALTER doc SET STORAGE EXTERNAL")
		}
		names := []string{"rid", "doc"}
		json := strings.Contains(column, "jsonb")
		if json {
			names = append(names, "js")
		}
		start := time.Now()
		_, err := conns[0].CopyFrom(ctx, pgx.Identifier{table}, names, pgx.CopyFromSlice(docs, func(i int) ([]any, error) {
			d, js := candidateDoc(i, size)
			if !json {
				return []any{int64(i), []byte(d)}, nil
			}
			return []any{int64(i), []byte(d), js}, nil
		}))
		if err != nil {
			c.t.Fatal(err)
		}
		load := time.Since(start)
		exec("VACUUM ANALYZE " + table)
		var disk int64
		if err := conns[0].QueryRow(ctx, "SELECT pg_total_relation_size('"+table+"')").Scan(&disk); err != nil {
			c.t.Fatal(err)
		}
		c.t.Logf("| %s (%s): %d bytes a document on disk, loaded in %v |", name, column, disk/int64(docs), load)
		for _, f := range filters {
			if json {
				c.report(name, f.name, "jsonb", docs, func() int { return c.read(conns[:1], table, f, docs, "js @> $1::jsonb", f.json) })
				continue
			}
			c.report(name, f.name, "plain", docs, func() int { return c.read(conns[:1], table, f, docs, "") })
			c.report(name, f.name, "4 conns", docs, func() int { return c.read(conns, table, f, docs, "") })
			var where []string
			var args []any
			for i, n := range f.needles {
				where = append(where, fmt.Sprintf("position($%d::bytea in doc) > 0", i+1))
				args = append(args, n)
			}
			c.report(name, f.name, "bytes", docs, func() int {
				return c.read(conns[:1], table, f, docs, "("+strings.Join(where, " OR ")+")", args...)
			})
			if len(f.needles) > 1 {
				from := table
				if size > 2000 { // fetched and unpacked once, and not by each function
					from = "(SELECT rid, doc || ''::bytea AS doc FROM " + table + " OFFSET 0) w"
				}
				once, args := onePass(f)
				c.report(name, f.name, "one pass", docs, func() int { return c.read(conns[:1], from, f, docs, once, args...) })
			}
		}
	}
}

// onePass looks for the name that the byte strings have in common, and compares
// what stands around it, as the engine does.
func onePass(f candidateFilter) (string, []any) {
	name := f.needles[0][1 : bytes.IndexByte(f.needles[0], 0)+1]
	args := []any{name}
	var where []string
	for _, n := range f.needles {
		args = append(args, n)
		where = append(where, fmt.Sprintf("substring(d FROM 1 FOR %d) = $%d::bytea", len(n), len(args)))
	}
	return "(SELECT " + strings.Join(where, " OR ") + " OR position($1::bytea IN substring(d FROM 3)) > 0 FROM " +
		"(SELECT substring(doc FROM NULLIF(position($1::bytea IN doc), 0) - 1) AS d OFFSET 0) c)", args
}

// report runs a way a few times and prints the best.
func (c *candidates) report(name, filter, way string, docs int, run func() int) {
	best, pgCPU, ownCPU := time.Hour, time.Duration(0), time.Duration(0)
	for range 3 {
		pg, own := c.serverTime(), ownTime()
		start := time.Now()
		run()
		if took := time.Since(start); took < best {
			best, pgCPU, ownCPU = took, c.serverTime()-pg, ownTime()-own
		}
	}
	c.t.Logf("| %-26s | %-6s | %-8s | %9.0f | %d, %d |", name, filter, way, float64(docs)/best.Seconds(),
		pgCPU.Nanoseconds()/int64(docs), ownCPU.Nanoseconds()/int64(docs))
}

var pids sync.Map

// serverTime is the processor time of the backends that have read.
func (c *candidates) serverTime() (sum time.Duration) {
	pids.Range(func(pid, _ any) bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err == nil {
			var ns int64
			_, _ = fmt.Sscan(string(b), &ns)
			sum += time.Duration(ns)
		}
		return true
	})
	return sum
}

func ownTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filters are the conditions measured.
var filters = []candidateFilter{
	textFilter("rare"), textFilter("some"), textFilter("half"),
	{"number", bsonval.NewBuilder().Int32("number", 77).Build(), `{"number":77}`, [][]byte{
		append([]byte("\x10number\x00"), binary.LittleEndian.AppendUint32(nil, 77)...), append([]byte("\x12number\x00"), binary.LittleEndian.AppendUint64(nil, 77)...),
		append([]byte("\x01number\x00"), 0, 0, 0, 0, 0, 0x40, 0x53, 0x40), []byte("\x13number\x00"), []byte("\x04number\x00"),
	}},
	{"absent", bsonval.NewBuilder().StartDoc("nowhere").Bool("$exists", true).Build(), `{"nowhere":1}`, [][]byte{[]byte("nowhere\x00")}},
}

type candidateFilter struct {
	name    string
	filter  bsonval.Doc
	json    string
	needles [][]byte
}

func textFilter(name string) candidateFilter {
	return candidateFilter{name, bsonval.NewBuilder().Str(name, "yes").Build(), fmt.Sprintf(`{%q:"yes"}`, name), [][]byte{
		[]byte("\x02" + name + "\x00\x04\x00\x00\x00yes\x00"), []byte("\x0e" + name + "\x00\x04\x00\x00\x00yes\x00"), []byte("\x04" + name + "\x00"),
	}}
}

// read finds the documents through some connections, which read a part each.
func (c *candidates) read(conns []*pgx.Conn, table string, f candidateFilter, docs int, where string, args ...any) int {
	ctx := context.Background()
	m, err := match.Compile(f.filter, match.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	found := make([]int, len(conns))
	var wg sync.WaitGroup
	for i, conn := range conns {
		wg.Go(func() {
			sql := "SELECT rid, doc FROM " + table
			cond := where
			if len(conns) > 1 {
				cond = fmt.Sprintf("rid >= %d AND rid < %d", docs/len(conns)*i, docs/len(conns)*(i+1))
			}
			if cond != "" {
				sql += " WHERE " + cond
			}
			rows, err := conn.Query(ctx, sql+" ORDER BY rid", args...)
			if err != nil {
				c.t.Error(err)
				return
			}
			for rows.Next() {
				doc := bsonval.Doc(append([]byte(nil), rows.RawValues()[1]...))
				if ok, _ := m.Match(nil, doc); ok {
					found[i]++
				}
			}
			if err := rows.Err(); err != nil {
				c.t.Error(err)
			}
		})
	}
	wg.Wait()
	n := 0
	for _, k := range found {
		n += k
	}
	return n
}
