package service

import (
	"math"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// generic holds the arguments that every command takes, as they came.
type generic struct {
	comment, maxTimeMS, readConcern, writeConcern, lsid, txnNumber, autocommit, startTransaction, readPreference, clusterTime,
	apiVersion, apiStrict, apiDeprecationErrors, help bsonval.Value
}

// slot returns the place of a generic argument. Those without a place are known, too: they are the transport's.
func (g *generic) slot(name string) (slot *bsonval.Value, known bool) {
	switch name {
	case "$db", "$queryOptions", "$audit", "$client", "requestGossipRoutingCache", "mayBypassWriteBlocking", "clientOperationKey":
		return nil, true
	case "lsid":
		slot = &g.lsid
	case "$clusterTime":
		slot = &g.clusterTime
	case "txnNumber":
		slot = &g.txnNumber
	case "$readPreference":
		slot = &g.readPreference
	case "maxTimeMS":
		slot = &g.maxTimeMS
	case "comment":
		slot = &g.comment
	case "readConcern":
		slot = &g.readConcern
	case "writeConcern":
		slot = &g.writeConcern
	case "autocommit":
		slot = &g.autocommit
	case "startTransaction":
		slot = &g.startTransaction
	case "apiVersion":
		slot = &g.apiVersion
	case "apiStrict":
		slot = &g.apiStrict
	case "apiDeprecationErrors":
		slot = &g.apiDeprecationErrors
	case "help":
		slot = &g.help
	}
	return slot, slot != nil
}

// isGeneric says whether a field means the same for all commands.
func isGeneric(name string) bool {
	_, known := new(generic).slot(name)
	return known
}

// set takes a field of the command document if it is a generic argument.
func (g *generic) set(name []byte, v bsonval.Value) (known bool, err error) {
	slot, known := g.slot(string(name))
	if slot == nil {
		return known, nil
	}
	if !slot.IsMissing() {
		return true, mongoerr.New(40413, "BSON field '%s' is a duplicate field", name)
	}
	if v.Type() != bsonval.TypeNull && v.Type() != bsonval.TypeUndefined {
		*slot = v
	}
	return true, nil
}

// applyGeneric checks the generic arguments.
func (c *Call) applyGeneric() error {
	g := &c.generic
	name := c.row.Name
	for _, a := range [...]struct {
		name string
		v    bsonval.Value
		want bsonval.Type
	}{
		{"lsid", g.lsid, bsonval.TypeDocument}, {"$clusterTime", g.clusterTime, bsonval.TypeDocument},
		{"readConcern", g.readConcern, bsonval.TypeDocument}, {"writeConcern", g.writeConcern, bsonval.TypeDocument},
		{"$readPreference", g.readPreference, bsonval.TypeDocument}, {"txnNumber", g.txnNumber, bsonval.TypeInt64},
		{"autocommit", g.autocommit, bsonval.TypeBool}, {"startTransaction", g.startTransaction, bsonval.TypeBool},
		{"apiVersion", g.apiVersion, bsonval.TypeString}, {"apiStrict", g.apiStrict, bsonval.TypeBool},
		{"apiDeprecationErrors", g.apiDeprecationErrors, bsonval.TypeBool},
	} {
		if !a.v.IsMissing() && a.v.Type() != a.want {
			return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected type '%s'", name, a.name, a.v.Type(), a.want)
		}
	}
	if err := c.checkAPI(); err != nil {
		return err
	}
	if !g.lsid.IsMissing() {
		if err := checkLSID(g.lsid.Doc()); err != nil {
			return err
		}
	}
	if err := c.checkTransaction(); err != nil {
		return err
	}
	return c.checkMaxTime()
}

func (c *Call) checkMaxTime() error {
	v := c.generic.maxTimeMS
	if v.IsMissing() {
		return nil
	}
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
	g := &c.generic
	switch {
	case g.apiVersion.IsMissing() && !g.apiStrict.IsMissing():
		return mongoerr.New(4886600, "Provided apiStrict without passing apiVersion")
	case g.apiVersion.IsMissing() && !g.apiDeprecationErrors.IsMissing():
		return mongoerr.New(4886600, "Provided apiDeprecationErrors without passing apiVersion")
	case !g.apiVersion.IsMissing() && g.apiVersion.Str() != "1":
		return mongoerr.New(mongoerr.APIVersionError, "API version must be \"1\"")
	case g.apiStrict.Truthy() && !c.row.apiV1:
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
	if !g.autocommit.IsMissing() || !g.startTransaction.IsMissing() {
		return mongoerr.New(mongoerr.OperationNotSupportedInTransaction, "Cannot run '%s' in a multi-document transaction.", c.row.Name)
	}
	if g.txnNumber.IsMissing() {
		return nil
	}
	switch {
	case g.txnNumber.Int64() < 0:
		return mongoerr.New(mongoerr.InvalidOptions, "Transaction number cannot be negative")
	case g.lsid.IsMissing():
		return mongoerr.New(mongoerr.InvalidOptions, "Transaction number requires a session ID to also be specified")
	case !c.row.Once:
		return mongoerr.New(50768, "txnNumber may only be provided for multi-document transactions and retryable write "+
			"commands. autocommit:false was not provided, and %s is not a retryable write command.", c.row.Name)
	}
	c.txnNumber, c.hasTxnNumber = g.txnNumber.Int64(), true
	return nil
}

// session is the session's id as a string of bytes, "" for none.
func (c *Call) session() string {
	if c.generic.lsid.IsMissing() {
		return ""
	}
	return sessionKey(c.generic.lsid.Doc())
}

func sessionKey(lsid bsonval.Doc) string {
	return string(lsid.Lookup("id").Bytes()) + string(lsid.Lookup("uid").Bytes())
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
