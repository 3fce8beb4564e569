package wire

import (
	"io"
	"math/bits"
	"sync"
)

// Buffers are pooled by capacity in powers of four from 1 KiB; the last class holds exactly the largest message.
const (
	minClassBits = 10
	classStep    = 2
	classes      = 9

	// firstReadSize is what a buffer gets before any byte of a large message has arrived. From there it grows
	// fourfold each time it is full, so what a message costs is bounded by what was sent of it.
	firstReadSize = 16 << 10
	growFactor    = 4
)

// pools holds the free buffers of each class.
var pools [classes]sync.Pool

// Buffer is a pooled byte slice. Get one with NewBuffer, append to B, give it back with Release.
type Buffer struct {
	B []byte
}

// classFor returns the smallest class whose capacity is at least n.
func classFor(n int) int {
	if n <= 1<<minClassBits {
		return 0
	}
	return (bits.Len(uint(n-1)) - minClassBits + classStep - 1) / classStep
}

// NewBuffer returns an empty buffer with room for at least n bytes.
func NewBuffer(n int) *Buffer {
	if n > MaxMessageSize {
		return &Buffer{B: make([]byte, 0, n)}
	}
	c := classFor(n)
	if b, ok := pools[c].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, min(1<<(minClassBits+classStep*c), MaxMessageSize))}
}

// Release gives the buffer back. Neither it nor any slice of B may be used afterwards.
func (b *Buffer) Release() {
	// The class is the largest whose promise the capacity keeps; B may have been grown by append meanwhile.
	n := cap(b.B)
	if n < 1<<minClassBits {
		return
	}
	c := (bits.Len(uint(n)) - 1 - minClassBits) / classStep
	if n >= MaxMessageSize {
		c = classes - 1
	}
	b.B = b.B[:0]
	pools[c].Put(b)
}

// Fill appends bytes of r until B has n bytes. The buffer grows as bytes arrive. It returns io.ErrUnexpectedEOF
// if r ends early.
func (b *Buffer) Fill(r io.Reader, n int) error {
	for len(b.B) < n {
		if len(b.B) == cap(b.B) {
			b.grow(min(n, max(cap(b.B)*growFactor, firstReadSize)))
		}
		end := min(n, cap(b.B))
		m, err := r.Read(b.B[len(b.B):end])
		b.B = b.B[:len(b.B)+m]
		if err != nil && len(b.B) < n {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// grow moves the content to a larger buffer of the pool and recycles the old bytes.
func (b *Buffer) grow(n int) {
	g := NewBuffer(n)
	g.B = append(g.B, b.B...)
	b.B, g.B = g.B, b.B
	g.Release()
}

// ReadMessage reads one frame. The caller owns the buffer and releases it. At the end of the stream between two
// messages the error is io.EOF.
func ReadMessage(r io.Reader) (*Buffer, Header, error) {
	b := NewBuffer(1 << minClassBits)
	b.B = b.B[:HeaderLen]
	if _, err := io.ReadFull(r, b.B); err != nil {
		b.Release()
		return nil, Header{}, err
	}
	h, err := ParseHeader(b.B)
	if err == nil {
		err = b.Fill(r, int(h.Length))
	}
	if err != nil {
		b.Release()
		return nil, h, err
	}
	return b, h, nil
}
