package command

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// parse reads and checks the command document.
func (c *Call) parse() error {
	body := c.Req.Body
	if !c.Cmd.Transient {
		body = body.Clone()
	}
	if err := c.read(body); err != nil {
		return err
	}
	if err := c.sequences(); err != nil {
		return err
	}
	if err := c.applyGeneric(); err != nil {
		return err
	}
	for i := range c.Cmd.Fields {
		if f := &c.Cmd.Fields[i]; f.Required && !c.Has(f.Name) {
			if _, ok := c.Req.Sequence(f.Name); !ok || !f.Sequence {
				return errMissingField(c.Cmd.Name, f.Name)
			}
		}
	}
	return c.parseFirst()
}

// keep copies the arguments of a Transient command that turns out to need them longer.
func (c *Call) keep() error {
	c.args, c.generic = c.args[:0], generic{}
	err := c.read(c.Req.Body.Clone())
	c.Comment = c.generic.comment
	return err
}

// read takes the arguments from the command document, in one pass.
func (c *Call) read(body bsonval.Doc) error {
	it := body.Iter()
	if !it.Next() {
		return mongoerr.New(mongoerr.CommandNotFound, "no such command: ''")
	}
	c.First = it.Value()
	for it.Next() {
		v := it.Value()
		known, err := c.generic.set(it.Key(), v)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		if err := c.argument(it.Key(), v); err != nil {
			return err
		}
	}
	return it.Err()
}

// argument takes an argument that is not a generic one.
func (c *Call) argument(name []byte, v bsonval.Value) error {
	i := fieldIndex(c.Cmd.Fields, name)
	if i < 0 {
		if c.Cmd.Loose {
			return nil
		}
		return errUnknownField(c.Cmd.Name, string(name))
	}
	f := &c.Cmd.Fields[i]
	for j := range c.args {
		if c.args[j].field == f {
			return errDuplicateField(c.Cmd.Name, f.Name)
		}
	}
	if f.Kind.isAbsent(v) {
		return nil
	}
	if err := f.check(c.Cmd.Name, v); err != nil {
		return err
	}
	c.args = append(c.args, argument{f, v})
	return nil
}

// sequences checks that the document sequences of the message are arguments.
func (c *Call) sequences() error {
	for _, s := range c.Req.Sequences() {
		i := fieldIndex(c.Cmd.Fields, s.Name)
		if i < 0 || !c.Cmd.Fields[i].Sequence {
			return errUnknownField(c.Cmd.Name, string(s.Name))
		}
		if c.Has(string(s.Name)) {
			return errDuplicateField(c.Cmd.Name, string(s.Name))
		}
	}
	return nil
}

// parseFirst reads the namespace.
func (c *Call) parseFirst() error {
	if err := checkDBName(c.DB); err != nil {
		return err
	}
	switch c.Cmd.First {
	case FirstCollection:
		return c.takeCollection()
	case FirstCollectionOrUUID:
		if c.First.Type() == bsonval.TypeBinary && c.First.BinarySubtype() == 4 {
			return c.takeUUID()
		}
		return c.takeCollection()
	case FirstValue:
		if c.Cmd.FirstKind.isAbsent(c.First) {
			return errMissingField(c.Cmd.Name, c.Cmd.Name)
		}
		return (&Field{Name: c.Cmd.Name, Kind: c.Cmd.FirstKind}).check(c.Cmd.Name, c.First)
	case FirstCollectionOrOne:
		if n, ok := c.First.AsInt64(); c.First.IsNumber() {
			if !ok || n != 1 {
				return mongoerr.New(mongoerr.FailedToParse, "Invalid command format: the '%s' field must specify a collection name or 1", c.Cmd.Name)
			}
			return nil
		}
		if c.First.Type() != bsonval.TypeString {
			return mongoerr.New(mongoerr.TypeMismatch, "collection name has invalid type: %s", c.First.Type())
		}
		return c.takeCollection()
	}
	return nil
}

func (c *Call) takeCollection() error {
	if c.First.Type() != bsonval.TypeString {
		return mongoerr.New(mongoerr.InvalidNamespace, "collection name has invalid type %s", c.First.Type())
	}
	c.Coll = strings.Clone(c.First.Str())
	return CheckCollectionName(c.DB, c.Coll)
}

// takeUUID finds the collection with a UUID.
func (c *Call) takeUUID() error {
	if len(c.First.Bytes()) != 16 {
		return mongoerr.New(mongoerr.InvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype")
	}
	for _, coll := range c.Database().Catalog().Collections(c.DB) {
		if string(coll.UUID[:]) == string(c.First.Bytes()) {
			c.Coll = coll.Name
			return nil
		}
	}
	return mongoerr.New(mongoerr.NamespaceNotFound, "Unable to resolve %s:%x", c.DB, c.First.Bytes())
}

// CheckCollectionName says whether a name can be that of a collection.
func CheckCollectionName(db, coll string) error {
	if coll == "" || coll[0] == '.' || strings.IndexByte(coll, 0) >= 0 {
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified '%s.%s'", db, coll)
	}
	return nil
}

// checkDBName says whether a name can be that of a database.
func checkDBName(db string) error {
	if db == "" || len(db) > 63 || db != "$external" && strings.ContainsAny(db, "/\\. \"$\x00") {
		return mongoerr.New(mongoerr.InvalidNamespace, "Invalid database name: '%s'", db)
	}
	return nil
}
