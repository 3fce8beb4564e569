package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Mux hands a command to the handler registered for it. A database with a handler of its own (HandleDB) gets all of
// its commands; otherwise the name of the command decides, and what nobody registered goes to the fallback, which
// answers CommandNotFound unless set.
//
// Command names are case sensitive, as in MongoDB: other spellings are registered with Alias. Registration is safe
// while the Mux serves.
type Mux struct {
	mu    sync.Mutex // serialises writers of table
	table atomic.Pointer[muxTable]
}

// muxTable is immutable once published.
type muxTable struct {
	commands  map[string]Handler
	databases map[string]Handler
	fallback  Handler
}

var _ Handler = (*Mux)(nil)

// NewMux returns a Mux without commands.
func NewMux() *Mux {
	m := &Mux{}
	m.table.Store(&muxTable{
		commands: map[string]Handler{}, databases: map[string]Handler{}, fallback: HandlerFunc(commandNotFound),
	})
	return m
}

// Handle implements Handler. (Registration is called Register because of that.)
func (m *Mux) Handle(ctx context.Context, req *Request, reply *Reply) error {
	t := m.table.Load()
	if len(t.databases) > 0 {
		if h, ok := t.databases[req.DB]; ok {
			return h.Handle(ctx, req, reply)
		}
	}
	if h, ok := t.commands[req.Command]; ok {
		return h.Handle(ctx, req, reply)
	}
	return t.fallback.Handle(ctx, req, reply)
}

// Register sets the handler of a command. It panics if the name is taken: two handlers for one command are a mistake
// of the program.
func (m *Mux) Register(command string, h Handler) {
	m.change(func(t *muxTable) { register(t.commands, "command", command, h) })
}

// HandleFunc is Register for a function.
func (m *Mux) HandleFunc(command string, f func(context.Context, *Request, *Reply) error) {
	m.Register(command, HandlerFunc(f))
}

// Alias makes alias another name of a registered command. It panics if the command is unknown or the alias taken.
func (m *Mux) Alias(alias, command string) {
	m.change(func(t *muxTable) {
		h, ok := t.commands[command]
		if !ok {
			panic(fmt.Sprintf("server: alias %q of unknown command %q", alias, command))
		}
		register(t.commands, "command", alias, h)
	})
}

// HandleDB gives all commands of a database to h. It panics if the database is taken.
func (m *Mux) HandleDB(db string, h Handler) {
	m.change(func(t *muxTable) { register(t.databases, "database", db, h) })
}

// RemoveDB undoes HandleDB.
func (m *Mux) RemoveDB(db string) {
	m.change(func(t *muxTable) { delete(t.databases, db) })
}

// Fallback sets the handler of commands nobody registered; nil means CommandNotFound.
func (m *Mux) Fallback(h Handler) {
	if h == nil {
		h = HandlerFunc(commandNotFound)
	}
	m.change(func(t *muxTable) { t.fallback = h })
}

// Commands returns the registered command names and aliases, sorted.
func (m *Mux) Commands() []string { return slices.Sorted(maps.Keys(m.table.Load().commands)) }

// change publishes a changed copy of the table.
func (m *Mux) change(f func(*muxTable)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.table.Load()
	t := &muxTable{commands: maps.Clone(old.commands), databases: maps.Clone(old.databases), fallback: old.fallback}
	f(t)
	m.table.Store(t)
}

func register(to map[string]Handler, kind, name string, h Handler) {
	if _, taken := to[name]; taken {
		panic(fmt.Sprintf("server: %s %q registered twice", kind, name))
	}
	if h == nil {
		panic(fmt.Sprintf("server: nil handler for %s %q", kind, name))
	}
	to[name] = h
}

func commandNotFound(_ context.Context, req *Request, _ *Reply) error {
	return mongoerr.New(mongoerr.CommandNotFound, "no such command: '%s'", req.Command)
}

// Ping answers {ping: 1}: the server is there.
func Ping(context.Context, *Request, *Reply) error { return nil }
