package pebblestore

import "github.com/archelon-db/archelon/internal/storage"

// TableSize estimates the bytes of a table's records on disk.
func (s *Store) TableSize(t storage.TableID) int64 { return s.rangeSize(prefixTable, uint32(t)) }

// IndexSize estimates the bytes of an index's entries on disk.
func (s *Store) IndexSize(x storage.IndexID) int64 { return s.rangeSize(prefixIndex, uint32(x)) }

func (s *Store) rangeSize(kind byte, id uint32) int64 {
	g, ok := s.enter(uint64(id))
	if !ok {
		return 0
	}
	defer g.RUnlock()
	r := s.ranges.get(kind, id)
	if r == nil || r.dropped.Load() != 0 {
		return 0
	}
	n, err := s.db.EstimateDiskUsage(r.prefix(), r.end())
	if err != nil {
		return 0
	}
	return int64(n)
}

// Stats describes the store.
func (s *Store) Stats() storage.Stats {
	g, ok := s.enter(0)
	if !ok {
		return storage.Stats{Engine: "pebble"}
	}
	defer g.RUnlock()
	m := s.db.Metrics()
	st := storage.Stats{
		Engine:        "pebble",
		CacheBytes:    m.BlockCache.Size,
		CacheMaxBytes: s.config.CacheBytes,
		DiskBytes:     int64(m.DiskSpaceUsage()),
		Commits:       s.commits.Load(),
		Conflicts:     s.locks.conflicts.Load(),
		OpenTxns:      s.openTxns.Load(),
		WALSyncs:      s.syncs.Load(),
		LastCommitted: s.views.lastCommitted(),
	}
	if s.config.Memory {
		st.Engine = "memory"
	}
	st.OldestSnapshot = st.LastCommitted
	if oldest := s.views.oldest.Load(); oldest != noView {
		st.OldestSnapshot = storage.Position(oldest)
	}
	return st
}
