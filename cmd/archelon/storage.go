package main

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Validate is called when the arguments have been parsed.
func (s *serveCommand) Validate() error {
	if s.Storage == "pebble" || s.Storage == "memory" || isPostgres(s.Storage) {
		return nil
	}
	if at := strings.IndexAny(s.Storage, ":= "); at >= 0 { // perhaps an address, with a password
		return fmt.Errorf("--storage must be pebble, memory or postgres://…, and not %q…", s.Storage[:at])
	}
	return fmt.Errorf("--storage must be pebble, memory or postgres://…, and not %q", s.Storage)
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

// passwordParameter is a password among the parameters of an address, as PostgreSQL's can have it.
var passwordParameter = regexp.MustCompile(`([?&](?:ssl)?password=)[^&]*`)

// withoutPasswords hides the passwords of addresses among command-line arguments.
func withoutPasswords(args []string) []string {
	out := slices.Clone(args)
	for i, a := range out {
		for _, scheme := range []string{"postgres://", "postgresql://", "mongodb://"} {
			if at := strings.Index(a, scheme); at >= 0 {
				out[i] = a[:at] + passwordParameter.ReplaceAllString(redacted(a[at:], scheme), "${1}xxxxx")
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
