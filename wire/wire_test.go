package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// doc returns a document with one int32 field.
func doc(name string, v int32) []byte {
	d := []byte{0, 0, 0, 0, 0x10}
	d = append(append(d, name...), 0)
	d = binary.LittleEndian.AppendUint32(d, uint32(v))
	d = append(d, 0)
	binary.LittleEndian.PutUint32(d, uint32(len(d)))
	return d
}

// rawMsg builds an OP_MSG from flags and raw sections.
func rawMsg(flags uint32, sections ...[]byte) []byte {
	b := AppendHeader(nil, Header{RequestID: 7, OpCode: OpMsg})
	b = binary.LittleEndian.AppendUint32(b, flags)
	for _, s := range sections {
		b = append(b, s...)
	}
	return FinishMessage(b, 0)
}

func body(d []byte) []byte { return append([]byte{0}, d...) }

func TestHeaderBounds(t *testing.T) {
	for _, tc := range []struct {
		length int32
		ok     bool
	}{{15, false}, {16, true}, {MaxMessageSize, true}, {MaxMessageSize + 1, false}, {-1, false}, {0, false}} {
		_, err := ParseHeader(AppendHeader(nil, Header{Length: tc.length, OpCode: OpMsg}))
		if (err == nil) != tc.ok {
			t.Errorf("length %d: error %v, want ok %v", tc.length, err, tc.ok)
		}
	}
	if _, err := ParseHeader(make([]byte, 15)); err == nil {
		t.Error("15 bytes accepted as a header")
	}
}

func TestMsgErrors(t *testing.T) {
	ok := doc("ping", 1)
	seq := AppendSequence(nil, "documents", doc("a", 1), doc("a", 2))
	badEnd := bytes.Clone(ok)
	badEnd[len(badEnd)-1] = 1
	long := bytes.Clone(ok)
	binary.LittleEndian.PutUint32(long, 1000)
	tooLarge := bytes.Clone(ok)
	binary.LittleEndian.PutUint32(tooLarge, MaxInternalDocumentSize+1)
	shortSize := bytes.Clone(seq)
	binary.LittleEndian.PutUint32(shortSize[1:], 3)
	badSum := FinishChecksum(append(rawMsg(1), body(ok)...), 0)
	badSum[len(badSum)-1] ^= 1

	for _, tc := range []struct {
		name  string
		frame []byte
		code  int32
		fatal bool
	}{
		{"plain", rawMsg(0, body(ok)), 0, false},
		{"exhaust and unknown optional bits", rawMsg(1<<16|1<<31, body(ok)), 0, false},
		{"body after sequence", rawMsg(0, seq, body(ok)), 0, false},
		{"two sequences", rawMsg(0, body(ok), seq, AppendSequence(nil, "nsInfo")), 0, false},
		{"three sequences", rawMsg(0, body(ok), seq, AppendSequence(nil, "b"), AppendSequence(nil, "c")), 233, true},
		{"unknown required bit", rawMsg(1<<2, body(ok)), 223, true},
		{"no flags", rawMsg(0)[:18], 17, true},
		{"no body", rawMsg(0), 40587, false},
		{"sequence only", rawMsg(0, seq), 40587, false},
		{"two bodies", rawMsg(0, body(ok), body(ok)), 40430, false},
		{"same sequence twice", rawMsg(0, body(ok), seq, seq), 40431, false},
		{"sequence repeats body field", rawMsg(0, body(doc("documents", 1)), seq), 40433, false},
		{"unknown section", rawMsg(0, []byte{9}), 40432, false},
		{"security token", rawMsg(0, body(ok), append([]byte{2}, ok...)), 13, false},
		{"document not closed", rawMsg(0, body(badEnd)), 22, false},
		{"document longer than message", rawMsg(0, body(long)), 22, false},
		{"document beyond limit", rawMsg(0, body(tooLarge)), 10334, false},
		{"document of four bytes", rawMsg(0, body([]byte{4, 0, 0, 0, 0, 0})), 10334, false},
		{"sequence without size", rawMsg(0, body(ok), []byte{1, 0, 0}), 22, false},
		{"sequence smaller than its size", rawMsg(0, body(ok), shortSize), 22, false},
		{"sequence name open", rawMsg(0, body(ok), []byte{1, 6, 0, 0, 0, 'a', 'b'}), 22, false},
		{"checksum", FinishChecksum(append(rawMsg(1), body(ok)...), 0), 0, false},
		{"checksum wrong", badSum, 288, true},
		{"checksum missing", rawMsg(1), 17, true},
		{"wrong opcode", FinishMessage(AppendHeader(nil, Header{OpCode: OpQuery}), 0), 17, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name == "no flags" {
				FinishMessage(tc.frame, 0)
			}
			var m Msg
			err := m.Parse(tc.frame)
			var we *Error
			if tc.code == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.As(err, &we) || we.Code != tc.code || we.Fatal != tc.fatal {
				t.Fatalf("got %#v, want code %d fatal %v", err, tc.code, tc.fatal)
			}
		})
	}
}

