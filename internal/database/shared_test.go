package database

import (
	"testing"

	"github.com/archelon-db/archelon/internal/storage"
)

// TestDefinitionsCatchUp checks which changes of definitions an operation takes over when
// it begins to read: those of collections that it has not looked at.
func TestDefinitionsCatchUp(t *testing.T) {
	d := open(t)
	insert(t, d, doc(t, `{"_id": 1}`))
	other := Namespace{DB: ns.DB, Coll: "other"}
	for name, c := range map[string]struct {
		looks  []Namespace
		change func() error
		takes  bool
	}{
		"another collection": {[]Namespace{ns}, func() error { return d.Create(t.Context(), Namespace{DB: "x", Coll: "a"}, nil) }, true},
		"the collection itself": {[]Namespace{ns}, func() error {
			_, err := d.CollMod(t.Context(), ns, doc(t, `{"validationLevel": "moderate"}`))
			return err
		}, false},
		"one that was not there": {[]Namespace{ns, other}, func() error { return d.Create(t.Context(), other, nil) }, false},
		"nothing":                {[]Namespace{ns}, func() error { return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			op := d.NewOp(t.Context())
			d.shared = true // an operation's definitions stay the same in a shared store only
			for _, n := range c.looks {
				d.goesBy(op, n)
			}
			d.shared = false
			if err := c.change(); err != nil {
				t.Fatal(err)
			}
			d.expect(op, storage.TxnOptions{}).Expecting()
			if took := op.defs == d.catalog.Snapshot(); took != c.takes {
				t.Errorf("the change was taken over: %t", took)
			}
		})
	}
}
