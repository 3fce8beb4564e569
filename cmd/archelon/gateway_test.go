package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestGatewayConfigFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const routes = "listen: 127.0.0.1:0\nquiesce: 0s\nupstreams: {a: {uri: 'mongodb://127.0.0.1:1/'}}\nroutes: [{upstream: a}]\n"
	good := file("good.yaml", routes)
	for _, c := range []struct {
		args string
		want int
	}{
		{"gateway --config " + good, 0},
		{"--config " + good + " gateway", 0},
		{"gateway", 1},
		{"gateway --config " + file("none.yaml", "listen: 127.0.0.1:0\n"), 1},
		{"gateway --config " + file("typo.yaml", routes+"route: []\n"), 2},
		{"serve --storage memory --listen 127.0.0.1:0 --config " + file("serve.yaml", strings.ReplaceAll(routes, "quiesce: 0s\n", "")), 2},
		{"serve --storage memory --listen 127.0.0.1:0 --mode proxy", 1},
		{"serve --storage memory --listen 127.0.0.1:0 --proxy-addr mongodb://h/", 1},
		{"serve --storage memory --listen 127.0.0.1:0 --mode diff-normal --proxy-addr mongodb://127.0.0.1:1/", 0},
		{"replay " + filepath.Join(dir, "missing"), 1},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // as SIGTERM would
		if got := run(ctx, strings.Fields(c.args)); got != c.want {
			t.Errorf("archelon %s: exit code %d, want %d", c.args, got, c.want)
		}
		cancel()
	}
}

func TestArgumentsWithoutPasswords(t *testing.T) {
	got := withoutPasswords([]string{"--proxy-addr=mongodb://u:secret@a,b:1/", "mongodb://u:secret@h/", "postgres://u:secret@h/d", "mongodb://h/", "x",
		"postgres://u@h/d?sslmode=require&password=secret", "--storage=postgres://u@a:1,b:2/d?sslpassword=secret&password=secret&schema=s"})
	for _, a := range got {
		if strings.Contains(a, "secret") {
			t.Error(a)
		}
	}
	if !slices.Equal(got[3:5], []string{"mongodb://h/", "x"}) {
		t.Error(got)
	}
}
