package catalog

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
)

// Lasts says whether a collection is still there under its name for a transaction, and has
// this index, nil for none. Another one that has got the name since is not it.
func (c *Collection) Lasts(ctx context.Context, txn storage.Txn, x *Index) (coll, index bool, err error) {
	stored, err := txn.GetMeta(ctx, c.Key())
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return false, false, nil
	case err != nil:
		return false, false, err
	case bytes.Equal(stored, c.stored):
		return true, x == nil || slices.ContainsFunc(c.Indexes, func(y *Index) bool { return y.ID == x.ID }), nil
	}
	now := bsonval.Doc(stored)
	if !bytes.Equal(now.Lookup("uuid").Bytes(), c.UUID[:]) || now.Lookup("id").Int64() != int64(c.Table) {
		return false, false, nil
	}
	if x == nil {
		return true, true, nil
	}
	for it := docOf(now.Lookup("indexes")).Iter(); it.Next(); {
		if it.Value().Doc().Lookup("id").Int64() == int64(x.ID) {
			return true, true, nil
		}
	}
	return true, false, nil
}
