package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/archelon-db/archelon"

// floors gives each package a floor; a package imports lower floors only, but
// for the edges below. Paths are relative to the module.
var floors = map[string]int{
	"wire": 0, "test/pgharness": 0, "internal/bsonval": 0, "internal/keystring": 0, "internal/mongoerr": 0,
	"internal/clock": 0, "internal/progress": 0, "internal/uuid": 0,

	"server": 1, "internal/failpoint": 1, "internal/running": 1, "internal/fieldpath": 1, "internal/geo": 1, "internal/text": 1, "internal/js": 1, "internal/collation": 1, "internal/regex": 1,

	"internal/sortkey": 2, "internal/expr": 2, "internal/accumulator": 2, "internal/match": 2,
	"internal/projection": 2, "internal/pipeline": 2, "internal/update": 2, "internal/indexkey": 2,
	"internal/storage": 2, "internal/storage/pebblestore": 2, "internal/storage/pgstore": 2, "internal/storage/enginetest": 2, "internal/catalog": 2,
	"internal/oplog": 2, "internal/changestream": 2,
	"service": 2, "service/internal/shape": 2, "server/auth": 2,

	"egress": 2, "egress/simnet": 2,

	"internal/plan": 3, "internal/exec": 3,

	"internal/database": 4, "internal/session": 4,

	"internal/command": 5, "internal/importer": 5, "internal/copier": 5, "internal/loadgen": 5, "internal/conformance": 5,

	"gateway": 5,

	"": 6,

	"cmd/archelon": 7, "cmd/archelon-conformance": 7, "internal/compatdoc": 7,
}

// edges are the imports allowed within a floor.
var edges = map[string][]string{
	"internal/keystring":   {"internal/bsonval"},
	"internal/clock":       {"internal/mongoerr"},
	"internal/collation":   {"internal/regex"},
	"internal/js":          {},
	"internal/expr":        {"internal/sortkey"},
	"internal/accumulator": {"internal/sortkey", "internal/expr"},
	"internal/match":       {"internal/expr"},
	"internal/projection":  {"internal/expr", "internal/match"},
	"internal/pipeline": {
		"internal/sortkey", "internal/expr", "internal/accumulator", "internal/match", "internal/projection",
		"internal/changestream",
	},
	"internal/update":              {"internal/sortkey", "internal/expr", "internal/match"},
	"internal/storage/pebblestore": {"internal/storage"},
	"internal/storage/pgstore":     {"internal/storage"},
	"internal/storage/enginetest":  {"internal/storage"},
	"internal/catalog":             {"internal/storage", "internal/indexkey", "internal/match", "internal/expr"},
	"internal/changestream":        {"internal/oplog"},
	"internal/exec":                {"internal/plan"},
	"egress/simnet":                {"egress"},
	"service":                      {"egress", "service/internal/shape", "server/auth"},
	"internal/database":            {"internal/session"},
}

// rooms are the packages that alone may import a dependency.
var rooms = map[string][]string{
	"github.com/cockroachdb/pebble": {"internal/storage/pebblestore", "internal/storage/enginetest"},
	"github.com/jackc/pgx":          {"internal/storage/pgstore"},
	"github.com/dop251/goja":        {"internal/js"},
	"github.com/dlclark/regexp2":    {"internal/regex"},
	"github.com/cockroachdb/apd":    {"internal/bsonval", "internal/expr", "internal/accumulator"},
	"github.com/golang/geo":         {"internal/geo"},
	"golang.org/x/text/collate":     {"internal/collation"},
	"github.com/klauspost/compress": {"wire"},
	"github.com/alecthomas/kong":    {"cmd/archelon"},
}

// pure packages reach neither disk nor network nor the clock.
var pure = []string{
	"internal/bsonval", "internal/keystring", "internal/sortkey", "internal/expr", "internal/accumulator",
	"internal/match", "internal/projection", "internal/pipeline", "internal/update", "internal/indexkey", "internal/plan",
	"internal/oplog", "internal/changestream", "internal/fieldpath",
}

var forbiddenInPure = []string{"os", "net", "net/http", "database/sql", "math/rand", "math/rand/v2", "log/slog"}

type pkg struct {
	ImportPath string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Doc,Imports", module+"/...")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	all := map[string]pkg{}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		all[rel(p.ImportPath)] = p
	}
}

func rel(path string) string {
	return strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
}

func TestFloors(t *testing.T) {
	all := packages(t)
	for name := range floors {
		if _, ok := all[name]; !ok {
			t.Errorf("floors names package %q, which does not exist: a rename must move its rule", name)
		}
	}
	for name, p := range all {
		floor, listed := floors[name]
		if !listed {
			continue
		}
		for _, imp := range p.Imports {
			target := rel(imp)
			if !strings.HasPrefix(imp, module) {
				continue
			}
			below, ok := floors[target]
			if ok && below < floor || slices.Contains(edges[name], target) {
				continue
			}
			t.Errorf("%s (floor %d) imports %s: not on a lower floor and no edge is drawn", name, floor, target)
		}
	}
}

func TestRooms(t *testing.T) {
	for name, p := range packages(t) {
		for _, imp := range p.Imports {
			for dep, homes := range rooms {
				if strings.HasPrefix(imp, dep) && !slices.Contains(homes, name) {
					if _, product := floors[name]; product {
						t.Errorf("%s imports %s, whose only room is %v", name, imp, homes)
					}
				}
			}
		}
	}
}

func TestPure(t *testing.T) {
	all := packages(t)
	for _, name := range pure {
		for _, imp := range all[name].Imports {
			if slices.Contains(forbiddenInPure, imp) {
				t.Errorf("%s is pure but imports %s", name, imp)
			}
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for name, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("package %q has no package comment", name)
		}
	}
}
