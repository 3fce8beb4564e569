package copier

import "strings"

// namespace is the name of a collection.
type namespace struct{ db, coll string }

func (n namespace) String() string { return n.db + "." + n.coll }

func splitNamespace(s string) namespace {
	db, coll, _ := strings.Cut(s, ".")
	return namespace{db, coll}
}

// filter chooses what is copied.
type filter struct{ include, exclude []string }

// wants tells whether a collection is to be copied by the caller's wish.
func (f *filter) wants(n namespace) bool {
	return (len(f.include) == 0 || matchesAny(f.include, n)) && !matchesAny(f.exclude, n)
}

// follows tells whether a collection is copied: one that is wanted, or one that a server makes for a while and that
// gets its name when it is complete ($out, renaming to another database, convertToCapped).
func (f *filter) follows(n namespace) bool {
	if f.wants(n) {
		return true
	}
	if !strings.HasPrefix(n.coll, "tmp.agg_out.") && (!strings.HasPrefix(n.coll, "tmp") ||
		!strings.HasSuffix(n.coll, ".renameCollection") && !strings.Contains(n.coll, ".convertToCapped.")) {
		return false
	}
	for _, p := range f.include {
		if db, _, _ := strings.Cut(p, "."); glob(db, n.db) {
			return true
		}
	}
	return len(f.include) == 0
}

func matchesAny(patterns []string, n namespace) bool {
	for _, p := range patterns {
		db, coll, both := strings.Cut(p, ".")
		if glob(db, n.db) && (!both || glob(coll, n.coll)) {
			return true
		}
	}
	return false
}

// glob matches a name with a pattern in which * stands for any characters.
func glob(pattern, name string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	for {
		if glob(rest, name) {
			return true
		}
		if name == "" {
			return false
		}
		name = name[1:]
	}
}

// own tells databases that are a server's own affair, or a copy's.
func own(db string) bool {
	return db == "admin" || db == "config" || db == "local" || db == stateDB
}

// system tells collections that servers make by themselves. system.js holds functions of users.
func system(coll string) bool { return strings.HasPrefix(coll, "system.") && coll != "system.js" }