func TestMsgParseDoesNotAllocate(t *testing.T) {
	frame := rawMsg(0, body(doc("insert", 1)), AppendSequence(nil, "documents", doc("a", 1)))
	var m Msg
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Parse(frame); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMsgRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id, to := rapid.Int32().Draw(t, "id"), rapid.Int32().Draw(t, "to")
		flags := MsgFlags(0)
		for _, f := range []MsgFlags{FlagChecksumPresent, FlagMoreToCome, FlagExhaustAllowed} {
			if rapid.Bool().Draw(t, "flag") {
				flags |= f
			}
		}
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "prefix")
		b := AppendMsgStart(bytes.Clone(prefix), id, to, flags)
		b = append(b, doc("cmd", id)...)
		var want []string
		for i := range rapid.IntRange(0, MaxSequences).Draw(t, "sequences") {
			name := string(rune('a' + i))
			var docs [][]byte
			for j := range rapid.IntRange(0, 4).Draw(t, "docs") {
				docs = append(docs, doc(name, int32(j)))
				want = append(want, string(docs[j]))
			}
			b = AppendSequence(b, name, docs...)
		}
		if flags&FlagChecksumPresent != 0 {
			b = FinishChecksum(b, len(prefix))
		} else {
			b = FinishMessage(b, len(prefix))
		}
		var m Msg
		if err := m.Parse(b[len(prefix):]); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range m.Sequences() {
			n := 0
			for d := range s.Documents() {
				got = append(got, string(d))
				n++
			}
			if n != s.Count {
				t.Fatalf("count %d, iterated %d", s.Count, n)
			}
		}
		wantHeader := Header{Length: int32(len(b) - len(prefix)), RequestID: id, ResponseTo: to, OpCode: OpMsg}
		if m.Header != wantHeader || m.Flags != flags || !bytes.Equal(m.Body, doc("cmd", id)) {
			t.Fatalf("header %+v flags %v", m.Header, m.Flags)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestQuery(t *testing.T) {
	cmd := doc("isMaster", 1)
	var q Query
	if err := q.Parse(AppendQuery(nil, 3, "admin", cmd)); err != nil {
		t.Fatal(err)
	}
	db, ok := q.Database()
	if !ok || string(db) != "admin" {
		t.Errorf("database %q %v", db, ok)
	}
	got, err := q.Command()
	if err != nil || !bytes.Equal(got, cmd) {
		t.Errorf("command %x, %v", got, err)
	}

	wrapped := append([]byte{0, 0, 0, 0, 3}, "$query\x00"...)
	wrapped = append(append(wrapped, cmd...), 0)
	binary.LittleEndian.PutUint32(wrapped, uint32(len(wrapped)))
	if err := q.Parse(AppendQuery(nil, 3, "admin", wrapped)); err != nil {
		t.Fatal(err)
	}
	if got, err = q.Command(); err != nil || !bytes.Equal(got, cmd) {
		t.Errorf("wrapped command %x, %v", got, err)
	}

	q.Return = 5
	var we *Error
	if _, err := q.Command(); !errors.As(err, &we) || we.Code != 16979 {
		t.Errorf("numberToReturn 5: %v", err)
	}
	frame := AppendQuery(nil, 3, "db.coll", cmd)
	for n := HeaderLen; n < len(frame); n++ {
		if err := q.Parse(FinishMessage(bytes.Clone(frame[:n]), 0)); err == nil {
			t.Errorf("OP_QUERY cut at %d accepted", n)
		}
	}
}

func TestReply(t *testing.T) {
	b := AppendReplyStart(nil, 1, 2, ReplyAwaitCapable)
	b = FinishMessage(append(b, doc("ok", 1)...), 0)
	var r Reply
	if err := r.Parse(b); err != nil {
		t.Fatal(err)
	}
	if r.Header.ResponseTo != 2 || r.Flags != ReplyAwaitCapable || r.Documents.Count != 1 {
		t.Errorf("%+v", r)
	}
	for n := HeaderLen; n < len(b); n++ {
		if err := r.Parse(FinishMessage(bytes.Clone(b[:n]), 0)); err == nil {
			t.Errorf("OP_REPLY cut at %d accepted", n)
		}
	}
}

func TestCompressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := CompressorID(rapid.IntRange(0, 3).Draw(t, "compressor"))
		unit := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "unit")
		payload := bytes.Repeat(unit, rapid.IntRange(1, 50).Draw(t, "times"))
		frame := FinishMessage(append(AppendHeader(nil, Header{RequestID: 1, ResponseTo: 2, OpCode: OpMsg}), payload...), 0)
		packed, err := AppendCompressed([]byte("x"), frame, id)
		if err != nil {
			t.Fatal(err)
		}
		var c Compressed
		if err := c.Parse(packed[1:]); err != nil {
			t.Fatal(err)
		}
		got, err := c.Decompress([]byte("y"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got[1:], frame) {
			t.Fatalf("%s: %d bytes back from %d", id, len(got)-1, len(frame))
		}
	})
}

