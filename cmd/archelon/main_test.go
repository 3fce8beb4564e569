package main

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// TestConfigurationIsDocumented compares the flags of serve with the table of docs/configuration.md: names, environment
// variables and defaults.
func TestConfigurationIsDocumented(t *testing.T) {
	documented := documentedFlags(t)
	var c cli
	parser, err := newParser(t.Context(), &c)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range parser.Model.Children {
		if n.Name != "serve" {
			continue
		}
		for _, f := range n.Flags {
			if f.Hidden { // of the config file only
				continue
			}
			row, ok := documented[f.Name]
			delete(documented, f.Name)
			switch {
			case !ok:
				t.Errorf("--%s is not documented", f.Name)
			case !slices.Equal(f.Envs, []string{row.env}):
				t.Errorf("--%s has the variables %v, documented is %s", f.Name, f.Envs, row.env)
			case f.Default != "" && row.value != f.Default:
				t.Errorf("--%s is %q by default, documented is %q", f.Name, f.Default, row.value)
			case f.Help == "":
				t.Errorf("--%s has no help", f.Name)
			}
		}
	}
	for name := range documented {
		t.Errorf("%s is documented, but no flag", name)
	}
}

// documentedFlag is what a row of the table says of one flag.
type documentedFlag struct{ env, value string }

func documentedFlags(t *testing.T) map[string]documentedFlag {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "docs", "configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := map[string]documentedFlag{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		cells := strings.Split(lines.Text(), "|")
		if len(cells) < 5 || !strings.HasPrefix(cells[2], " `ARCHELON_") {
			continue
		}
		names, envs := codes(cells[1]), codes(cells[2])
		if len(names) != len(envs) {
			t.Fatalf("%s: not one variable for each flag", lines.Text())
		}
		for i, name := range names {
			rows[name] = documentedFlag{envs[i], strings.Join(codes(cells[3]), " ")}
		}
	}
	return rows
}

// codes are the words in backquotes.
func codes(cell string) []string {
	var out []string
	for i, part := range strings.Split(cell, "`") {
		if i%2 == 1 {
			out = append(out, part)
		}
	}
	return out
}

func TestExitCodes(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte("storage: memory\nlisten: [127.0.0.1:0]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want int
	}{
		{"version", 0},
		{"serve --config " + config, 0},
		{"serve --config " + config + " --standalone --advertise h:1", 1},
		{"serve --storage paper", 2},
		{"serve --nope", 2},
		{"nope", 2},
		{"", 2},
		{"import", 2},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // as SIGTERM would
		if got := run(ctx, strings.Fields(c.args)); got != c.want {
			t.Errorf("archelon %s: exit code %d, want %d", c.args, got, c.want)
		}
		cancel()
	}
}

func TestConfigFileValues(t *testing.T) {
	r, err := loadYAML(strings.NewReader("listen: [a, b]\nstandalone: true\nmax-connections: 5\nset-parameter: {logLevel: 1}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"listen": "a,b", "standalone": true, "max-connections": "5", "set-parameter": "logLevel=1", "data": nil} {
		got, err := r.Resolve(nil, nil, &kong.Flag{Value: &kong.Value{Name: name}})
		if got != want || err != nil {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	t.Setenv("ARCHELON_LISTEN", "c")
	got, err := r.Resolve(nil, nil, &kong.Flag{Value: &kong.Value{Name: "listen", Tag: &kong.Tag{}}, Envs: []string{"ARCHELON_LISTEN"}})
	if got != nil || err != nil {
		t.Errorf("the environment does not win: %v %v", got, err)
	}
}
