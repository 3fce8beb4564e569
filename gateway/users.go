package gateway

import (
	"crypto/sha256"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/uuid"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// To an upstream all clients are one user, that of its connection string. What belongs to a user there, cursors and
// sessions, is told apart here.

// access says who may run a command, see auth.Services. What the gateway answers itself is what MongoDB means by it.
func access(_, command string) auth.Access {
	if _, own := ownCommands[command]; own || command == "hello" {
		return auth.ByTable
	}
	return auth.Remote(command)
}

// userOf is who sends a request, "" for nobody.
func userOf(req *server.Request) string {
	if u := req.Conn.User(); u != nil {
		return u.String()
	}
	return ""
}

func notYours(id int64) error {
	return mongoerr.New(mongoerr.Unauthorized, "cursor id %d was not created by the authenticated user", id)
}

// isolate replaces the ids of sessions in a request by ids that only its user can bring about, in place: nobody can then
// take part in the transactions of another user by naming that one's session. Without users ids stay as they are.
func isolate(req *server.Request) {
	u := req.Conn.User()
	if u == nil {
		return
	}
	digest := u.Digest()
	if v := req.Body.Lookup("lsid"); v.Type() == bsonval.TypeDocument {
		isolateID(v.Doc(), &digest)
	}
	switch req.Command {
	case "endSessions", "refreshSessions", "killSessions":
		_, list, _ := req.Body.First()
		if list.Type() != bsonval.TypeArray {
			return
		}
		for it := list.Doc().Iter(); it.Next(); {
			if it.Value().Type() == bsonval.TypeDocument {
				isolateID(it.Value().Doc(), &digest)
			}
		}
	}
}

// isolateID overwrites the id of a session. It stays a random UUID.
func isolateID(lsid bsonval.Doc, digest *[sha256.Size]byte) {
	v := lsid.Lookup("id")
	if v.Type() != bsonval.TypeBinary || len(v.Bytes()) != uuidLen {
		return
	}
	id := v.Bytes()
	sum := sha256.Sum256(append(digest[:len(digest):len(digest)], id...))
	copy(id, sum[:uuidLen])
	uuid.Mark((*[uuidLen]byte)(id))
}
