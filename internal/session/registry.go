package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

const (
	// Timeout is how long a session lives without being used.
	Timeout = 30 * time.Minute
	// maxSessions bounds the sessions in memory, as MongoDB does.
	maxSessions = 1_000_000
	// reapInterval is how often expired sessions are looked for.
	reapInterval = time.Minute
	// shardCount spreads the sessions over locks.
	shardCount = 64
)

// ID names a session: a UUID of the client's and the digest of its user.
type ID struct {
	UUID [16]byte
	UID  [32]byte
}

// NoUser is the digest of clients that have not authenticated.
var NoUser = sha256.Sum256(nil)

// Config is what a registry is made of.
type Config struct {
	// Engine keeps the outcomes of retryable writes.
	Engine storage.Engine
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Registry holds the sessions of a server. It is safe for concurrent use.
type Registry struct {
	// OnEnd is called with the owner (see Session.Owner) of each session that ends. It is set before the first Touch.
	OnEnd func(owner string)

	// OnExpire is called with a session whose transaction has taken too long, to
	// interrupt the statement that runs. It is set before the first Touch.
	OnExpire func(*Session)

	transactions transactions
	jobs         jobs

	cfg    Config
	shared bool // other processes execute writes of the sessions, too
	count  atomic.Int64
	shards [shardCount]shard
}

type shard struct {
	mu       sync.RWMutex // guards sessions
	sessions map[ID]*Session
}

// Session is a client's session.
type Session struct {
	id      ID
	owner   string
	lsid    bsonval.Doc  // {id, uid}
	lastUse atomic.Int64 // milliseconds since 1970
	reg     *Registry

	// open describes the transaction in progress, nil for none. Whoever has the turn sets it.
	open atomic.Pointer[OpenTransaction]

	// turn holds one token, which whoever runs a retryable write or a statement of a transaction takes. It guards the
	// fields below.
	turn   chan struct{}
	loaded bool
	number int64 // of the latest retryable write or transaction; -1 for none
	phase  phase
	work   Work     // of the transaction in progress, else nil
	chunks []chunk  // of the retryable write, else nil
	stored int      // chunks that storage may have
	raw    [][]byte // the chunks as they were seen last, of a shared store
	// inDoubt says that the commit of the transaction with number may yet happen in a shared store.
	inDoubt bool
	// doubtful says that a commit has failed that may yet have happened: a storage that is another server does not
	// always tell. What is stored tells the next who takes the turn.
	doubtful bool
	// generation is that of the storage when the turn was taken last. In another one what is remembered may be lost.
	generation uint64
}

// NewRegistry makes a registry without sessions.
func NewRegistry(cfg Config) (*Registry, error) {
	if cfg.Engine == nil || cfg.Logger == nil {
		return nil, errors.New("session: engine and logger are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	r := &Registry{cfg: cfg, shared: storage.IsShared(cfg.Engine), OnEnd: func(string) {}, OnExpire: func(*Session) {}}
	r.transactions.open = map[*Session]struct{}{}
	r.SetTransactionLifetime(DefaultTransactionLifetime)
	for i := range r.shards {
		r.shards[i].sessions = map[ID]*Session{}
	}
	return r, nil
}

func (r *Registry) shard(id ID) *shard { return &r.shards[id.UUID[15]%shardCount] }

// Touch returns a session, made if there is none, and marks it used now.
func (r *Registry) Touch(id ID) (*Session, error) {
	now := r.cfg.Now().UnixMilli()
	sh := r.shard(id)
	sh.mu.RLock()
	s := sh.sessions[id]
	sh.mu.RUnlock()
	if s != nil {
		s.lastUse.Store(now)
		return s, nil
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s = sh.sessions[id]; s == nil {
		if r.count.Load() >= maxSessions {
			return nil, mongoerr.New(mongoerr.TooManyLogicalSessions,
				"Unable to add session ID %x into the cache because the number of active sessions is too high", id.UUID)
		}
		s = &Session{id: id, lsid: id.doc(), owner: string(id.UUID[:]) + string(id.UID[:]), reg: r, turn: make(chan struct{}, 1), number: -1}
		sh.sessions[id] = s
		r.count.Add(1)
	}
	s.lastUse.Store(now)
	return s, nil
}

// Has says whether a session is known.
func (r *Registry) Has(id ID) bool {
	sh := r.shard(id)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.sessions[id] != nil
}

// Len is the number of sessions.
func (r *Registry) Len() int64 { return r.count.Load() }

// Each calls f for every session. f must not call the registry.
func (r *Registry) Each(f func(*Session)) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.RLock()
		for _, s := range sh.sessions {
			f(s)
		}
		sh.mu.RUnlock()
	}
}

// ID names the session.
func (s *Session) ID() ID { return s.id }

// LSID is the session's name as entries of the oplog have it, {id, uid}.
func (s *Session) LSID() bsonval.Doc { return s.lsid }

func (id ID) doc() bsonval.Doc {
	return bsonval.NewBuilder().Value("id", bsonval.Binary(4, id.UUID[:])).Value("uid", bsonval.Binary(0, id.UID[:])).Build()
}

// Owner is the session's key as the owner of cursors.
func (s *Session) Owner() string { return s.owner }

// LastUse is when the session was used last.
func (s *Session) LastUse() time.Time { return time.UnixMilli(s.lastUse.Load()) }

// End forgets sessions and what is stored for them.
func (r *Registry) End(ctx context.Context, ids []ID) error { return r.end(ctx, ids, true) }

// end is End. It leaves what is stored if clear is not set.
func (r *Registry) end(ctx context.Context, ids []ID, clear bool) error {
	var ended []*Session
	for _, id := range ids {
		sh := r.shard(id)
		sh.mu.Lock()
		if s := sh.sessions[id]; s != nil {
			delete(sh.sessions, id)
			r.count.Add(-1)
			ended = append(ended, s)
		}
		sh.mu.Unlock()
	}
	for _, s := range ended {
		r.OnEnd(s.owner)
	}
	return r.forget(ctx, ended, clear)
}

// forget aborts the transactions of sessions and removes the records of those that have written.
func (r *Registry) forget(ctx context.Context, ended []*Session, clear bool) error {
	txn := r.cfg.Engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	any := false
	for _, s := range ended {
		select {
		case s.turn <- struct{}{}:
		default:
			continue // it writes right now; its record and its transaction expire
		}
		s.endTransaction(aborted)
		for i := range s.stored {
			if !clear {
				break
			}
			any = true
			if err := txn.DeleteMeta(ctx, chunkKey(s.id, i)); err != nil {
				<-s.turn
				return fmt.Errorf("forget session: %w", err)
			}
		}
		<-s.turn
	}
	if !any {
		return nil
	}
	_, err := txn.Commit(ctx)
	if r.shared && errors.Is(err, storage.ErrWriteConflict) {
		return nil // another process does the same, or uses one of them; what is left expires
	}
	return err
}

// Run ends expired sessions and transactions until ctx ends.
func (r *Registry) Run(ctx context.Context) {
	if err := r.reapRecords(ctx); err != nil && ctx.Err() == nil {
		r.cfg.Logger.Warn("expired sessions not removed", "error", err)
	}
	tick := time.NewTicker(reapInterval)
	defer tick.Stop()
	expire := time.NewTicker(expireInterval)
	defer expire.Stop()
	for passes := 1; ; passes++ {
		for due := false; !due; {
			select {
			case <-ctx.Done():
				return
			case <-expire.C:
				r.ExpireTransactions()
			case <-tick.C:
				due = true
			}
		}
		err := r.Reap(ctx)
		if err == nil && passes%10 == 0 {
			err = r.reapRecords(ctx)
		}
		if err != nil && ctx.Err() == nil {
			r.cfg.Logger.Warn("expired sessions not removed", "error", err)
		}
	}
}

// Reap ends the sessions that have expired.
func (r *Registry) Reap(ctx context.Context) error {
	started := r.cfg.Now()
	limit := started.Add(-Timeout).UnixMilli()
	var expired []ID
	r.Each(func(s *Session) {
		if s.lastUse.Load() <= limit {
			expired = append(expired, s.id)
		}
	})
	defer func() { r.jobs.done(started, r.cfg.Now().Sub(started), len(expired)) }()
	if len(expired) == 0 {
		return nil
	}
	// Other processes of a shared store may use the sessions still. What is stored says when it was used last, and is
	// looked after by itself.
	return r.end(ctx, expired, !r.shared)
}

// reapRecords removes the expired records of sessions that are not in memory: those of an earlier process.
func (r *Registry) reapRecords(ctx context.Context) error {
	limit := r.cfg.Now().Add(-Timeout).UnixMilli()
	txn := r.cfg.Engine.Begin(storage.TxnOptions{NoSync: true})
	defer txn.Rollback()
	var stale [][]byte
	err := txn.ScanMeta(ctx, []byte(recordPrefix), func(key, value []byte) bool {
		id, ok := idOfKey(key)
		if ok && lastUseOf(value) <= limit && !r.Has(id) {
			stale = append(stale, append([]byte(nil), key...))
		}
		return true
	})
	r.jobs.recordPasses.Add(1)
	r.jobs.recordsRemoved.Store(int64(len(stale)))
	if err != nil || len(stale) == 0 {
		return err
	}
	for _, key := range stale {
		if err := txn.DeleteMeta(ctx, key); err != nil {
			return err
		}
	}
	_, err = txn.Commit(ctx)
	if errors.Is(err, storage.ErrWriteConflict) {
		return nil // one of them is used again; the next pass looks anew
	}
	return err
}
