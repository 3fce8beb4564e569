package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/storage"
)

// Store is a storage engine in a PostgreSQL schema. It implements
// [storage.Engine].
type Store struct {
	config *settings
	log    *slog.Logger
	schema string // quoted
	id     string
	clock  *clock.Clock
	sql    storeSQL

	pool    *pool
	claims  *claimTable
	ids     idSet
	syncer  syncer
	points  points
	grouper grouper

	gate       sync.RWMutex  // passed by every operation, held shut by Close
	closed     bool          // guarded by gate
	closing    chan struct{} // closed first by Close
	shut       sync.Once
	stopped    sync.WaitGroup // the background goroutine
	nextTxn    atomic.Uint64
	openTxns   atomic.Int64
	commits    atomic.Int64
	committing atomic.Int64 // commits under way
	unnoted    atomic.Int64 // commits that may be visible already at a time that is not known yet
	crowd      crowd
	dropped    atomic.Bool  // something is to be swept soon
	ascii      atomic.Bool  // the PostgreSQL database cannot store all of Unicode
	namespaces sync.Map     // schemas of databases that are known; one of them may have been dropped by another process
	naming     sync.RWMutex // held shared while a table is put into a schema, alone while empty schemas are dropped
	size       sizeCache

	retained retainedSet
}

var (
	_ storage.Engine    = (*Store)(nil)
	_ storage.Revivable = (*Store)(nil)
)

// storeSQL are the statements on the store's own tables.
type storeSQL struct {
	commitOld, forgetOld, shareMeta         string
	position                                string
	place, placeIf                          string // the beginnings of statements that go on with placedSQL, as these do, or commitSQL
	commit, commitIf                        string
	fence, fenceNew                         string
	getMeta, putMeta, putOldMeta, dropMeta  string
	scanMeta, scanMetaUpTo, lockCommit, ddl string
	block                                   string
	objects, setPlace, rename, missing      string
	namespace, addNamespace                 string
	valueOf, expectAll, putMetaMany         string
	newMeta, changeMeta                     string // see sendMetaIf
	pushClock                               string
	emptyNamespaces, dropNamespace          string
}

// placedSQL takes a logarithm of zero unless p, which draws a commit's time, has returned one.
const placedSQL = "SELECT COALESCE(max(pos), ln(count(*)::float8)::int8) AS pos FROM p"

