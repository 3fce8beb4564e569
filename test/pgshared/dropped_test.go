package pgshared

import (
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/archelon-db/archelon/test/harness"
)

// TestDropped changes a collection, at this process or at the other one, while cursors read it: a cursor returns all
// documents or fails, and never ends early as if that were all.
func TestDropped(t *testing.T) {
	t.Parallel()
	p := start(t)
	addr := harness.FreeAddr(t)
	memory := harness.StartWith(t, harness.Build(t), addr, nil, "--listen", addr, "--storage", "memory")
	for name, at := range map[string][2]*harness.Server{"in memory": {memory, memory}, "at the same": {p.a, p.a}, "at the other": {p.a, p.b}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dropped(t, strings.ReplaceAll(name, " ", ""), dial(t, at[0]), dial(t, at[1]))
		})
	}
}

func dropped(t *testing.T, prefix string, reader, other *wireClient) {
	const n = 500
	var docs bson.A
	for i := range n {
		docs = append(docs, d("_id", i, "a", i, "b", i%7, "s", "word"))
	}
	// cursors are commands and the index that they read, "" for none; what they have found is all there is to read for a sorted one.
	cursors := []struct {
		index  string
		sorted bool
		cmd    bson.D
	}{
		{"", false, d("find", "c")},
		{"a_1", false, d("find", "c", "filter", d("a", d("$gte", 0)))},
		{"a_1", false, d("find", "c", "filter", d("a", d("$gte", 0)), "projection", d("_id", 0, "a", 1))},
		{"b_1", false, d("find", "c", "filter", d("$or", bson.A{d("b", d("$lt", 3)), d("b", d("$gt", 2))}), "hint", "b_1")},
		{"s_text", false, d("find", "c", "filter", d("$text", d("$search", "word")))},
		{"", false, d("aggregate", "c", "pipeline", bson.A{d("$match", d("x", nil))})},
		{"a_1", false, d("aggregate", "c", "pipeline", bson.A{d("$match", d("a", d("$gte", 0))), d("$set", d("y", 1))})},
		{"", true, d("find", "c", "sort", d("x", 1))},
		{"", true, d("aggregate", "c", "pipeline", bson.A{d("$group", d("_id", "$a"))})},
	}
	for name, change := range map[string]struct {
		cmd  bson.D
		says func(index string) string // of the cursors that fail; "" for those that go on
	}{
		"drop":         {d("drop", "c"), func(string) string { return "collection dropped" }},
		"rename":       {d("renameCollection", prefix+"rename.c", "to", prefix+"rename.d"), func(string) string { return "renamed" }},
		"dropDatabase": {d("dropDatabase", 1), func(string) string { return "collection dropped" }},
		"replaced":     {d("aggregate", "other", "pipeline", bson.A{d("$out", "c")}, "cursor", bson.D{}), func(string) string { return "collection dropped" }},
		"index": {d("dropIndexes", "c", "index", "a_1"), func(index string) string {
			if index == "a_1" {
				return "index 'a_1' dropped"
			}
			return ""
		}},
		"another": {d("createIndexes", "c", "indexes", bson.A{d("key", d("z", 1), "name", "z")}), func(string) string { return "" }},
		"collMod": {d("collMod", "c", "validationLevel", "moderate"), func(string) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			db := prefix + strings.ToLower(name)
			run := func(w *wireClient, cmd bson.D) bson.M {
				t.Helper()
				out, err := w.run(db, cmd)
				must(t, err)
				return out
			}
			run(reader, d("insert", "c", "documents", docs))
			run(reader, d("insert", "other", "documents", docs[:1]))
			run(reader, d("createIndexes", "c", "indexes", bson.A{
				d("key", d("a", 1), "name", "a_1"), d("key", d("b", 1), "name", "b_1"), d("key", d("s", "text"), "name", "s_text"),
			}))
			ids := make([]int64, len(cursors))
			for i, c := range cursors {
				cmd := with(c.cmd, "batchSize", 3)
				if c.cmd[0].Key == "aggregate" {
					cmd = with(c.cmd, "cursor", d("batchSize", 3))
				}
				out := run(reader, cmd)
				ids[i] = out["cursor"].(bson.D)[1].Value.(int64)
				if first, ok := out["cursor"].(bson.D)[0].Value.(bson.A); ids[i] == 0 || !ok || len(first) != 3 {
					t.Fatalf("%v: %v", c.cmd, out)
				}
			}
			at := db
			if name == "rename" {
				at = "admin"
			}
			_, err := other.run(at, change.cmd)
			must(t, err)
			for i, c := range cursors {
				got, err := 3, error(nil)
				for id := ids[i]; id != 0 && err == nil; {
					var out bson.M
					if out, err = reader.run(db, d("getMore", id, "collection", "c", "batchSize", 300)); err == nil {
						for _, e := range out["cursor"].(bson.D) {
							switch v := e.Value.(type) {
							case bson.A:
								got += len(v)
							case int64:
								id = v
							}
						}
					}
				}
				says := change.says(c.index)
				switch {
				case c.sorted, says == "":
					if must(t, err); got != n {
						t.Errorf("%v: %d documents", c.cmd, got)
					}
				case !failed(err, 175) || !strings.Contains(err.(mongo.CommandError).Message, says):
					t.Errorf("%v: %d documents, %v", c.cmd, got, err)
				}
			}
		})
	}
}
