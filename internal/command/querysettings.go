package command

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// querySettingsCommands are the commands on the settings of query shapes.
func querySettingsCommands() []*Command {
	return []*Command{
		{Name: "removeQuerySettings", Help: "Removes the settings of a query shape.", AdminOnly: true, WriteConcern: true, Run: runRemoveQuerySettings},
		{Name: "setQuerySettings", Help: "Sets which indexes a query shape may use, or that it is rejected.", AdminOnly: true, WriteConcern: true,
			Fields: []Field{{Name: "settings", Kind: Object, Required: true}}, Run: runSetQuerySettings},
	}
}

// queryShapeHashLen is the length of a query shape's hash: SHA-256 in hexadecimal digits.
const queryShapeHashLen = 64

// shapeTarget is the query shape that a command is about.
type shapeTarget struct {
	hash string
	// query is the command that stands for the shape, and shape its shape; nil if only the hash was given.
	query, shape bsonval.Doc
}

// shapeTarget reads what names a query shape: its hash, or a query with its database.
func (c *Call) shapeTarget() (*shapeTarget, error) {
	switch c.First.Type() {
	case bsonval.TypeString:
		hash := c.First.Str()
		if _, err := hex.DecodeString(hash); err != nil {
			return nil, mongoerr.New(mongoerr.BadValue, "query shape hash is not hexadecimal: %s", hash)
		}
		if len(hash) != queryShapeHashLen {
			return nil, mongoerr.New(mongoerr.InvalidLength, "query shape hash has %d digits and not %d", len(hash), queryShapeHashLen)
		}
		return &shapeTarget{hash: strings.ToUpper(hash)}, nil
	case bsonval.TypeDocument:
		query := c.First.Doc().Clone()
		shape, err := c.shapeOf(query)
		return &shapeTarget{database.ShapeHash(shape), query, shape}, err
	}
	return nil, wrongType(c.Cmd.Name, c.Cmd.Name, c.First.Type(), ObjectOrString)
}

// shapeOf computes the shape of a find, distinct or aggregate with its database.
func (c *Call) shapeOf(query bsonval.Doc) (bsonval.Doc, error) {
	name, _, _ := query.First()
	switch name {
	case "find", "distinct", "aggregate":
	default:
		return nil, mongoerr.New(7746402, "QueryShape can be computed for find, distinct and aggregate queries only")
	}
	db := query.Lookup("$db")
	if db.IsNullish() {
		return nil, errMissingField(c.Cmd.Name, "$db")
	}
	if db.Type() != bsonval.TypeString {
		return nil, wrongType(c.Cmd.Name, "$db", db.Type(), String)
	}
	if err := checkDBName(db.Str()); err != nil {
		return nil, err
	}
	inner := newCall(c.Commands, c.Commands.byName[name], server.NewRequest(c.Req.Conn, db.Str(), query), c.Reply)
	defer inner.release()
	if err := inner.parse(); err != nil {
		return nil, err
	}
	return inner.queryShape()
}

// queryShape is the shape of a find, distinct or aggregate; nil for other commands.
func (c *Call) queryShape() (bsonval.Doc, error) {
	switch c.Cmd.Name {
	case "find":
		q, err := c.findQuery()
		if err != nil {
			return nil, err
		}
		return database.FindShape(c.Namespace(), q), nil
	case "distinct":
		q, err := c.distinctQuery()
		if err != nil {
			return nil, err
		}
		return database.DistinctShape(c.Namespace(), c.Str("key"), q), nil
	case "aggregate":
		q, err := c.aggregateQuery()
		if err != nil {
			return nil, err
		}
		return database.AggregateShape(c.Namespace(), q), nil
	}
	return nil, nil
}

func runRemoveQuerySettings(ctx context.Context, c *Call) error {
	target, err := c.shapeTarget()
	if err != nil {
		return err
	}
	return c.Database().ChangeQuerySettings(ctx, target.hash, func(*database.QuerySettings) (*database.QuerySettings, error) {
		return nil, nil
	})
}

var (
	querySettingsFields = []Field{
		{Name: "indexHints", Kind: ObjectOrArray}, {Name: "queryFramework", Kind: String}, {Name: "reject", Kind: Any},
		{Name: "comment", Kind: Any}, {Name: "serialization_context", Kind: Object, Unsupported: true},
	}
	indexHintFields = []Field{{Name: "ns", Kind: Object, Required: true}, {Name: "allowedIndexes", Kind: Array, Required: true}}
	hintNSFields    = []Field{{Name: "db", Kind: String}, {Name: "coll", Kind: String}}
)

