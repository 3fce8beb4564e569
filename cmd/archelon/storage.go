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
		for _, scheme := range []string{"postgres://", "postgresql://", "mongodb://"} {
			if at := strings.Index(a, scheme); at >= 0 {
				out[i] = a[:at] + redacted(a[at:], scheme)
				break
			}
		}
	}
	return out
}

// redacted is an address without its password. Those of several hosts are no URLs to package net/url.
func redacted(address, scheme string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	if at := strings.LastIndex(address, "@"); at >= 0 {
		return scheme + "…" + address[at:]
	}
	return scheme + "…"
}
