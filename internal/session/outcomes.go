package session

import (
	"context"
	"fmt"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/storage"
)

// Outcome is what is stored about statements of a session's latest retryable write.
type Outcome struct {
	LSID      bsonval.Doc // {id, uid}
	TxnNumber int64
	// Outcome is as it was given to Add. It is valid during the call only.
	Outcome []byte
}

// Outcomes calls f for each stored outcome, until f returns false. f must not call the registry.
func (r *Registry) Outcomes(ctx context.Context, f func(Outcome) bool) error {
	txn := r.cfg.Engine.Begin(storage.TxnOptions{ReadOnly: true})
	defer txn.Rollback()
	var latest ID // whose chunk 0 has been seen last, with its number
	var number int64
	var bad error
	err := txn.ScanMeta(ctx, []byte(recordPrefix), func(key, value []byte) bool {
		id, ok := idOfKey(key)
		if !ok || value[0] == committedVersion {
			return true
		}
		var c chunk
		var n int64
		if c, n, bad = decodeChunk(value); bad != nil {
			return false
		}
		if key[keyLen-1] == 0 && key[keyLen-2] == 0 && key[keyLen-3] == 0 && key[keyLen-4] == 0 {
			latest, number = id, n
		}
		if id != latest || n != number {
			return true // left over from an earlier write
		}
		for _, e := range c.entries {
			if !f(Outcome{id.doc(), n, e.outcome}) {
				return false
			}
		}
		return true
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return fmt.Errorf("read the outcomes of retryable writes: %w", err)
	}
	return nil
}