func (s *Store) prepareSQL() {
	n := s.schema
	put := "INSERT INTO " + n + ".meta AS m (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
	place := "setval('" + n + ".clock', GREATEST((SELECT last_value FROM " + n + ".clock) + $1::int8, $2::int8))"
	s.sql = storeSQL{
		position:   "SELECT COALESCE(max(pos), 0) FROM " + n + ".commits",
		pushClock:  "SELECT setval('" + n + ".clock', GREATEST((SELECT last_value FROM " + n + ".clock), $1::int8))",
		lockCommit: "LOCK TABLE " + n + ".committing IN EXCLUSIVE MODE",
		place:      "WITH p AS (UPDATE " + n + ".commits SET pos = " + place + " WHERE slot = $3 RETURNING pos)",
		placeIf: "WITH p AS (UPDATE " + n + ".commits SET pos = " + place + " WHERE slot = $3 / (SELECT count(*) FROM " + n + ".meta " +
			"WHERE key = $4 AND value = $5) RETURNING pos)",
		commitOld:  "INSERT INTO " + n + ".commits (slot, pos) SELECT -pos, pos FROM (SELECT " + place + " AS pos) v RETURNING pos",
		forgetOld:  "DELETE FROM " + n + ".commits WHERE slot < 0 AND pos < (SELECT max(pos) FROM " + n + ".commits)",
		fence:      "UPDATE " + n + ".commits SET slot = -pos WHERE slot = $1 AND pos > 0",
		fenceNew:   "DELETE FROM " + n + ".commits WHERE slot = $1 AND pos = 0",
		getMeta:    "SELECT value FROM " + n + ".meta WHERE key = $1",
		putMeta:    put,
		putOldMeta: put + " RETURNING (SELECT o.value FROM " + n + ".meta o WHERE o.key = $1)",
		shareMeta:  "SELECT 1 FROM " + n + ".meta WHERE key = $1 FOR SHARE", // KEY SHARE would not fail for a value that is newer than the snapshot
		valueOf:    "(SELECT value FROM " + n + ".meta WHERE key = $2)",     // for a second argument
		expectAll: "SELECT 1 / ((SELECT count(*) FROM unnest($1::bytea[], $2::bytea[]) AS e(key, value) JOIN " + n + ".meta m USING (key, value)) = $3 " +
			"AND NOT EXISTS (SELECT 1 FROM " + n + ".meta WHERE key = ANY($4::bytea[])))::int",
		putMetaMany: "INSERT INTO " + n + ".meta (key, value) SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
		newMeta:     countedSQL("INSERT INTO " + n + ".meta (key, value) SELECT * FROM unnest($2::bytea[], $3::bytea[]) ON CONFLICT (key) DO NOTHING"),
		changeMeta: countedSQL("UPDATE " + n + ".meta m SET value = v.value FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS v(key, old, value) " +
			"WHERE m.key = v.key AND m.value = v.old"),
		dropMeta:     "DELETE FROM " + n + ".meta WHERE key = $1 RETURNING value",
		scanMeta:     "SELECT key, value FROM " + n + ".meta WHERE key >= $1 ORDER BY key",
		scanMetaUpTo: "SELECT key, value FROM " + n + ".meta WHERE key >= $1 AND key < $2 ORDER BY key",
		block: "INSERT INTO " + n + ".blocks AS b VALUES ($1, $2::int8 + $3::int8) ON CONFLICT (id) DO UPDATE SET next = b.next + $3::int8 " +
			"RETURNING next",
		ddl:     "SELECT nextval('" + n + ".ddl')",
		objects: "SELECT ascii(kind)::int8, id, tbl, uniq::int::int8, namespace, relation FROM " + n + ".ids WHERE dropped IS NULL ORDER BY kind",
		missing: missingSQL(n),
		setPlace: "UPDATE " + n + ".ids SET namespace = $3, relation = $4, database = $5, collection = $6, index_name = $7 " +
			"WHERE kind = $1 AND id = $2",
		rename:       "UPDATE " + n + ".ids SET database = $2, collection = $3 WHERE kind = 't' AND id = $1",
		namespace:    "SELECT namespace FROM " + n + ".databases WHERE database = $1",
		addNamespace: "INSERT INTO " + n + ".databases VALUES ($1, $2)",
		emptyNamespaces: "SELECT database, namespace FROM " + n + ".databases WHERE namespace NOT IN " +
			"(SELECT namespace FROM " + n + ".ids WHERE namespace IS NOT NULL) LIMIT " + strconv.Itoa(sweepSize),
		dropNamespace: "DELETE FROM " + n + ".databases d WHERE database = $1 AND NOT EXISTS " +
			"(SELECT 1 FROM " + n + ".ids i WHERE i.namespace = d.namespace)",
	}
	s.sql.commit, s.sql.commitIf = s.sql.place+" "+placedSQL, s.sql.placeIf+" "+placedSQL
}

// Open opens the store that a URL names, or creates it.
func Open(ctx context.Context, config Config) (*Store, error) {
	st, err := config.parse()
	if err != nil {
		return nil, err
	}
	s := &Store{config: st, log: st.Logger, schema: quoted(st.schema), clock: st.Clock, closing: make(chan struct{})}
	s.prepareSQL()
	s.claims = newClaimTable(s.closing)
	s.ids = idSet{store: s, all: map[objectKey]*object{}}
	s.pool = &pool{config: st.work, max: st.max, timeout: st.AcquireTimeout, prepare: s.prepareConn, closing: s.closing,
		cut: func() { s.syncer.suspicions.Add(1) }}
	s.syncer.init(s)
	s.points.s = s
	if err := s.syncer.open(ctx); err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	s.stopped.Add(1)
	go s.background()
	return s, nil
}

// ID is the store's identity: chosen at creation, 32 hexadecimal digits.
func (s *Store) ID() string { return s.id }

// Clock is the clock that gives commits their times.
func (s *Store) Clock() *clock.Clock { return s.clock }

// sweepTicks is how many polls lie between two sweeps: DROP TABLE is work for the
// server that nobody waits for.
const sweepTicks = 25

// enter passes the gate; the caller leaves with gate.RUnlock.
func (s *Store) enter() bool {
	s.gate.RLock()
	select {
	case <-s.closing:
		s.gate.RUnlock()
		return false
	default:
		return true
	}
}

// background notices what other processes do, and keeps house.
func (s *Store) background() {
	defer s.stopped.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.closing
		cancel()
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	o := outage{log: s.log}
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-s.closing:
			return
		}
		if err := s.syncer.poll(ctx); ctx.Err() == nil {
			o.note(err)
		}
		s.pool.tidy(ctx)
		s.ids.tidy(s.claims.oldestSeq())
		if n%sweepTicks == sweepTicks-1 && (s.dropped.Swap(false) || n%(50*sweepTicks) == sweepTicks-1) {
			s.sweep(ctx)
		}
	}
}

