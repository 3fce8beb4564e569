package pipeline

import (
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/conformance"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// corpusAreas are the parts of the conformance corpus about stages, and how
// many of the cases that need no server may fail, in percent.
var corpusAreas = map[string]int{
	"core.operator.stages":        5,
	"core.operator.system-stages": 5,
	"core.operator.window":        5,
	"core.operator.accumulators":  5,
	"core.operator.expressions":   5,
	"core.operator":               5,
	"core.aggregation.commands":   5,
}

// TestCorpus plays the conformance cases about pipelines on collections in
// memory. Cases that turn out to need a server are left to the conformance
// runner.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("ARCHELON_CONFORMANCE_DIR")
	if dir == "" {
		dir = "../../../shared/conformance/functional"
	}
	if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
		t.Skipf("no conformance corpus: set ARCHELON_CONFORMANCE_DIR (%v)", err)
	}
	cases, err := conformance.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	run, skipped, failed := map[string]int{}, map[string]int{}, map[string]int{}
	for i := range cases {
		c := &cases[i]
		if _, ok := corpusAreas[c.Area]; !ok || needsServer(c) {
			continue
		}
		why, ok := playCase(c)
		if !ok {
			skipped[c.Area]++
			continue
		}
		run[c.Area]++
		if why != "" {
			failed[c.Area]++
			t.Logf("%s: %s", c.ID, why)
		}
	}
	for area, percent := range corpusAreas {
		t.Logf("%s: %d run, %d failed, %d need a server", area, run[area], failed[area], skipped[area])
		if failed[area]*100 > run[area]*percent {
			t.Errorf("%s: more than %d%% failed", area, percent)
		}
	}
}

// needsServer tells the cases about things that the command layer checks.
func needsServer(c *conformance.Case) bool {
	for _, part := range []string{
		"commands/count/", "commands/distinct/", "aggregate_comment", "cursor_rejection", "let_rejection", "let_naming", "maxtimems", "collection_types", "namespace", "concern", "querySettings/test", "collation", "stable_api", "schema_val", "timestamp_zero_replaced", "timestamp_behavior", "replaceWith_limits",
	} {
		if strings.Contains(c.ID, part) && !strings.Contains(c.ID, "querySettings_type_errors") {
			return true
		}
	}
	for k, v := range c.Requires {
		if k == "cluster_time" && v {
			return true
		}
	}
	return false
}

// playCase returns why a case failed; ok is false if it needs a server.
func playCase(c *conformance.Case) (why string, ok bool) {
	env := &expr.Env{NowMS: 1_700_000_000_000, Rand: rand.New(rand.NewSource(1)).Float64, ClusterTime: 1 << 32}
	if v, given := c.Requires["cluster_time"]; given && !v {
		env.ClusterTime = 0
	}
	f := newFakeData(env)
	ok = true
	why = c.Play(func(db string, cmd []byte) ([]byte, error) {
		reply, err := f.command(db, bsonval.Doc(cmd))
		if err == nil {
			return reply, nil
		}
		e := mongoerr.As(err)
		if e == nil {
			return nil, err
		}
		if e == errNoServer || strings.Contains(e.Message, "needs a server") {
			ok = false
		}
		return bsonval.NewBuilder().Double("ok", 0).Str("errmsg", e.Message).Int32("code", int32(e.Code)).Build(), nil
	})
	return why, ok
}
