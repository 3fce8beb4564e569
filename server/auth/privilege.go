package auth

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/server"
)

// scope is what a privilege is about.
type scope uint8

const (
	onCluster    scope = iota
	onDatabase         // the database and its collections but for those of the system
	onAnyNormal        // all databases but config and local, and their collections but for those of the system
	onCollection       // one collection
	inAny              // the collection of that name in every database
	onAll              // everything
)

// resource is something that actions are done on.
type resource struct {
	scope          scope
	db, collection string
}

// privilege lets its holder do actions on resources.
type privilege struct {
	on      resource
	actions actionSet
}

// need is what a command does: an action on the cluster, on a database (no collection), or on a collection.
type need struct {
	action         Action
	cluster        bool
	db, collection string
}

// ownDatabases are those that the roles for all databases leave out.
func ownDatabase(db string) bool { return db == "local" || db == "config" }

// isSystem tells collections that roles on a database leave out.
func isSystem(collection string) bool {
	return strings.HasPrefix(collection, "system.") || ownName(collection)
}

// ownName tells collections of a replica set in the database local.
func ownName(collection string) bool {
	return collection == "replset.election" || collection == "replset.minvalid"
}

// covers says whether the privilege is about what is needed.
func (p *privilege) covers(n *need) bool {
	switch p.on.scope {
	case onAll:
		return true
	case onCluster:
		return n.cluster
	}
	if n.cluster {
		return false
	}
	switch p.on.scope {
	case onDatabase:
		return n.db == p.on.db && !isSystem(n.collection)
	case onAnyNormal:
		return !ownDatabase(n.db) && !isSystem(n.collection)
	case onCollection:
		return n.db == p.on.db && n.collection == p.on.collection
	default: // inAny
		return n.collection == p.on.collection
	}
}

// privileges are all that a user may do.
type privileges []privilege

func (ps privileges) allow(n *need) bool {
	for i := range ps {
		if ps[i].actions.has(n.action) && ps[i].covers(n) {
			return true
		}
	}
	return false
}

// knows says whether a user may know of a database: it may do something in it.
func (ps privileges) knows(db string) bool {
	for i := range ps {
		switch p := &ps[i]; p.on.scope {
		case onAll:
			return true
		case onDatabase, onCollection:
			if p.on.db == db && (p.actions.has(Find) || p.actions.has(ListCollections)) {
				return true
			}
		case onAnyNormal:
			if !ownDatabase(db) {
				return true
			}
		}
	}
	return false
}

// merged puts actions on the same resource together.
func merged(ps privileges) privileges {
	var out privileges
	at := map[resource]int{}
	for _, p := range ps {
		if i, ok := at[p.on]; ok {
			out[i].actions = out[i].actions.plus(p.actions)
			continue
		}
		at[p.on] = len(out)
		out = append(out, p)
	}
	return out
}

// describe is a privilege as connectionStatus shows it.
func (p *privilege) describe() server.Doc {
	b := bsonval.NewBuilder().StartDoc("resource")
	switch p.on.scope {
	case onCluster:
		b.Bool("cluster", true)
	case onAll:
		b.Bool("anyResource", true)
	default:
		b.Str("db", p.on.db).Str("collection", p.on.collection)
	}
	b.End().StartArray("actions")
	for a := range numActions {
		if p.actions.has(a) {
			b.Add(bsonval.String(a.String()))
		}
	}
	return b.End().Build()
}

// KillsAnyCursor says whether a client may kill the cursors of other users.
func KillsAnyCursor(c *server.Conn) bool {
	u := c.User()
	return u != nil && privilegesOf(u.Roles).allow(&need{action: KillAnyCursor, cluster: true})
}

// Info is the authInfo of connectionStatus.
func Info(c *server.Conn, showPrivileges bool) server.Doc {
	b := bsonval.NewBuilder()
	var roles []server.UserRole
	b.StartArray("authenticatedUsers")
	if u := c.User(); u != nil {
		roles = u.Roles
		b.Add(bsonval.Document(bsonval.NewBuilder().Str("user", u.Name).Str("db", u.DB).Build()))
	}
	b.End().StartArray("authenticatedUserRoles")
	for _, r := range roles {
		b.Add(bsonval.Document(bsonval.NewBuilder().Str("role", r.Name).Str("db", r.DB).Build()))
	}
	b.End()
	if showPrivileges {
		b.StartArray("authenticatedUserPrivileges")
		for _, p := range privilegesOf(roles) {
			b.Add(bsonval.Document(p.describe()))
		}
		b.End()
	}
	return b.Build()
}
