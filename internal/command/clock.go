package command

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// maxClockDrift is how far ahead of the server's clock a cluster time may be that a client brings: a year, MongoDB's
// maxAcceptableLogicalClockDriftSecs.
const maxClockDrift = 365 * 24 * time.Hour

// clusterClock is the hybrid logical clock of the deployment: seconds in the upper half, a counter in the lower. It never
// goes back; each write moves it on.
type clusterClock struct {
	last atomic.Uint64
	now  func() time.Time
}

func newClusterClock(now func() time.Time) *clusterClock {
	c := &clusterClock{now: now}
	c.last.Store(uint64(now().Unix())<<32 | 1)
	return c
}

// time is the time of the last write.
func (c *clusterClock) time() uint64 { return c.last.Load() }

// tick gives a write its time.
func (c *clusterClock) tick() uint64 {
	wall := uint64(c.now().Unix()) << 32
	for {
		old := c.last.Load()
		next := max(old, wall) + 1
		if c.last.CompareAndSwap(old, next) {
			return next
		}
	}
}

// advance takes over a time a client has seen elsewhere.
func (c *clusterClock) advance(t uint64) error {
	for {
		old := c.last.Load()
		if t <= old {
			return nil
		}
		if int64(t>>32) > c.now().Add(maxClockDrift).Unix() {
			return mongoerr.New(mongoerr.ClusterTimeFailsRateLimiter, "New cluster time, %d, is too far from this node's wall "+
				"clock time, %d.", t>>32, c.now().Unix())
		}
		if c.last.CompareAndSwap(old, t) {
			return nil
		}
	}
}

// unsigned is the signature of a cluster time in deployments without keys.
var unsigned = bsonval.NewBuilder().Value("hash", bsonval.Binary(0, make([]byte, 20))).Int64("keyId", 0).Build()

// appendTimes appends $clusterTime and operationTime to a reply.
func (c *clusterClock) appendTimes(dst []byte) []byte {
	t := c.time()
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, "$clusterTime")
	dst = appendTimestamp(dst, "clusterTime", t)
	dst = bsonval.AppendElement(dst, "signature", bsonval.Document(unsigned))
	dst = bsonval.EndDoc(dst, at)
	return appendTimestamp(dst, "operationTime", t)
}

func appendTimestamp(dst []byte, name string, t uint64) []byte {
	dst = append(dst, byte(bsonval.TypeTimestamp))
	dst = append(append(dst, name...), 0)
	return binary.LittleEndian.AppendUint64(dst, t)
}
