package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/internal/uuid"
	"github.com/archelon-db/archelon/server"
)

// sessionCommands are the commands on sessions.
func sessionCommands() []*Command {
	list := func(name, help string, run func(context.Context, *Call) error) *Command {
		return &Command{Name: name, Help: help, First: FirstValue, FirstKind: Array, SecondaryOK: true, NoSession: true,
			Transient: true, Run: run}
	}
	end := list("endSessions", "Ends sessions.", runEndSessions)
	end.APIv1 = true
	refresh := list("refreshSessions", "Marks sessions as used.", runRefreshSessions)
	refresh.APIv1 = true
	kill := list("killSessions", "Interrupts the operations of sessions and closes their cursors.", runKillSessions)
	kill.Loose, kill.APIv1 = true, true
	return []*Command{
		{Name: "startSession", Help: "Makes a session.", SecondaryOK: true, NoSession: true, Transient: true, Run: runStartSession},
		end, refresh, kill,
		list("killAllSessions", "Kills the sessions of users, or all sessions.", runKillAllSessions),
		list("killAllSessionsByPattern", "Kills the sessions that match patterns.", runKillSessionsByPattern),
	}
}

func runStartSession(_ context.Context, c *Call) error {
	id := session.ID{UUID: uuid.New(), UID: digestOf(c.Req.Conn.User())}
	if _, err := c.Commands.cfg.Sessions.Touch(id); err != nil {
		return err
	}
	c.Append("id", bsonval.Document(bsonval.NewBuilder().Value("id", bsonval.Binary(4, id.UUID[:])).Build()))
	c.Append("timeoutMinutes", bsonval.Int32(server.LogicalSessionTimeoutMinutes))
	return nil
}

// sessionIDs reads the ids a command lists; null elements name none.
func (c *Call) sessionIDs() ([]session.ID, error) {
	var ids []session.ID
	it := c.First.Doc().Iter()
	for it.Next() {
		if it.Value().IsNullish() {
			continue
		}
		id, err := sessionID(c.Cmd.Name+"."+c.Cmd.Name+"."+string(it.Key()), it.Value(), c.Req.Conn.User())
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func runEndSessions(ctx context.Context, c *Call) error {
	ids, err := c.sessionIDs()
	if err != nil {
		return err
	}
	return c.Commands.cfg.Sessions.End(ctx, ids)
}

func runRefreshSessions(_ context.Context, c *Call) error {
	ids, err := c.sessionIDs()
	for i := 0; err == nil && i < len(ids); i++ {
		_, err = c.Commands.cfg.Sessions.Touch(ids[i])
	}
	return err
}

// killOf kills what the sessions do that match, and aborts their transactions.
func (c *Call) killOf(ctx context.Context, match func(session.ID) bool) error {
	self := &c.op
	c.Commands.interrupt(running.ErrInterrupted, func(op *operation) bool {
		if op == self || op.lsid == nil {
			return false
		}
		id, err := sessionID("lsid", bsonval.Document(op.lsid), op.conn.User())
		return err == nil && match(id)
	})
	var sessions []*session.Session
	c.Commands.cfg.Sessions.Each(func(s *session.Session) {
		if match(s.ID()) {
			sessions = append(sessions, s)
		}
	})
	for _, s := range sessions {
		if err := s.AbortOpen(ctx); err != nil {
			return err
		}
		c.Database().KillCursorsOf(s.Owner())
	}
	return nil
}

func runKillSessions(ctx context.Context, c *Call) error {
	ids, err := c.sessionIDs()
	if err != nil {
		return err
	}
	set := make(map[session.ID]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	own := digestOf(c.Req.Conn.User())
	return c.killOf(ctx, func(id session.ID) bool { return len(set) == 0 && id.UID == own || set[id] })
}

var sessionUserFields = []Field{{Name: "user", Kind: String, Required: true}, {Name: "db", Kind: String, Required: true}}

func runKillAllSessions(ctx context.Context, c *Call) error {
	all := c.First.Doc().IsEmpty()
	users, err := userDigests("killAllSessions.killAllSessions", c.First.Doc())
	if err != nil {
		return err
	}
	return c.killOf(ctx, func(id session.ID) bool { return all || users[id.UID] })
}

var sessionPatternFields = []Field{
	{Name: "lsid", Kind: Object}, {Name: "uid", Kind: Any}, {Name: "users", Kind: Array}, {Name: "roles", Kind: Array},
}

func runKillSessionsByPattern(ctx context.Context, c *Call) error {
	type pattern struct {
		id    *session.ID
		uid   []byte
		users map[[32]byte]bool
	}
	var patterns []pattern
	all := c.First.Doc().IsEmpty()
	it := c.First.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'killAllSessionsByPattern.killAllSessionsByPattern.%s' is the wrong type '%s', expected type 'object'", it.Key(), it.Value().Type())
		}
		var v [4]bsonval.Value
		if err := ParseFields("killAllSessionsByPattern.killAllSessionsByPattern", it.Value().Doc(), sessionPatternFields, v[:]); err != nil {
			return err
		}
		var p pattern
		if !v[0].IsMissing() {
			id, err := parseLSID("lsid", v[0])
			if err != nil {
				return err
			}
			p.id = &id
		} else if v[1].Type() == bsonval.TypeBinary {
			p.uid = v[1].Bytes()
		} else if v[2].Type() == bsonval.TypeArray {
			users, err := userDigests("killAllSessionsByPattern.killAllSessionsByPattern.users", v[2].Doc())
			if err != nil {
				return err
			}
			p.users = users
		} else {
			all = all || it.Value().Doc().IsEmpty()
			continue
		}
		patterns = append(patterns, p)
	}
	return c.killOf(ctx, func(id session.ID) bool {
		for _, p := range patterns {
			if p.id != nil && *p.id == id || p.uid != nil && string(p.uid) == string(id.UID[:]) || p.users[id.UID] {
				return true
			}
		}
		return all
	})
}
