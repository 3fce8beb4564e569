package pgstore

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// golden compares plans with a file: parts that begin with a line "== name". A plan that is another one since a version of
// PostgreSQL has a further part, "== name, from 16". UPDATE_GOLDEN changes the parts for the version that runs, adds new
// ones at the end and removes those of plans that are gone.
func golden(t *testing.T, s *Store, path, got string) {
	t.Helper()
	number, err := strconv.Atoi(ask(t, s, "SELECT current_setting('server_version_num')"))
	must(t, err)
	file, err := os.ReadFile(path)
	must(t, err)
	update := os.Getenv("UPDATE_GOLDEN") != ""
	names, want := parts(string(file))
	plans, now := parts(got)
	for _, name := range plans {
		known := partFor(name, number/10000, names)
		switch {
		case !update && now[name] != want[known]:
			t.Errorf("%s: got\n%s\nwant\n%s", name, now[name], want[known])
		case !slices.Contains(names, known):
			names = append(names, known)
		}
		want[known] = now[name]
	}
	var out strings.Builder
	for _, name := range names {
		plan, _, _ := strings.Cut(name, ", from ")
		if _, ok := now[plan]; ok {
			fmt.Fprintf(&out, "== %s\n%s\n", name, want[name])
		} else if !update {
			t.Errorf("%s has %q, which is no plan any more", path, name)
		}
	}
	if update {
		must(t, os.WriteFile(path, []byte(out.String()), 0o644))
	}
}

// partFor is the name of the part for a version: of those that begin at or before it, the last.
func partFor(name string, version int, names []string) string {
	found, since := name, 0
	for _, n := range names {
		if from, ok := strings.CutPrefix(n, name+", from "); ok {
			if v, err := strconv.Atoi(from); err == nil && v <= version && v > since {
				found, since = n, v
			}
		}
	}
	return found
}

// parts splits a text at its lines "== name".
func parts(text string) (names []string, of map[string]string) {
	of = map[string]string{}
	for part := range strings.SplitSeq("\n"+text, "\n== ") {
		if name, plan, ok := strings.Cut(part, "\n"); ok && name != "" {
			names = append(names, name)
			of[name] = strings.TrimSuffix(plan, "\n")
		}
	}
	return names, of
}
