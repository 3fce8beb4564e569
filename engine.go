package archelon

import (
	"context"
	"log/slog"
	"strings"

	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/storage/pebblestore"
	"github.com/archelon-db/archelon/internal/storage/pgstore"
)

// isPostgres says whether the storage is a PostgreSQL address.
func (c *Config) isPostgres() bool {
	return strings.HasPrefix(c.Storage, "postgres://") || strings.HasPrefix(c.Storage, "postgresql://")
}

// engineName is the engine as the log and getCmdLineOpts show it: an address may
// hold a password.
func (c *Config) engineName() string {
	if c.isPostgres() {
		return "postgres"
	}
	return c.Storage
}

// openEngine opens the storage.
func (c *Config) openEngine(log *slog.Logger) (storage.Engine, error) {
	if c.isPostgres() {
		return pgstore.Open(context.Background(), pgstore.Config{
			URL: c.Storage, Logger: log, Names: catalog.Names, Shared: !c.Standalone,
		})
	}
	return pebblestore.Open(pebblestore.Config{
		Dir: c.Data, Memory: c.Storage == StorageMemory, CacheBytes: c.CacheBytes, Logger: log,
		JournalInterval: c.JournalInterval,
	})
}
