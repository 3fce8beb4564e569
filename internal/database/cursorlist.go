package database

import (
	"context"
	"io"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// NewListCursor opens a cursor on documents that are there already: the results of listCollections, listIndexes and
// bulkWrite. The documents belong to it.
func (d *DB) NewListCursor(op *Op, ns Namespace, docs []bsonval.Doc) *Cursor {
	return &Cursor{db: d, ns: ns, owner: op.Owner, user: op.User, tx: op.Txn, out: &listed{docs}}
}

// listed is a stream of documents in memory.
type listed struct{ docs []bsonval.Doc }

func (s *listed) Append(_ context.Context, dst []byte) ([]byte, error) {
	if len(s.docs) == 0 {
		return dst, io.EOF
	}
	dst = append(dst, s.docs[0]...)
	s.docs = s.docs[1:]
	return dst, nil
}

func (s *listed) exhausted() bool { return len(s.docs) == 0 }

func (s *listed) Close() error { return nil }
