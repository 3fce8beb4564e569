package service

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// argument is a generic argument: one that means the same for all commands.
type argument uint8

const (
	argComment argument = iota
	argMaxTimeMS
	argReadConcern
	argWriteConcern
	argLSID
	argTxnNumber
	argAutocommit
	argStartTransaction
	argReadPreference
	argClusterTime
	argAPIVersion
	argAPIStrict
	argAPIDeprecationErrors
	argHelp
	// argTransport arguments are between client and server; the commands do not know them.
	argTransport
)

// argumentTypes are the types that arguments have to have; missing means that there is no one type.
var argumentTypes = [argTransport]bsonval.Type{
	argReadConcern: bsonval.TypeDocument, argWriteConcern: bsonval.TypeDocument, argLSID: bsonval.TypeDocument,
	argTxnNumber: bsonval.TypeInt64, argAutocommit: bsonval.TypeBool, argStartTransaction: bsonval.TypeBool,
	argReadPreference: bsonval.TypeDocument, argClusterTime: bsonval.TypeDocument, argAPIVersion: bsonval.TypeString,
	argAPIStrict: bsonval.TypeBool, argAPIDeprecationErrors: bsonval.TypeBool,
}

// genericArgument finds a generic argument by its name.
func genericArgument(name string) (a argument, known bool) {
	switch name {
	case "$db", "$queryOptions", "$audit", "$client", "requestGossipRoutingCache", "mayBypassWriteBlocking", "clientOperationKey":
		return argTransport, true
	case "lsid":
		return argLSID, true
	case "$clusterTime":
		return argClusterTime, true
	case "txnNumber":
		return argTxnNumber, true
	case "$readPreference":
		return argReadPreference, true
	case "maxTimeMS":
		return argMaxTimeMS, true
	case "comment":
		return argComment, true
	case "readConcern":
		return argReadConcern, true
	case "writeConcern":
		return argWriteConcern, true
	case "autocommit":
		return argAutocommit, true
	case "startTransaction":
		return argStartTransaction, true
	case "apiVersion":
		return argAPIVersion, true
	case "apiStrict":
		return argAPIStrict, true
	case "apiDeprecationErrors":
		return argAPIDeprecationErrors, true
	case "help":
		return argHelp, true
	}
	return 0, false
}

// isGeneric says whether a field means the same for all commands.
func isGeneric(name string) bool {
	_, known := genericArgument(name)
	return known
}

// generic holds the generic arguments of a call, as they came. Most calls have few.
type generic struct {
	has  uint16 // the arguments that are there, by bit
	n    uint8  // of few
	few  [3]genericValue
	more []genericValue
}

type genericValue struct {
	a argument
	v bsonval.Value
}

// get returns an argument, missing if it is not there.
func (g *generic) get(a argument) bsonval.Value {
	if g.has&(1<<a) == 0 {
		return bsonval.Missing
	}
	for i := range g.few[:g.n] {
		if g.few[i].a == a {
			return g.few[i].v
		}
	}
	for i := range g.more {
		if g.more[i].a == a {
			return g.more[i].v
		}
	}
	return bsonval.Missing
}

// set takes a field of the command document if it is a generic argument.
func (g *generic) set(command string, name []byte, v bsonval.Value) (known bool, err error) {
	a, known := genericArgument(string(name))
	if !known || a == argTransport {
		return known, nil
	}
	if g.has&(1<<a) != 0 {
		return true, mongoerr.New(40413, "BSON field '%s.%s' is a duplicate field", command, name)
	}
	if v.Type() == bsonval.TypeNull || v.Type() == bsonval.TypeUndefined {
		return true, nil
	}
	if want := argumentTypes[a]; want != bsonval.TypeMissing && v.Type() != want {
		return true, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'", command, name, v.Type(), want)
	}
	g.has |= 1 << a
	if int(g.n) < len(g.few) {
		g.few[g.n] = genericValue{a, v}
		g.n++
	} else {
		g.more = append(g.more, genericValue{a, v})
	}
	return true, nil
}

// The arguments of the stable API and of transactions, as bits of generic.has.
const (
	apiArguments         = 1<<argAPIVersion | 1<<argAPIStrict | 1<<argAPIDeprecationErrors
	transactionArguments = 1<<argTxnNumber | 1<<argAutocommit | 1<<argStartTransaction
)

// applyGeneric checks the generic arguments.
func (c *Call) applyGeneric() error {
	g := &c.generic
	if g.has&apiArguments != 0 {
		if err := c.checkAPI(); err != nil {
			return err
		}
	}
	if g.has&(1<<argLSID) != 0 {
		lsid := g.get(argLSID).Doc()
		if err := checkLSID(lsid); err != nil {
			return err
		}
		if err := checkUser(lsid, c.User()); err != nil {
			return err
		}
	}
	if g.has&transactionArguments != 0 {
		if err := c.checkTransaction(); err != nil {
			return err
		}
	}
	if g.has&(1<<argMaxTimeMS) != 0 {
		return c.checkMaxTime()
	}
	return nil
}

