package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// CompressorID names a compressor in an OP_COMPRESSED.
type CompressorID uint8

// The compressors of the protocol. CompressorNone marks an OP_COMPRESSED whose payload is not compressed.
const (
	CompressorNone   CompressorID = 0
	CompressorSnappy CompressorID = 1
	CompressorZlib   CompressorID = 2
	CompressorZstd   CompressorID = 3
)

const (
	// CompressedOffset is where the compressed bytes of an OP_COMPRESSED start.
	CompressedOffset = HeaderLen + 4 + 4 + 1

	// maxZlibRatio is the best that deflate can do, with room to spare: 258 bytes for two bits is 1032 to 1.
	maxZlibRatio = 1040

	// maxZstdRatio is the best that zstd can do: a block of 128 KiB of one byte takes four bytes.
	maxZstdRatio = 32 << 10

	// zstdWindow bounds the memory of an encoder; messages are mostly far smaller.
	zstdWindow = 1 << 20
)

// compressorNames is the names of the compressors in a hello, by id.
var compressorNames = [...]string{"noop", "snappy", "zlib", "zstd"}

// String returns the compressor's name in a hello.
func (id CompressorID) String() string {
	if int(id) < len(compressorNames) {
		return compressorNames[id]
	}
	return fmt.Sprintf("compressor %d", uint8(id))
}

// CompressorByName returns the compressor a hello calls by that name: snappy, zlib or zstd.
func CompressorByName(name string) (CompressorID, bool) {
	for id := CompressorSnappy; int(id) < len(compressorNames); id++ {
		if compressorNames[id] == name {
			return id, true
		}
	}
	return 0, false
}

// Compressed is a parsed OP_COMPRESSED. Payload points into the frame it was parsed from.
//
//	┌────────┬────────────┬──────────────────┬──────────────┬──────────┐
//	│ header │ original:4 │ uncompressed:4   │ compressor:1 │ payload… │
//	└────────┴────────────┴──────────────────┴──────────────┴──────────┘
//	 the uncompressed bytes are the original message without its header
type Compressed struct {
	Header Header
	// Original is the opcode of the message inside.
	Original OpCode
	// Size is the length of the uncompressed bytes. Invariant: 0 <= Size <= MaxMessageSize - HeaderLen.
	Size       int
	Compressor CompressorID
	Payload    []byte
}

// Parse fills c from a frame. Sizes beyond the limit and nested compression are refused here, before anything is
// allocated for the content.
func (c *Compressed) Parse(frame []byte) error {
	*c = Compressed{}
	h, frame, err := parseFrame(frame, OpCompressed)
	c.Header = h
	if err != nil {
		return err
	}
	if len(frame) < CompressedOffset {
		return errTruncated
	}
	c.Original = OpCode(binary.LittleEndian.Uint32(frame[HeaderLen:]))
	size := int32(binary.LittleEndian.Uint32(frame[HeaderLen+4:]))
	c.Compressor = CompressorID(frame[HeaderLen+8])
	c.Payload = frame[CompressedOffset:]
	switch {
	case c.Original == OpCompressed:
		return errorf(codeProtocolError, true, "OP_COMPRESSED within OP_COMPRESSED")
	case size < 0 || size > MaxMessageSize-HeaderLen:
		return errorf(codeProtocolError, true, "Decompressed message would be larger than maximum message size")
	case int(c.Compressor) >= len(compressorNames):
		return errorf(codeProtocolError, true, "Compression algorithm specified in message is not available")
	}
	c.Size = int(size)
	return nil
}

// Decompress appends the original message, header included, to dst. It fails unless the payload yields exactly Size
// bytes, and never produces more.
func (c *Compressed) Decompress(dst []byte) ([]byte, error) {
	if err := c.plausible(); err != nil {
		return dst, err
	}
	start := len(dst)
	if need := start + HeaderLen + c.Size; cap(dst) < need {
		dst = append(make([]byte, 0, need), dst...)
	}
	h := c.Header
	h.Length, h.OpCode = int32(HeaderLen+c.Size), c.Original
	dst = AppendHeader(dst, h)
	body := dst[len(dst) : len(dst)+c.Size : len(dst)+c.Size]
	n, err := c.decompressInto(body)
	if err == nil && n != c.Size {
		err = fmt.Errorf("%d bytes instead of %d", n, c.Size)
	}
	if err != nil {
		return dst[:start], errorf(codeProtocolError, true, "cannot decompress message (%s): %v", c.Compressor, err)
	}
	return dst[:len(dst)+c.Size], nil
}

