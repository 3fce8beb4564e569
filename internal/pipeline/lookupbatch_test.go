package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
)

var errInput = errors.New("the input fails")

// numberedSource has documents of a size with their number as metadata, and may end in an error.
type numberedSource struct {
	n, size int
	end     error
	read    int
	buf     []byte
}

func (s *numberedSource) Next(context.Context) (bsonval.Doc, error) {
	if s.read == s.n {
		return nil, s.end
	}
	s.read++
	s.buf = append(s.buf[:0], bsonval.NewBuilder().Int32("_id", int32(s.read)).Int32("a", int32(s.read%50)).Str("s", strings.Repeat("x", s.size)).Build()...)
	return s.buf, nil
}

func (s *numberedSource) Metadata() bsonval.Doc {
	return bsonval.NewBuilder().Int32("n", int32(s.read)).Build()
}

func (s *numberedSource) Close() error { return nil }

// TestLookupAhead reads documents ahead whose input fails, that have metadata, or are large, or find large documents.
func TestLookupAhead(t *testing.T) {
	for _, c := range []struct {
		name          string
		outer, inner  int // sizes
		end           error
		asked, behind int // at most: queries for 200 documents, and documents that are read ahead
	}{
		{"small", 10, 10, io.EOF, 10, 31},
		{"failing input", 10, 10, errInput, 10, 31},
		{"large documents", 1 << 20, 10, io.EOF, 55, 3},
		{"large documents found", 10, 600 << 10, io.EOF, 60, 31},
		{"nothing fits", 10, 3 << 20, io.EOF, 205, 31},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := newFakeData(testEnv())
			data.indexed, data.distant = true, true
			for i := range 50 {
				if err := data.insert(Namespace{"db", "o"}, bsonval.NewBuilder().Int32("_id", int32(i)).Str("s", strings.Repeat("x", c.inner)).Build()); err != nil {
					t.Fatal(err)
				}
			}
			in := &numberedSource{n: 200, size: c.outer, end: c.end}
			p := parsePipeline(t, doc(t, `[{"$lookup": {"from": "o", "localField": "a", "foreignField": "_id", "as": "j"}}]`))
			src, err := p.Open(t.Context(), &Env{Expr: testEnv(), Data: data}, in)
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			for i := 1; i <= 200; i++ {
				d, err := src.Next(t.Context())
				if err != nil {
					t.Fatalf("document %d: %v", i, err)
				}
				found := d.Lookup("j").Doc().Values(nil)
				if d.Lookup("_id").Int32() != int32(i) || len(found) != 1 || found[0].Doc().Lookup("_id").Int32() != int32(i%50) {
					t.Fatalf("document %d is %.200s", i, bsonval.FormatDoc(d))
				}
				if n := src.(MetaSource).Metadata().Lookup("n").Int32(); n != int32(i) {
					t.Fatalf("document %d has the metadata of %d", i, n)
				}
				if in.read-i > c.behind {
					t.Fatalf("at document %d, %d have been read", i, in.read)
				}
			}
			for range 2 {
				if d, err := src.Next(t.Context()); err != c.end {
					t.Errorf("ends with %s, %v", bsonval.FormatDoc(d), err)
				}
			}
			if data.opened > c.asked {
				t.Errorf("asks %d times", data.opened)
			}
		})
	}
}

// TestLookupAheadWithoutNeed: who wants one document causes one query for one document.
func TestLookupAheadWithoutNeed(t *testing.T) {
	data := newFakeData(testEnv())
	data.indexed, data.distant = true, true
	in := &numberedSource{n: 200, end: io.EOF}
	p := parsePipeline(t, doc(t, `[{"$lookup": {"from": "o", "localField": "a", "foreignField": "_id", "as": "j"}}]`))
	src, err := p.Open(t.Context(), &Env{Expr: testEnv(), Data: data}, in)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	var read []string
	for range 6 {
		if _, err := src.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		read = append(read, fmt.Sprint(in.read, data.opened))
	}
	if want := []string{"1 1", "5 2", "5 2", "5 2", "5 2", "21 3"}; !slices.Equal(read, want) {
		t.Errorf("documents read and queries: %q, want %q", read, want)
	}
}
