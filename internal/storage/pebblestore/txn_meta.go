package pebblestore

import "context"

func (tx *txn) metaKey(key []byte) []byte {
	tx.keyBuf = appendMetaKey(tx.keyBuf[:0], key)
	return tx.keyBuf
}

// GetMeta returns the value of a meta key.
func (tx *txn) GetMeta(ctx context.Context, key []byte) ([]byte, error) {
	g, err := tx.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer g.RUnlock()
	k := tx.metaKey(key)
	v, closer, err := tx.read(k)
	if err != nil {
		tx.nreads = untracked
		return nil, err
	}
	if closer != nil && !tx.opts.ReadOnly {
		tx.track(tx.s.locks.hash(k))
	}
	return tx.pin(v, closer), nil
}

// PutMeta sets the value of a meta key.
func (tx *txn) PutMeta(ctx context.Context, key, value []byte) error {
	return tx.writeMeta(ctx, opSet, key, value)
}

// DeleteMeta removes a meta key.
func (tx *txn) DeleteMeta(ctx context.Context, key []byte) error {
	return tx.writeMeta(ctx, opDelete, key, nil)
}

func (tx *txn) writeMeta(ctx context.Context, kind opKind, key, value []byte) error {
	g, err := tx.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer g.RUnlock()
	k := tx.metaKey(key)
	if _, err := tx.claim(ctx, k); err != nil {
		return err
	}
	tx.w.write(kind, k, value, false)
	tx.unpin()
	return nil
}

// ScanMeta calls fn for each key with the prefix, in order.
func (tx *txn) ScanMeta(ctx context.Context, prefix []byte, fn func(key, value []byte) bool) error {
	var m mergeIter
	lower := appendMetaKey(nil, prefix)
	if err := m.open(ctx, tx, lower, appendPrefixEnd(nil, lower), false); err != nil {
		return err
	}
	for m.next() {
		v, ok := m.value()
		if !ok || !fn(m.key()[1:], v) {
			break
		}
	}
	return m.close()
}
