package catalog

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/indexkey"
	"github.com/archelon-db/archelon/internal/match"
	"github.com/archelon-db/archelon/internal/storage"
)

func encodeCollection(c *Collection) bsonval.Doc {
	b := bsonval.NewBuilder()
	b.Int64("id", int64(c.Table)).Value("uuid", c.UUID.Value()).Str("type", c.Type)
	b.Doc("options", c.Options)
	if c.Log {
		b.Bool("log", true)
	}
	b.StartArray("indexes")
	for _, x := range c.Indexes {
		b.StartDoc("").Int64("id", int64(x.ID)).Doc("spec", x.Spec).Bool("ready", x.Ready)
		if x.Builder != ([8]byte{}) && !x.Ready {
			b.Value("builder", bsonval.Binary(0, x.Builder[:]))
		}
		b.End()
	}
	return b.Build()
}

func decodeCollection(key, value []byte) (*Collection, error) {
	db, name, ok := bytes.Cut(key[1:], []byte{0})
	d := bsonval.Doc(value).Clone()
	if !ok || bsonval.Validate(d) != nil {
		return nil, fmt.Errorf("catalog: damaged entry %q", key)
	}
	c := &Collection{
		DB: string(db), Name: string(name),
		Table:   storage.TableID(d.Lookup("id").Int64()),
		Type:    d.Lookup("type").Str(),
		Options: docOf(d.Lookup("options")),
		Log:     d.Lookup("log").Truthy(),
		ns:      string(db) + "." + string(name),
		stored:  bytes.Clone(value),
	}
	copy(c.UUID[:], d.Lookup("uuid").Bytes())
	if err := c.applyOptions(); err != nil {
		return nil, fmt.Errorf("catalog: damaged entry %q: %w", key, err)
	}
	if !c.IsView() {
		c.Guard = &Guard{}
	}
	it := docOf(d.Lookup("indexes")).Iter()
	for it.Next() {
		e := it.Value().Doc()
		x, err := NewIndex(docOf(e.Lookup("spec")))
		if err != nil {
			return nil, fmt.Errorf("catalog: damaged entry %q: %w", key, err)
		}
		x.ID = storage.IndexID(e.Lookup("id").Int64())
		x.Ready = e.Lookup("ready").Bool()
		copy(x.Builder[:], e.Lookup("builder").Bytes())
		c.Indexes = append(c.Indexes, x)
	}
	return c, nil
}

// NewCollection makes a collection or view of its options, not yet created.
func NewCollection(db, name string, options bsonval.Doc) (*Collection, error) {
	c := &Collection{DB: db, Name: name, Type: TypeCollection, Options: options, ns: db + "." + name}
	if options.Lookup("viewOn").Type() == bsonval.TypeString {
		c.Type = TypeView
	}
	return c, c.applyOptions()
}

// applyOptions fills the fields that the options define.
func (c *Collection) applyOptions() error {
	if c.Options == nil {
		c.Options = bsonval.EmptyDoc
	}
	if v := c.Options.Lookup("viewOn"); c.IsView() {
		c.ViewOn = string(v.Bytes())
		c.Pipeline = docOf(c.Options.Lookup("pipeline"))
		if c.Pipeline == nil {
			c.Pipeline = bsonval.EmptyDoc
		}
	}
	spec, err := collationOf(c.Options)
	if err != nil {
		return err
	}
	c.Collation = spec
	c.Capped, c.Clustered = capOf(c.Options), isClustered(c.Options)
	c.Images = docOf(c.Options.Lookup("changeStreamPreAndPostImages")).Lookup("enabled").Truthy()
	if v := c.Options.Lookup("validator"); v.Type() == bsonval.TypeDocument && !v.Doc().IsEmpty() {
		env := &expr.Env{}
		if spec != nil {
			env.Collator = spec.Collator()
		}
		c.Validator, err = match.Compile(v.Doc(), match.Options{Compiler: expr.NewCompiler(env)})
	}
	return err
}

func collationOf(d bsonval.Doc) (*collation.Spec, error) {
	v := d.Lookup("collation")
	if v.Type() != bsonval.TypeDocument {
		return nil, nil
	}
	return collation.Parse(v.Doc())
}

// NewIndex makes an index of its specification, which must have been checked:
// {v, key, name, unique, sparse, hidden, partialFilterExpression, collation …}.
func NewIndex(spec bsonval.Doc) (*Index, error) {
	x := &Index{
		Name: string(spec.Lookup("name").Bytes()), Spec: spec, Key: docOf(spec.Lookup("key")),
		Unique: spec.Lookup("unique").Truthy(), Sparse: spec.Lookup("sparse").Truthy(),
		Hidden: spec.Lookup("hidden").Truthy(), Clustered: spec.Lookup("clustered").Truthy(), Ready: true, multikey: new(atomic.Uint32), stored: new(storedMark), Uses: new(atomic.Int64),
		SinceMS: time.Now().UnixMilli(),
	}
	it := x.Key.Iter()
	for it.Next() {
		f := Field{Path: string(it.Key())}
		if v := it.Value(); v.IsNumber() {
			f.Desc = v.AsDouble() < 0
		}
		x.Fields = append(x.Fields, f)
	}
	x.Kind = indexkey.KindOf(x.Key)
	var err error
	x.Generator, err = indexkey.Make(indexkey.Spec{Kind: x.Kind, Fields: x.Fields, Sparse: x.Sparse, Options: spec})
	if err != nil {
		return nil, err
	}
	if x.Collation, err = collationOf(spec); err != nil {
		return nil, err
	}
	if x.Collation != nil {
		x.collator = x.Collation.Collator()
	}
	if f := spec.Lookup("partialFilterExpression"); f.Type() == bsonval.TypeDocument {
		env := &expr.Env{Collator: x.collator}
		x.Partial, err = match.Compile(f.Doc(), match.Options{Compiler: expr.NewCompiler(env)})
	}
	if x.IsID() {
		x.Unique = true
	}
	return x, err
}
