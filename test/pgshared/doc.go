// Package pgshared runs several processes of the binary on one PostgreSQL and checks through the Go driver that they are one
// database: what one defines the other knows at once, changes race safely, counts and change streams are right, and a client that
// has the addresses of both goes on when one is killed.
package pgshared
