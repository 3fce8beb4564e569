package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/archelon-db/archelon"
)

// remounter makes what is mounted that of the config file, while the server runs.
type remounter struct {
	db    *archelon.DB
	file  string
	grace time.Duration // for the calls of what is taken away
	log   *slog.Logger
	now   map[string]serviceEntry // what is mounted, by its text
}

// newRemounter begins with what was mounted at the start.
func newRemounter(db *archelon.DB, file string, grace time.Duration, list serviceList, log *slog.Logger) (*remounter, error) {
	now, err := byText(list)
	return &remounter{db: db, file: file, grace: grace, log: log, now: now}, err
}

// watch takes up the services of the file at SIGHUP, until ctx ends.
func (r *remounter) watch(ctx context.Context) {
	onHangup(ctx, func() {
		if err := r.reload(ctx); err != nil {
			r.log.Error("the changed services are not taken up", "file", r.file, "error", oneLine(err))
		}
	})
}

// reload takes away what is not in the file any more and mounts what is new there; what is the same stays as it is. A file
// with a mistake changes nothing. What cannot be mounted is tried again the next time.
func (r *remounter) reload(ctx context.Context) error {
	list, err := readServices(r.file)
	if err != nil {
		return err
	}
	if _, err := list.mounts(); err != nil {
		return err
	}
	next, err := byText(list)
	if err != nil {
		return err
	}
	grace, cancel := context.WithTimeout(ctx, r.grace)
	defer cancel()
	var work sync.WaitGroup
	for text, entry := range r.now {
		if _, stays := next[text]; stays {
			continue
		}
		delete(r.now, text)
		work.Go(func() {
			if err := r.db.Unmount(grace, entry.Database, entry.firstCommand()); err != nil {
				r.log.Warn("a service was taken away while in use", "database", entry.Database, "error", err)
			}
		})
	}
	work.Wait()
	var errs []error
	for text, entry := range next {
		if _, there := r.now[text]; there {
			continue
		}
		mounts, err := serviceList{entry}.mounts()
		if err == nil {
			err = r.db.Mount(mounts[0])
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r.now[text] = entry
	}
	r.log.Info("services are in force", "mounted", len(r.now))
	return errors.Join(errs...)
}

// byText are the entries by what they say.
func byText(list serviceList) (map[string]serviceEntry, error) {
	out := map[string]serviceEntry{}
	for _, e := range list {
		text, err := yaml.Marshal(e)
		if err != nil {
			return nil, err
		}
		out[string(text)] = e
	}
	return out, nil
}

// firstCommand is a command that the mount has, empty for a whole database.
func (e *serviceEntry) firstCommand() string {
	if e.Subprocess != nil {
		for _, c := range append(slices.Clone(e.Subprocess.Commands), e.Subprocess.Streams...) {
			return c.Name
		}
	}
	for _, name := range e.Commands {
		return name
	}
	return ""
}

// readServices reads the services of a config file; its other keys are of the start.
func readServices(file string) (serviceList, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all map[string]any
	if err := yaml.NewDecoder(f).Decode(&all); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	v, ok := all[servicesKey]
	if !ok {
		return nil, nil
	}
	return decodeServices(v)
}
