package archelon

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/service"
)

// Mount offers commands or a database that somebody else answers at the addresses of a DB. Exactly one of Handler, URI and
// Subprocess answers. If it has commands, they are added to those of the database, whose data stays what it is; if it has
// none, it answers everything that is asked of Database, but for handshakes and sessions, and the DB keeps no data there.
type Mount struct {
	// Database is where the commands are. Empty means every database, and needs Commands.
	Database string

	// Commands are names that the database itself does not have, in any case of letters. For a service that adds to the
	// database they are Service.Commands; those of a Subprocess are known.
	Commands []string

	// Handler answers in this process. A service.Service is run and drained by the DB, as is whatever else has the methods
	// Run(context.Context) and Drain(context.Context) error.
	Handler server.Handler

	// URI is the connection string of another server, a database, service or gateway, that answers. Cursors go to the
	// member that has them, failures have codes and labels by which drivers know what to try again. Transactions of several
	// statements are refused.
	URI string

	// Subprocess is a program that answers. Its URI, unless set, is that of Database in this DB.
	Subprocess *service.Subprocess
}

// ownDatabases are those that are the server's.
var ownDatabases = []string{"admin", "config", "local"}

// ownCommands are answered by the DB on mounted databases as well: they are about the connection and its sessions.
var ownCommands = map[string]bool{
	"hello": true, "isMaster": true, "ismaster": true, "saslStart": true, "saslContinue": true, "authenticate": true,
	"logout": true, "startSession": true, "refreshSessions": true, "endSessions": true, "killSessions": true,
	"killAllSessions": true, "killAllSessionsByPattern": true,
}

// validate reports what is wrong with m by itself.
func (m *Mount) validate() error {
	var errs []error
	answerers := 0
	for _, set := range []bool{m.Handler != nil, m.URI != "", m.Subprocess != nil} {
		if set {
			answerers++
		}
	}
	if answerers != 1 {
		errs = append(errs, errors.New("exactly one of a handler, a URI and a subprocess has to answer"))
	}
	switch {
	case len(m.Database) > 63 || strings.ContainsAny(m.Database, "/\\. \"$\x00"):
		errs = append(errs, fmt.Errorf("%q cannot be the name of a database", m.Database))
	case m.whole() && m.Database == "":
		errs = append(errs, errors.New("neither a database nor commands are named"))
	case m.whole() && slices.Contains(ownDatabases, m.Database):
		errs = append(errs, fmt.Errorf("the database %q is the server's own", m.Database))
	}
	if s, ok := m.Handler.(interface{ Authenticates() bool }); ok && s.Authenticates() {
		errs = append(errs, errors.New("the service authenticates its clients by itself: leave out its Auth, and set Config.Users here"))
	}
	if m.Subprocess != nil && len(m.Commands) > 0 {
		errs = append(errs, errors.New("a subprocess names its commands itself"))
	}
	seen := map[string]bool{}
	for _, name := range m.names() {
		folded := strings.ToLower(name)
		switch {
		case name == "" || strings.ContainsAny(name, "$.\x00"):
			errs = append(errs, fmt.Errorf("%q cannot be the name of a command", name))
		case seen[folded]:
			errs = append(errs, fmt.Errorf("the command %q is named twice", name))
		}
		seen[folded] = true
	}
	return errors.Join(errs...)
}

// whole says whether the mount answers everything that is asked of its database.
func (m *Mount) whole() bool { return m.Subprocess == nil && len(m.Commands) == 0 }

// names are the names of the commands, aliases included.
func (m *Mount) names() []string {
	if m.Subprocess == nil {
		return m.Commands
	}
	var out []string
	for _, c := range slices.Concat(m.Subprocess.Commands, m.Subprocess.Streams) {
		out = append(append(out, c.Name), c.Aliases...)
	}
	return out
}

// String says in messages what is mounted.
func (m *Mount) String() string {
	switch {
	case m.Database == "":
		return "commands " + strings.Join(m.names(), ", ")
	case m.whole():
		return "database " + m.Database
	}
	return "commands of database " + m.Database
}

// kind says in messages who answers.
func (m *Mount) kind() string {
	switch {
	case m.URI != "":
		return "remote"
	case m.Subprocess != nil:
		return "subprocess"
	}
	return "in process"
}

// Mount adds a mount. It is refused if its names are taken: by commands of the database, by collections that a whole
// database would hide, or by other mounts. What it needs runs while Serve does, and ends with it.
func (db *DB) Mount(m Mount) error {
	if err := db.mount(m); err != nil {
		return fmt.Errorf("mount %s: %w", &m, err)
	}
	db.log.Info("mounted", "database", m.Database, "commands", strings.Join(m.names(), " "), "answered", m.kind())
	return nil
}

func (db *DB) mount(m Mount) error {
	if err := m.validate(); err != nil {
		return err
	}
	if m.whole() && slices.Contains(db.db.Catalog().Databases(), m.Database) {
		return fmt.Errorf("the database %q has collections, which would be hidden: choose another name or drop it", m.Database)
	}
	if err := db.mounts.free(&m); err != nil {
		return err
	}
	x := &mounted{Mount: m, handler: m.Handler}
	switch {
	case m.URI != "":
		g, err := gateway.New(gateway.Config{
			Table: gateway.Table{
				Upstreams: map[string]gateway.Upstream{"remote": {URI: m.URI}}, Routes: []gateway.Route{{Upstream: "remote"}},
			},
			Logger: db.log.With("mounted", m.String()), Version: Version(db.cfg.Version), Quiesce: -1, ForeignTimes: true,
		})
		if err != nil {
			return err
		}
		x.handler, x.close = g, sync.OnceFunc(g.Close)
	case m.Subprocess != nil:
		p := *m.Subprocess
		if p.URI == "" {
			p.URI = db.databaseURI(m.Database)
		}
		svc := service.New(m.Database, service.Config{Logger: db.log, Version: Version(db.cfg.Version), Quiesce: -1})
		if err := svc.AddSubprocess(p); err != nil {
			return err
		}
		x.handler = svc
	}
	err := db.mounts.add(x)
	if err != nil && x.close != nil {
		x.close()
	}
	return err
}

// databaseURI is a connection string with a default database.
func (db *DB) databaseURI(name string) string {
	servers, options, _ := strings.Cut(strings.TrimPrefix(db.URI(), "mongodb://"), "/")
	return "mongodb://" + servers + "/" + name + options
}