func runSetQuerySettings(ctx context.Context, c *Call) error {
	if c.First.Type() == bsonval.TypeDocument {
		if err := checkSettable(c.First.Doc()); err != nil {
			return err
		}
	}
	target, err := c.shapeTarget()
	if err != nil {
		return err
	}
	given := c.Doc("settings")
	if given.IsEmpty() {
		return mongoerr.New(8727502, "settings field in setQuerySettings command cannot be empty")
	}
	var v [5]bsonval.Value
	if err := ParseFields("setQuerySettings.settings", given, querySettingsFields, v[:]); err != nil {
		return err
	}
	if f := v[1]; !f.IsMissing() && f.Str() != "classic" && f.Str() != "sbe" {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'queryFramework' is not a valid value.", f.Str())
	}
	if !v[2].IsMissing() && v[2].Type() != bsonval.TypeBool {
		return wrongType("setQuerySettings.settings", "reject", v[2].Type(), Bool)
	}
	if v[0], err = indexHints(v[0]); err != nil {
		return err
	}
	var settings bsonval.Doc
	err = c.Database().ChangeQuerySettings(ctx, target.hash, func(old *database.QuerySettings) (*database.QuerySettings, error) {
		s := &database.QuerySettings{Representative: target.query, Shape: target.shape}
		var before bsonval.Doc
		if old != nil {
			before = old.Settings
			if target.query == nil {
				s.Representative, s.Shape = old.Representative, old.Shape
			}
		}
		s.Settings = mergeSettings(before, v[:4])
		settings, target.query = s.Settings, s.Representative
		if settings.Len() == 0 || settings.Len() == 1 && !settings.Lookup("comment").IsMissing() {
			return nil, mongoerr.New(7746604, "the resulting settings cannot be empty or contain only default values")
		}
		return s, nil
	})
	if err != nil {
		return err
	}
	c.Append("queryShapeHash", bsonval.String(target.hash))
	if target.query != nil {
		c.Append("representativeQuery", bsonval.Document(target.query))
	}
	c.Append("settings", bsonval.Document(settings))
	return nil
}

// mergeSettings puts the settings given, in the order of querySettingsFields, over those there are. What is left out is the
// default.
func mergeSettings(old bsonval.Doc, given []bsonval.Value) bsonval.Doc {
	b := bsonval.NewBuilder()
	for i, v := range given {
		name := querySettingsFields[i].Name
		if v.IsMissing() && old != nil {
			v = old.Lookup(name)
		}
		if v.IsMissing() || name == "reject" && !v.Truthy() || v.Type() == bsonval.TypeArray && v.Doc().IsEmpty() {
			continue
		}
		b.Value(name, v)
	}
	return b.Build()
}

// indexHints reads one hint or a list of them and returns those that allow some index, as an array.
func indexHints(v bsonval.Value) (bsonval.Value, error) {
	hints := []bsonval.Value{v}
	switch v.Type() {
	case bsonval.TypeMissing:
		return v, nil
	case bsonval.TypeArray:
		hints = v.Doc().Values(nil)
	}
	seen := map[database.Namespace]bool{}
	out := bsonval.NewArrayBuilder()
	for _, h := range hints {
		if h.Type() != bsonval.TypeDocument {
			return v, wrongType("setQuerySettings.settings", "indexHints", h.Type(), ObjectOrArray)
		}
		var f, ns [2]bsonval.Value
		if err := ParseFields("indexHints", h.Doc(), indexHintFields, f[:]); err != nil {
			return v, err
		}
		if err := ParseFields("indexHints.ns", f[0].Doc(), hintNSFields, ns[:]); err != nil {
			return v, err
		}
		switch {
		case ns[0].IsMissing():
			return v, mongoerr.New(8727500, "invalid index hint: 'ns.db' field is missing")
		case ns[1].IsMissing():
			return v, mongoerr.New(8727501, "invalid index hint: 'ns.coll' field is missing")
		}
		key := database.Namespace{DB: ns[0].Str(), Coll: ns[1].Str()}
		if seen[key] {
			return v, mongoerr.New(7746608, "Collection '%s' has already index hints specified", key)
		}
		seen[key] = true
		if err := checkAllowedIndexes(f[1].Doc()); err != nil {
			return v, err
		}
		if !f[1].Doc().IsEmpty() {
			out.StartDoc("").Value("ns", f[0]).Value("allowedIndexes", f[1]).End()
		}
	}
	return bsonval.Array(out.Build()), nil
}

// checkAllowedIndexes checks a list of index names, key patterns and {$natural: ±1}.
func checkAllowedIndexes(list bsonval.Doc) error {
	it := list.Iter()
	for it.Next() {
		hint, err := parseHint(it.Value())
		if err != nil {
			return err
		}
		if hint == nil {
			return mongoerr.New(7746606, "index hint cannot be an empty document")
		}
	}
	return nil
}

// checkSettable says whether a query may have settings.
func checkSettable(query bsonval.Doc) error {
	name, coll, _ := query.First()
	db := query.Lookup("$db").Str()
	if coll.Type() == bsonval.TypeString && (db == "admin" || db == "local" || db == "config" || strings.HasPrefix(coll.Str(), "system.")) {
		return mongoerr.New(8584900, "setQuerySettings command cannot be used on internal databases or system collections")
	}
	filter := query.Lookup("filter")
	if name != "find" || filter.Type() != bsonval.TypeDocument || filter.Doc().Len() != 1 {
		return nil
	}
	id := filter.Doc().Lookup("_id")
	if id.Type() == bsonval.TypeDocument {
		if op, _, ok := id.Doc().First(); ok && strings.HasPrefix(op, "$") && op != "$eq" {
			return nil
		}
	}
	if !id.IsMissing() {
		return mongoerr.New(7746606, "setQuerySettings command cannot be used on find queries with an equality on _id")
	}
	return nil
}
