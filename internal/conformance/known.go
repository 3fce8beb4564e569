package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Known is the checked-in list of cases that are known to fail: one id per line; blank lines and everything from " #"
// or a leading "#" on is a comment, which says the cause. The list may only shrink.
type Known struct {
	lines []string
	ids   map[string]bool
}

// LoadKnown reads a list; a file that does not exist is an empty list.
func LoadKnown(name string) (*Known, error) {
	data, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return parseKnown(data)
}

func parseKnown(data []byte) (*Known, error) {
	k := &Known{ids: map[string]bool{}}
	sc := bufio.NewScanner(bytes.NewReader(data))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		k.lines = append(k.lines, sc.Text())
		if id := knownID(sc.Text()); id != "" {
			if k.ids[id] {
				return nil, fmt.Errorf("line %d: %s for the second time", len(k.lines), id)
			}
			k.ids[id] = true
		}
	}
	return k, sc.Err()
}

func knownID(line string) string {
	if strings.HasPrefix(line, "#") {
		return ""
	}
	if i := strings.Index(line, " # "); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}

// Drift is how a run differs from the list.
type Drift struct {
	New   []string // failed, not in the list
	Fixed []string // in the list, passed
	Stale []string // in the list, not in the corpus that was run
}

// Against compares a run with the list. A case that was skipped or not selected says nothing about its line.
func (s *Summary) Against(k *Known, complete bool) Drift {
	var d Drift
	ran := map[string]bool{}
	for i := range s.Results {
		r := &s.Results[i]
		id := r.Case.ID
		ran[id] = true
		switch {
		case r.Skipped:
		case r.Failed() && !k.ids[id]:
			d.New = append(d.New, id)
		case !r.Failed() && k.ids[id]:
			d.Fixed = append(d.Fixed, id)
		}
	}
	if complete {
		for _, line := range k.lines {
			if id := knownID(line); id != "" && !ran[id] {
				d.Stale = append(d.Stale, id)
			}
		}
	}
	return d
}

// Shrink rewrites the file without the fixed and the stale lines; comments stay.
func (k *Known) Shrink(name string, d Drift) error {
	gone := map[string]bool{}
	for _, id := range d.Fixed {
		gone[id] = true
	}
	for _, id := range d.Stale {
		gone[id] = true
	}
	var b bytes.Buffer
	for _, line := range k.lines {
		if !gone[knownID(line)] {
			b.WriteString(line + "\n")
		}
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

// writeIDs writes one id per line.
func writeIDs(name string, ids []string) error {
	var b bytes.Buffer
	for _, id := range ids {
		b.WriteString(id + "\n")
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}
