package main

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Validate is called when the arguments have been parsed.
func (s *serveCommand) Validate() error {
	if s.Storage == "pebble" || s.Storage == "memory" || isPostgres(s.Storage) {
		return nil
	}
	return fmt.Errorf("--storage must be pebble, memory or postgres://…, and not %q", s.Storage)
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// withoutPasswords hides the passwords of addresses among command-line arguments.
func withoutPasswords(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		at := strings.Index(a, "postgres")
		if at < 0 || !isPostgres(a[at:]) {
			continue
		}
		if u, err := url.Parse(a[at:]); err == nil {
			out[i] = a[:at] + u.Redacted()
		} else {
			out[i] = a[:at] + "postgres://…"
		}
	}
	return out
}
