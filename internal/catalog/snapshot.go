package catalog

import (
	"sort"
	"time"

	"github.com/archelon-db/archelon/internal/storage"
)

// Snapshot is the catalog at one moment. It is immutable.
type Snapshot struct {
	dbs map[string]map[string]*Collection

	// version is what the store says of these definitions; none if only this process
	// can change them.
	version []*storage.Expectation
}

// Version is what a transaction expects that goes by these definitions.
func (s *Snapshot) Version() []*storage.Expectation { return s.version }

// KnownSince says whether these were the store's definitions at some moment after t.
func (s *Snapshot) KnownSince(t time.Time) bool {
	return len(s.version) == 0 || s.version[0].MetSince(t)
}

// at is the snapshot with a version.
func (s *Snapshot) at(version *storage.Expectation) *Snapshot {
	if version != nil {
		s.version = []*storage.Expectation{version}
	}
	return s
}

// Collection returns a collection or view, or nil.
func (s *Snapshot) Collection(db, name string) *Collection { return s.dbs[db][name] }

// Databases lists the databases that have collections, by name.
func (s *Snapshot) Databases() []string {
	names := make([]string, 0, len(s.dbs))
	for name := range s.dbs {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// HasDatabase says whether a database has collections.
func (s *Snapshot) HasDatabase(db string) bool { return len(s.dbs[db]) > 0 }

// Collections lists a database's collections and views, by name.
func (s *Snapshot) Collections(db string) []*Collection {
	list := make([]*Collection, 0, len(s.dbs[db]))
	for _, c := range s.dbs[db] {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Name < list[j].Name })
	return list
}

// with returns a snapshot in which one name means c, or nothing if c is nil.
func (s *Snapshot) with(db, name string, c *Collection) *Snapshot {
	n := &Snapshot{dbs: make(map[string]map[string]*Collection, len(s.dbs)+1)}
	for k, v := range s.dbs {
		n.dbs[k] = v
	}
	colls := make(map[string]*Collection, len(s.dbs[db])+1)
	for k, v := range s.dbs[db] {
		colls[k] = v
	}
	if c == nil {
		delete(colls, name)
	} else {
		colls[name] = c
	}
	if len(colls) == 0 {
		delete(n.dbs, db)
	} else {
		n.dbs[db] = colls
	}
	return n
}
