package server

import "crypto/sha256"

// User is who a connection has authenticated as. It does not change.
type User struct {
	// Name and DB are the user's name and the database that defines it.
	Name, DB string
	// Roles are what the user has been granted.
	Roles []UserRole

	digest [sha256.Size]byte
	full   string
}

// UserRole is the name of a role and the database that it is of.
type UserRole struct{ Name, DB string }

// NewUser makes a user.
func NewUser(name, db string, roles []UserRole) *User {
	return &User{Name: name, DB: db, Roles: roles, digest: UserDigest(name, db), full: name + "@" + db}
}

// UserDigest is what ids of sessions have of their user.
func UserDigest(name, db string) [sha256.Size]byte { return sha256.Sum256([]byte(name + "@" + db)) }

// Digest is the user's part of session ids.
func (u *User) Digest() [sha256.Size]byte { return u.digest }

// String is "name@database".
func (u *User) String() string { return u.full }

// User is who the client has authenticated as, nil for nobody: package auth sets it. It may be called at any time.
func (c *Conn) User() *User { return c.user.Load() }

// SetUser says who the client has authenticated as; nil forgets it. It is for those who check credentials.
func (c *Conn) SetUser(u *User) { c.user.Store(u) }
