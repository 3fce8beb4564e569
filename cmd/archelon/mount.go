package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/service"
)

// servicesKey is the key of the config file that lists what is mounted. It has no flag and no variable: what programs a
// server runs is for those who may write its configuration.
const servicesKey = "services"

// serviceList are the mounts of the config file.
type serviceList []serviceEntry

// serviceEntry is a mount.
type serviceEntry struct {
	Database   string           `yaml:"database"`
	URI        string           `yaml:"uri"`
	Commands   []string         `yaml:"commands"`
	Subprocess *subprocessEntry `yaml:"subprocess"`
}

// subprocessEntry is a program that answers commands.
type subprocessEntry struct {
	// URI replaces the one the program would be given, for example by one with a user.
	URI string `yaml:"uri"`
	// Command is the program and its arguments.
	Command      []string          `yaml:"command"`
	Dir          string            `yaml:"dir"`
	Env          map[string]string `yaml:"env"`
	Commands     []commandEntry    `yaml:"commands"`
	Streams      []commandEntry    `yaml:"streams"`
	Canonical    bool              `yaml:"canonical"`
	MinBackoff   time.Duration     `yaml:"min-backoff"`
	MaxBackoff   time.Duration     `yaml:"max-backoff"`
	StopGrace    time.Duration     `yaml:"stop-grace"`
	StartTimeout time.Duration     `yaml:"start-timeout"`
}

// commandEntry is a command; one that has but a name may be written as that.
type commandEntry struct {
	Name    string   `yaml:"name"`
	Aliases []string `yaml:"aliases"`
	Help    string   `yaml:"help"`
	Once    bool     `yaml:"once"`
	Live    bool     `yaml:"live"`
}

// commandFields are the keys of a commandEntry.
var commandFields = []string{"name", "aliases", "help", "once", "live"}

// UnmarshalYAML implements yaml.Unmarshaler.
func (c *commandEntry) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&c.Name)
	}
	if n.Kind == yaml.MappingNode { // strictness does not reach types that decode themselves
		for i := 0; i < len(n.Content); i += 2 {
			if key := n.Content[i].Value; !slices.Contains(commandFields, key) {
				return fmt.Errorf("line %d: field %s not found in a command", n.Content[i].Line, key)
			}
		}
	}
	type plain commandEntry
	return n.Decode((*plain)(c))
}

// Decode implements kong.MapperValue: it takes what the config file has, and nothing of the command line.
func (l *serviceList) Decode(ctx *kong.DecodeContext) error {
	token, err := ctx.Scan.PopValue("service")
	if err != nil {
		return err
	}
	*l, err = decodeServices(token.Value)
	return err
}

// decodeServices reads what the config file has under servicesKey.
func decodeServices(value any) (serviceList, error) {
	v, ok := value.([]any)
	if !ok {
		return nil, errors.New("services are a list in the config file")
	}
	text, err := yaml.Marshal(v)
	if err != nil {
		return nil, err
	}
	var l serviceList
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("services of the config file: %w", err)
	}
	return l, nil
}

// mounts are the entries as the library takes them.
func (l serviceList) mounts() ([]archelon.Mount, error) {
	var out []archelon.Mount
	for i, e := range l {
		m := archelon.Mount{Database: e.Database, URI: e.URI, Commands: e.Commands}
		if e.Subprocess != nil {
			p, err := e.Subprocess.subprocess()
			if err != nil {
				return nil, fmt.Errorf("services[%d] of the config file: %w", i, err)
			}
			m.Subprocess = p
		}
		out = append(out, m)
	}
	return out, nil
}

func (e *subprocessEntry) subprocess() (*service.Subprocess, error) {
	if len(e.Command) == 0 {
		return nil, errors.New("the subprocess has no command")
	}
	p := &service.Subprocess{
		URI: e.URI, Command: e.Command[0], Args: e.Command[1:], Dir: e.Dir, Commands: commandsOf(e.Commands), Streams: commandsOf(e.Streams),
		Canonical: e.Canonical, MinBackoff: e.MinBackoff, MaxBackoff: e.MaxBackoff, StopGrace: e.StopGrace,
		StartTimeout: e.StartTimeout,
	}
	for _, name := range slices.Sorted(maps.Keys(e.Env)) {
		p.Env = append(p.Env, name+"="+e.Env[name])
	}
	for _, c := range p.Commands {
		if c.Live {
			return nil, fmt.Errorf("the command %q is no stream and cannot be live", c.Name)
		}
	}
	for _, c := range p.Streams {
		if c.Once {
			return nil, fmt.Errorf("the stream %q cannot run once", c.Name)
		}
	}
	return p, nil
}

func commandsOf(entries []commandEntry) []service.Command {
	var out []service.Command
	for _, e := range entries {
		out = append(out, service.Command{Name: e.Name, Aliases: e.Aliases, Help: e.Help, Once: e.Once, Live: e.Live})
	}
	return out
}
