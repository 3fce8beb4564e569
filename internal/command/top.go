package command

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
)

// usageKinds are the kinds of operations top tells apart, in its order. The first is all of them.
var usageKinds = [...]string{"total", "readLock", "writeLock", "queries", "getmore", "insert", "update", "remove", "commands"}

const (
	usageTotal = iota
	usageRead
	usageWrite
	usageQueries
	usageGetMore
	usageInsert
	usageUpdate
	usageRemove
	usageCommands
)

// usageKind is the kind of a command's operations.
func usageKind(name string) (kind int, write bool) {
	switch name {
	case "find":
		return usageQueries, false
	case "getMore":
		return usageGetMore, false
	case "insert":
		return usageInsert, true
	case "update", "findAndModify":
		return usageUpdate, true
	case "delete":
		return usageRemove, true
	}
	return usageCommands, false
}

// usages count the operations on collections.
type usages struct {
	mu   sync.RWMutex // guards byNS
	byNS map[database.Namespace]*usage
}

// usage is the use of one collection, by kind and by class.
type usage struct {
	kinds   [len(usageKinds)]latency
	classes [len(latencyClasses)]histogram
}

// add counts an operation on a collection that exists.
func (u *usages) add(ns database.Namespace, exists func() bool, kind, class int, write bool, took time.Duration) {
	u.mu.RLock()
	x := u.byNS[ns]
	u.mu.RUnlock()
	if x == nil {
		if !exists() {
			return
		}
		u.mu.Lock()
		if x = u.byNS[ns]; x == nil {
			if u.byNS == nil {
				u.byNS = map[database.Namespace]*usage{}
			}
			x = &usage{}
			u.byNS[ns] = x
		}
		u.mu.Unlock()
	}
	lock := usageRead
	if write {
		lock = usageWrite
	}
	micros := took.Microseconds()
	for _, k := range [...]int{usageTotal, lock, kind} {
		x.kinds[k].ops.Add(1)
		x.kinds[k].micros.Add(micros)
	}
	x.classes[class].add(micros)
}

// prune forgets collections that are gone.
func (u *usages) prune(db *database.DB) {
	u.mu.Lock()
	defer u.mu.Unlock()
	snap := db.Catalog()
	for ns := range u.byNS {
		if snap.Collection(ns.DB, ns.Coll) == nil {
			delete(u.byNS, ns)
		}
	}
}

func runTop(_ context.Context, c *Call) error {
	db, u := c.Database(), &c.Commands.usages
	u.prune(db)
	b := bsonval.NewBuilder().StartDoc("totals").Str("note", "all times in microseconds")
	snap := db.Catalog()
	for _, name := range snap.Databases() {
		for _, coll := range snap.Collections(name) {
			u.mu.RLock()
			x := u.byNS[database.Namespace{DB: name, Coll: coll.Name}]
			u.mu.RUnlock()
			if x == nil {
				x = &usage{}
			}
			b.StartDoc(coll.Namespace())
			for k, kind := range usageKinds {
				b.StartDoc(kind).Value("time", shortInt(x.kinds[k].micros.Load())).Value("count", shortInt(x.kinds[k].ops.Load())).End()
			}
			b.End()
		}
	}
	c.Reply.AppendDoc(b.End().Build())
	return nil
}

// slowLog says which operations are slow enough for the log.
type slowLog struct {
	millis atomic.Int64
	// sample is the share of slow operations that are logged, as the bits of a double.
	sample atomic.Uint64
}
