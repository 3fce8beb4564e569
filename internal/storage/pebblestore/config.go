package pebblestore

import (
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/archelon-db/archelon/internal/clock"
)

const (
	// defaultCacheBytes is the block cache of a store that was given none: small
	// enough for the smallest container, useful for a first try.
	defaultCacheBytes = 64 << 20

	// memTableBytes is the size of a write buffer. Pebble starts with 256 kB and
	// doubles up to this, so an idle store holds far less. With twice the size the search
	// in the buffer cost more than the fewer compactions saved.
	memTableBytes = 16 << 20

	// l0Threshold is twice the number of layers of level 0 at which it is compacted. A
	// compaction of documents overwritten at random rewrites most of the level below, so
	// the more layers at once the cheaper; reads look into all of them.
	l0Threshold = 8

	// defaultNoSyncInterval is how soon commits that did not wait for the disk
	// are synced, if no JournalInterval says otherwise.
	defaultNoSyncInterval = 100 * time.Millisecond

	// minFreeLow and minFreeHigh bound the default of MinFreeBytes: room for a
	// flush, a journal and a small compaction, but never a large part of a small
	// volume.
	minFreeLow  = 16 << 20
	minFreeHigh = 256 << 20

	// closeTimeout is how long Close waits for open iterators, which stop by
	// themselves at the next step.
	closeTimeout = 10 * time.Second
)

// Config says where and how a store keeps its data. It is copied by Open.
type Config struct {
	// Dir is the folder of the store; created if missing. Nothing else may live
	// in it.
	Dir string

	// FS is the file system; nil means the operating system's.
	FS vfs.FS

	// Memory keeps everything in memory: no folder, no journal, gone at Close.
	// Dir and FS are not used.
	Memory bool

	// CacheBytes limits the cache of uncompressed blocks; 0 means 64 MB.
	CacheBytes int64

	// Logger gets what happens in the background; nil discards it.
	Logger *slog.Logger

	// Clock gives commits their positions and log records their ids; nil makes one
	// of the store's own.
	Clock *clock.Clock

	// JournalInterval 0 makes every commit wait for its fsync (grouped with
	// others). A positive interval lets commits return at once and syncs them at
	// most this much later: a crash may lose the last ones.
	JournalInterval time.Duration

	// MinFreeBytes of disk space are kept free by refusing commits with
	// storage.ErrNoSpace; 0 means 2 % of the disk within 16 to 256 MB, negative
	// means no check.
	MinFreeBytes int64
}

func (c Config) withDefaults() Config {
	if c.Memory {
		c.Dir = "memory"
		c.FS = vfs.NewMem()
		c.MinFreeBytes = -1
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = defaultCacheBytes
	}
	if c.Clock == nil {
		c.Clock = clock.New(time.Now)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
