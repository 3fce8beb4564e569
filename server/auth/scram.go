package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
)

const (
	// maxPayload bounds a message of a client: what is longer is no SCRAM.
	maxPayload = 4096
	// nonceLen is how many random bytes the server adds to the client's nonce.
	nonceLen = 24
)

// errSCRAM is every failure of a conversation: the client learns no more than that.
var errSCRAM = errors.New("wrong password or malformed message")

// clientFirst is a client's first message.
type clientFirst struct {
	gs2  string // the header that the last message repeats
	bare string
	user string
	// nonce is the client's.
	nonce string
}

// parseClientFirst reads "n,,n=user,r=nonce". Channel binding is not offered, so a client that wants it is refused; one
// that would have been able to is not.
func parseClientFirst(message string) (clientFirst, error) {
	var c clientFirst
	binding, rest, ok := strings.Cut(message, ",")
	if !ok || binding != "n" && binding != "y" {
		return c, errSCRAM
	}
	authzid, bare, ok := strings.Cut(rest, ",")
	if !ok {
		return c, errSCRAM
	}
	c.gs2, c.bare = message[:len(message)-len(bare)], bare
	name, rest, ok := strings.Cut(bare, ",")
	if !ok || !strings.HasPrefix(name, "n=") {
		return c, errSCRAM
	}
	if c.user, ok = unescape(name[2:]); !ok || c.user == "" {
		return c, errSCRAM
	}
	if authzid != "" {
		as, ok := unescape(strings.TrimPrefix(authzid, "a="))
		if !ok || !strings.HasPrefix(authzid, "a=") || as != c.user {
			return c, errSCRAM
		}
	}
	nonce, _, _ := strings.Cut(rest, ",") // extensions may follow, and mean nothing
	if !strings.HasPrefix(nonce, "r=") || !printable(nonce[2:]) {
		return c, errSCRAM
	}
	c.nonce = nonce[2:]
	return c, nil
}

// unescape undoes what keeps commas and equals signs out of names.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "=") {
		return s, true
	}
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, "=")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		switch {
		case strings.HasPrefix(rest, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(rest, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		s = rest[2:]
	}
}

// printable says whether s can be a nonce.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e || s[i] == ',' {
			return false
		}
	}
	return s != ""
}

// exchange is a SCRAM conversation after the client's first message.
type exchange struct {
	m     *mechanism
	keys  *Keys
	first clientFirst
	nonce string // the client's and the server's
	reply string // the server's first message
}

// newExchange answers a client's first message.
func newExchange(m *mechanism, keys *Keys, first clientFirst) *exchange {
	raw := make([]byte, nonceLen)
	rand.Read(raw)
	x := &exchange{m: m, keys: keys, first: first, nonce: first.nonce + base64.StdEncoding.EncodeToString(raw)}
	x.reply = "r=" + x.nonce + ",s=" + base64.StdEncoding.EncodeToString(keys.Salt) + ",i=" + strconv.Itoa(keys.Iterations)
	return x
}

// finish checks the proof in the client's last message and returns the server's.
func (x *exchange) finish(message string) (string, error) {
	at := strings.LastIndex(message, ",p=")
	if at < 0 {
		return "", errSCRAM
	}
	withoutProof := message[:at]
	proof, err := base64.StdEncoding.DecodeString(message[at+3:])
	if err != nil || len(proof) != x.m.size {
		return "", errSCRAM
	}
	binding, rest, ok := strings.Cut(withoutProof, ",")
	nonce, _, _ := strings.Cut(rest, ",")
	if !ok || binding != "c="+base64.StdEncoding.EncodeToString([]byte(x.first.gs2)) ||
		subtle.ConstantTimeCompare([]byte(nonce), []byte("r="+x.nonce)) != 1 {
		return "", errSCRAM
	}
	signed := x.first.bare + "," + x.reply + "," + withoutProof
	clientKey := bytes.Clone(proof)
	subtle.XORBytes(clientKey, proof, x.m.mac(x.keys.StoredKey, signed))
	stored := x.m.hash()
	stored.Write(clientKey)
	if !hmac.Equal(stored.Sum(nil), x.keys.StoredKey) {
		return "", errSCRAM
	}
	return "v=" + base64.StdEncoding.EncodeToString(x.m.mac(x.keys.ServerKey, signed)), nil
}
