package fieldpath

import (
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Check checks one field name of a path or object: not empty, no leading dollar, no dot, no NUL.
func Check(name string) error {
	switch {
	case name == "":
		return mongoerr.New(15998, "FieldPath field names may not be empty strings.")
	case name[0] == '$':
		return mongoerr.New(16410, "FieldPath field names may not start with '$'. Consider using $getField or $setField.")
	case strings.IndexByte(name, 0) >= 0:
		return mongoerr.New(16411, "FieldPath field names may not contain '\x00'.")
	case strings.IndexByte(name, '.') >= 0:
		return mongoerr.New(16412, "FieldPath field names may not contain '.'. Consider using $getField or $setField.")
	}
	return nil
}

// Parse splits a dotted path and checks its names.
func Parse(path string) ([]string, error) {
	if path == "" {
		return nil, mongoerr.New(40352, "FieldPath cannot be constructed with empty string")
	}
	if strings.HasSuffix(path, ".") {
		return nil, mongoerr.New(40353, "FieldPath must not end with a '.'.")
	}
	names := strings.Split(path, ".")
	if len(names) > bsonval.MaxDepth {
		return nil, mongoerr.New(mongoerr.Overflow, "FieldPath is too long")
	}
	for _, n := range names {
		if err := Check(n); err != nil {
			return nil, err
		}
	}
	return names, nil
}
