package pgstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/storage"
)

// maxMetaKey is the longest meta key: what fits into a B-tree page.
const maxMetaKey = 2600

// GetMeta returns the value of a meta key.
func (tx *txn) GetMeta(ctx context.Context, key []byte) ([]byte, error) {
	if err := tx.enter(ctx); err != nil {
		return nil, err
	}
	defer tx.s.gate.RUnlock()
	own := tx.meta[string(key)]
	if own != nil && own.known {
		if !own.exists {
			return nil, storage.ErrNotFound
		}
		return own.value, nil
	}
	if own != nil {
		if err := tx.flush(ctx); err != nil {
			return nil, err
		}
	}
	if err := tx.start(ctx); err != nil {
		return nil, err
	}
	tx.nreads = untracked
	var value []byte
	tx.c.add(tx.s.sql.getMeta, func(v [][]byte) { value = append([]byte{}, v[0]...) }, orEmpty(key))
	if err := tx.run(ctx); err != nil {
		return nil, err
	}
	if value == nil {
		return nil, storage.ErrNotFound
	}
	return value, nil
}

// PutMeta sets the value of a meta key.
func (tx *txn) PutMeta(ctx context.Context, key, value []byte) error {
	v := bytes.Clone(orEmpty(value))
	return tx.changeMeta(ctx, key, &op{kind: opPutMeta, value: v}, &metaValue{known: true, exists: true, value: v})
}

// DeleteMeta removes a meta key.
func (tx *txn) DeleteMeta(ctx context.Context, key []byte) error {
	return tx.changeMeta(ctx, key, &op{kind: opDropMeta}, &metaValue{known: true})
}

func (tx *txn) changeMeta(ctx context.Context, key []byte, w *op, m *metaValue) error {
	if err := tx.enterWrite(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	if len(key) > maxMetaKey {
		return fmt.Errorf("storage: a meta key has %d bytes, at most %d are possible", len(key), maxMetaKey)
	}
	if tx.meta[string(key)] == nil {
		if err := tx.claim(ctx, tx.s.claims.hash(kindMeta, 0, key)); err != nil {
			return err
		}
	}
	w.key = bytes.Clone(orEmpty(key))
	if tx.meta == nil {
		tx.meta = map[string]*metaValue{}
	}
	tx.meta[string(key)] = m
	tx.write(w)
	return tx.relieve(ctx)
}

// ScanMeta calls fn for each key with the prefix.
func (tx *txn) ScanMeta(ctx context.Context, prefix []byte, fn func(key, value []byte) bool) error {
	if err := tx.enter(ctx); err != nil {
		return err
	}
	defer tx.s.gate.RUnlock()
	if err := tx.flush(ctx); err != nil {
		return err
	}
	if err := tx.start(ctx); err != nil {
		return err
	}
	tx.nreads = untracked
	return eachPair(tx.s.queueMetaScan(tx.c, prefix), func() error { return tx.run(ctx) }, fn)
}

// metaPair is a meta key with its value.
type metaPair struct{ key, value []byte }

// queueMetaScan queues a scan of the meta keys with a prefix.
func (s *Store) queueMetaScan(c *conn, prefix []byte) *[]metaPair {
	all := &[]metaPair{}
	row := func(v [][]byte) { *all = append(*all, metaPair{bytes.Clone(v[0]), append([]byte{}, v[1]...)}) }
	if end := prefixEnd(prefix); end == nil {
		c.add(s.sql.scanMeta, row, orEmpty(prefix))
	} else {
		c.add(s.sql.scanMetaUpTo, row, orEmpty(prefix), end)
	}
	return all
}

// eachPair calls fn for each pair of a scan that run executes, until fn returns false.
func eachPair(all *[]metaPair, run func() error, fn func(key, value []byte) bool) error {
	if err := run(); err != nil {
		return err
	}
	for _, p := range *all {
		if !fn(p.key, p.value) {
			break
		}
	}
	return nil
}

// prefixEnd is the smallest key behind all with a prefix, nil if there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != 0xff {
			end[i]++
			return end[:i+1]
		}
	}
	return nil
}
