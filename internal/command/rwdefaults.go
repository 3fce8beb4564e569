package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// rwDefaultsKey is the meta key of the default read and write concern.
var rwDefaultsKey = []byte("W")

// rwDefaults are the read and write concern of commands that give none. They are stored as a document with the fields of
// getDefaultRWConcern's reply that have been set.
type rwDefaults struct {
	// level is the default read concern, "" if none was set. All levels are the same on one node.
	level string
	// write is the default write concern as it was given and writeConcern what it means; nil if none was set.
	write        bsonval.Doc
	writeConcern WriteConcern
	// updated is the cluster time and wall the milliseconds of the last change; 0 for none.
	updated uint64
	wall    int64
}

func (d *rwDefaults) encode() bsonval.Doc {
	b := bsonval.NewBuilder()
	if d.level != "" {
		b.Str("level", d.level)
	}
	if d.write != nil {
		b.Doc("write", d.write)
	}
	return b.Value("updated", bsonval.TimestampBits(d.updated)).Date("wall", d.wall).Build()
}

func decodeRWDefaults(doc bsonval.Doc) (*rwDefaults, error) {
	d := &rwDefaults{}
	if err := bsonval.Validate(doc); err != nil {
		return nil, err
	}
	if v := doc.Lookup("level"); v.Type() == bsonval.TypeString {
		d.level = string(v.Bytes())
	}
	if v := doc.Lookup("write"); v.Type() == bsonval.TypeDocument {
		d.write = v.Doc().Clone()
		var err error
		if d.writeConcern, err = parseWriteConcern(d.write); err != nil {
			return nil, err
		}
		d.writeConcern.provenance = "customDefault"
	}
	if v := doc.Lookup("updated"); v.Type() == bsonval.TypeTimestamp {
		d.updated = uint64(v.Int64())
	}
	if v := doc.Lookup("wall"); v.Type() == bsonval.TypeDate {
		d.wall = v.Int64()
	}
	return d, nil
}

// loadRWDefaults reads the defaults.
func (cs *Commands) loadRWDefaults(ctx context.Context) error {
	txn := cs.cfg.DB.Engine().Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	doc, err := txn.GetMeta(ctx, rwDefaultsKey)
	if errors.Is(err, storage.ErrNotFound) {
		cs.defaults.Store(&rwDefaults{})
		return nil
	}
	if err == nil {
		var d *rwDefaults
		if d, err = decodeRWDefaults(doc); err == nil {
			cs.defaults.Store(d)
		}
	}
	if err != nil {
		return fmt.Errorf("read default read and write concern: %w", err)
	}
	return nil
}

func (cs *Commands) storeRWDefaults(ctx context.Context, d *rwDefaults) error {
	for {
		txn := cs.cfg.DB.Engine().Begin(storage.TxnOptions{})
		err := txn.PutMeta(ctx, rwDefaultsKey, d.encode())
		if err == nil {
			err = cs.cfg.DB.Touch(ctx, txn)
		}
		if err == nil {
			_, err = txn.Commit(ctx)
		}
		txn.Rollback()
		if !errors.Is(err, storage.ErrWriteConflict) {
			if err == nil {
				cs.defaults.Store(d)
			}
			return err
		}
	}
}

func rwDefaultCommands() []*Command {
	return []*Command{
		{Name: "getDefaultRWConcern", Help: "Tells the default read and write concern.", AdminOnly: true, SecondaryOK: true,
			Fields: []Field{{Name: "inMemory", Kind: Bool}}, Run: runGetDefaultRWConcern},
		{Name: "setDefaultRWConcern", Help: "Sets the default read and write concern.", AdminOnly: true, WriteConcern: true,
			Fields: []Field{{Name: "defaultReadConcern", Kind: Object}, {Name: "defaultWriteConcern", Kind: Object}}, Run: runSetDefaultRWConcern},
	}
}

func runGetDefaultRWConcern(_ context.Context, c *Call) error {
	if !c.Commands.replicated {
		return mongoerr.New(51300, "'getDefaultRWConcern' is not supported on standalone nodes.")
	}
	c.appendRWDefaults()
	if c.Bool("inMemory") {
		c.Append("inMemory", bsonval.True)
	}
	return nil
}

