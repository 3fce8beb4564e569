package gateway

import (
	"context"
	"errors"
	"slices"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// failure is what a client gets for a command that an upstream has not answered.
func (c *call) failure(ctx context.Context, u *upstream, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, server.ErrClientGone) || errors.Is(cause, server.ErrForcedStop) {
		return cause
	}
	var status *egress.StatusError
	if !errors.As(err, &status) {
		return err
	}
	if ctx.Err() != nil && c.maxTime > 0 {
		return mongoerr.New(mongoerr.MaxTimeMSExpired, "operation exceeded time limit: upstream %q did not answer in time", u.name).
			WithLabels(c.labels()...)
	}
	e := mongoerr.New(codeFor(status, u), "upstream %q: %s", u.name, status.Error())
	if status.Code == mongoerr.PooledConnectionAcquisitionExceededTimeLimit && status.Phase == egress.PhaseLocal {
		e = e.WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)
	}
	return e.WithLabels(c.labels()...)
}

// codeFor translates the failure of a connection that is not the client's into a code that drivers try again after.
func codeFor(e *egress.StatusError, u *upstream) mongoerr.Code {
	switch {
	case e.Code == mongoerr.PooledConnectionAcquisitionExceededTimeLimit:
		return mongoerr.IngressRequestRateLimitExceeded
	case e.Timeout():
		return mongoerr.NetworkTimeout
	case e.Code == mongoerr.FailedToSatisfyReadPreference:
		for _, s := range u.client.Topology().Servers {
			if s.Kind != egress.ServerUnknown {
				return e.Code
			}
		}
		return mongoerr.HostUnreachable
	case e.Code == mongoerr.BSONObjectTooLarge, e.Code == mongoerr.BadValue, e.Code == mongoerr.InvalidNamespace,
		e.Code == mongoerr.InvalidBSON, e.Code == mongoerr.MaxStalenessOutOfRange, e.Code == mongoerr.FailedToParse:
		return e.Code
	case e.Code == mongoerr.AuthenticationFailed, e.Code == mongoerr.MechanismUnavailable, e.Code == mongoerr.IncompatibleServerVersion:
		return mongoerr.OperationFailed // it is the gateway that was refused, not the client
	}
	return mongoerr.HostUnreachable
}

// labels are those of a command that was not answered and may have had an effect.
func (c *call) labels() []string {
	switch {
	case c.name == "commitTransaction" && c.numbered:
		return []string{mongoerr.LabelRetryableWrite, mongoerr.LabelUnknownTransactionCommit}
	case c.name == "abortTransaction" && c.numbered:
		return []string{mongoerr.LabelRetryableWrite}
	case c.inTransaction:
		return []string{mongoerr.LabelTransientTransaction}
	case c.changeStream:
		return []string{mongoerr.LabelResumableChangeStream}
	case c.numbered && !c.unnumbered:
		return []string{mongoerr.LabelRetryableWrite}
	}
	return nil
}

// stateChange tells codes by which a server says that it is not, or not any more, what it was taken for. Drivers would
// take it for news of the gateway.
func stateChange(code mongoerr.Code) bool {
	switch code {
	case mongoerr.NotWritablePrimary, mongoerr.NotPrimaryNoSecondaryOk, mongoerr.NotPrimaryOrSecondary, mongoerr.PrimarySteppedDown,
		mongoerr.InterruptedDueToReplStateChange, mongoerr.InterruptedAtShutdown, mongoerr.ShutdownInProgress, legacyNotPrimary:
		return true
	}
	return false
}

// legacyNotPrimary is the code of old servers.
const legacyNotPrimary mongoerr.Code = 10058

// rewriteErrors returns a reply in which news of the upstream's state are failures to reach it, as mongos has it.
func rewriteErrors(reply bsonval.Doc) bsonval.Doc {
	top := !succeeded(reply) && stateChange(codeIn(reply))
	concern := reply.Lookup("writeConcernError")
	nested := concern.Type() == bsonval.TypeDocument && stateChange(codeIn(concern.Doc()))
	if !top && !nested {
		return reply
	}
	b := bsonval.NewBuilder()
	for it := reply.Iter(); it.Next(); {
		switch key := it.KeyStr(); {
		case nested && key == "writeConcernError":
			b.Doc("writeConcernError", unreachable(concern.Doc()))
		case key == "topologyVersion":
		default:
			b.Value(string(it.Key()), it.Value())
		}
	}
	if out := b.Build(); top {
		return unreachable(out)
	} else {
		return out
	}
}

// unreachable is an error document with its code replaced.
func unreachable(d bsonval.Doc) bsonval.Doc {
	b := bsonval.NewBuilder()
	for it := d.Iter(); it.Next(); {
		switch v := it.Value(); it.KeyStr() {
		case "code":
			b.Int32("code", int32(mongoerr.HostUnreachable))
		case "codeName":
			b.Str("codeName", mongoerr.HostUnreachable.Name())
		case "errmsg":
			if v.Type() == bsonval.TypeString {
				b.Str("errmsg", "upstream server changes its state :: caused by :: "+v.Str())
			}
		default:
			b.Value(string(it.Key()), v)
		}
	}
	return b.Build()
}

func codeIn(d bsonval.Doc) mongoerr.Code {
	n, _ := d.Lookup("code").AsInt64()
	return mongoerr.Code(n)
}

// succeeded tells whether a reply says so.
func succeeded(reply bsonval.Doc) bool { return reply.Lookup("ok").Truthy() }

// errDraining refuses new work while the gateway stops.
var errDraining = mongoerr.New(mongoerr.ShutdownInProgress, "The gateway is shutting down")

// drainError refuses new work; clients turn to another gateway.
func (c *call) drainError() error { return errDraining.WithLabels(c.labels()...) }

// hasLabel tells whether an error document has a label.
func hasLabel(d bsonval.Doc, label string) bool {
	v := d.Lookup("errorLabels")
	if v.Type() != bsonval.TypeArray {
		return false
	}
	return slices.ContainsFunc(v.Doc().Values(nil), func(l bsonval.Value) bool {
		return l.Type() == bsonval.TypeString && l.Str() == label
	})
}
