package database

import (
	crand "crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// objectIDs makes ObjectIds: 4 bytes of seconds, 5 random bytes chosen at
// start, 3 bytes of a counter (https://www.mongodb.com/docs/manual/reference/bson-types/#objectid).
type objectIDs struct {
	random  [5]byte
	counter atomic.Uint32
}

func (o *objectIDs) init() {
	var b [9]byte
	crand.Read(b[:])
	copy(o.random[:], b[:5])
	o.counter.Store(binary.BigEndian.Uint32(b[5:]))
}

func (o *objectIDs) bytes() []byte {
	b := make([]byte, 12)
	n := o.counter.Add(1)
	binary.BigEndian.PutUint32(b, uint32(time.Now().Unix()))
	copy(b[4:], o.random[:])
	b[9], b[10], b[11] = byte(n>>16), byte(n>>8), byte(n)
	return b
}

func (o *objectIDs) next() bsonval.Value { return bsonval.ObjectID(o.bytes()) }
