package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/internal/importer"
	"github.com/archelon-db/archelon/internal/loadgen"
)

// importCommand loads a file through a driver connection.
type importCommand struct {
	importer.Config
}

// Help is shown above the flags.
func (*importCommand) Help() string {
	return `Loads a file into a collection of any MongoDB-compatible server: JSON (an array, or one document after the
other), CSV or TSV with a header line, or BSON as mongodump writes it. Compressed files (gzip) are recognised.

  archelon import --db world cities.json
  archelon import --db shop --collection orders --types price=decimal,sold=date orders.csv

Lines that cannot be loaded are reported with number and reason and the rest is loaded. Running the same import
again goes on where it stopped: documents whose _id is there already are skipped and counted.`
}

// Run loads the file.
func (c *importCommand) Run(ctx context.Context) error {
	c.Stdin = os.Stdin
	result, err := importer.Run(ctx, c.Config, os.Stderr)
	if err != nil {
		return err
	}
	if result.Bad > 0 {
		return fmt.Errorf("%d lines could not be loaded", result.Bad)
	}
	return nil
}

// benchCommand measures a server.
type benchCommand struct {
	loadgen.Config
}

// Help is shown above the flags.
func (*benchCommand) Help() string {
	return `Loads generated documents into a collection of any MongoDB-compatible server and measures fixed workloads:
throughput and latency percentiles of finds, updates, inserts, counts, scans and groups.

  archelon bench --uri mongodb://127.0.0.1:27017/ --docs 1000000 --connections 64`
}

// Run runs the workloads.
func (c *benchCommand) Run(ctx context.Context) error {
	err := loadgen.Run(ctx, c.Config, os.Stdout)
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	return err
}

// versionCommand prints the version.
type versionCommand struct{}

// Run prints it.
func (versionCommand) Run() error {
	fmt.Printf("archelon %s %s %s/%s\n", archelon.Version(version), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
