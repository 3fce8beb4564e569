package pebblestore

import (
	"encoding/binary"

	"github.com/archelon-db/archelon/internal/storage"
)

// The key space. All numbers are big-endian, so bytes.Compare is their order.
//
//	                key                                      value
//	+-----+-----------+--------------+
//	| 'c' | 't'       | table u32    |                       (empty)         table exists
//	+-----+-----------+--------------+
//	| 'c' | 'i'       | index u32    |                       flags u8 | table u32
//	+-----+-----------+--------------+
//	| 'f' |                                                  format u32 | store id 16 bytes
//	+-----+-----------+--------------------------+
//	| 'i' | index u32 | index key …   | rid u64  |           type bits       index, not unique
//	+-----+-----------+--------------------------+
//	| 'i' | index u32 | index key …   |                      rid u64 | type bits   unique index
//	+-----+-----------+---------------+
//	| 'l' |                                                  table u32 of the log
//	+-----+---------------------------+
//	| 'm' | meta key …                |                      meta value
//	+-----+---------------------------+
//	| 'p' |                                                  position u64
//	+-----+-----------+----------+
//	| 't' | table u32 | rid u64  |                           document
//	+-----+-----------+----------+
//
// The position of the last commit is 'p' or the rid of the last record in the table
// of 'l', whichever is larger: a commit that appends to that table leaves both
// alone.
//
// A position is the commit's time, seconds u32 and a counter u32, at least the
// second of the wall clock; in stores older than log tables, where it was a number
// from 1 on, it is smaller than any time. The rid of a record in a log table is the
// time of its commit, and the position of the commit that of its last one.
//
// flags bit 0: the index is unique. Index keys are prefix-free (see
// storage.Engine), so the record id behind a key never takes part in comparing
// two different keys. A record id is positive: its first byte is below 0x80.
const (
	prefixCreated  = 'c'
	prefixHeader   = 'f'
	prefixIndex    = 'i'
	prefixLog      = 'l'
	prefixMeta     = 'm'
	prefixPosition = 'p'
	prefixTable    = 't'

	flagUnique = 1

	idPrefixLen  = 5 // a prefix byte and a u32
	ridLen       = 8
	recordKeyLen = idPrefixLen + ridLen
)

var (
	headerKey   = []byte{prefixHeader}
	positionKey = []byte{prefixPosition}
	logKey      = []byte{prefixLog}
)

// appendIDPrefix appends what all keys under a table or an index begin with.
func appendIDPrefix(b []byte, kind byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, kind), id)
}

// appendIDEnd appends the first key behind all those of appendIDPrefix.
func appendIDEnd(b []byte, kind byte, id uint32) []byte {
	if id == 1<<32-1 {
		return append(b, kind+1)
	}
	return appendIDPrefix(b, kind, id+1)
}

func appendRecordKey(b []byte, t storage.TableID, id storage.RecordID) []byte {
	return appendRID(appendIDPrefix(b, prefixTable, uint32(t)), id)
}

// appendIndexKey appends the stored key of an entry, or, with id 0 and a unique
// index, of a key.
func appendIndexKey(b []byte, r *idRange, key []byte, id storage.RecordID) []byte {
	b = append(appendIDPrefix(b, prefixIndex, r.id), key...)
	if r.unique {
		return b
	}
	return appendRID(b, id)
}

func appendRID(b []byte, id storage.RecordID) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(id))
}

func appendMetaKey(b, key []byte) []byte {
	return append(append(b, prefixMeta), key...)
}

// appendCreatedKey appends the key that says that a table or an index exists.
func appendCreatedKey(b []byte, kind byte, id uint32) []byte {
	return binary.BigEndian.AppendUint32(append(b, prefixCreated, kind), id)
}

// ridOf reads the record id at the end of a record key or of a non-unique index
// key, or at the start of a unique index value. The caller has checked len(b).
func ridOf(b []byte) storage.RecordID {
	return storage.RecordID(binary.BigEndian.Uint64(b))
}

// appendPrefixEnd appends the first key behind all those that begin with prefix.
// The prefix begins with one of the letters above, so there always is one.
func appendPrefixEnd(b, prefix []byte) []byte {
	n := len(prefix)
	for n > 0 && prefix[n-1] == 0xff {
		n--
	}
	b = append(b, prefix[:n]...)
	b[len(b)-1]++
	return b
}
