package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"

	"github.com/xdg-go/stringprep"
)

// The mechanisms of authentication.
const (
	SCRAMSHA256 = "SCRAM-SHA-256"
	SCRAMSHA1   = "SCRAM-SHA-1"
	X509        = "MONGODB-X509"
)

// ExternalDB is the database of users whose credentials are elsewhere, as those of certificates are.
const ExternalDB = "$external"

// Keys are what SCRAM keeps of a password.
type Keys struct {
	Iterations           int
	Salt                 []byte
	StoredKey, ServerKey []byte
}

// mechanism is a mechanism of the SCRAM family.
type mechanism struct {
	name string
	hash func() hash.Hash
	size int
	// saltLen and iterations are those that MongoDB gives new users, and unknown ones here.
	saltLen, iterations int
	// prepare makes of a password what is hashed.
	prepare func(user, password string) (string, error)
}

// mechanisms are tried in this order: the best comes first.
var mechanisms = [...]mechanism{
	{SCRAMSHA256, sha256.New, sha256.Size, 28, 15_000, func(_, password string) (string, error) {
		prepared, err := stringprep.SASLprep.Prepare(password)
		if err != nil {
			return "", fmt.Errorf("the password has characters that cannot be used: %w", err)
		}
		return prepared, nil
	}},
	{SCRAMSHA1, sha1.New, sha1.Size, 16, 10_000, func(user, password string) (string, error) {
		sum := md5.Sum([]byte(user + ":mongo:" + password))
		return hex.EncodeToString(sum[:]), nil
	}},
}

// find returns a mechanism by its name, nil for none of the family.
func find(name string) *mechanism {
	for i := range mechanisms {
		if mechanisms[i].name == name {
			return &mechanisms[i]
		}
	}
	return nil
}

const (
	// minIterations is the least work that keys may stand for; drivers refuse less.
	minIterations = 4096
	// maxIterations bounds what a typing mistake makes every client compute.
	maxIterations = 10_000_000
	// minSalt is the least length of a salt.
	minSalt = 8
)

// DeriveKeys makes the keys of a password, with a new salt.
func DeriveKeys(mechanism, user, password string) (*Keys, error) {
	m := find(mechanism)
	if m == nil {
		return nil, fmt.Errorf("mechanism %q is not %s or %s", mechanism, SCRAMSHA256, SCRAMSHA1)
	}
	if password == "" {
		return nil, errors.New("the password is empty")
	}
	prepared, err := m.prepare(user, password)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, m.saltLen)
	rand.Read(salt)
	return m.derive(prepared, salt, m.iterations)
}

// derive computes the keys of a prepared password.
func (m *mechanism) derive(prepared string, salt []byte, iterations int) (*Keys, error) {
	salted, err := pbkdf2.Key(m.hash, prepared, salt, iterations, m.size)
	if err != nil {
		return nil, err
	}
	stored := m.hash()
	stored.Write(m.mac(salted, "Client Key"))
	return &Keys{Iterations: iterations, Salt: salt, StoredKey: stored.Sum(nil), ServerKey: m.mac(salted, "Server Key")}, nil
}

func (m *mechanism) mac(key []byte, text string) []byte {
	h := hmac.New(m.hash, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// check says what is wrong with keys.
func (m *mechanism) check(k *Keys) error {
	switch {
	case k.Iterations < minIterations || k.Iterations > maxIterations:
		return fmt.Errorf("%s: iterationCount %d is not between %d and %d", m.name, k.Iterations, minIterations, maxIterations)
	case len(k.Salt) < minSalt:
		return fmt.Errorf("%s: salt has %d bytes, fewer than %d", m.name, len(k.Salt), minSalt)
	case len(k.StoredKey) != m.size || len(k.ServerKey) != m.size:
		return fmt.Errorf("%s: storedKey and serverKey have %d and %d bytes instead of %d", m.name, len(k.StoredKey), len(k.ServerKey), m.size)
	}
	return nil
}

// decoy makes keys that no password fits, always the same for a user.
func (m *mechanism) decoy(secret []byte, db, user string) *Keys {
	part := func(what string) []byte {
		h := hmac.New(sha256.New, secret)
		fmt.Fprintf(h, "%s\x00%s\x00%s\x00%s", what, m.name, db, user)
		return h.Sum(nil)
	}
	return &Keys{
		Iterations: m.iterations, Salt: part("salt")[:m.saltLen], StoredKey: part("stored")[:m.size], ServerKey: part("server")[:m.size],
	}
}
