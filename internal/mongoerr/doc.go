// Package mongoerr is the one error type that clients see, and the table of
// MongoDB's error codes and names.
//
// Errors are built where the mistake is known, with the code MongoDB gives, and
// formatted for the wire in one place (package server). Any other error that
// reaches the dispatcher becomes InternalError there. The package imports the
// standard library only.
package mongoerr