func (c *Call) checkMaxTime() error {
	v := c.generic.get(argMaxTimeMS)
	if !v.IsNumber() {
		return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.maxTimeMS' is the wrong type '%s', expected types '[long, int, decimal, double]'",
			c.row.Name, v.Type())
	}
	n, ok := v.AsInt64()
	if !ok {
		return mongoerr.New(mongoerr.FailedToParse, "maxTimeMS has non-integral value")
	}
	if n < 0 || n > math.MaxInt32 {
		return mongoerr.New(mongoerr.BadValue, "%d value for maxTimeMS is out of range [0, %d]", n, math.MaxInt32)
	}
	c.maxTimeMS = n
	return nil
}

// checkAPI checks the arguments of the stable API, which a service's own commands are not part of.
func (c *Call) checkAPI() error {
	version, strict := c.generic.get(argAPIVersion), c.generic.get(argAPIStrict)
	switch {
	case version.IsMissing() && !strict.IsMissing():
		return mongoerr.New(4886600, "Provided apiStrict without passing apiVersion")
	case version.IsMissing():
		return mongoerr.New(4886600, "Provided apiDeprecationErrors without passing apiVersion")
	case version.Str() != "1":
		return mongoerr.New(mongoerr.APIVersionError, "API version must be \"1\"")
	case strict.Truthy() && !c.row.apiV1:
		return mongoerr.New(mongoerr.APIStrictError, "Provided apiStrict:true, but the command %s is not in API Version 1. "+
			"Information on supported commands and migrations in API Version 1 can be found at "+
			"https://dochub.mongodb.org/core/manual-versioned-api", c.row.Name)
	}
	return nil
}

// checkLSID checks a session id: a UUID and, from members of a cluster, the digest of a user.
func checkLSID(d bsonval.Doc) error {
	it := d.Iter()
	has := false
	for it.Next() {
		v := it.Value()
		switch it.KeyStr() {
		case "id":
			has = true
			switch {
			case v.Type() != bsonval.TypeBinary:
				return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'lsid.id' is the wrong type '%s', expected type 'binData'", v.Type())
			case v.BinarySubtype() != 4:
				return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'lsid.id' is the wrong binData subtype %d, expected type 'UUID'", v.BinarySubtype())
			case len(v.Bytes()) != 16:
				return mongoerr.New(mongoerr.InvalidUUID, "uuid must be a 16-byte binary field with UUID (4) subtype")
			}
		case "uid":
			if v.Type() != bsonval.TypeBinary || len(v.Bytes()) != 32 {
				return mongoerr.New(mongoerr.TypeMismatch, "BSON field 'lsid.uid' is not the digest of a user")
			}
		default:
			return mongoerr.New(40415, "BSON field 'lsid.%s' is an unknown field.", it.Key())
		}
	}
	if !has {
		return mongoerr.New(40414, "BSON field 'lsid.id' is missing but a required field")
	}
	return nil
}

// checkTransaction reads the number of a call that is to run once.
func (c *Call) checkTransaction() error {
	g := &c.generic
	if g.has&(1<<argAutocommit|1<<argStartTransaction) != 0 {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction, "Cannot run '%s' in a multi-document transaction.", c.row.Name)
	}
	number := g.get(argTxnNumber).Int64()
	switch {
	case number < 0:
		return mongoerr.New(mongoerr.InvalidOptions, "Transaction number cannot be negative")
	case g.has&(1<<argLSID) == 0:
		return mongoerr.New(mongoerr.InvalidOptions, "Transaction number requires a session ID to also be specified")
	case !c.row.Once:
		return mongoerr.New(50768, "txnNumber may only be provided for multi-document transactions and retryable write "+
			"commands. autocommit:false was not provided, and %s is not a retryable write command.", c.row.Name)
	}
	c.txnNumber, c.hasTxnNumber = number, true
	return nil
}

// session is the session's id as a string of bytes, "" for none.
func (c *Call) session() string {
	if c.generic.has&(1<<argLSID) == 0 {
		return ""
	}
	return sessionKey(c.generic.get(argLSID).Doc(), c.User())
}

// sessionKey is a session as the service knows it: that of a user has the user's digest.
func sessionKey(lsid bsonval.Doc, u *server.User) string {
	if u != nil {
		digest := u.Digest()
		return string(lsid.Lookup("id").Bytes()) + string(digest[:])
	}
	return string(lsid.Lookup("id").Bytes()) + string(lsid.Lookup("uid").Bytes())
}

// checkUser refuses the session of another user.
func checkUser(lsid bsonval.Doc, u *server.User) error {
	uid := lsid.Lookup("uid")
	if u == nil || uid.IsMissing() {
		return nil
	}
	if digest := u.Digest(); string(uid.Bytes()) != string(digest[:]) {
		return mongoerr.New(mongoerr.Unauthorized, "Unauthorized to set user digest in LogicalSessionId")
	}
	return nil
}

// mergeGeneric returns a command with the generic arguments that from has and it has not.
func mergeGeneric(command, from bsonval.Doc) bsonval.Doc {
	b, at := bsonval.BeginDoc(make([]byte, 0, len(command)+len(from)))
	b = append(b, command[4:len(command)-1]...)
	it := from.Iter()
	for it.Next() {
		if isGeneric(it.KeyStr()) && command.Lookup(it.KeyStr()).IsMissing() {
			b = append(b, it.Raw()...)
		}
	}
	return bsonval.EndDoc(b, at)
}
