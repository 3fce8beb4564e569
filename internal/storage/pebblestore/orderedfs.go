package pebblestore

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS makes sure that a marker file, by which Pebble names its current
// manifest, never reaches the disk before the manifest's own directory entry. A
// crash between the two would leave a store that cannot be opened. Most file
// systems keep that order by themselves, none promises it.
type orderedFS struct {
	vfs.FS
}

func (fs orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(fs.PathBase(name), "marker.") {
		if err := syncDir(fs.FS, fs.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return fs.FS.Create(name, category)
}

func (fs orderedFS) Unwrap() vfs.FS { return fs.FS }
