package command

import (
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// unsigned is the signature of a cluster time in deployments without keys.
var unsigned = bsonval.NewBuilder().Value("hash", bsonval.Binary(0, make([]byte, 20))).Int64("keyId", 0).Build()

// appendTimes appends $clusterTime and operationTime to a reply.
func (cs *Commands) appendTimes(dst []byte) []byte {
	// In this order: what was applied is never ahead of the cluster time.
	applied := cs.clock.Applied()
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, "$clusterTime")
	dst = appendTimestamp(dst, "clusterTime", cs.clock.Time())
	dst = bsonval.AppendElement(dst, "signature", bsonval.Document(unsigned))
	dst = bsonval.EndDoc(dst, at)
	return appendTimestamp(dst, "operationTime", applied)
}

func appendTimestamp(dst []byte, name string, t uint64) []byte {
	dst = append(dst, byte(bsonval.TypeTimestamp))
	dst = append(append(dst, name...), 0)
	return binary.LittleEndian.AppendUint64(dst, t)
}

// timed gives an error the times that replies of replica set members carry.
func (cs *Commands) timed(e *mongoerr.Error) *mongoerr.Error {
	if !cs.replicated {
		return e
	}
	doc, at := bsonval.BeginDoc(nil)
	if len(e.Extra) > 5 {
		doc = append(doc, e.Extra[4:len(e.Extra)-1]...)
	}
	return e.WithExtra(bsonval.EndDoc(cs.appendTimes(doc), at))
}

var (
	clusterTimeFields = []Field{{Name: "clusterTime", Kind: Timestamp, Required: true}, {Name: "signature", Kind: Object}}
	signatureFields   = []Field{{Name: "hash", Kind: Any, Required: true}, {Name: "keyId", Kind: Any, Required: true}}
)

// gossip takes over the cluster time a client has seen. A standalone has no cluster time.
func (c *Call) gossip(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '$clusterTime' is the wrong type '%s', expected type 'object'", v.Type())
	}
	var times, signature [2]bsonval.Value
	if err := ParseFields("$clusterTime", v.Doc(), clusterTimeFields, times[:]); err != nil {
		return err
	}
	if s := times[1]; !s.IsMissing() {
		if err := ParseFields("$clusterTime.signature", s.Doc(), signatureFields, signature[:]); err != nil {
			return err
		}
		if t := signature[0].Type(); t != bsonval.TypeBinary {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field '$clusterTime.signature.hash' is the wrong type '%s', expected type 'binData'", t)
		}
		if !signature[1].IsNumber() { // drivers that promote numbers send the 0 back as an int
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field '$clusterTime.signature.keyId' is the wrong type '%s', expected type 'long'", signature[1].Type())
		}
	}
	if !c.Commands.replicated {
		return nil
	}
	return c.Commands.clock.Advance(uint64(times[0].Int64()))
}
