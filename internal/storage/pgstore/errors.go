package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/storage"
)

// Errors of Open.
var (
	// ErrNewerFormat: a newer version of the program has written the store.
	ErrNewerFormat = errors.New("the store has a newer format")

	// ErrInUse: another process has the store open, alone.
	ErrInUse = errors.New("the store is in use by another process")

	// ErrNotAStore: the schema exists and holds something else.
	ErrNotAStore = errors.New("the schema holds other tables")
)

// The SQLSTATEs that decide what becomes of an error.
const (
	stateDropped           = "AR001" // raised by our own trigger on dropped tables
	stateDuplicateTable    = "42P07"
	stateCanceled          = "57014"
	stateReadOnly          = "25006"
	stateDiskFull          = "53100"
	stateTooManyConns      = "53300"
	statePrivilege         = "42501"
	stateUniqueViolation   = "23505"
	stateDuplicateSchema   = "42P06"
	stateDuplicateObject   = "42710"
	stateNoSchema          = "3F000" // it was dropped as empty meanwhile
	stateSerialization     = "40001"
	stateDeadlock          = "40P01"
	stateLockNotAvailable  = "55P03"
	stateDivisionByZero    = "22012" // what a brief transaction went by is not so
	stateNoLogarithm       = "2201E" // the connection's row in commits is gone
	stateInvalidSnapshot   = "22023"
	stateUndefinedObject   = "42704"
	stateUndefinedFunction = "42883"
	stateUnsupported       = "0A000"
	stateUndefinedTable    = "42P01" // dropped by another process, and swept
)

func stateOf(err error) string {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return pe.Code
	}
	return ""
}

// isConflict says whether an error of PostgreSQL means that another transaction
// was first.
func isConflict(err error) bool {
	switch stateOf(err) {
	case stateDivisionByZero, stateNoLogarithm, stateSerialization, stateDeadlock, stateLockNotAvailable, stateUniqueViolation, stateDropped, stateDuplicateSchema, stateNoSchema, stateUndefinedTable, stateDuplicateTable, stateDuplicateObject:
		return true
	}
	return false
}

// cutError is an error of the connection itself.
type cutError struct{ cause error }

func (e *cutError) Error() string {
	var never *connectError
	if errors.As(e.cause, &never) {
		return e.cause.Error()
	}
	return "connection to PostgreSQL lost: " + e.cause.Error()
}

func (e *cutError) Unwrap() error { return e.cause }

// connectError says that there is no connection.
type connectError struct {
	user, database string
	cause          error
}

// Error tells each reason once. A server without TLS is not one if the attempt without it failed, too.
func (e *connectError) Error() string {
	const noTLS = "server refused TLS connection"
	var reasons, refused []string
	for line := range strings.Lines(e.cause.Error()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "hostname resolving error: ")
		switch {
		case slices.Contains(reasons, line):
		case strings.HasSuffix(line, noTLS):
			refused = append(refused, line)
		default:
			reasons = append(reasons, line)
		}
	}
	if len(reasons) == 0 {
		reasons = refused
	}
	return fmt.Sprintf("cannot connect to PostgreSQL as user %s, database %s: %s", e.user, e.database, strings.Join(reasons, "; "))
}

func (e *connectError) Unwrap() error { return e.cause }

// connect makes a connection.
func connect(ctx context.Context, config *pgconn.Config) (*pgconn.PgConn, error) {
	pg, err := pgconn.ConnectConfig(ctx, config)
	if err == nil {
		return pg, nil
	}
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) {
		err = &connectError{config.User, config.Database, ce.Unwrap()}
	}
	if stateOf(err) == "" {
		err = &cutError{err}
	}
	return nil, err
}

// serverError is another error of the server.
type serverError struct{ cause error }

func (e *serverError) Error() string { return "PostgreSQL: " + e.cause.Error() }
func (e *serverError) Unwrap() error { return e.cause }

// translate turns an error of a statement into what callers of the engine get.
func translate(ctx context.Context, err error) error {
	var cut *cutError
	var known *mongoerr.Error
	var told *serverError
	var never *connectError
	state := stateOf(err)
	switch {
	case err == nil || errors.As(err, &known) || errors.As(err, &told):
		return err
	case isConflict(err):
		return storage.ErrWriteConflict
	case state == stateCanceled && ctx.Err() != nil:
		return ctx.Err()
	case state == stateCanceled:
		return mongoerr.New(mongoerr.MaxTimeMSExpired, "PostgreSQL ended the statement: %v", err)
	case state == stateDiskFull:
		return fmt.Errorf("%w: %w", storage.ErrNoSpace, err)
	case state == stateTooManyConns:
		return errOverloaded("PostgreSQL accepts no more connections")
	case state == stateReadOnly:
		return mongoerr.New(mongoerr.NotWritablePrimary, "the PostgreSQL server accepts no writes: %v", err)
	case state == statePrivilege:
		return mongoerr.New(mongoerr.OperationFailed, "PostgreSQL refused the operation, check the privileges of its user: %v", err)
	case strings.HasPrefix(state, "57P") || strings.HasPrefix(state, "08") || errors.As(err, &cut):
		return mongoerr.New(mongoerr.HostUnreachable, "the storage is not reachable: %v", err)
	case state == "" || errors.As(err, &never): // not PostgreSQL's, or it says so itself
		return err
	}
	return &serverError{err}
}

func errOverloaded(why string) error {
	return mongoerr.New(mongoerr.IngressRequestRateLimitExceeded, "%s, try again later", why).
		WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)
}
