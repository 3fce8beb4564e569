package changestream

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/oplog"
)

// viewsColl is where view definitions are stored: changes of it are events of
// the views.
const viewsColl = "system.views"

// read says what an operation is to streams; ok is false if it is nothing to
// any.
func read(o *oplog.Entry) (c change, ok bool) {
	c.db, c.coll = o.DB(), o.Coll()
	if isInternalDB(c.db) {
		return change{}, false
	}
	switch o.Kind {
	case oplog.Insert, oplog.Update, oplog.Delete:
		if c.coll == viewsColl {
			return readView(o)
		}
		if isSystem(c.coll) {
			return change{}, false
		}
	case oplog.Command:
		return readCommand(o)
	}
	switch o.Kind {
	case oplog.Insert:
		c.kind, c.full = "insert", bsonval.Document(o.O)
	case oplog.Delete:
		c.kind, c.key = "delete", o.O
		return c, true
	case oplog.Update:
		c.kind = "update"
		if _, isDiff := o.Diff(); !isDiff {
			c.kind, c.full = "replace", bsonval.Document(o.O)
		}
	default:
		return change{}, false
	}
	c.key = o.O2
	if c.key == nil {
		c.key = bsonval.NewBuilder().Value("_id", o.O.Lookup("_id")).Build()
	}
	return c, true
}

// commands are the commands that make events. Each says what its o is.
var commands = map[string]func(c *change, o *oplog.Entry, arg bsonval.Value) bool{
	"drop": func(c *change, _ *oplog.Entry, arg bsonval.Value) bool { return c.collection("drop", arg) },
	"dropDatabase": func(c *change, _ *oplog.Entry, _ bsonval.Value) bool {
		c.kind, c.coll = "dropDatabase", ""
		return true
	},
	"renameCollection": readRename,
	"create":           readCreate,
	"createIndexes": func(c *change, o *oplog.Entry, arg bsonval.Value) bool {
		spec := bsonval.ArrayOf(bsonval.Document(without(o.O, "createIndexes")))
		return c.expand("createIndexes", arg, bsonval.NewBuilder().Value("indexes", spec).Build())
	},
	"commitIndexBuild": func(c *change, o *oplog.Entry, arg bsonval.Value) bool {
		return c.expand("createIndexes", arg, bsonval.NewBuilder().Value("indexes", o.O.Lookup("indexes")).Build())
	},
	"dropIndexes":   readDropIndexes,
	"deleteIndexes": readDropIndexes,
	"collMod":       readCollMod,
}

func readCommand(o *oplog.Entry) (change, bool) {
	name, arg := o.Verb()
	handle, ok := commands[name]
	if !ok {
		return change{}, false
	}
	c := change{db: o.DB()}
	return c, handle(&c, o, arg) && !isSystem(c.coll)
}

// collection makes an event about the collection that a command names.
func (c *change) collection(kind string, coll bsonval.Value) bool {
	c.kind, c.coll = kind, coll.Str()
	return coll.Type() == bsonval.TypeString
}

// expand makes an event that only showExpandedEvents shows.
func (c *change) expand(kind string, coll bsonval.Value, description bsonval.Doc) bool {
	c.description, c.expanded = description, true
	return c.collection(kind, coll)
}

func readRename(c *change, o *oplog.Entry, from bsonval.Value) bool {
	to := o.O.Lookup("to")
	if from.Type() != bsonval.TypeString || to.Type() != bsonval.TypeString {
		return false
	}
	c.kind, c.to = "rename", to.Str()
	c.db, c.coll = splitNS(from.Str())
	b := bsonval.NewBuilder()
	db, coll := splitNS(c.to)
	appendNamespace(b, "to", db, coll)
	c.description = b.Value("dropTarget", o.O.Lookup("dropTarget")).Build()
	return true
}

func readCreate(c *change, o *oplog.Entry, arg bsonval.Value) bool {
	c.nsType = "collection"
	if !o.O.Lookup("timeseries").IsMissing() {
		c.nsType = "timeseries"
	}
	if v := o.O.Lookup("viewOn"); v.Type() == bsonval.TypeString {
		c.nsType, c.view = viewType(v), true
	}
	return c.expand("create", arg, without(o.O, "create"))
}

func viewType(on bsonval.Value) string {
	if strings.HasPrefix(on.Str(), "system.buckets.") {
		return "timeseries"
	}
	return "view"
}

func readDropIndexes(c *change, o *oplog.Entry, arg bsonval.Value) bool {
	spec := bsonval.Document(o.O2)
	if o.O2 == nil {
		spec = bsonval.Document(bsonval.NewBuilder().Value("name", o.O.Lookup("index")).Build())
	}
	return c.expand("dropIndexes", arg, bsonval.NewBuilder().Value("indexes", bsonval.ArrayOf(spec)).Build())
}

func readCollMod(c *change, o *oplog.Entry, arg bsonval.Value) bool {
	if o.O2 != nil {
		c.before = bsonval.NewBuilder().Value("collectionOptions", o.O2.Lookup("collectionOptions_old")).
			Value("indexOptions", o.O2.Lookup("indexOptions_old")).Build()
	}
	return c.expand("modify", arg, without(o.O, "collMod"))
}

// readView reads a change of a view's definition: {_id: namespace, viewOn,
// pipeline, …}.
func readView(o *oplog.Entry) (c change, ok bool) {
	id := o.ID()
	if id.Type() != bsonval.TypeString {
		return change{}, false
	}
	c.expanded, c.view = true, true
	c.db, c.coll = splitNS(id.Str())
	switch o.Kind {
	case oplog.Insert:
		c.kind, c.nsType, c.description = "create", viewType(o.O.Lookup("viewOn")), without(o.O, "_id")
	case oplog.Delete:
		c.kind = "drop"
	default:
		c.kind, c.description = "modify", without(o.O, "_id")
		if diff, isDiff := o.Diff(); isDiff {
			c.description = bsonval.EmptyDoc
			if u := diff.Lookup("u"); u.Type() == bsonval.TypeDocument {
				c.description = u.Doc()
			}
		}
	}
	return c, !isSystem(c.coll)
}

// without is d without one field.
func without(d bsonval.Doc, name string) bsonval.Doc {
	b := bsonval.NewBuilder()
	it := d.Iter()
	for it.Next() {
		if it.KeyStr() != name {
			b.Value(it.KeyStr(), it.Value())
		}
	}
	return b.Build()
}

func splitNS(ns string) (db, coll string) {
	db, coll, _ = strings.Cut(ns, ".")
	return db, coll
}

// sees says whether a target's streams see a change.
func (t Target) sees(c *change) bool {
	if t.shows(c.db, c.coll) {
		return true
	}
	if c.to == "" {
		return c.kind == "dropDatabase" && t.DB == c.db
	}
	return t.shows(splitNS(c.to))
}

// shows says whether a namespace is the target or in it; system collections have
// been left out.
func (t Target) shows(db, coll string) bool {
	return t.DB == "" || t.DB == db && (t.Coll == "" || t.Coll == coll)
}

// invalidated says whether a change that the target sees ends its streams.
func (t Target) invalidated(c *change) bool {
	switch c.kind {
	case "drop", "rename":
		return t.Coll != "" && !c.view
	case "dropDatabase":
		return t.DB != ""
	}
	return false
}
