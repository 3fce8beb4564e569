package auth

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/archelon-db/archelon/server"
)

// Account is a user that can authenticate. A value given to a Guard is not changed any more.
type Account struct {
	Name, DB string
	Roles    []server.UserRole
	// Keys are the user's passwords by mechanism, SCRAMSHA256 or SCRAMSHA1. Users of ExternalDB have none.
	Keys map[string]*Keys
}

// Store has the accounts. It is safe for concurrent use.
type Store interface {
	// Account returns a user, nil if there is none.
	Account(ctx context.Context, db, name string) (*Account, error)
	// Version changes whenever accounts may have changed. It is asked for with each command, so it has to be quick.
	Version() uint64
}

// Lister is a Store that can list its accounts, which usersInfo then shows.
type Lister interface {
	// Accounts are all users, in the order of database and name.
	Accounts() []*Account
}

// NewAccount makes an account with a password, for all mechanisms.
func NewAccount(name, db, password string, roles ...server.UserRole) (*Account, error) {
	a := &Account{Name: name, DB: db, Roles: roles, Keys: map[string]*Keys{}}
	for _, r := range roles {
		if err := CheckRole(r); err != nil {
			return nil, err
		}
	}
	for _, m := range mechanisms {
		keys, err := DeriveKeys(m.name, name, password)
		if err != nil {
			return nil, err
		}
		a.Keys[m.name] = keys
	}
	return a, nil
}

// Memory is a Store of accounts that the program gives it.
type Memory struct {
	mu      sync.Mutex // serialises changes
	current atomic.Pointer[accounts]
}

// accounts are those of one moment. They are immutable.
type accounts struct {
	version uint64
	byName  map[[2]string]*Account
}

var (
	_ Store  = (*Memory)(nil)
	_ Lister = (*Memory)(nil)
)

// NewMemory makes a store with these accounts.
func NewMemory(list ...*Account) *Memory {
	m := &Memory{}
	m.Set(list...)
	return m
}

// Set replaces all accounts.
func (m *Memory) Set(list ...*Account) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := &accounts{version: m.load().version + 1, byName: make(map[[2]string]*Account, len(list))}
	for _, a := range list {
		next.byName[[2]string{a.DB, a.Name}] = a
	}
	m.current.Store(next)
}

// load returns the accounts, none if there were never any.
func (m *Memory) load() *accounts {
	if a := m.current.Load(); a != nil {
		return a
	}
	return &accounts{}
}

// Account implements Store.
func (m *Memory) Account(_ context.Context, db, name string) (*Account, error) {
	return m.load().byName[[2]string{db, name}], nil
}

// Version implements Store.
func (m *Memory) Version() uint64 { return m.load().version }

// Accounts implements Lister.
func (m *Memory) Accounts() []*Account {
	var out []*Account
	for _, a := range m.load().byName {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b *Account) int { return cmp.Or(strings.Compare(a.DB, b.DB), strings.Compare(a.Name, b.Name)) })
	return out
}
