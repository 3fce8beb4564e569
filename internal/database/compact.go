package database

import (
	"context"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Compact gives the space of deleted documents back and returns how many bytes
// that were. It does nothing if fewer than target bytes can come of it.
func (d *DB) Compact(ctx context.Context, ns Namespace, target int64) (freed int64, err error) {
	coll, err := d.compactable(ns)
	if err != nil {
		return 0, err
	}
	before := d.engine.TableSize(coll.Table)
	if before < target {
		return 0, nil
	}
	if err := d.engine.Compact(ctx, coll.Table); err != nil {
		return 0, clientError(ctx, err)
	}
	return max(before-d.engine.TableSize(coll.Table), 0), nil
}

// EstimateCompact is the least that Compact would free: what the records take on
// disk beyond the size of the documents.
func (d *DB) EstimateCompact(ctx context.Context, ns Namespace, target int64) (int64, error) {
	coll, err := d.compactable(ns)
	if err != nil {
		return 0, err
	}
	_, size, err := d.counts(ctx, nil, coll)
	if err != nil {
		return 0, clientError(ctx, err)
	}
	if free := d.engine.TableSize(coll.Table) - size; free >= target {
		return free, nil
	}
	return 0, nil
}

func (d *DB) compactable(ns Namespace) (*catalog.Collection, error) {
	coll := d.catalog.Collection(ns.DB, ns.Coll)
	switch {
	case coll == nil:
		return nil, mongoerr.New(mongoerr.NamespaceNotFound, "collection does not exist")
	case coll.IsView():
		return nil, mongoerr.New(mongoerr.CommandNotSupportedOnView, "can't compact a view")
	}
	return coll, nil
}
