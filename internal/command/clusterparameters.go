package command

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// clusterParameter is a parameter that lasts and that all members of a replica set have
// in common. Its value is a document with one field.
type clusterParameter struct {
	name     string
	field    Field
	fallback bsonval.Value // of one that has not been set
	// check returns the value as it is stored.
	check func(bsonval.Value) (bsonval.Value, error)
	// apply makes a value count; nil for parameters of what one server has not: chunks
	// that migrate, and the streams' own collections of a server of many tenants. They
	// can be set and read, as on any replica set.
	apply func(*Commands, bsonval.Value)
}

// clusterParameters are the parameters there are.
var clusterParameters = []clusterParameter{
	{
		name: "changeStreamOptions", field: Field{Name: "preAndPostImages", Kind: Any}, check: checkImagesOptions, apply: applyImagesOptions,
		fallback: imagesOptions(bsonval.String("off")),
	},
	{
		name: "changeStreams", field: Field{Name: "expireAfterSeconds", Kind: Int}, fallback: bsonval.Int64(3600),
		check: atLeast("expireAfterSeconds", 1, math.MaxInt64),
	},
	{
		name: "defaultMaxTimeMS", field: Field{Name: "readOperations", Kind: Int}, fallback: bsonval.Int64(0),
		check: atLeast("readOperations", 0, math.MaxInt32),
		apply: func(cs *Commands, v bsonval.Value) { cs.cluster.readMaxTimeMS.Store(v.Int64()) },
	},
	{
		name: "pauseMigrationsDuringMultiUpdates", field: Field{Name: "enabled", Kind: Bool}, fallback: bsonval.False,
		check: func(v bsonval.Value) (bsonval.Value, error) { return v, nil },
	},
}

func clusterParameterIndex(name string) int {
	for i := range clusterParameters {
		if clusterParameters[i].name == name {
			return i
		}
	}
	return -1
}

// clusterValues are the values of the cluster parameters.
type clusterValues struct {
	change sync.Mutex                    // serialises changes
	values atomic.Pointer[[]bsonval.Doc] // with their times, as clients see them

	// readMaxTimeMS is the time limit of reads that name none; 0 for no limit.
	readMaxTimeMS atomic.Int64
}

// clusterParameterPrefix begins the meta keys of parameters that have been set; the name follows. The value is a
// BSON document, {clusterParameterTime, the parameter's field}.
const clusterParameterPrefix = "P"

// loadClusterParameters reads what has been set and makes it count.
func (cs *Commands) loadClusterParameters(ctx context.Context) error {
	cs.cluster.change.Lock()
	defer cs.cluster.change.Unlock()
	values := make([]bsonval.Doc, len(clusterParameters))
	for i := range clusterParameters {
		p := &clusterParameters[i]
		stored, err := cs.storedClusterParameter(ctx, p)
		if err != nil {
			return fmt.Errorf("read cluster parameter %s: %w", p.name, err)
		}
		if values[i] = stored; stored == nil {
			values[i] = bsonval.NewBuilder().Value(p.field.Name, p.fallback).Build()
		}
		if p.apply != nil {
			p.apply(cs, values[i].Lookup(p.field.Name))
		}
	}
	cs.cluster.values.Store(&values)
	return nil
}

// storedClusterParameter is what has been set, nil for nothing.
func (cs *Commands) storedClusterParameter(ctx context.Context, p *clusterParameter) (bsonval.Doc, error) {
	txn := cs.cfg.DB.Engine().Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	stored, err := txn.GetMeta(ctx, []byte(clusterParameterPrefix+p.name))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	if err == nil {
		err = bsonval.Validate(stored)
	}
	if err != nil {
		return nil, err
	}
	doc := bsonval.Doc(stored).Clone()
	_, err = p.check(doc.Lookup(p.field.Name))
	return doc, err
}

