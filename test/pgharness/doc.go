// Package pgharness starts a PostgreSQL server for tests: in a temporary folder,
// on a random port of the loopback interface, as an unprivileged user, stopped
// afterwards.
//
// It imports the standard library only. It finds PostgreSQL where the packages of
// common systems put it, or where ARCHELON_POSTGRES_BIN says. Of that installation it
// needs initdb, postgres and pg_ctl; psql may be another's.
package pgharness
