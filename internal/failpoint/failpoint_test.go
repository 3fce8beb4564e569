package failpoint

import (
	"context"
	"testing"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func mode(t testing.TB, v bsonval.Value) Mode {
	t.Helper()
	m, err := ParseMode(v)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func doc(name string, v bsonval.Value) bsonval.Value {
	return bsonval.Document(bsonval.NewBuilder().Value(name, v).Build())
}

func TestModes(t *testing.T) {
	for _, c := range []struct {
		name string
		mode bsonval.Value
		want []bool
		on   bool // afterwards
	}{
		{"off", bsonval.String("off"), []bool{false, false}, false},
		{"alwaysOn", bsonval.String("alwaysOn"), []bool{true, true, true}, true},
		{"times", doc("times", bsonval.Int32(2)), []bool{true, true, false, false}, false},
		{"times of another type", doc("times", bsonval.Double(1)), []bool{true, false}, false},
		{"no times", doc("times", bsonval.Int32(0)), []bool{false}, false},
		{"skip", doc("skip", bsonval.Int64(2)), []bool{false, false, true, true}, true},
		{"never", doc("activationProbability", bsonval.Double(0)), []bool{false, false}, true},
		{"surely", doc("activationProbability", bsonval.Double(1)), []bool{true, true}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewSet("x").Point("x")
			p.Configure(mode(t, c.mode), nil)
			fired := int64(0)
			for i, want := range c.want {
				if _, got := p.Enter(nil); got != want {
					t.Errorf("visit %d: fires %v, want %v", i, got, want)
				} else if got {
					fired++
				}
			}
			if p.On() != c.on {
				t.Errorf("on %v afterwards", p.On())
			}
			if got := p.Configure(Mode{}, nil); got != fired {
				t.Errorf("fired %d, want %d", got, fired)
			}
		})
	}
}

func TestModeErrors(t *testing.T) {
	for _, c := range []struct {
		v    bsonval.Value
		code mongoerr.Code
	}{
		{bsonval.Missing, mongoerr.IllegalOperation},
		{bsonval.String("sometimes"), mongoerr.BadValue},
		{bsonval.Int32(1), mongoerr.TypeMismatch},
		{bsonval.Document(bsonval.EmptyDoc), mongoerr.BadValue},
		{doc("often", bsonval.Int32(1)), mongoerr.BadValue},
		{doc("times", bsonval.String("1")), mongoerr.TypeMismatch},
		{doc("times", bsonval.Int32(-1)), mongoerr.BadValue},
		{doc("skip", bsonval.Int64(1<<40)), mongoerr.BadValue},
		{doc("activationProbability", bsonval.Double(1.5)), mongoerr.BadValue},
		{doc("activationProbability", bsonval.String("x")), mongoerr.TypeMismatch},
	} {
		if _, err := ParseMode(c.v); mongoerr.As(err) == nil || mongoerr.As(err).Code != c.code {
			t.Errorf("%s: %v, want code %d", bsonval.Format(c.v), err, c.code)
		}
	}
	if _, err := NewSet("x").Find("y"); mongoerr.As(err) == nil || mongoerr.As(err).Code != mongoerr.FailPointSetFailed {
		t.Errorf("unknown name: %v", err)
	}
}

// Visits that do not match neither fire nor count.
func TestMatch(t *testing.T) {
	p := NewSet("x").Point("x")
	data := bsonval.NewBuilder().Str("who", "me").Build()
	p.Configure(mode(t, doc("times", bsonval.Int32(1))), data)
	data[len(data)-3] = 'X' // it was copied
	if _, fires := p.Enter(func(bsonval.Doc) bool { return false }); fires {
		t.Error("fires for another")
	}
	got, fires := p.Enter(func(d bsonval.Doc) bool { return d.Lookup("who").Str() == "me" })
	if !fires || got.Lookup("who").Str() != "me" {
		t.Errorf("fires %v with %v", fires, got)
	}
}

func TestWait(t *testing.T) {
	p := NewSet("x").Point("x")
	p.Configure(mode(t, bsonval.String("alwaysOn")), nil)
	done := make(chan error, 1)
	go func() { done <- p.Wait(context.Background(), 2) }()
	p.Enter(nil)
	p.Enter(nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if err := p.Wait(ctx, 3); err == nil {
		t.Error("waited for less")
	}
}

func FuzzParseMode(f *testing.F) {
	f.Add([]byte(bsonval.NewBuilder().Int32("times", 3).Build()))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bsonval.Validate(b) != nil {
			return
		}
		m, err := ParseMode(bsonval.Document(b))
		if err == nil && (m.left < 0 || m.chance < 0 || m.chance > 1) {
			t.Errorf("%+v", m)
		}
	})
}

func BenchmarkOff(b *testing.B) {
	p := NewSet("x").Point("x")
	for b.Loop() {
		if _, fires := p.Enter(nil); fires {
			b.Fatal("fires")
		}
	}
}
