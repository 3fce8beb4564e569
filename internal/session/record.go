package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	recordPrefix  = "R"
	recordVersion = 1
	// committedVersion marks the record of a transaction that has committed.
	committedVersion = 2
	// abortedVersion marks the record of one that another process was asked to commit and must not commit any more.
	abortedVersion = 3
	keyLen         = 1 + 16 + 32 + 4
	headerLen      = 1 + 8 + 8
	// chunkBytes is where a record goes on in another chunk. A write of many statements rewrites at most this much with each.
	chunkBytes = 8 << 10
)

var errBadRecord = errors.New("session: malformed record of a retryable write")

// entry is the outcome of count consecutive statements.
type entry struct {
	first   int32
	count   int32
	outcome []byte
}

func (e *entry) covers(stmt int32) bool {
	return stmt >= e.first && int64(stmt) < int64(e.first)+int64(e.count)
}

// chunk is a part of a session's record.
type chunk struct {
	entries []entry
	size    int // of the entries, encoded
}

// add appends the outcome of a statement.
func (c *chunk) add(stmt int32, outcome []byte) {
	if n := len(c.entries); n > 0 {
		last := &c.entries[n-1]
		if int64(stmt) == int64(last.first)+int64(last.count) && bytes.Equal(outcome, last.outcome) {
			last.count++
			return
		}
	}
	c.entries = append(c.entries, entry{stmt, 1, bytes.Clone(outcome)})
	c.size += len(outcome) + 3*binary.MaxVarintLen32
}

func (c *chunk) clone() chunk {
	return chunk{append([]entry(nil), c.entries...), c.size}
}

func chunkKey(id ID, i int) []byte {
	key := make([]byte, 0, keyLen)
	key = append(key, recordPrefix...)
	key = append(append(key, id.UUID[:]...), id.UID[:]...)
	return binary.BigEndian.AppendUint32(key, uint32(i))
}

func idOfKey(key []byte) (ID, bool) {
	var id ID
	if len(key) != keyLen || key[0] != recordPrefix[0] {
		return id, false
	}
	copy(id.UUID[:], key[1:])
	copy(id.UID[:], key[17:])
	return id, true
}

func lastUseOf(value []byte) int64 {
	if len(value) < headerLen {
		return 0
	}
	return int64(binary.BigEndian.Uint64(value[1:]))
}

func (c *chunk) encode(lastUse, number int64) []byte {
	b := make([]byte, 0, headerLen+c.size)
	b = append(b, recordVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(lastUse))
	b = binary.BigEndian.AppendUint64(b, uint64(number))
	for _, e := range c.entries {
		b = binary.AppendVarint(b, int64(e.first))
		b = binary.AppendUvarint(b, uint64(e.count))
		b = binary.AppendUvarint(b, uint64(len(e.outcome)))
		b = append(b, e.outcome...)
	}
	return b
}

func decodeChunk(b []byte) (c chunk, number int64, err error) {
	if len(b) < headerLen || b[0] != recordVersion {
		return c, 0, errBadRecord
	}
	number = int64(binary.BigEndian.Uint64(b[9:]))
	for b = b[headerLen:]; len(b) > 0; {
		first, n := binary.Varint(b)
		if n <= 0 || first != int64(int32(first)) {
			return c, 0, fmt.Errorf("%w: statement", errBadRecord)
		}
		b = b[n:]
		count, n := binary.Uvarint(b)
		if n <= 0 || count == 0 || count > 1<<31-1 {
			return c, 0, fmt.Errorf("%w: count", errBadRecord)
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return c, 0, fmt.Errorf("%w: outcome", errBadRecord)
		}
		b = b[n:]
		c.entries = append(c.entries, entry{int32(first), int32(count), bytes.Clone(b[:size])})
		c.size += int(size) + 3*binary.MaxVarintLen32
		b = b[size:]
	}
	return c, number, nil
}

// encodeCommitted is the record of a transaction that has committed.
func encodeCommitted(lastUse, number int64) []byte {
	b := binary.BigEndian.AppendUint64([]byte{committedVersion}, uint64(lastUse))
	return binary.BigEndian.AppendUint64(b, uint64(number))
}

// encodeAborted is the record of a transaction that must not commit.
func encodeAborted(lastUse, number int64) []byte {
	b := encodeCommitted(lastUse, number)
	b[0] = abortedVersion
	return b
}

// decodeEnded reads the record of a transaction that has ended.
func decodeEnded(b []byte) (number int64, how phase, err error) {
	if len(b) != headerLen || b[0] != committedVersion && b[0] != abortedVersion {
		return 0, 0, errBadRecord
	}
	how = committed
	if b[0] == abortedVersion {
		how = aborted
	}
	return int64(binary.BigEndian.Uint64(b[9:])), how, nil
}
