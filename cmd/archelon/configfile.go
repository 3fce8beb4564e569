package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// loadYAML reads a config file: a mapping from flag names, without dashes, to
// values. Unknown names are refused.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && err != io.EOF {
		return nil, fmt.Errorf("config file: %w", err)
	}
	return &yamlResolver{values}, nil
}

type yamlResolver struct{ values map[string]any }

// Validate refuses names that no flag has.
func (y *yamlResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			known[f.Name] = true
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(app.Node)
	for name := range y.values {
		if !known[name] {
			return fmt.Errorf("config file: %q is not a flag of any command; see `archelon serve --help`", name)
		}
	}
	return nil
}

// Resolve gives a flag its value from the file. Lists and mappings become what
// the command line takes.
func (y *yamlResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	switch v := y.values[flag.Name].(type) {
	case nil:
		return nil, nil
	case []any:
		parts := make([]string, len(v))
		for i, p := range v {
			parts[i] = fmt.Sprint(p)
		}
		return strings.Join(parts, ","), nil
	case map[string]any:
		var parts []string
		for k, p := range v {
			parts = append(parts, fmt.Sprintf("%s=%v", k, p))
		}
		return strings.Join(parts, ","), nil
	case bool:
		return v, nil
	default:
		return fmt.Sprint(v), nil
	}
}
