package update_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/archelon-db/archelon/internal/conformance"
)

// areas are the corpus areas that this database without storage can play.
var areas = regexp.MustCompile(`^core\.(operator\.query(\.|$)|operator\.projection|operator\.update|data-types|` +
	`query_and_write\.commands\.(find|update|findAndModify)$)`)

// exact are the areas of which every case passes, but for those that need a view
// or a text index.
var (
	exact = regexp.MustCompile(`^core\.(operator\.query(\.(arrays|bitwise|comparison|geospatial|logical|misc)|$)|` +
		`operator\.projection|operator\.update)`)
	needsMore = regexp.MustCompile(`view|text_index`)
)

func corpusDir(t *testing.T) string {
	dir := os.Getenv("ARCHELON_CONFORMANCE_DIR")
	if dir == "" {
		dir = "../../../shared/conformance/functional"
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no conformance corpus at %s; set ARCHELON_CONFORMANCE_DIR", dir)
	}
	return dir
}

// TestCorpus plays the corpus of filters, projections and updates. With
// ARCHELON_CONFORMANCE_RUN it prints the failures of the cases that match.
func TestCorpus(t *testing.T) {
	cases, err := conformance.Load(corpusDir(t))
	if err != nil {
		t.Fatal(err)
	}
	var show *regexp.Regexp
	if s := os.Getenv("ARCHELON_CONFORMANCE_RUN"); s != "" {
		show = regexp.MustCompile(s)
	}
	passed, total := map[string]int{}, map[string]int{}
	for i := range cases {
		c := &cases[i]
		if !areas.MatchString(c.Area) {
			continue
		}
		total[c.Area]++
		reason := c.Play(newMiniDB().answer)
		if reason == "" {
			passed[c.Area]++
			continue
		}
		if exact.MatchString(c.Area) && !needsMore.MatchString(c.ID) {
			t.Errorf("%s: %s", c.ID, reason)
		}
		if show != nil && show.MatchString(c.ID) {
			t.Logf("%s: %s", c.ID[strings.LastIndex(c.ID, "/")+1:], reason)
		}
	}
	for area, n := range total {
		t.Logf("%-50s %4d/%4d", area, passed[area], n)
	}
}
