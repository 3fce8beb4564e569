package database

import (
	"fmt"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func applyOps(t testing.TB, d *DB, entries ...string) (AppliedOps, error) {
	t.Helper()
	var list []bsonval.Doc
	for _, e := range entries {
		list = append(list, doc(t, e))
	}
	return d.ApplyOps(t.Context(), d.NewOp(t.Context()), list, false)
}

func TestApplyOps(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	done, err := applyOps(t, d,
		`{"op": "n", "ns": "", "o": {"msg": "x"}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"create": "c", "idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"createIndexes": "c", "v": 2, "key": {"a": 1}, "name": "a_1"}}`,
		`{"op": "i", "ns": "test.c", "o": {"_id": 1, "a": {"b": 1}}, "o2": {"_id": 1}}`,
		`{"op": "i", "ns": "test.c", "o": {"_id": 1, "a": {"b": 2}}}`,
		`{"op": "u", "ns": "test.c", "o": {"$v": 2, "diff": {"sa": {"u": {"b": 3}}, "i": {"n": 1}}}, "o2": {"_id": 1}}`,
		`{"op": "i", "ns": "test.c", "o": {"_id": 2}}`,
		`{"op": "u", "ns": "test.c", "o": {"_id": 2, "r": 1}, "o2": {"_id": 2}}`,
		`{"op": "u", "ns": "test.c", "o": {"$v": 1, "$set": {"s": 1}}, "o2": {"_id": 2}}`,
		`{"op": "i", "ns": "test.c", "o": {"_id": 3}}`,
		`{"op": "d", "ns": "test.c", "o": {"_id": 3}}`,
		`{"op": "d", "ns": "test.c", "o": {"_id": 3}}`,
		`{"op": "i", "ns": "test.system.views", "o": {"_id": "test.v", "viewOn": "c", "pipeline": []}}`,
		`{"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [{"op": "i", "ns": "test.c", "o": {"_id": 4}}]}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"collMod": "c", "index": {"name": "a_1", "hidden": true}}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"drop": "gone"}}`,
	)
	if err != nil || len(done.Results) != 16 {
		t.Fatalf("%+v, %v", done, err)
	}
	want(t, findIn(t, d, nil), `{ _id: 1, a: { b: 3 }, n: 1 }`, `{ _id: 2, r: 1, s: 1 }`, `{ _id: 4 }`)
	coll := d.Catalog().Collection("test", "c")
	if x := coll.Index("a_1"); x == nil || !x.Hidden {
		t.Errorf("indexes: %v", coll.Indexes)
	}
	if v := d.Catalog().Collection("test", "v"); v == nil || !v.IsView() {
		t.Error("no view")
	}
	done, err = applyOps(t, d,
		`{"op": "c", "ns": "test.$cmd", "o": {"renameCollection": "test.c", "to": "test.d", "dropTarget": false}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"dropIndexes": "d", "index": "a_1"}}`,
		`{"op": "d", "ns": "test.system.views", "o": {"_id": "test.v"}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"commitIndexBuild": "d", "indexes": [{"v": 2, "key": {"z": 1}, "name": "z_1"}]}}`,
	)
	if err != nil {
		t.Fatalf("%+v, %v", done, err)
	}
	if coll = d.Catalog().Collection("test", "d"); coll == nil || len(coll.Indexes) != 2 || coll.Index("z_1") == nil {
		t.Errorf("collection: %+v", coll)
	}
}

func TestApplyOpsFails(t *testing.T) {
	d := openLogged(t, OplogConfig{})
	insert(t, d, doc(t, `{"_id": 1}`))
	for entry, code := range map[string]mongoerr.Code{
		`{"op": "u", "ns": "test.c", "o": {"_id": 9, "x": 1}, "o2": {"_id": 9}}`:                   mongoerr.UnknownError,
		`{"op": "u", "ns": "test.c", "o": {"$v": 2, "diff": {"u": {"x": 1}}}, "o2": {"_id": 9}}`:   mongoerr.UnknownError,
		`{"op": "u", "ns": "test.c", "o": {"$v": 2, "diff": {"u": {"_id": 4}}}, "o2": {"_id": 1}}`: mongoerr.UnknownError,
		`{"op": "u", "ns": "test.c", "o": {"x": 1}}`:                                               mongoerr.NoSuchKey,
		`{"op": "i", "ns": "test.gone", "o": {"_id": 9}}`:                                          mongoerr.NamespaceNotFound,
		`{"op": "c", "ns": "test.$cmd", "o": {"shutdown": 1}}`:                                     mongoerr.BadValue,
		`{"op": "c", "ns": "test.c", "o": {"drop": "c"}}`:                                          mongoerr.InvalidNamespace,
		`{"op": "i", "ns": "local.oplog.rs", "o": {"_id": 9}}`:                                     mongoerr.UnknownError,
	} {
		t.Run(entry, func(t *testing.T) {
			done, err := applyOps(t, d, `{"op": "i", "ns": "test.c", "o": {"_id": 2}}`, entry, `{"op": "i", "ns": "test.c", "o": {"_id": 3}}`)
			fails(t, err, code)
			want := "[true false]"
			if code == mongoerr.UnknownError {
				want = "[true false true]"
			}
			if got := fmt.Sprint(done.Results); got != want {
				t.Errorf("results %s, want %s", got, want)
			}
		})
	}
}

// TestApplyOpsReplays: the entries of one database make the same of another.
func TestApplyOpsReplays(t *testing.T) {
	from, to := openLogged(t, OplogConfig{}), openLogged(t, OplogConfig{})
	insert(t, from, doc(t, `{"_id": 1, "a": [1, 2, {"x": 1}]}`), doc(t, `{"_id": 2}`), doc(t, `{"_id": 3}`))
	addIndex(t, from, `{"a": 1}`, `{}`)
	for _, change := range []string{
		`{"$push": {"a": {"$each": [5], "$position": 0}}}`, `{"$set": {"b.c": 1, "a.1": {"z": 1}}}`, `{"$unset": {"a": 1}}`, `{"$rename": {"b": "q"}}`,
	} {
		_, err := from.Update(t.Context(), from.NewOp(t.Context()), ns, &UpdateStatement{
			Filter: doc(t, `{"_id": 1}`), Update: bsonval.Document(doc(t, change)),
		})
		if err != nil {
			t.Fatal(err)
		}
		replay(t, from, to)
		if a, b := fmt.Sprint(findIn(t, from, nil)), fmt.Sprint(findIn(t, to, nil)); a != b {
			t.Errorf("after %s:\n%s\n%s", change, a, b)
		}
	}
	sound(t, to, ns)
}

// replay applies all entries anew.
func replay(t testing.TB, from, to *DB) {
	t.Helper()
	if _, err := to.DropDatabase(t.Context(), ns.DB); err != nil {
		t.Fatal(err)
	}
	var list []bsonval.Doc
	for _, e := range rawEntries(t, from, 0) {
		list = append(list, withField(e, "ui", bsonval.Missing)) // as restoring tools send them
	}
	if done, err := to.ApplyOps(t.Context(), to.NewOp(t.Context()), list, false); err != nil {
		t.Fatalf("%+v, %v", done, err)
	}
}

// FuzzApplyOps: no entry does harm that is not an error.
func FuzzApplyOps(f *testing.F) {
	for _, e := range []string{
		`{"op": "i", "ns": "test.c", "o": {"_id": 1}}`, `{"op": "u", "ns": "test.c", "o": {"$v": 2, "diff": {"sa": {"u": {"b": 3}}}}, "o2": {"_id": 1}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"create": "d", "idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"commitIndexBuild": "c", "indexes": [{"v": 2, "key": {"z": 1}, "name": "z_1"}]}}`,
		`{"op": "c", "ns": "test.$cmd", "o": {"renameCollection": "test.d", "to": "test.e"}}`, `{"op": "d", "ns": "test.system.views", "o": {"_id": "test.v"}}`,
		`{"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [{"op": "n", "ns": "", "o": {}}]}}`,
	} {
		f.Add([]byte(doc(f, e)))
	}
	d := openLogged(f, OplogConfig{SizeBytes: 1 << 20})
	insert(f, d, doc(f, `{"_id": 1, "a": {"b": 1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil || bsonval.DeeperThan(b, 100) {
			return
		}
		_, err := d.ApplyOps(t.Context(), d.NewOp(t.Context()), []bsonval.Doc{b}, false)
		if err != nil && mongoerr.As(err) == nil {
			t.Fatal(err)
		}
		if d.Catalog().Collection(ns.DB, ns.Coll) != nil {
			sound(t, d, ns)
		}
	})
}
