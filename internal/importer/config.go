package importer

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Config says what to load and where. The tags name the command line's flags.
type Config struct {
	// File is the path of the file; "-" is Stdin. A file compressed by gzip is recognised by its content.
	File string `arg:"" help:"File to load; - reads standard input."`
	// URI is the server's connection string.
	URI string `name:"uri" default:"mongodb://127.0.0.1:27017/" help:"Connection string of the server."`
	// DB and Collection name the target; an empty Collection is the file's name without its extensions.
	DB         string `name:"db" short:"d" required:"" help:"Database to load into."`
	Collection string `name:"collection" short:"c" help:"Collection to load into (default: the file's name)."`
	// Format is auto, json, jsonl, csv, tsv or bson; auto and empty decide by extension, then by content.
	Format string `name:"format" enum:"auto,json,jsonl,csv,tsv,bson" default:"auto" help:"Format: ${enum}."`
	// Drop removes the collection first.
	Drop bool `name:"drop" help:"Drop the collection first."`
	// Upsert replaces documents whose _id exists; otherwise they are left as they are and counted.
	Upsert bool `name:"upsert" help:"Replace documents whose _id already exists."`
	// IDField names the field whose value becomes the _id of documents that have none.
	IDField string `name:"id-field" help:"Take the _id from this field."`
	// Types gives the type of CSV columns, or converts top-level fields of JSON documents: auto, string, int, long,
	// double, decimal, bool, date, objectid.
	Types map[string]string `name:"types" mapsep:"," help:"Types of fields, name=type (${types})."`
	// Fields names the columns of a CSV file that has no header line.
	Fields []string `name:"fields" help:"Column names of a CSV file without a header."`
	// Delimiter separates CSV cells; empty is a comma, or a tab for tsv.
	Delimiter string `name:"delimiter" help:"Cell separator of CSV files, one character."`
	// IgnoreBlanks leaves empty CSV cells out instead of storing empty strings.
	IgnoreBlanks bool `name:"ignore-blanks" help:"Leave empty CSV cells out of the documents."`
	// Strict stops at the first record that cannot be loaded.
	Strict bool `name:"strict" help:"Stop at the first record that cannot be loaded."`
	// Errors is a file that receives every bad record's line and reason.
	Errors string `name:"errors" help:"Write all bad lines with their reasons to this file."`
	// Workers is the number of batches sent side by side; 0 means one per CPU, at most 8.
	Workers int `name:"workers" help:"Batches sent side by side."`
	// BatchSize is the number of documents per batch; 0 means 1000.
	BatchSize int `name:"batch-size" help:"Documents per batch (default 1000)."`

	// Stdin is read when File is "-".
	Stdin io.Reader `kong:"-"`
}

// TypeNames lists the values of Config.Types, for help texts.
const TypeNames = "auto, string, int, long, double, decimal, bool, date, objectid"

// Limits.
const (
	maxDocument  = 16 << 20 // MongoDB's limit of one document, bytes of BSON
	maxText      = 64 << 20 // of one record's text; canonical Extended JSON is several times larger than BSON
	maxBatch     = 8 << 20  // text bytes after which a batch is sent, so that a message stays under 48 MB
	keptBadLines = 20       // bad records kept in the result and printed
)

// BadLine is a record that was not loaded.
type BadLine struct {
	Line   int64 // 1-based line of the file; for BSON files the number of the document
	Reason string
}

// Result counts what happened.
type Result struct {
	Read         int64 // records found, bad ones included
	Inserted     int64
	Replaced     int64 // only with Upsert
	AlreadyThere int64 // their _id existed already
	Bad          int64
	BadLines     []BadLine // the first ones
	Elapsed      time.Duration
	Interrupted  bool // the context ended before the file did
}

// ErrInterrupted is returned, wrapped, when the context ended before the file; the documents counted are stored.
var ErrInterrupted = errors.New("import interrupted")

func (c *Config) ensureDefaults() {
	if c.Collection == "" && c.File != "-" {
		c.Collection, _, _ = strings.Cut(filepath.Base(c.File), ".")
	}
	if c.Format == "" {
		c.Format = "auto"
	}
	if c.Workers <= 0 {
		c.Workers = min(8, runtime.GOMAXPROCS(0))
	}
	if c.BatchSize <= 0 {
		c.BatchSize = 1000
	}
}

// validate reports all problems at once.
func (c *Config) validate() error {
	var problems []error
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.File == "" {
		bad("no file")
	}
	if c.DB == "" {
		bad("no database: name one with --db")
	}
	if c.Collection == "" {
		bad("no collection: name one with --collection")
	}
	switch c.Format {
	case "auto", "json", "jsonl", "csv", "tsv", "bson":
	default:
		bad("format %q: want auto, json, jsonl, csv, tsv or bson", c.Format)
	}
	for field, name := range c.Types {
		if _, ok := converters[name]; !ok {
			bad("type %q of field %q: want one of %s", name, field, TypeNames)
		}
	}
	if len([]rune(c.Delimiter)) > 1 || c.Delimiter == `"` || c.Delimiter == "\n" || len(c.Delimiter) > 1 {
		bad("delimiter %q: want one ASCII character", c.Delimiter)
	}
	if c.BatchSize > 100_000 {
		bad("batch size %d: the limit is 100000", c.BatchSize)
	}
	return errors.Join(problems...)
}
