package pgstore

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestNames looks for two things of the same name, for names that are too long and for
// those that are cut in the middle of a character.
func TestNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-c]{0,3}(_x?[0-9]{1,2}){0,4}`),
			rapid.StringOfN(rapid.RuneFrom([]rune("aé€😀")), 0, 120, -1))
		type thing struct {
			index     bool
			table, id uint32
		}
		seen := map[string]thing{}
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			x := thing{rapid.Bool().Draw(t, "index"), rapid.Uint32Range(1, 200).Draw(t, "table"), rapid.Uint32Range(1, 200).Draw(t, "id")}
			name := tableName(text.Draw(t, "collection"), x.table)
			if x.index {
				name = indexName(text.Draw(t, "collection"), x.table, text.Draw(t, "name"), x.id)
			}
			if len(name) > maxIdentifier || !utf8.ValidString(name) {
				t.Fatalf("%q: %d bytes", name, len(name))
			}
			if x.index {
				x.table = 0 // an index's id is its own
			} else {
				x.id = 0
			}
			if other, ok := seen[name]; ok && other != x {
				t.Fatalf("%q is both %v and %v", name, other, x)
			}
			seen[name] = x
		}
	})
}

func TestReadableNames(t *testing.T) {
	s := &Store{config: &settings{schema: "archelon"}, id: "store"}
	long := strings.Repeat("long ", 20)
	for _, c := range []struct{ got, want string }{
		{tableName("orders", 17), "orders_17"},
		{indexName("orders", 17, "country_1", 23), "orders_17_country_1_x23"},
		{tableName(long, 17), "long long long long long long long long long long long long _17"},
		{indexName(long, 17, "country_1", 23), "long long long long long long long long long l_17_country_1_x23"},
		{indexName("orders", 17, long, 23), "orders_17_long long long long long long long long long long_x23"},
		{indexName(long, 17, long, 23), "long long long long long lo_17_long long long long long lon_x23"},
		{s.namespaceName("shop", 0), "archelon_shop"},
		{s.legal("größe"), "größe"},
	} {
		if c.got != c.want {
			t.Errorf("got %q (%d bytes), want %q", c.got, len(c.got), c.want)
		}
	}
	for _, database := range []string{strings.Repeat("d", 63), strings.Repeat("d", 62)} {
		if a, b := s.namespaceName(database, 0), s.namespaceName(database, 1); len(a) != maxIdentifier || a == b {
			t.Errorf("%q, %q", a, b)
		}
	}
	if s.ascii.Store(true); s.legal("größe\x00") != `gr\u{F6}\u{DF}e\u{FFFD}` {
		t.Errorf("%q", s.legal("größe\x00"))
	}
}

// TestOtherEncoding keeps a store in a database that cannot store all characters.
func TestOtherEncoding(t *testing.T) {
	url := ownDatabase(t, "latin ENCODING 'LATIN1' TEMPLATE template0")
	s := open(t, url[:strings.Index(url, "&schema=")])
	createNamed(t, s, 1, "größe", "ключ")
	if got := ask(t, s, "SELECT database || '.' || collection || ' in ' || namespace || '.' || relation FROM archelon.ids"); got !=
		`gr\u{F6}\u{DF}e.\u{43A}\u{43B}\u{44E}\u{447} in archelon_gr\u{F6}\u{DF}e.\u{43A}\u{43B}\u{44E}\u{447}_1` {
		t.Errorf("got %s", got)
	}
}

// createNamed creates a table for a collection.
func createNamed(t *testing.T, s *Store, id storage.TableID, database, collection string) {
	t.Helper()
	tx := s.Begin(storage.TxnOptions{})
	defer tx.Rollback()
	must(t, tx.(storage.Namer).NameTable(id, database, collection))
	must(t, tx.CreateTable(id))
	commit(t, tx)
}

// ask returns the text that a query finds; $ stands for the schema.
func ask(t *testing.T, s *Store, sql string) string {
	t.Helper()
	c, err := s.pool.acquire(t.Context())
	must(t, err)
	defer s.pool.release(c)
	c.end()
	var out []string
	c.add(s.here(sql), func(v [][]byte) { out = append(out, string(v[0])) })
	must(t, c.run(t.Context()))
	return strings.Join(out, "\n")
}

// TestNamedTables creates tables in transactions that are open at the same time, in a
// database that is new, takes some of it back, and renames.
func TestNamedTables(t *testing.T) {
	s := open(t, freshURL(t))
	a, b := s.Begin(storage.TxnOptions{}), s.Begin(storage.TxnOptions{})
	defer a.Rollback()
	defer b.Rollback()
	for i, tx := range []storage.Txn{a, b} {
		id := storage.TableID(i + 1)
		must(t, tx.(storage.Namer).NameTable(id, "db", "same"))
		must(t, tx.CreateTable(id))
		must(t, tx.(storage.Namer).NameIndex(storage.IndexID(id), "_id_"))
		must(t, tx.CreateIndex(id, storage.IndexID(id), true))
	}
	save := a.Savepoint()
	must(t, a.(storage.Namer).NameTable(3, "db", "undone"))
	must(t, a.CreateTable(3))
	must(t, a.RollbackTo(save))
	commit(t, a)
	commit(t, b)
	const query = "SELECT concat_ws('|', database, collection, index_name, relation) FROM $.catalogue ORDER BY 1"
	if got, want := ask(t, s, query), "db|same|_id_|same_1__id__x1\ndb|same|_id_|same_2__id__x2\ndb|same|same_1\ndb|same|same_2"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	tx := s.Begin(storage.TxnOptions{})
	must(t, tx.(storage.Namer).NameTable(1, "db", "other"))
	save = tx.Savepoint()
	must(t, tx.(storage.Namer).NameTable(2, "db", "undone"))
	must(t, tx.RollbackTo(save))
	must(t, tx.(storage.Namer).NameIndex(9, "later"))
	must(t, tx.CreateIndex(1, 9, false))
	commit(t, tx)
	if got, want := ask(t, s, query+" LIMIT 2"), "db|other|_id_|same_1__id__x1\ndb|other|later|same_1_later_x9"; got != want {
		t.Errorf("after a rename got\n%s\nwant\n%s", got, want)
	}
}

// TestSchemaSweptElsewhere creates a table in a database whose schema another process has
// dropped as empty: the first attempt conflicts, the second makes the schema again.
func TestSchemaSweptElsewhere(t *testing.T) {
	url := ownDatabase(t, "elsewhere")
	var stores [2]*Store
	for i := range stores {
		var err error
		stores[i], err = Open(t.Context(), Config{URL: url, Shared: true})
		must(t, err)
		defer stores[i].Close()
	}
	a, b := stores[0], stores[1]
	createNamed(t, a, 1, "db", "first")
	createNamed(t, b, 2, "db", "second")
	tx := a.Begin(storage.TxnOptions{})
	must(t, errors.Join(tx.DropTable(1), tx.DropTable(2)))
	commit(t, tx)
	for deadline := time.Now().Add(20 * time.Second); ask(t, a, "SELECT count(*)::text FROM $.databases") != "0"; a.sweep(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatal("the schema is still there")
		}
	}
	tx = b.Begin(storage.TxnOptions{})
	must(t, tx.(storage.Namer).NameTable(3, "db", "third"))
	if err := tx.CreateTable(3); err != nil { // b may have swept it itself
		wantErr(t, err, storage.ErrWriteConflict)
	}
	tx.Rollback()
	createNamed(t, b, 4, "db", "fourth")
	if got := ask(t, b, "SELECT relation FROM $.catalogue"); got != "fourth_4" {
		t.Errorf("got %s", got)
	}
}