// setClusterParameter stores a checked value and makes it count.
func (cs *Commands) setClusterParameter(ctx context.Context, i int, v bsonval.Value) error {
	p := &clusterParameters[i]
	cs.cluster.change.Lock()
	defer cs.cluster.change.Unlock()
	doc := bsonval.NewBuilder().Value("clusterParameterTime", bsonval.TimestampBits(cs.clock.Time())).Value(p.field.Name, v).Build()
	txn := cs.cfg.DB.Engine().Begin(storage.TxnOptions{})
	defer txn.Rollback()
	if err := txn.PutMeta(ctx, []byte(clusterParameterPrefix+p.name), doc); err != nil {
		return err
	}
	if err := cs.cfg.DB.Touch(ctx, txn); err != nil {
		return err
	}
	if _, err := txn.Commit(ctx); err != nil {
		return err
	}
	values := slices.Clone(*cs.cluster.values.Load())
	values[i] = doc
	cs.cluster.values.Store(&values)
	if p.apply != nil {
		p.apply(cs, doc.Lookup(p.field.Name))
	}
	return nil
}

// atLeast checks a number between two bounds.
func atLeast(name string, low, high int64) func(bsonval.Value) (bsonval.Value, error) {
	return func(v bsonval.Value) (bsonval.Value, error) {
		n := v.TruncInt64()
		if n < low {
			return v, mongoerr.New(mongoerr.BadValue, "BSON field '%s' value must be >= %d, actual value '%d'", name, low, n)
		}
		if n > high {
			return v, mongoerr.New(mongoerr.BadValue, "BSON field '%s' value must be <= %d, actual value '%d'", name, high, n)
		}
		return bsonval.Int64(n), nil
	}
}

// imagesOptions is {expireAfterSeconds: after}.
func imagesOptions(after bsonval.Value) bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value("expireAfterSeconds", after).Build())
}

// checkImagesOptions checks changeStreamOptions.preAndPostImages.
func checkImagesOptions(v bsonval.Value) (bsonval.Value, error) {
	if v.Type() != bsonval.TypeDocument {
		return v, mongoerr.New(mongoerr.BadValue, "changeStreamOptions.preAndPostImages has to be a document")
	}
	const name = "setClusterParameter.changeStreamOptions.preAndPostImages"
	var vals [1]bsonval.Value
	if err := ParseFields(name, v.Doc(), []Field{{Name: "expireAfterSeconds", Kind: Any}}, vals[:]); err != nil {
		return v, err
	}
	switch after := vals[0]; {
	case after.IsMissing():
		return imagesOptions(bsonval.String("off")), nil
	case after.Type() == bsonval.TypeString && after.Str() == "off":
		return imagesOptions(after), nil
	case after.Type() == bsonval.TypeString:
		return v, mongoerr.New(mongoerr.BadValue, "Non-numeric value of 'expireAfterSeconds' should be 'off'")
	case !after.IsNumber():
		return v, wrongType(name, "expireAfterSeconds", after.Type(), IntOrString)
	case after.TruncInt64() <= 0:
		return v, mongoerr.New(mongoerr.BadValue, "Numeric value of 'expireAfterSeconds' should be positive")
	default:
		return imagesOptions(bsonval.Int64(after.TruncInt64())), nil
	}
}

// applyImagesOptions sets how long images are kept.
func applyImagesOptions(cs *Commands, v bsonval.Value) {
	after := v.Doc().Lookup("expireAfterSeconds")
	if !after.IsNumber() {
		cs.cfg.DB.SetImagesExpiry(0)
		return
	}
	cs.cfg.DB.SetImagesExpiry(time.Duration(min(after.TruncInt64(), math.MaxInt64/int64(time.Second))) * time.Second)
}

// limitRead gives a read that names no time limit the default one. Pipelines that write have none.
func (c *Call) limitRead() {
	limit := c.Commands.cluster.readMaxTimeMS.Load()
	if limit == 0 || !c.Cmd.ReadConcern || c.Cmd.OwnMaxTime || c.Cmd.Name == "getMore" {
		return
	}
	if c.Cmd.Name == "aggregate" {
		stages := c.Arg("pipeline").Doc().Values(nil)
		if n := len(stages); n > 0 && stages[n-1].Type() == bsonval.TypeDocument {
			switch name, _, _ := stages[n-1].Doc().First(); name {
			case "$out", "$merge":
				return
			}
		}
	}
	c.MaxTimeMS = limit
}