// plausible refuses sizes the payload cannot yield, where that can be told without decompressing.
func (c *Compressed) plausible() error {
	ok := true
	switch c.Compressor {
	case CompressorNone:
		ok = len(c.Payload) == c.Size
	case CompressorSnappy:
		n, err := snappy.DecodedLen(c.Payload)
		ok = err == nil && n == c.Size
	case CompressorZlib:
		ok = c.Size/maxZlibRatio <= len(c.Payload)
	case CompressorZstd:
		var h zstd.Header
		ok = h.Decode(c.Payload) == nil && c.Size/maxZstdRatio <= len(c.Payload) &&
			(!h.HasFCS || h.FrameContentSize <= uint64(c.Size))
	}
	if !ok {
		return errorf(codeProtocolError, true, "cannot decompress message (%s): %d bytes do not hold %d",
			c.Compressor, len(c.Payload), c.Size)
	}
	return nil
}

// decompressInto fills dst, whose length is Size, and returns the number of bytes the payload yields.
func (c *Compressed) decompressInto(dst []byte) (int, error) {
	switch c.Compressor {
	case CompressorNone:
		return copy(dst, c.Payload), nil
	case CompressorSnappy:
		out, err := snappy.Decode(dst, c.Payload)
		return len(out), err
	case CompressorZlib:
		return inflate(dst, c.Payload)
	}
	d, err := zstdDecoder()
	if err != nil {
		return 0, err
	}
	out, err := d.DecodeAll(c.Payload, dst[:0])
	return len(out), err
}

// inflaters and deflaters are the idle zlib readers and writers.
var inflaters, deflaters sync.Pool

// inflate decompresses src into dst. The count is above len(dst) if src yields more than fits.
func inflate(dst, src []byte) (int, error) {
	in := bytes.NewReader(src)
	r, ok := inflaters.Get().(io.ReadCloser)
	if ok {
		if err := r.(zlib.Resetter).Reset(in, nil); err != nil {
			return 0, err
		}
	} else {
		var err error
		if r, err = zlib.NewReader(in); err != nil {
			return 0, err
		}
	}
	defer inflaters.Put(r)
	n, err := io.ReadFull(r, dst)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	// Reading on to the end checks that there is no more and that the stream's own checksum holds.
	var more [1]byte
	extra, err := io.ReadFull(r, more[:])
	if err == io.EOF {
		err = nil
	}
	return n + extra, err
}

// zstdDecoder and zstdEncoder are shared: DecodeAll and EncodeAll may be called concurrently and start no goroutine.
var (
	zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxMemory(MaxMessageSize), zstd.WithDecodeAllCapLimit(true))
	})
	zstdEncoder = sync.OnceValues(func() (*zstd.Encoder, error) {
		return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(zstdWindow),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false),
			// With a single segment the header tells the size of small contents too; PyMongo's decoder insists on it.
			zstd.WithSingleSegment(true))
	})
)

// AppendCompressed appends frame, which is a whole message, to dst as an OP_COMPRESSED with the same ids.
func AppendCompressed(dst, frame []byte, id CompressorID) ([]byte, error) {
	h, err := ParseHeader(frame)
	if err != nil {
		return dst, err
	}
	if int(h.Length) != len(frame) || h.OpCode == OpCompressed {
		return dst, errorf(codeProtocolError, true, "cannot compress this message")
	}
	start, body := len(dst), frame[HeaderLen:]
	dst = AppendHeader(dst, Header{RequestID: h.RequestID, ResponseTo: h.ResponseTo, OpCode: OpCompressed})
	dst = binary.LittleEndian.AppendUint32(dst, uint32(h.OpCode))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(body)))
	dst = append(dst, byte(id))
	if dst, err = appendPayload(dst, body, id); err != nil {
		return dst[:start], err
	}
	return FinishMessage(dst, start), nil
}

// appendPayload appends the compressed form of body.
func appendPayload(dst, body []byte, id CompressorID) ([]byte, error) {
	switch id {
	case CompressorNone:
		return append(dst, body...), nil
	case CompressorSnappy:
		n := snappy.MaxEncodedLen(len(body))
		if free := cap(dst) - len(dst); free < n {
			dst = append(make([]byte, 0, len(dst)+n), dst...)
		}
		out := snappy.Encode(dst[len(dst):len(dst)+n], body)
		return dst[:len(dst)+len(out)], nil
	case CompressorZlib:
		return deflate(dst, body)
	case CompressorZstd:
		e, err := zstdEncoder()
		if err != nil {
			return dst, err
		}
		return e.EncodeAll(body, dst), nil
	}
	return dst, fmt.Errorf("unknown %s", id)
}

// deflate appends the zlib form of src.
func deflate(dst, src []byte) ([]byte, error) {
	out := bytes.NewBuffer(dst)
	w, ok := deflaters.Get().(*zlib.Writer)
	if ok {
		w.Reset(out)
	} else {
		w = zlib.NewWriter(out)
	}
	defer deflaters.Put(w)
	if _, err := w.Write(src); err != nil {
		return dst, err
	}
	if err := w.Close(); err != nil {
		return dst, err
	}
	return out.Bytes(), nil
}
