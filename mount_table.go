package archelon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// mountTable is immutable once published.
type mountTable struct {
	all []*mounted
	// whole are the databases that are answered wholly by a mount.
	whole map[string]*mounted
	// commands are by database ("" for all) and name in lower case.
	commands map[string]map[string]*mounted
}

// tableOf makes the table of mounts whose names do not clash.
func tableOf(all []*mounted) *mountTable {
	t := &mountTable{all: all, whole: map[string]*mounted{}, commands: map[string]map[string]*mounted{}}
	for _, x := range all {
		if x.whole() {
			t.whole[x.Database] = x
			continue
		}
		if t.commands[x.Database] == nil {
			t.commands[x.Database] = map[string]*mounted{}
		}
		for _, name := range x.names() {
			t.commands[x.Database][strings.ToLower(name)] = x
		}
	}
	return t
}

// free says whether the names of a mount are free.
func (m *mounts) free(x *Mount) error {
	t := m.table.Load()
	var errs []error
	for _, name := range x.names() {
		if own := m.hostNames[strings.ToLower(name)]; own != "" {
			errs = append(errs, fmt.Errorf("the command %q clashes with the database's own command %q: rename it, or mount the service as a whole database", name, own))
		}
	}
	if t.whole[x.Database] != nil {
		return errors.Join(append(errs, fmt.Errorf("the database %q is mounted already", x.Database))...)
	}
	if x.whole() && len(t.commands[x.Database]) > 0 {
		errs = append(errs, fmt.Errorf("the database %q has mounted commands", x.Database))
	}
	for _, name := range x.names() {
		for db, commands := range t.commands {
			if commands[strings.ToLower(name)] != nil && (db == x.Database || db == "" || x.Database == "") {
				errs = append(errs, fmt.Errorf("the command %q is mounted already", name))
				break
			}
		}
	}
	return errors.Join(errs...)
}

// add publishes a mount and runs its loops if the server runs.
func (m *mounts) add(x *mounted) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("the server has stopped")
	}
	if err := m.free(&x.Mount); err != nil {
		return err
	}
	m.table.Store(tableOf(append(slices.Clone(m.table.Load().all), x)))
	if m.loop != nil {
		m.start(m.loop, x)
	}
	return nil
}

// remove takes a mount out of the table and returns what ends its loops and tells when they have ended.
func (m *mounts) remove(x *mounted) (stop context.CancelFunc, loops <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.table.Store(tableOf(slices.DeleteFunc(slices.Clone(m.table.Load().all), func(y *mounted) bool { return x == y })))
	return x.stop, x.loops
}

// start runs the loops of a mount until ctx ends or the mount is taken away. Its caller holds m.mu.
func (m *mounts) start(ctx context.Context, x *mounted) {
	r, ok := x.handler.(runner)
	if !ok {
		return
	}
	ctx, x.stop = context.WithCancel(ctx)
	x.loops = make(chan struct{})
	m.loops.Go(func() {
		defer close(x.loops)
		r.Run(ctx)
	})
}
