package changestream

import (
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
)

func TestTokenText(t *testing.T) {
	event := Token{ClusterTime: 0x635019A0_00000001, UUID: ui, Fragment: Whole}
	event.identify("insert", "documentKey", bsonval.Document(js(t, `{"_id":1}`)))
	fragment := event
	fragment.Fragment = 0
	for _, c := range []struct {
		token Token
		want  string
	}{
		{HighWaterMarkAt(0x635019A0_00000001), "82635019A0000000012B0429296E1404"},
		{event, "82635019A0000000012B042C0100296E5A10045E0B2A0000004000800000000000000146" +
			"48406F7065726174696F6E5479706500FF696E7365727400FF48646F63756D656E744B657900FF205F696400FF2D0200FF00FF00" + "04"},
	} {
		if got := c.token.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if a, b := event.String(), fragment.String(); !strings.HasPrefix(b, strings.TrimSuffix(a, "04")) || !strings.HasSuffix(b, "2904") {
		t.Errorf("%s of %s", b, a)
	}
}

func genToken(t *rapid.T) Token {
	token := Token{
		ClusterTime:    rapid.SampledFrom([]uint64{0, 1, 1 << 32, 1<<63 + 5}).Draw(t, "time"),
		TxnOpIndex:     rapid.SampledFrom([]int{0, 1, 63, 64, 127, 128, 40000}).Draw(t, "index"),
		FromInvalidate: rapid.Bool().Draw(t, "invalidate"),
		Fragment:       rapid.SampledFrom([]int{Whole, Whole, 0, 1, 200}).Draw(t, "fragment"),
	}
	if rapid.Bool().Draw(t, "mark") {
		return HighWaterMarkAt(token.ClusterTime)
	}
	if rapid.Bool().Draw(t, "uuid") {
		token.UUID = oplog.UUID{0, 0xFF, 1}
	}
	if rapid.Bool().Draw(t, "identified") {
		id := rapid.SampledFrom([]bsonval.Value{one, bsonval.String("a\x00b"), bsonval.Double(1.5), bsonval.Null}).Draw(t, "id")
		token.identify("insert", "documentKey", bsonval.Document(bsonval.NewBuilder().Value("_id", id).Build()))
	}
	return token
}

func TestTokensKeepTheLogsOrder(t *testing.T) {
	boolInt := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := genToken(t), genToken(t)
		want := cmp.Or(cmp.Compare(a.ClusterTime, b.ClusterTime), boolInt(b.HighWaterMark)-boolInt(a.HighWaterMark),
			cmp.Compare(a.TxnOpIndex, b.TxnOpIndex), boolInt(a.FromInvalidate)-boolInt(b.FromInvalidate))
		if got := a.Compare(b); want != 0 && got != want {
			t.Fatalf("%+v and %+v compare as %d", a, b, got)
		}
		if (a == b) != (a.Compare(b) == 0) {
			t.Fatalf("%+v and %+v", a, b)
		}
		back, err := DecodeDoc(a.Doc())
		if err != nil || back != a {
			t.Fatalf("%+v comes back as %+v, %v", a, back, err)
		}
		if back, err = Decode(strings.ToLower(a.String())); err != nil || back != a {
			t.Fatalf("in small letters: %+v, %v", back, err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	for doc, code := range map[string]mongoerr.Code{
		`{}`:                           40647,
		`{"_data":1}`:                  40647,
		`{"_data":"82","_typeBits":1}`: 40648,
		`{"_data":"xyz"}`:              mongoerr.FailedToParse,
		`{"_data":""}`:                 40649,
		`{"_data":"8263"}`:             40649,
		`{"_data":"82635019A0000000012B0229296E1404"}`:       40649, // version 1
		`{"_data":"82635019A0000000012B0429296E140400"}`:     40649, // more follows
		`{"_data":"82635019A0000000012B042B02296E1404"}`:     40649, // no such type
		`{"_data":"82635019A0000000012C000429296E1404"}`:     40649, // a longer number than it takes
		`{"_data":"82635019A0000000012B042C0100296E144601"}`: 40649,
	} {
		if _, err := DecodeDoc(js(t, doc)); !mongoerr.Is(err, code) {
			t.Errorf("%s: %v, want %d", doc, err, code)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("82635019A0000000012B0429296E1404")
	f.Add("82635019A0000000012B042C0100296E5A10045E0B2A000000400080000000000000014648406F7000FF002904")
	f.Fuzz(func(t *testing.T, text string) {
		token, err := Decode(text)
		if err != nil {
			return
		}
		if again, err := Decode(token.String()); err != nil || again != token {
			t.Fatalf("%+v, %+v, %v", token, again, err)
		}
	})
}