// TestZstdTellsItsSize checks that even a short content is announced: some decoders refuse a frame without.
func TestZstdTellsItsSize(t *testing.T) {
	for _, n := range []int{1, 100, 255, 256, 5000, 3 << 20} {
		frame := FinishMessage(append(AppendHeader(nil, Header{OpCode: OpMsg}), make([]byte, n)...), 0)
		packed, err := AppendCompressed(nil, frame, CompressorZstd)
		if err != nil {
			t.Fatal(err)
		}
		var h zstd.Header
		if err := h.Decode(packed[CompressedOffset:]); err != nil || !h.HasFCS || h.FrameContentSize != uint64(n) {
			t.Errorf("%d bytes: has size %t, %d, %v", n, h.HasFCS, h.FrameContentSize, err)
		}
		var c Compressed
		if err := c.Parse(packed); err != nil {
			t.Fatal(err)
		}
		if got, err := c.Decompress(nil); err != nil || len(got) != len(frame) {
			t.Errorf("%d bytes: %d back, %v", n, len(got), err)
		}
	}
}

func TestDecompressRefusesLies(t *testing.T) {
	frame := rawMsg(0, body(doc("ping", 1)), AppendSequence(nil, "pad", doc(strings.Repeat("a", 5000), 1)))
	for id := CompressorNone; id <= CompressorZstd; id++ {
		packed, err := AppendCompressed(nil, frame, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			name string
			size uint32
		}{
			{"one less", uint32(len(frame) - HeaderLen - 1)},
			{"one more", uint32(len(frame) - HeaderLen + 1)},
			{"largest", MaxMessageSize - HeaderLen},
			{"past largest", MaxMessageSize - HeaderLen + 1},
			{"negative", 0xFFFFFFFF},
		} {
			lie := bytes.Clone(packed)
			binary.LittleEndian.PutUint32(lie[HeaderLen+4:], tc.size)
			var c Compressed
			err := c.Parse(lie)
			var out []byte
			if err == nil {
				out, err = c.Decompress(nil)
			}
			var we *Error
			if !errors.As(err, &we) || !we.Fatal || len(out) != 0 {
				t.Errorf("%s, %s: got %d bytes, error %v", id, tc.name, len(out), err)
			}
		}
		var c Compressed
		if err := c.Parse(packed); err != nil {
			t.Fatal(err)
		}
		c.Payload = c.Payload[:len(c.Payload)-1]
		if out, err := c.Decompress(nil); err == nil && !bytes.Equal(out, frame) {
			t.Errorf("%s: truncated payload yields other bytes", id)
		}
	}
	nested := FinishMessage(append(AppendHeader(nil, Header{OpCode: OpCompressed}), 0xDC, 7, 0, 0, 1, 0, 0, 0, 0, 0), 0)
	var c Compressed
	if err := c.Parse(nested); err == nil {
		t.Error("nested OP_COMPRESSED accepted")
	}
	unknown := FinishMessage(append(AppendHeader(nil, Header{OpCode: OpCompressed}), 0xDD, 7, 0, 0, 1, 0, 0, 0, 9, 0), 0)
	if err := c.Parse(unknown); err == nil {
		t.Error("unknown compressor accepted")
	}
}

