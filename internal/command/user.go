package command

import (
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// user is who the client has authenticated as, "" for nobody.
func (c *Call) user() string {
	if u := c.Req.Conn.User(); u != nil {
		return u.String()
	}
	return ""
}

// digestOf is a user's part of session ids.
func digestOf(u *server.User) [32]byte {
	if u == nil {
		return session.NoUser
	}
	return u.Digest()
}

// sessionID reads a session id that a client names: it is the client's own unless it says otherwise, which clients that
// have authenticated may not.
func sessionID(path string, v bsonval.Value, u *server.User) (session.ID, error) {
	id, err := parseLSID(path, v)
	if err != nil || u == nil {
		return id, err
	}
	if id.UID == session.NoUser {
		id.UID = u.Digest()
	}
	if id.UID != u.Digest() {
		return id, mongoerr.New(mongoerr.Unauthorized, "Unauthorized to set user digest in LogicalSessionId")
	}
	return id, nil
}

// checkCursorUser refuses the cursor of another user, unless it is to be killed by one who may kill all.
func (c *Call) checkCursorUser(id int64, kill bool) error {
	if owner, ok := c.Database().CursorUser(id); ok && owner != c.user() && !(kill && auth.KillsAnyCursor(c.Req.Conn)) {
		return mongoerr.New(mongoerr.Unauthorized, "cursor id %d was not created by the authenticated user", id)
	}
	return nil
}

// userDigests reads an array of {user, db}.
func userDigests(path string, array bsonval.Doc) (map[[32]byte]bool, error) {
	out := map[[32]byte]bool{}
	for it := array.Iter(); it.Next(); {
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type 'object'", path, it.Key(), it.Value().Type())
		}
		var v [2]bsonval.Value
		if err := ParseFields(path, it.Value().Doc(), sessionUserFields, v[:]); err != nil {
			return nil, err
		}
		out[server.UserDigest(v[0].Str(), v[1].Str())] = true
	}
	return out, nil
}

// appendUser appends who runs an operation.
func appendUser(b *bsonval.Builder, c *server.Conn) {
	if u := c.User(); u != nil {
		b.StartArray("effectiveUsers").Add(bsonval.Document(bsonval.NewBuilder().Str("user", u.Name).Str("db", u.DB).Build())).End()
	}
}
