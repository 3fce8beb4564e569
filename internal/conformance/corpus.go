package conformance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Case is one line of the corpus. Commands and expected values stay JSON until the case runs.
type Case struct {
	ID        string          `json:"id"`
	Area      string          `json:"area"`
	Note      string          `json:"note"`
	Requires  map[string]bool `json:"requires"`
	Serial    bool            `json:"serial"`
	Databases []string        `json:"databases"`
	Setup     []Command       `json:"setup"`
	Steps     []Step          `json:"steps"`
}

// Command is a set-up command.
type Command struct {
	DB      string          `json:"db"`
	Command json.RawMessage `json:"command"`
	OrCodes []int32         `json:"orCodes"`
}

// Step is a command with what is expected of its reply.
type Step struct {
	DB      string          `json:"db"`
	Command json.RawMessage `json:"command"`
	Expect  []Expectation   `json:"expect"`
}

// Expectation is one of the five kinds; which one shows in the field that is present.
type Expectation struct {
	FirstBatch json.RawMessage `json:"firstBatch"`
	Raw        json.RawMessage `json:"raw"`

	Partial        bool     `json:"partial"`
	IgnoreDocOrder bool     `json:"ignoreDocOrder"`
	IgnoreOrderIn  []string `json:"ignoreOrderIn"`
	NaN            bool     `json:"nan"`

	ErrorCode *int32  `json:"errorCode"`
	ErrMsg    *string `json:"errmsg"`

	Success       bool    `json:"success"`
	NoWriteErrors bool    `json:"noWriteErrors"`
	OrCodes       []int32 `json:"orCodes"`

	Properties []Check   `json:"properties"`
	PerDoc     [][]Check `json:"perDoc"`
	Of         string    `json:"of"`
}

// Check is one property check.
type Check struct {
	Path  string          `json:"path"`
	Check string          `json:"check"`
	Args  json.RawMessage `json:"args"`
}

// Test returns the part of the case's id that names the test, without the parameter.
func (c *Case) Test() string { return testOf(c.ID) }

func testOf(id string) string {
	if i := strings.IndexByte(id, '['); i >= 0 {
		return id[:i]
	}
	return id
}

// Capability sets by topology, as the corpus documents them.
var replicaOnly = []string{
	"change_streams", "transactions", "queryable_encryption", "cluster_admin", "cluster_time", "cluster_read_concern",
	"quorum_write_concern", "oplog", "replication",
}

var standaloneOnly = []string{"unforced_compact", "reindex", "local_rename", "validate_repair"}

// Capabilities returns the capability set of a topology, "replica-set" or "standalone".
func Capabilities(topology string) (map[string]bool, error) {
	if topology != "replica-set" && topology != "standalone" {
		return nil, fmt.Errorf("capabilities %q: want replica-set or standalone", topology)
	}
	set := map[string]bool{"remote_target": false}
	for _, name := range replicaOnly {
		set[name] = topology == "replica-set"
	}
	for _, name := range standaloneOnly {
		set[name] = topology == "standalone"
	}
	return set, nil
}

// fits says whether the case's requirements hold; a capability that nobody knows is an absent one.
func (c *Case) fits(capabilities map[string]bool) bool {
	for name, want := range c.Requires {
		if capabilities[name] != want {
			return false
		}
	}
	return true
}

// Load reads every *.jsonl and *.jsonl.gz file of a folder, in the order of their names.
func Load(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var cases []Case
	seen := map[string]bool{}
	for _, name := range files {
		if !strings.HasSuffix(name, ".jsonl") && !strings.HasSuffix(name, ".jsonl.gz") {
			continue
		}
		if cases, err = loadFile(cases, name, seen); err != nil {
			return nil, err
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no cases in %s: the folder needs *.jsonl or *.jsonl.gz files", dir)
	}
	return cases, nil
}

func loadFile(cases []Case, name string, seen map[string]bool) ([]Case, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	br := bufio.NewReaderSize(r, 1<<20)
	for n := 1; ; n++ {
		line, err := br.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			c, perr := parseCase(line)
			if perr != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, n, perr)
			}
			if seen[c.ID] {
				return nil, fmt.Errorf("%s:%d: case %s for the second time", name, n, c.ID)
			}
			seen[c.ID] = true
			cases = append(cases, c)
		}
		if err == io.EOF {
			return cases, nil
		}
	}
}

func parseCase(line []byte) (Case, error) {
	var c Case
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, err
	}
	if c.ID == "" || len(c.Steps) == 0 {
		return c, fmt.Errorf("case without id or steps")
	}
	for i := range c.Steps {
		for _, e := range c.Steps[i].Expect {
			if e.kinds() != 1 {
				return c, fmt.Errorf("case %s step %d: an expectation of no kind or of several", c.ID, i)
			}
		}
	}
	return c, nil
}

// kinds counts the kinds an expectation claims to be; a good one claims one.
func (e *Expectation) kinds() int {
	n := 0
	for _, is := range []bool{
		e.FirstBatch != nil, e.Raw != nil, e.ErrorCode != nil, e.Success, e.Properties != nil, e.PerDoc != nil,
	} {
		if is {
			n++
		}
	}
	return n
}
