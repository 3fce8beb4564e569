package pebblestore

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// formatVersion is the version of everything a store writes: the key space of
// keys.go and Pebble's own format (pebbleFormat). A store of an older version is
// upgraded by Open, a newer one is refused before anything is touched.
const (
	formatVersion = 1
	pebbleFormat  = pebble.FormatValueSeparation
)

// formatFile names the file that makes a folder a store. It is text for people,
// written and synced before Pebble's first file:
//
//	archelon store format 1
//	id 0123456789abcdef0123456789abcdef
const (
	formatFile     = "ARCHELON"
	formatLine     = "archelon store format "
	formatIDLine   = "id "
	formatFileMax  = 256
	formatTempFile = "ARCHELON.new"
)

// storeID tells stores apart. It is chosen when a store is created.
type storeID [16]byte

func (id storeID) String() string { return hex.EncodeToString(id[:]) }

// format is the content of the format file.
type format struct {
	version uint32
	id      storeID
}

func (f format) text() string {
	return fmt.Sprintf("%s%d\n%s%s\n", formatLine, f.version, formatIDLine, f.id)
}

var errFormatFile = errors.New("the file " + formatFile + " is not readable as a store header")

// parseFormat reads the text of a format file. Of a newer version it reads the
// version only.
func parseFormat(text string) (format, error) {
	var f format
	first, rest, _ := strings.Cut(text, "\n")
	num, ok := strings.CutPrefix(first, formatLine)
	if !ok {
		return f, errFormatFile
	}
	v, err := strconv.ParseUint(num, 10, 32)
	if err != nil || v == 0 {
		return f, errFormatFile
	}
	f.version = uint32(v)
	if f.version > formatVersion {
		return f, nil
	}
	second, rest, ok := strings.Cut(rest, "\n")
	id, isID := strings.CutPrefix(second, formatIDLine)
	if !ok || !isID || rest != "" || len(id) != 2*len(f.id) {
		return f, errFormatFile
	}
	if _, err := hex.Decode(f.id[:], []byte(id)); err != nil {
		return f, errFormatFile
	}
	return f, nil
}

// header is the value of the header key, which ties Pebble's files to the format
// file beside them.
func (f format) header() []byte {
	b := binary.BigEndian.AppendUint32(nil, f.version)
	return append(b, f.id[:]...)
}

// readFormat reads the folder's format file. It returns fs.ErrNotExist if there
// is none.
func readFormat(fsys vfs.FS, dir string) (format, error) {
	file, err := fsys.Open(fsys.PathJoin(dir, formatFile))
	if err != nil {
		return format{}, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, formatFileMax))
	if err != nil {
		return format{}, err
	}
	return parseFormat(string(b))
}

// writeFormat makes the folder a store: all or nothing, and durable.
func writeFormat(fsys vfs.FS, dir string, f format) error {
	temp := fsys.PathJoin(dir, formatTempFile)
	file, err := fsys.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, f.text())
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	if err := fsys.Rename(temp, fsys.PathJoin(dir, formatFile)); err != nil {
		return err
	}
	return syncDir(fsys, dir)
}

// makeDir creates a folder and the missing ones above it, durably.
func makeDir(fsys vfs.FS, dir string) error {
	var parents []string // of the folders to create
	for d := dir; ; {
		if _, err := fsys.Stat(d); err == nil {
			break
		}
		parent := fsys.PathDir(d)
		parents = append(parents, parent)
		if parent == d {
			break
		}
		d = parent
	}
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range parents {
		if err := syncDir(fsys, p); err != nil {
			return err
		}
	}
	return nil
}

func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}

// checkFolder decides what a folder is: a store whose format it returns, or an
// empty folder that it turns into one.
func checkFolder(fsys vfs.FS, dir string) (format, *OpenError) {
	f, err := readFormat(fsys, dir)
	switch {
	case err == nil && f.version > formatVersion:
		return f, &OpenError{Kind: ErrNewerFormat,
			Hint: fmt.Sprintf("its format is %d, this program knows up to %d: use a newer version of the program", f.version, formatVersion)}
	case err == nil:
		return f, nil
	case errors.Is(err, errFormatFile):
		return f, &OpenError{Kind: ErrDamaged, Cause: err, Hint: "restore the folder from a backup"}
	case !errors.Is(err, fs.ErrNotExist):
		return f, &OpenError{Kind: ErrNotWritable, Cause: err, Hint: "check the owner and the permissions of the folder"}
	}

	names, err := fsys.List(dir)
	if err != nil {
		return f, &OpenError{Kind: ErrNotWritable, Cause: err, Hint: "check the owner and the permissions of the folder"}
	}
	for _, name := range names {
		if !harmless(name) {
			return f, &OpenError{Kind: ErrNotAStore, Hint: fmt.Sprintf("it contains %q and no file %s: choose an empty folder", name, formatFile)}
		}
	}
	f.version = formatVersion
	rand.Read(f.id[:])
	if err := writeFormat(fsys, dir, f); err != nil {
		return f, &OpenError{Kind: ErrNotWritable, Cause: err, Hint: "check the permissions of the folder and the free space of the disk"}
	}
	return f, nil
}

// harmless says that a file may lie in a folder that becomes a store: ours from
// an earlier try, or of those that operating systems put anywhere.
func harmless(name string) bool {
	return name == "LOCK" || name == formatTempFile || name == "lost+found" || strings.HasPrefix(name, ".")
}
