package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// formatVersion is the version of the tables that this program writes.
const formatVersion = 1

// quoted is a schema's name in SQL.
func quoted(schema string) string { return `"` + strings.ReplaceAll(schema, `"`, `""`) + `"` }

// baseTables makes an empty store. $ stands for the schema.
var baseTables = []string{
	"CREATE TABLE $.format (version int8 NOT NULL, store text NOT NULL)",
	"CREATE TABLE $.meta (key bytea PRIMARY KEY, value bytea NOT NULL)",
	"CREATE TABLE $.ids (kind text NOT NULL, id int8 NOT NULL, tbl int8 NOT NULL, uniq bool NOT NULL, dropped int8, PRIMARY KEY (kind, id))",
	"COMMENT ON TABLE $.ids IS 'kind t: table t<id> of records; kind x: index x<id> of table t<tbl>; dropped: the transaction that dropped it'",
	"CREATE TABLE $.commits (slot int8 PRIMARY KEY, pos int8 NOT NULL) WITH (fillfactor = 20)",
	"CREATE TABLE $.committing (nothing int)",
	"CREATE TABLE $.blocks (id int8 PRIMARY KEY, next int8 NOT NULL)",
	"COMMENT ON TABLE $.blocks IS 'the record ids of table t<id> from which on none have been given out'",
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
	version, others, err := s.lookAround(ctx, c)
	switch {
	case err != nil:
		return err
	case version > formatVersion:
		return fmt.Errorf("%w: %d, this program knows %d", ErrNewerFormat, version, formatVersion)
	case version > 0:
		return nil
	case others:
		return fmt.Errorf("%w: %s", ErrNotAStore, s.schema)
	}
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return err
	}
	c.once("BEGIN")
	c.once("CREATE SCHEMA IF NOT EXISTS " + s.schema)
	for _, sql := range baseTables {
		c.once(strings.ReplaceAll(sql, "$.", s.schema+"."))
	}
	c.once(fmt.Sprintf("INSERT INTO %s.format VALUES (%d, '%s')", s.schema, formatVersion, hex.EncodeToString(id[:])))
	c.once("COMMIT")
	if err := c.run(ctx); err != nil {
		c.once("ROLLBACK")
		if !c.broken {
			_ = c.run(ctx) // the first error is the one to tell
		}
		return err
	}
	s.id = hex.EncodeToString(id[:])
	return nil
}

// lookAround says which version of a store the schema holds, and whether there is
// something else in it.
func (s *Store) lookAround(ctx context.Context, c *conn) (version int64, others bool, err error) {
	tables, format := int64(0), false
	c.add("SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1", func(v [][]byte) {
		tables++
		format = format || string(v[0]) == "format"
	}, []byte(s.config.schema))
	if err := c.run(ctx); err != nil {
		return 0, false, err
	}
	if !format {
		return 0, tables > 0, nil
	}
	var id string
	c.add("SELECT version, store FROM "+s.schema+".format", func(v [][]byte) {
		version, id = int64Of(v[0]), string(v[1])
	})
	if err := c.run(ctx); err != nil {
		return 0, false, err
	}
	s.id = id
	return version, false, nil
}

// prepareConn makes a new connection of the pool ready: it gives it its row in
// commits.
func (s *Store) prepareConn(ctx context.Context, c *conn) error {
	c.once("INSERT INTO " + s.schema + ".commits VALUES (" + strconv.Itoa(int(c.pg.PID())) + ", 0) ON CONFLICT (slot) DO NOTHING")
	return c.run(ctx)
}
