package diffcorpus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/internal/conformance"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/test/pgharness"
)

// share is which part of the corpus runs by default: one case of so many.
const share = 20

// differences is a slog.Handler that keeps what a Compare tells of replies that differ.
type differences struct {
	mu  sync.Mutex // guards got
	got []string
}

func (d *differences) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (d *differences) WithAttrs([]slog.Attr) slog.Handler           { return d }
func (d *differences) WithGroup(string) slog.Handler                { return d }

func (d *differences) Handle(_ context.Context, r slog.Record) error {
	if r.Message != "replies differ" {
		return nil
	}
	text := ""
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf("  %s: %s\n", a.Key, strings.ReplaceAll(a.Value.String(), "\n", "\n    "))
		return true
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	d.got = append(d.got, text)
	return nil
}

// corpus is the folder of the corpus, as the Makefile finds it.
func corpus(t *testing.T) string {
	for _, dir := range []string{os.Getenv("CONFORMANCE"), "../../../shared/conformance/functional", "../../testdata/conformance"} {
		if files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*")); dir != "" && err == nil && len(files) > 0 {
			return dir
		}
	}
	t.Skip("there is no conformance corpus: name its folder in CONFORMANCE")
	return ""
}

// selected are the cases that ARCHELON_DIFF asks for.
func selected(t *testing.T) []conformance.Case {
	cases, err := conformance.Load(corpus(t))
	if err != nil {
		t.Fatal(err)
	}
	switch want := os.Getenv("ARCHELON_DIFF"); want {
	case "1", "all":
		return cases
	case "":
		var some []conformance.Case
		for i := 0; i < len(cases); i += share {
			some = append(some, cases[i])
		}
		return some
	default:
		id, err := regexp.Compile(want)
		if err != nil {
			t.Fatal("ARCHELON_DIFF:", err)
		}
		return slices.DeleteFunc(cases, func(c conformance.Case) bool { return !id.MatchString(c.ID) })
	}
}

// start runs a database until the test ends and returns its connection string.
func start(t *testing.T, cfg archelon.Config) string {
	t.Helper()
	cfg.Listen, cfg.Data = []string{"127.0.0.1:0"}, filepath.Join(t.TempDir(), "data")
	db, err := archelon.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- db.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-served, db.Close()); err != nil {
			t.Error(err)
		}
	})
	return db.URI()
}

// TestEnginesAgree compares the engines' replies to the commands of the corpus.
func TestEnginesAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	cases := selected(t)
	pg, err := pgharness.Start(map[string]string{"fsync": "off"})
	if errors.Is(err, pgharness.ErrNotInstalled) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pg.Close(); err != nil {
			t.Error(err)
		}
	})
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	other := start(t, archelon.Config{Storage: pg.SocketURL(), Logger: quiet})
	found := &differences{}
	beside, err := gateway.NewCompare(gateway.CompareConfig{Mode: gateway.ModeDiffNormal, URI: other, Logger: slog.New(found)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := beside.Close(); err != nil {
			t.Error(err)
		}
	})
	uri := start(t, archelon.Config{Storage: archelon.StoragePebble, Logger: quiet, Middleware: []server.Middleware{beside.Middleware}})
	_, err = conformance.RunCases(t.Context(), conformance.Config{
		Addr: strings.TrimSuffix(strings.TrimPrefix(uri, "mongodb://"), "/"), Workers: 1,
	}, cases)
	if err != nil {
		t.Fatal(err)
	}
	var compared, different int64
	for _, n := range beside.Counts() {
		compared += n.Compared
		different += n.Different
		if n.Different > 0 {
			t.Logf("%s: %d of %d replies differ", n.Command, n.Different, n.Compared)
		}
	}
	t.Logf("%d cases, %d replies compared, %d differ", len(cases), compared, different)
	const most = 100
	for i, text := range found.got {
		if i == most {
			t.Errorf("… and %d more", len(found.got)-most)
			break
		}
		t.Errorf("replies differ\n%s", text)
	}
	if compared == 0 {
		t.Error("nothing was compared")
	}
}