// outage tells of a server that does not answer: when that begins, now and then, and when it
// is over.
type outage struct {
	log         *slog.Logger
	since, told time.Time
}

// note takes note of an attempt.
func (o *outage) note(err error) {
	now := time.Now()
	switch {
	case err == nil && !o.since.IsZero():
		o.log.Info("PostgreSQL answers again", "after", now.Sub(o.since).Round(time.Millisecond))
		o.since, o.told = time.Time{}, time.Time{}
	case err == nil || now.Sub(o.told) < outageReport:
		return
	case o.since.IsZero():
		o.since, o.told = now, now
		o.log.Warn("PostgreSQL does not answer", "error", err)
	default:
		o.told = now
		o.log.Warn("PostgreSQL still does not answer", "since", o.since.Format(time.RFC3339), "error", err)
	}
}

// fence makes sure that a commit whose connection was cut is over when its outcome is
// looked for. PostgreSQL may still be at it, or about to: then it either comes through, which the
// fence waits for, or fails because the connection's row in commits is not there any more. The
// row's position stays. A connection that happens to have the number of that one is closed
// when it misses its row.
func (s *Store) fence(slot uint32) {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.AcquireTimeout)
	defer cancel()
	for ctx.Err() == nil {
		c, err := s.pool.acquire(ctx)
		if err != nil {
			return // whoever looks for the outcome does not reach PostgreSQL either
		}
		c.end()
		c.add(s.sql.fenceNew, nil, c.i8(int64(slot)))
		c.add(s.sql.fence, nil, c.i8(int64(slot)))
		_, err = s.askPosition(ctx, c)
		s.pool.release(c)
		if err == nil {
			return
		}
	}
}

// Sync waits until everything committed so far is durable.
func (s *Store) Sync(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !s.enter() {
		return storage.ErrClosed
	}
	defer s.gate.RUnlock()
	gen, err := s.syncer.generation(ctx)
	if err != nil {
		return err
	}
	newest := s.syncer.newest()
	if s.unnoted.Load() > 0 {
		c, err := s.pool.acquire(ctx)
		if err != nil {
			return translate(ctx, err)
		}
		c.end()
		newest, err = s.askPosition(ctx, c)
		s.pool.release(c)
		if err != nil {
			return translate(ctx, err)
		}
	}
	return s.syncer.wait(ctx, newest, gen)
}

// SyncNoted waits until everything is durable whose Commit has returned.
func (s *Store) SyncNoted(ctx context.Context) error {
	if !s.enter() {
		return storage.ErrClosed
	}
	defer s.gate.RUnlock()
	gen, err := s.syncer.generation(ctx)
	if err != nil {
		return err
	}
	return s.syncer.wait(ctx, s.syncer.newest(), gen)
}

// Generation is the number of the connection that makes commits durable.
func (s *Store) Generation(ctx context.Context) (uint64, error) { return s.syncer.generation(ctx) }

// Losses counts the connections that have made commits durable.
func (s *Store) Losses() uint64 { return s.syncer.losses.Load() }

// isBehind says whether a transaction goes by what may have been lost since.
func (tx *txn) isBehind() bool { return tx.opts.Losses != 0 && tx.opts.Losses != tx.s.Losses() }

// AwaitsStandbys says whether PostgreSQL has synchronous standbys.
func (s *Store) AwaitsStandbys() bool { return s.syncer.standbys.Load() }

// askPosition asks for the time of the newest commit that is visible.
func (s *Store) askPosition(ctx context.Context, c *conn) (uint64, error) {
	var pos int64
	c.add(s.sql.position, func(v [][]byte) { pos = int64Of(v[0]) })
	if err := c.run(ctx); err != nil {
		return 0, err
	}
	if pos > 0 {
		s.syncer.note(uint64(pos))
	}
	return uint64(pos), nil
}

// Durable returns the time up to which log records are durable, and a channel
// that is closed when it grows.
func (s *Store) Durable() (uint64, <-chan struct{}) { return s.syncer.watch() }

// IsDistant says that PostgreSQL is another process, if not on another host.
func (s *Store) IsDistant() bool { return true }

// Visible returns the time up to which commits of this process are visible: the end of time
// while one of them may be visible already that does not know its own yet.
func (s *Store) Visible() uint64 {
	if s.unnoted.Load() > 0 {
		return math.MaxUint64
	}
	return s.syncer.newest()
}

