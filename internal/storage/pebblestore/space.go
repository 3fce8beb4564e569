package pebblestore

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/archelon-db/archelon/internal/storage"
)

// spaceCheckBytes is how much may be written between two looks at the free disk
// space: far less than the space kept free, and rarely enough to cost nothing.
const spaceCheckBytes = 1 << 20

// FreeBytes is how much space is free on the disk of a folder.
func FreeBytes(dir string) (int64, error) {
	usage, err := vfs.Default.GetDiskUsage(dir)
	return int64(usage.AvailBytes), err
}

// spaceGuard refuses commits before the disk is full.
type spaceGuard struct {
	fs   vfs.FS
	dir  string
	min  int64        // negative: no check; 0: from the size of the disk
	left atomic.Int64 // bytes that may be written before the next look
	full atomic.Bool  // the last look found too little: look at every commit
}

// admit is asked before each commit of n bytes.
func (g *spaceGuard) admit(n int) error {
	if g.min < 0 || (g.left.Add(-int64(n)) > 0 && !g.full.Load()) {
		return nil
	}
	usage, err := g.fs.GetDiskUsage(g.dir)
	if err != nil {
		g.left.Store(spaceCheckBytes)
		return nil //nolint:nilerr // a file system that cannot tell how full it is takes the write
	}
	reserve := g.min
	if reserve == 0 {
		reserve = max(minFreeLow, min(minFreeHigh, int64(usage.TotalBytes/50)))
	}
	if int64(usage.AvailBytes)-int64(n) < reserve {
		g.full.Store(true)
		return fmt.Errorf("%w: %d bytes are free, %d are kept in reserve", storage.ErrNoSpace, usage.AvailBytes, reserve)
	}
	g.full.Store(false)
	g.left.Store(spaceCheckBytes)
	return nil
}
