package auth

import (
	"crypto/pbkdf2"
	"crypto/subtle"
	"encoding/base64"
	"strings"
	"testing"
)

// TestVectors runs the conversations of RFC 7677 and RFC 5802.
func TestVectors(t *testing.T) {
	for _, c := range []struct {
		mechanism, salt, first, nonce, final, want string
	}{
		{
			SCRAMSHA256, "W22ZaJ0SNY7soEsUEjb6gQ==", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO", "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
			"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
			"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
		},
		{
			SCRAMSHA1, "QSXCR+Q6sek8bf92", "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL", "fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
			"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=", "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
		},
	} {
		t.Run(c.mechanism, func(t *testing.T) {
			salt, err := base64.StdEncoding.DecodeString(c.salt)
			if err != nil {
				t.Fatal(err)
			}
			m := find(c.mechanism)
			keys, err := m.derive("pencil", salt, 4096)
			if err != nil {
				t.Fatal(err)
			}
			first, err := parseClientFirst(c.first)
			if err != nil {
				t.Fatal(err)
			}
			x := newExchange(m, keys, first)
			x.nonce, x.reply = c.nonce, "r="+c.nonce+",s="+c.salt+",i=4096"
			if got, err := x.finish(c.final); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
			for _, wrong := range []string{
				"", "p=", ",p=", strings.Replace(c.final, "c=biws", "c=eSws", 1), strings.Replace(c.final, ",r="+c.nonce[:4], ",r=xxxx", 1),
				c.final[:len(c.final)-4] + "AAA=", c.final + "A", strings.Replace(c.final, ",p=", ",x=1,p=", 1),
			} {
				if got, err := x.finish(wrong); err == nil {
					t.Errorf("%q was taken: %q", wrong, got)
				}
			}
		})
	}
}

func TestParseClientFirst(t *testing.T) {
	for _, c := range []struct{ message, user, nonce string }{
		{"n,,n=user,r=abc", "user", "abc"},
		{"y,,n=user,r=abc,ext=1", "user", "abc"},
		{"n,a=user,n=user,r=abc", "user", "abc"},
		{"n,,n=a=2Cb=3Dc,r=abc", "a,b=c", "abc"},
		{"n,,n=жук,r=abc", "жук", "abc"},
		{"p=tls-unique,,n=user,r=abc", "", ""},
		{"n,a=other,n=user,r=abc", "", ""},
		{"n,x,n=user,r=abc", "", ""},
		{"n,,n=,r=abc", "", ""},
		{"n,,n=user,r=", "", ""},
		{"n,,n=user,r=a b", "", ""},
		{"n,,m=ext,n=user,r=abc", "", ""},
		{"n,,n=us=er,r=abc", "", ""},
		{"n,,n=user", "", ""},
		{"n", "", ""},
		{"", "", ""},
	} {
		got, err := parseClientFirst(c.message)
		if (err == nil) != (c.user != "") || err == nil && (got.user != c.user || got.nonce != c.nonce || got.gs2+got.bare != c.message) {
			t.Errorf("%q: %+v, %v", c.message, got, err)
		}
	}
}

func FuzzConversation(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("n,a=u=2C,n=u=2C,r=!", "c=biws,r=!,x=y,p=")
	f.Add("y,,n==3D,r=~,m=1", ",p=")
	keys, err := DeriveKeys(SCRAMSHA256, "user", "password")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first, last string) {
		c, err := parseClientFirst(first)
		if err != nil {
			return
		}
		if c.user == "" || c.nonce == "" || c.gs2+c.bare != first {
			t.Fatalf("%q: %+v", first, c)
		}
		if final, err := newExchange(find(SCRAMSHA256), keys, c).finish(last); err == nil {
			t.Fatalf("proof without a password: %q", final)
		}
	})
}

func TestDecoy(t *testing.T) {
	m := find(SCRAMSHA256)
	a, again, other := m.decoy([]byte("s"), "admin", "x"), m.decoy([]byte("s"), "admin", "x"), m.decoy([]byte("s"), "admin", "y")
	if string(a.Salt) != string(again.Salt) || string(a.Salt) == string(other.Salt) {
		t.Error("the salt of an unknown user is not the same each time and for each user another")
	}
	if err := m.check(a); err != nil {
		t.Error(err)
	}
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clientFinal is a client's last message.
func clientFinal(m *mechanism, keys *Keys, password string, salt []byte, bare, serverFirst, nonce string) string {
	salted, err := pbkdf2.Key(m.hash, password, salt, keys.Iterations, m.size)
	if err != nil {
		panic(err)
	}
	withoutProof := "c=biws,r=" + nonce
	proof := m.mac(salted, "Client Key")
	subtle.XORBytes(proof, proof, m.mac(keys.StoredKey, bare+","+serverFirst+","+withoutProof))
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(proof)
}