// Peek has nothing at hand: other processes may write.
func (s *Store) Peek(storage.TableID, storage.RecordID) []byte { return nil }

// TableSize estimates the bytes of a table on disk.
func (s *Store) TableSize(t storage.TableID) int64 { return s.objectSize(kindTable, uint32(t)) }

// IndexSize estimates the bytes of an index on disk.
func (s *Store) IndexSize(x storage.IndexID) int64 { return s.objectSize(kindIndex, uint32(x)) }

func (s *Store) objectSize(kind byte, id uint32) int64 {
	if !s.enter() {
		return 0
	}
	defer s.gate.RUnlock()
	ctx := context.Background()
	o, err := s.ids.find(ctx, kind, id)
	if err != nil || o == nil || !s.ids.settled(o) {
		return 0
	}
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return 0
	}
	defer s.pool.release(c)
	c.end()
	v, err := c.query(ctx, "SELECT COALESCE(pg_total_relation_size(to_regclass($1)), 0)", []byte(o.name))
	if err != nil {
		return 0
	}
	return v[0]
}

// settled says whether an object is committed and not dropped.
func (ids *idSet) settled(o *object) bool {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	return o.creator == 0 && o.dropped == 0
}

// Compact gives the space of deleted records back to the table.
func (s *Store) Compact(ctx context.Context, t storage.TableID) error {
	if !s.enter() {
		return storage.ErrClosed
	}
	defer s.gate.RUnlock()
	o, err := s.ids.find(ctx, kindTable, uint32(t))
	if err != nil {
		return err
	}
	if o == nil || !s.ids.settled(o) {
		return storage.ErrNotFound
	}
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return translate(ctx, err)
	}
	defer s.pool.release(c)
	if c.end(); len(c.batch) > 0 { // VACUUM must come alone
		if err := c.run(ctx); err != nil {
			return translate(ctx, err)
		}
	}
	c.once("VACUUM " + o.name)
	return translate(ctx, c.run(ctx))
}

// Stats describes the store.
func (s *Store) Stats() storage.Stats {
	newest := storage.Position(s.syncer.newest())
	s.claims.mu.Lock()
	conflicts := s.claims.conflicts
	s.claims.mu.Unlock()
	return storage.Stats{
		Engine:         "postgres",
		DiskBytes:      s.diskBytes(),
		Commits:        s.commits.Load(),
		Conflicts:      conflicts,
		OpenTxns:       s.openTxns.Load(),
		WALSyncs:       s.syncer.rounds.Load(),
		LastCommitted:  newest,
		OldestSnapshot: s.claims.oldestPosition(newest),
	}
}

// sizeCache is the size of the schema as it was when it was last asked for.
type sizeCache struct {
	mu    sync.Mutex
	bytes int64
	until time.Time
}

// sizeLifetime is how long a size is believed. PostgreSQL counts the pages when it
// cleans a table.
const sizeLifetime = 30 * time.Second

func (s *Store) diskBytes() int64 {
	if !s.enter() {
		return 0
	}
	defer s.gate.RUnlock()
	s.size.mu.Lock()
	defer s.size.mu.Unlock()
	if time.Now().Before(s.size.until) {
		return s.size.bytes
	}
	s.size.until = time.Now().Add(sizeLifetime)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := s.pool.acquire(ctx)
	if err != nil {
		return s.size.bytes
	}
	defer s.pool.release(c)
	c.end()
	v, err := c.query(ctx, "SELECT COALESCE(sum(c.relpages), 0)::int8 * current_setting('block_size')::int8 FROM pg_class c "+
		"JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'i') AND "+
		"(n.nspname = $1 OR n.nspname IN (SELECT namespace FROM "+s.schema+".databases))", []byte(s.config.schema))
	if err == nil {
		s.size.bytes = v[0]
	}
	return s.size.bytes
}

// closePatience is how long Close waits for commits that wait for the disk or for standbys.
const closePatience = 3 * time.Second

// Close stops the store: transactions that are still open end with ErrClosed.
func (s *Store) Close() error {
	first := false
	s.shut.Do(func() {
		first = true
		close(s.closing)
	})
	if !first {
		return storage.ErrClosed
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		patience := time.NewTicker(closePatience)
		defer patience.Stop()
		for {
			select {
			case <-patience.C:
				s.syncer.cut()
			case <-done:
				return
			}
		}
	}()
	s.stopped.Wait()
	s.gate.Lock()
	s.closed = true
	s.gate.Unlock()
	s.retained.closeAll(s)
	s.pool.close()
	s.syncer.close()
	return nil
}
