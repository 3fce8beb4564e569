package pgstore

import (
	"context"
	"errors"
	"fmt"
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

func (e *cutError) Error() string { return "connection to PostgreSQL lost: " + e.cause.Error() }
func (e *cutError) Unwrap() error { return e.cause }

// translate turns an error of a statement into what callers of the engine get.
func translate(ctx context.Context, err error) error {
	var cut *cutError
	var known *mongoerr.Error
	state := stateOf(err)
	switch {
	case err == nil || errors.As(err, &known):
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
	case state == "": // not PostgreSQL's
		return err
	}
	return fmt.Errorf("PostgreSQL: %w", err)
}

func errOverloaded(why string) error {
	return mongoerr.New(mongoerr.IngressRequestRateLimitExceeded, "%s, try again later", why).
		WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)
}