func TestReadMessage(t *testing.T) {
	small := rawMsg(0, body(doc("ping", 1)))
	big := rawMsg(0, body(doc("insert", 1)), bytes.Repeat(AppendSequence(nil, "d"), 20000))
	r := iotest.HalfReader(bytes.NewReader(append(bytes.Clone(small), big...)))
	for _, want := range [][]byte{small, big} {
		b, h, err := ReadMessage(r)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b.B, want) || int(h.Length) != len(want) {
			t.Errorf("got %d bytes, want %d", len(b.B), len(want))
		}
		b.Release()
	}
	if _, _, err := ReadMessage(r); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, _, err := ReadMessage(bytes.NewReader(small[:20])); err != io.ErrUnexpectedEOF {
		t.Errorf("within a message: %v", err)
	}
}

// A header that declares 48 MB costs what was sent, not what was declared.
func TestLiarReservesLittle(t *testing.T) {
	lie := AppendHeader(nil, Header{Length: MaxMessageSize, OpCode: OpMsg})
	b := NewBuffer(1024)
	b.B = append(b.B, lie...)
	err := b.Fill(bytes.NewReader(make([]byte, 100)), MaxMessageSize)
	if err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if cap(b.B) > 64<<10 {
		t.Errorf("reserved %d bytes for 116", cap(b.B))
	}
}

func TestBufferClasses(t *testing.T) {
	for _, n := range []int{0, 1, 1024, 1025, 4096, 4097, 1 << 20, 16<<20 + 1, MaxMessageSize, MaxMessageSize + 1} {
		b := NewBuffer(n)
		if cap(b.B) < n || len(b.B) != 0 {
			t.Errorf("NewBuffer(%d): len %d cap %d", n, len(b.B), cap(b.B))
		}
		b.Release()
		if c := NewBuffer(n); cap(c.B) < n {
			t.Errorf("second NewBuffer(%d): cap %d", n, cap(c.B))
		}
	}
}

func FuzzParse(f *testing.F) {
	ok := doc("ping", 1)
	f.Add(rawMsg(0, body(ok)))
	f.Add(rawMsg(0, body(ok), AppendSequence(nil, "documents", ok, ok)))
	f.Add(FinishChecksum(append(rawMsg(1), body(ok)...), 0))
	f.Add(AppendQuery(nil, 1, "admin", ok))
	f.Add(FinishMessage(append(AppendReplyStart(nil, 1, 2, 8), ok...), 0))
	for id := CompressorNone; id <= CompressorZstd; id++ {
		packed, err := AppendCompressed(nil, rawMsg(0, body(ok), AppendSequence(nil, "d", ok, ok, ok)), id)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, err := ParseHeader(frame)
		if err != nil {
			return
		}
		switch h.OpCode {
		case OpMsg:
			var m Msg
			if err := m.Parse(frame); err != nil {
				return
			}
			for _, s := range m.Sequences() {
				total := 0
				for d := range s.Documents() {
					total += len(d)
				}
				if total != len(s.Bytes) {
					t.Fatalf("sequence of %d bytes iterates over %d", len(s.Bytes), total)
				}
			}
		case OpQuery:
			var q Query
			if q.Parse(frame) == nil {
				if d, err := q.Command(); err == nil && int(binary.LittleEndian.Uint32(d)) != len(d) {
					t.Fatal("command document of the wrong length")
				}
			}
		case OpReply:
			var r Reply
			_ = r.Parse(frame)
		case OpCompressed:
			var c Compressed
			if c.Parse(frame) != nil || c.Size > 1<<20 {
				return
			}
			out, err := c.Decompress(nil)
			if err == nil && len(out) != HeaderLen+c.Size {
				t.Fatalf("%d bytes, declared %d", len(out), c.Size)
			}
		}
	})
}
