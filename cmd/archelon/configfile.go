package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// loadYAML reads a config file: a mapping from flag names, without dashes, to
// values, and the list of services. Unknown names are refused.
func loadYAML(r io.Reader) (kong.Resolver, error) {
	y := &yamlResolver{name: "config file", values: map[string]any{}}
	if f, ok := r.(*os.File); ok {
		y.name += " " + f.Name()
	}
	if err := yaml.NewDecoder(r).Decode(&y.values); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%s: %w", y.name, err)
	}
	return y, nil
}

type yamlResolver struct {
	name   string // of the file, for messages
	values map[string]any
}

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
		if !known[name] && !slices.Contains(tableKeys, name) {
			return fmt.Errorf("%s: %q is not a flag of any command; see `archelon serve --help`", y.name, name)
		}
	}
	return nil
}

// checkTable refuses the routes of a gateway for other commands.
func (y *yamlResolver) checkTable(command *kong.Context) error {
	if command == nil || command.Selected() == nil || command.Selected().Name == "gateway" {
		return nil
	}
	for _, name := range tableKeys {
		if _, ok := y.values[name]; ok {
			return fmt.Errorf("%s: %q is for `archelon gateway`", y.name, name)
		}
	}
	return nil
}

// Resolve gives a flag its value from the file, unless the environment has one.
// Lists and mappings become what the command line takes.
func (y *yamlResolver) Resolve(command *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if err := y.checkTable(command); err != nil {
		return nil, err
	}
	for _, env := range flag.Envs {
		if _, ok := os.LookupEnv(env); ok {
			return nil, nil
		}
	}
	if flag.Name == servicesKey {
		return y.values[flag.Name], nil
	}
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
