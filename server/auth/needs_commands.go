package auth

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// insertNeeds, and those below, are of the commands that their names say.
func insertNeeds(c *command) {
	coll := c.collection()
	c.add(Insert, c.db, coll)
	c.bypass(c.db, coll)
}

// bypass adds what it needs to ignore a collection's validator.
func (c *command) bypass(db, collection string) {
	if c.body.Lookup("bypassDocumentValidation").Truthy() {
		c.add(BypassDocumentValidation, db, collection)
	}
}

// each calls f for the documents of an argument that is an array or a document sequence.
func (c *command) each(name string, f func(d bsonval.Doc)) {
	if c.req != nil {
		if seq, ok := c.req.Sequence(name); ok {
			for d := range seq.Documents() {
				f(d)
			}
			return
		}
	}
	if v := c.body.Lookup(name); v.Type() == bsonval.TypeArray {
		for it := v.Doc().Iter(); it.Next(); {
			if it.Value().Type() == bsonval.TypeDocument {
				f(it.Value().Doc())
			}
		}
	}
}

func updateNeeds(c *command) {
	coll := c.collection()
	c.add(Update, c.db, coll)
	upserts := false
	c.each("updates", func(d bsonval.Doc) { upserts = upserts || d.Lookup("upsert").Truthy() })
	if upserts {
		c.add(Insert, c.db, coll)
	}
	c.bypass(c.db, coll)
}

func findAndModifyNeeds(c *command) {
	coll := c.collection()
	c.add(Find, c.db, coll)
	if c.body.Lookup("remove").Truthy() {
		c.add(Remove, c.db, coll)
		return
	}
	c.add(Update, c.db, coll)
	if c.body.Lookup("upsert").Truthy() {
		c.add(Insert, c.db, coll)
	}
	c.bypass(c.db, coll)
}

// bulkWriteNeeds adds, for each namespace, what the operations on it do.
func bulkWriteNeeds(c *command) {
	var namespaces []string
	c.each("nsInfo", func(d bsonval.Doc) {
		ns := d.Lookup("ns")
		if ns.Type() != bsonval.TypeString {
			namespaces = append(namespaces, "")
			return
		}
		namespaces = append(namespaces, ns.Str())
	})
	done := make([]actionSet, len(namespaces))
	c.each("ops", func(d bsonval.Doc) {
		kind, index, _ := d.First()
		i := index.TruncInt64()
		if !index.IsNumber() || i < 0 || i >= int64(len(namespaces)) {
			return // it will be refused
		}
		switch kind {
		case "insert":
			done[i] = done[i].plus(setOf(Insert))
		case "update":
			done[i] = done[i].plus(setOf(Update))
			if d.Lookup("upsert").Truthy() {
				done[i] = done[i].plus(setOf(Insert))
			}
		case "delete":
			done[i] = done[i].plus(setOf(Remove))
		}
	})
	for i, ns := range namespaces {
		db, coll, _ := strings.Cut(ns, ".")
		for _, a := range []Action{Insert, Update, Remove} {
			if done[i].has(a) {
				c.add(a, db, coll)
			}
		}
		c.bypass(db, coll)
	}
}

func explainNeeds(c *command) {
	_, v, _ := c.body.First()
	if v.Type() != bsonval.TypeDocument {
		return // it will be refused
	}
	inner := &command{db: c.db, body: v.Doc(), list: c.list}
	inner.name, _, _ = inner.body.First()
	if inner.name == "explain" {
		return // it will be refused
	}
	if r := rules[inner.name]; r.needs != nil {
		r.needs(inner)
	}
	c.list = inner.list
}

func dataSizeNeeds(c *command) {
	db, coll, _ := strings.Cut(c.collection(), ".")
	c.add(Find, db, coll)
}

func mapReduceNeeds(c *command) {
	c.add(Find, c.db, c.collection())
	out := c.body.Lookup("out")
	switch out.Type() {
	case bsonval.TypeString:
		c.add(Insert, c.db, out.Str())
		c.add(Remove, c.db, out.Str())
	case bsonval.TypeDocument:
		how, target, _ := out.Doc().First()
		if target.Type() != bsonval.TypeString {
			return
		}
		db := c.db
		if v := out.Doc().Lookup("db"); v.Type() == bsonval.TypeString {
			db = v.Str()
		}
		c.add(Insert, db, target.Str())
		if how == "replace" {
			c.add(Remove, db, target.Str())
		} else {
			c.add(Update, db, target.Str())
		}
	}
}

