package auth

import "github.com/archelon-db/archelon/internal/bsonval"

// aggregateNeeds adds what a pipeline reads and writes. Some first stages read something else than the collection.
func aggregateNeeds(c *command) {
	coll := c.collection()
	pipeline := c.body.Lookup("pipeline")
	name, arg := firstStage(pipeline)
	switch name {
	case "$collStats":
		c.add(CollStats, c.db, coll)
	case "$indexStats":
		c.add(IndexStats, c.db, coll)
	case "$planCacheStats":
		c.add(PlanCacheRead, c.db, coll)
	case "$currentOp":
		c.cluster(InProg)
	case "$listSessions", "$listLocalSessions":
		c.cluster(ListSessions)
	case "$queryStats":
		c.cluster(QueryStatsRead)
	case "$querySettings":
		c.cluster(QuerySettings)
	case "$documents":
	case "$changeStream":
		db := c.db
		if arg.Type() == bsonval.TypeDocument && arg.Doc().Lookup("allChangesForCluster").Truthy() {
			db = "" // which only the roles on all databases cover
		}
		c.add(Find, db, coll)
		c.add(ChangeStream, db, coll)
	default:
		c.add(Find, c.db, coll)
	}
	c.stages(pipeline)
}

// firstStage is the first stage of a pipeline and its argument.
func firstStage(pipeline bsonval.Value) (name string, arg bsonval.Value) {
	if pipeline.Type() != bsonval.TypeArray {
		return "", bsonval.Missing
	}
	_, v, ok := pipeline.Doc().First()
	if !ok || v.Type() != bsonval.TypeDocument {
		return "", bsonval.Missing
	}
	name, arg, _ = v.Doc().First()
	return name, arg
}

// stages adds what the stages of a pipeline read and write elsewhere.
func (c *command) stages(pipeline bsonval.Value) {
	if pipeline.Type() != bsonval.TypeArray {
		return
	}
	for it := pipeline.Doc().Iter(); it.Next(); {
		if it.Value().Type() != bsonval.TypeDocument {
			continue
		}
		for stage := it.Value().Doc().Iter(); stage.Next(); {
			c.stage(stage.KeyStr(), stage.Value())
		}
	}
}

func (c *command) stage(name string, arg bsonval.Value) {
	switch name {
	case "$lookup", "$graphLookup", "$unionWith":
		c.reads(arg)
	case "$facet":
		if arg.Type() == bsonval.TypeDocument {
			for it := arg.Doc().Iter(); it.Next(); {
				c.stages(it.Value())
			}
		}
	case "$out":
		if db, coll, ok := c.namespace(arg); ok {
			c.add(Insert, db, coll)
			c.add(Remove, db, coll)
			c.bypass(db, coll)
		}
	case "$merge":
		c.merges(arg)
	}
}

// reads adds what a stage reads from another collection: its name, or a document with `from` or `coll` and a pipeline.
func (c *command) reads(arg bsonval.Value) {
	if arg.Type() == bsonval.TypeString {
		c.add(Find, c.db, arg.Str())
		return
	}
	if arg.Type() != bsonval.TypeDocument {
		return
	}
	d := arg.Doc()
	from := d.Lookup("from")
	if from.IsMissing() && !d.Lookup("coll").IsMissing() {
		from = arg
	}
	if db, coll, ok := c.namespace(from); ok {
		c.add(Find, db, coll)
	}
	c.stages(d.Lookup("pipeline"))
}

// namespace reads a collection's name, or {db, coll}.
func (c *command) namespace(v bsonval.Value) (db, coll string, ok bool) {
	switch v.Type() {
	case bsonval.TypeString:
		return c.db, v.Str(), true
	case bsonval.TypeDocument:
		db = c.db
		if d := v.Doc().Lookup("db"); d.Type() == bsonval.TypeString {
			db = d.Str()
		}
		if n := v.Doc().Lookup("coll"); n.Type() == bsonval.TypeString {
			return db, n.Str(), true
		}
	}
	return "", "", false
}

// merges adds what a $merge writes.
func (c *command) merges(arg bsonval.Value) {
	into, matched, unmatched := arg, bsonval.Missing, bsonval.Missing
	if arg.Type() == bsonval.TypeDocument {
		d := arg.Doc()
		into, matched, unmatched = d.Lookup("into"), d.Lookup("whenMatched"), d.Lookup("whenNotMatched")
	}
	db, coll, ok := c.namespace(into)
	if !ok {
		return // it will be refused
	}
	if mode := text(matched); mode != "keepExisting" && mode != "fail" {
		c.add(Update, db, coll)
	}
	if mode := text(unmatched); mode != "discard" && mode != "fail" {
		c.add(Insert, db, coll)
	}
	if text(matched) == "fail" && text(unmatched) == "fail" || text(matched) == "keepExisting" && text(unmatched) == "discard" {
		c.add(Find, db, coll) // it writes nothing, and still tells what is there
	}
	c.bypass(db, coll)
}

func text(v bsonval.Value) string {
	if v.Type() != bsonval.TypeString {
		return ""
	}
	return v.Str()
}
