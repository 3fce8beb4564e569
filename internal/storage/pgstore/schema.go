package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// formatVersion is the version of the tables that this program writes.
const formatVersion = 2

// quoted is a schema's name in SQL.
func quoted(schema string) string { return `"` + strings.ReplaceAll(schema, `"`, `""`) + `"` }

// baseTables makes an empty store. $ stands for the schema.
var baseTables = []string{
	"CREATE TABLE $.format (version int8 NOT NULL, store text NOT NULL)",
	"CREATE TABLE $.meta (key bytea PRIMARY KEY, value bytea NOT NULL)",
	"CREATE TABLE $.ids (kind text NOT NULL, id int8 NOT NULL, tbl int8 NOT NULL, uniq bool NOT NULL, dropped int8, " +
		"namespace text, relation text, database text, collection text, index_name text, PRIMARY KEY (kind, id))",
	"CREATE TABLE $.commits (slot int8 PRIMARY KEY, pos int8 NOT NULL) WITH (fillfactor = 20)",
	"CREATE TABLE $.committing (unused int)",
	"CREATE TABLE $.blocks (id int8 PRIMARY KEY, next int8 NOT NULL)",
	"COMMENT ON TABLE $.blocks IS 'the record ids of table id from which on none have been given out'",
	"CREATE SEQUENCE $.clock",
	"CREATE SEQUENCE $.ddl",
	// PostgreSQL puts this into its callers' expressions.
	"CREATE FUNCTION $.le8(int8) RETURNS bytea LANGUAGE sql IMMUTABLE AS '" + littleEndian() + "'",
	`CREATE FUNCTION $.dropped() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RAISE EXCEPTION ''this table has been dropped'' USING ERRCODE = ''` + stateDropped + `''; END'`,
}

// littleEndian is the expression of a bigint's bytes in reverse.
func littleEndian() string {
	parts := make([]string, 8)
	for i := range parts {
		parts[i] = fmt.Sprintf("substring(int8send($1) from %d for 1)", 8-i)
	}
	return "SELECT " + strings.Join(parts, " || ")
}

// prepareSchema makes the store's schema and tables unless they exist.
func (s *Store) prepareSchema(ctx context.Context, c *conn) error {
	var err error
	for range 20 {
		if err = s.trySchema(ctx, c); err == nil {
			return nil
		}
		switch stateOf(err) {
		case stateUniqueViolation, stateDuplicateTable, stateDuplicateSchema, stateDuplicateObject, "XX000": // another process is at it
		default:
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

func (s *Store) trySchema(ctx context.Context, c *conn) error {
	found, err := s.lookAround(ctx, c)
	switch {
	case err != nil:
		return err
	case found.version > formatVersion:
		return fmt.Errorf("%w: the schema %s has format %d, this program knows those up to %d; use the newer version of the program that "+
			"has been here", ErrNewerFormat, s.schema, found.version, formatVersion)
	case found.version == formatVersion && !found.unplaced:
		return nil
	case found.version > 0:
		return s.migrate(ctx, c)
	case found.relations > 0:
		return fmt.Errorf("%w: %s", ErrNotAStore, s.schema)
	}
	return s.createStore(ctx, c, found.exists)
}

// createStore makes the tables of an empty store, in a schema that exists or not.
func (s *Store) createStore(ctx context.Context, c *conn, exists bool) error {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	c.once("BEGIN")
	if !exists {
		c.once("CREATE SCHEMA " + s.schema)
	}
	for _, sql := range slices.Concat(baseTables, namesTables) {
		c.once(s.here(sql))
	}
	c.once(fmt.Sprintf("INSERT INTO %s.format VALUES (%d, '%s')", s.schema, formatVersion, hex.EncodeToString(id[:])))
	c.once("COMMIT")
	if err := c.run(ctx); err != nil {
		return rollback(ctx, c, err)
	}
	s.id = hex.EncodeToString(id[:])
	return nil
}

// here puts the store's schema into a statement, for $.
func (s *Store) here(sql string) string { return strings.ReplaceAll(sql, "$.", s.schema+".") }

// surroundings are what a process finds in the schema.
type surroundings struct {
	exists    bool  // the schema
	relations int   // in it
	version   int64 // of the store, 0 if there is none
	unplaced  bool  // there are tables that a migration has not reached yet
}

func (s *Store) lookAround(ctx context.Context, c *conn) (surroundings, error) {
	var out surroundings
	format := false
	c.add("SELECT c.relname::text FROM pg_namespace n LEFT JOIN pg_class c ON n.oid = c.relnamespace WHERE n.nspname = $1", func(v [][]byte) {
		if out.exists = true; v[0] != nil {
			out.relations++
			format = format || string(v[0]) == "format"
		}
	}, []byte(s.config.schema))
	if err := c.run(ctx); err != nil || !format {
		return out, err
	}
	var id string
	c.add("SELECT version, store FROM "+s.schema+".format", func(v [][]byte) {
		out.version, id = int64Of(v[0]), string(v[1])
	})
	if err := c.run(ctx); err != nil {
		return out, err
	}
	s.id = id
	if out.version == formatVersion {
		v, err := c.query(ctx, "SELECT EXISTS (SELECT 1 FROM "+s.schema+".ids WHERE namespace IS NULL)::int::int8")
		if err != nil {
			return out, err
		}
		out.unplaced = v[0] != 0
	}
	return out, nil
}

// prepareConn makes a new connection of the pool ready: it gives it its row in
// commits.
func (s *Store) prepareConn(ctx context.Context, c *conn) error {
	c.once("INSERT INTO " + s.schema + ".commits VALUES (" + strconv.Itoa(int(c.pg.PID())) + ", 0) ON CONFLICT (slot) DO NOTHING")
	return c.run(ctx)
}