func createNeeds(c *command) {
	c.add(CreateCollection, c.db, c.collection())
	c.view()
}

func collModNeeds(c *command) {
	c.add(CollMod, c.db, c.collection())
	c.view()
}

// view adds what it needs to read through a view that is being defined.
func (c *command) view() {
	on := c.body.Lookup("viewOn")
	if on.Type() != bsonval.TypeString || on.Str() == "" {
		return
	}
	c.add(Find, c.db, on.Str())
	c.stages(c.body.Lookup("pipeline"))
}

func cloneNeeds(c *command) {
	c.add(Find, c.db, c.collection())
	if to := c.body.Lookup("toCollection"); to.Type() == bsonval.TypeString {
		for _, a := range []Action{CreateCollection, ConvertToCapped, Insert} {
			c.add(a, c.db, to.Str())
		}
	}
}

func renameNeeds(c *command) {
	fromDB, from, _ := strings.Cut(c.collection(), ".")
	to := c.body.Lookup("to")
	if to.Type() != bsonval.TypeString {
		return // it will be refused
	}
	toDB, target, _ := strings.Cut(to.Str(), ".")
	if fromDB == toDB && !isSystem(from) && !isSystem(target) {
		c.add(RenameCollectionSameDB, fromDB, from)
		c.add(RenameCollectionSameDB, fromDB, target)
	} else {
		c.add(Find, fromDB, from)
		c.add(DropCollection, fromDB, from)
		c.add(Insert, toDB, target)
		c.add(CreateIndex, toDB, target)
	}
	if c.body.Lookup("dropTarget").Truthy() {
		c.add(DropCollection, toDB, target)
	}
}

// listCollectionsNeeds: who asks for no more than the names of what it may see gets that, which may be nothing.
func listCollectionsNeeds(c *command) {
	if !c.body.Lookup("nameOnly").Truthy() || !c.body.Lookup("authorizedCollections").Truthy() {
		c.add(ListCollections, c.db, "")
	}
}

// listDatabasesNeeds: the list is cut to what the client may know of, unless it insists on all.
func listDatabasesNeeds(c *command) {
	if v := c.body.Lookup("authorizedDatabases"); !v.IsMissing() && !v.IsNullish() && !v.Truthy() {
		c.cluster(ListDatabases)
	}
}

// usersInfoNeeds: everybody may look at himself.
func usersInfoNeeds(c *command) {
	_, v, _ := c.body.First()
	if v.Type() == bsonval.TypeDocument && v.Doc().Lookup("forAllDBs").Truthy() {
		c.add(ViewUser, "admin", "")
		return
	}
	if v.Type() != bsonval.TypeArray {
		c.looksAt(v)
		return
	}
	for it := v.Doc().Iter(); it.Next(); {
		c.looksAt(it.Value())
	}
}

// looksAt adds what it needs to see a user, who is named, or named with a database, or all users of the database.
func (c *command) looksAt(v bsonval.Value) {
	name, db := text(v), c.db
	if v.Type() == bsonval.TypeDocument {
		name, db = text(v.Doc().Lookup("user")), text(v.Doc().Lookup("db"))
	}
	if u := c.user; u == nil || name != u.Name || db != u.DB {
		c.add(ViewUser, db, "")
	}
}

// getMoreNeeds: a cursor belongs to its user, and goes on as long as the user may read what it is of.
func getMoreNeeds(c *command) {
	v := c.body.Lookup("collection")
	if v.Type() != bsonval.TypeString {
		return // it will be refused
	}
	coll := v.Str()
	name, ofCommand := strings.CutPrefix(coll, "$cmd.")
	switch {
	case !ofCommand:
		c.add(Find, c.db, coll)
	case name == "listCollections", name == "aggregate":
		// Asked for when it was opened.
	case strings.HasPrefix(name, "listIndexes."):
		c.add(ListIndexes, c.db, strings.TrimPrefix(name, "listIndexes."))
	case c.services != nil && c.services(c.db, name) == Callable:
		c.add(Call, c.db, "")
	}
}
