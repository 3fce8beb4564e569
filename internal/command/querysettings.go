package command

import (
	"context"
	"encoding/hex"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// querySettingsCommands are the commands on the settings of query shapes. None can be set, so that there are never any to
// remove.
func querySettingsCommands() []*Command {
	return []*Command{
		{Name: "removeQuerySettings", Help: "Removes the settings of a query shape.", AdminOnly: true, WriteConcern: true, Run: runRemoveQuerySettings},
		{Name: "setQuerySettings", Help: "Is not implemented.", AdminOnly: true, WriteConcern: true, Missing: true,
			Fields: []Field{{Name: "settings", Kind: Object, Required: true}}, Run: runSetQuerySettings},
	}
}

// queryShapeHashLen is the length of a query shape's hash: SHA-256 in hexadecimal digits.
const queryShapeHashLen = 64

// checkQueryShape checks what names a query shape: its hash, or a query with its database.
func (c *Call) checkQueryShape(badLength mongoerr.Code) error {
	switch c.First.Type() {
	case bsonval.TypeString:
		hash := c.First.Str()
		if hash == "" || len(hash) != queryShapeHashLen && badLength != 0 {
			return mongoerr.New(mongoerr.InvalidLength, "query shape hash has %d digits and not %d", len(hash), queryShapeHashLen)
		}
		if _, err := hex.DecodeString(hash); err != nil || len(hash) != queryShapeHashLen {
			return mongoerr.New(mongoerr.BadValue, "query shape hash is not hexadecimal: %s", hash)
		}
		return nil
	case bsonval.TypeDocument:
	default:
		return wrongType(c.Cmd.Name, c.Cmd.Name, c.First.Type(), ObjectOrString)
	}
	query := c.First.Doc()
	switch name, _, _ := query.First(); name {
	case "find", "distinct", "aggregate":
	default:
		return mongoerr.New(7746402, "QueryShape can be computed for find, distinct and aggregate queries only")
	}
	db := query.Lookup("$db")
	if db.IsNullish() {
		return errMissingField(c.Cmd.Name, "$db")
	}
	if db.Type() != bsonval.TypeString {
		return wrongType(c.Cmd.Name, "$db", db.Type(), String)
	}
	return checkDBName(db.Str())
}

func runRemoveQuerySettings(_ context.Context, c *Call) error {
	return c.checkQueryShape(mongoerr.InvalidLength)
}

var (
	querySettingsFields = []Field{
		{Name: "indexHints", Kind: ObjectOrArray}, {Name: "queryFramework", Kind: String}, {Name: "reject", Kind: Bool},
		{Name: "comment", Kind: Any}, {Name: "serialization_context", Kind: Object},
	}
	indexHintFields = []Field{{Name: "ns", Kind: Object, Required: true}, {Name: "allowedIndexes", Kind: Array, Required: true}}
	hintNSFields    = []Field{{Name: "db", Kind: String}, {Name: "coll", Kind: String}}
)

// runSetQuerySettings checks the arguments before it refuses.
func runSetQuerySettings(_ context.Context, c *Call) error {
	if err := c.checkQueryShape(0); err != nil {
		return err
	}
	settings := c.Doc("settings")
	if settings.IsEmpty() {
		return mongoerr.New(8727502, "settings field in setQuerySettings command cannot be empty")
	}
	var v [5]bsonval.Value
	if err := ParseFields("setQuerySettings.settings", settings, querySettingsFields, v[:]); err != nil {
		return err
	}
	if f := v[1]; !f.IsMissing() && f.Str() != "classic" && f.Str() != "sbe" {
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'queryFramework' is not a valid value.", f.Str())
	}
	allowed, err := checkIndexHints(v[0])
	if err != nil {
		return err
	}
	if c.First.Type() == bsonval.TypeDocument {
		if err := checkSettable(c.First.Doc()); err != nil {
			return err
		}
	}
	if allowed == 0 && v[1].IsMissing() && !v[2].Truthy() {
		return mongoerr.New(7746604, "the resulting settings cannot be empty or contain only default values")
	}
	return errMissingCommand(c.Cmd)
}

// checkIndexHints checks one hint or a list of them and counts the indexes they allow.
func checkIndexHints(v bsonval.Value) (allowed int, err error) {
	hints := []bsonval.Value{v}
	switch v.Type() {
	case bsonval.TypeMissing:
		return 0, nil
	case bsonval.TypeArray:
		hints = v.Doc().Values(nil)
	}
	for _, h := range hints {
		if h.Type() != bsonval.TypeDocument {
			return 0, wrongType("setQuerySettings.settings", "indexHints", h.Type(), ObjectOrArray)
		}
		var f, ns [2]bsonval.Value
		if err := ParseFields("indexHints", h.Doc(), indexHintFields, f[:]); err != nil {
			return 0, err
		}
		if err := ParseFields("indexHints.ns", f[0].Doc(), hintNSFields, ns[:]); err != nil {
			return 0, err
		}
		switch {
		case ns[0].IsMissing():
			return 0, mongoerr.New(8727500, "invalid index hint: 'ns.db' field is missing")
		case ns[1].IsMissing():
			return 0, mongoerr.New(8727501, "invalid index hint: 'ns.coll' field is missing")
		}
		it := f[1].Doc().Iter()
		for it.Next() {
			if t := it.Value().Type(); t != bsonval.TypeString && t != bsonval.TypeDocument {
				return 0, mongoerr.New(mongoerr.FailedToParse, "Hint must be a string or an object")
			}
			allowed++
		}
	}
	return allowed, nil
}

// checkSettable says whether a query may have settings.
func checkSettable(query bsonval.Doc) error {
	_, coll, _ := query.First()
	db := query.Lookup("$db").Str()
	if coll.Type() == bsonval.TypeString && (db == "admin" || db == "local" || db == "config" || len(coll.Str()) > 7 && coll.Str()[:7] == "system.") {
		return mongoerr.New(8584900, "setQuerySettings command cannot be used on internal databases or system collections")
	}
	filter := query.Lookup("filter")
	if filter.Type() == bsonval.TypeDocument && filter.Doc().Len() == 1 && !filter.Doc().Lookup("_id").IsMissing() {
		return mongoerr.New(7746606, "setQuerySettings command cannot be used on find queries with an equality on _id")
	}
	return nil
}