func runSetDefaultRWConcern(ctx context.Context, c *Call) error {
	if !c.Commands.replicated {
		return mongoerr.New(51300, "'setDefaultRWConcern' is not supported on standalone nodes.")
	}
	read, write := c.Doc("defaultReadConcern"), c.Doc("defaultWriteConcern")
	if read == nil && write == nil {
		return mongoerr.New(mongoerr.BadValue, "At least one of the \"defaultReadConcern\" or \"defaultWriteConcern\" fields must be present")
	}
	d := *c.Commands.defaults.Load()
	if read != nil {
		if err := d.setRead(read); err != nil {
			return err
		}
	}
	if write != nil {
		if err := d.setWrite(write); err != nil {
			return err
		}
	}
	d.updated, d.wall = c.Commands.clock.Time(), c.Commands.cfg.Now().UnixMilli()
	if err := c.Commands.storeRWDefaults(ctx, &d); err != nil {
		return err
	}
	c.appendRWDefaults()
	return nil
}

func (d *rwDefaults) setRead(doc bsonval.Doc) error {
	var v [7]bsonval.Value
	if err := ParseFields("readConcern", doc, readConcernFields, v[:]); err != nil {
		return err
	}
	for i := 1; i < len(v); i++ {
		if !v[i].IsMissing() {
			return mongoerr.New(mongoerr.BadValue, "Default read concern must not have '%s'", readConcernFields[i].Name)
		}
	}
	d.level = ""
	if v[0].IsMissing() {
		return nil
	}
	switch level := string(v[0].Bytes()); level {
	case "local", "available", "majority":
		d.level = level
		return nil
	default:
		return mongoerr.New(mongoerr.BadValue, "level: '%s' is not suitable for the default read concern", level)
	}
}

func (d *rwDefaults) setWrite(doc bsonval.Doc) error {
	if doc.IsEmpty() {
		if d.write == nil {
			return nil
		}
		return mongoerr.New(mongoerr.IllegalOperation, "The global default write concern cannot be unset once it is set.")
	}
	wc, err := parseWriteConcern(doc)
	switch {
	case err != nil:
		return err
	case wc.W == 0 && wc.Mode == "":
		return mongoerr.New(mongoerr.BadValue, "Unacknowledged write concern is not suitable for the default write concern")
	case doc.Lookup("w").IsMissing():
		return mongoerr.New(mongoerr.BadValue, "Default write concern must have 'w'")
	}
	wc.provenance = "customDefault"
	d.write, d.writeConcern = doc.Clone(), wc
	return nil
}

// appendRWDefaults appends the defaults as they are.
func (c *Call) appendRWDefaults() {
	d := c.Commands.defaults.Load()
	source := func(set bool) string {
		if set {
			return "global"
		}
		return "implicit"
	}
	b := bsonval.NewBuilder().StartDoc("defaultReadConcern")
	if d.level != "" {
		b.Str("level", d.level)
	} else {
		b.Str("level", "local")
	}
	b.End().StartDoc("defaultWriteConcern")
	if d.write == nil {
		b.Str("w", "majority").Int32("wtimeout", 0)
	} else {
		if wc := &d.writeConcern; wc.Mode != "" {
			b.Str("w", wc.Mode)
		} else {
			b.Int32("w", int32(wc.W))
		}
		if d.writeConcern.Journaled {
			b.Bool("j", d.writeConcern.Journal)
		}
		b.Int32("wtimeout", int32(d.writeConcern.TimeoutMS))
	}
	b.End()
	if d.updated != 0 {
		b.Value("updateOpTime", bsonval.TimestampBits(d.updated)).Date("updateWallClockTime", d.wall)
	}
	b.Str("defaultReadConcernSource", source(d.level != "")).Str("defaultWriteConcernSource", source(d.write != nil))
	local := d.wall
	if local == 0 {
		local = c.Commands.started.UnixMilli()
	}
	c.Reply.AppendDoc(b.Date("localUpdateWallClockTime", local).Build())
}
