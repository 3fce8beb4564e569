package command

import (
	"math"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/running"
	"github.com/archelon-db/archelon/internal/session"
)

// generic holds the arguments that every command takes, as they came.
type generic struct {
	comment, maxTimeMS, readConcern, writeConcern, lsid, txnNumber, autocommit, startTransaction,
	readPreference, clusterTime, apiVersion, apiStrict, apiDeprecationErrors, help, rawData bsonval.Value
}

// set takes a field of the command document if it is a generic argument.
func (g *generic) set(name []byte, v bsonval.Value) (known bool, err error) {
	var slot *bsonval.Value
	switch string(name) {
	case "$db":
		return true, nil
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
	case "rawData":
		slot = &g.rawData
	case "$queryOptions", "$audit", "$client", "$configServerState", "$oplogQueryData", "$replData", "$tracking_info",
		"allowImplicitCollectionCreation", "clientOperationKey", "coordinator", "databaseVersion", "maxTimeMSOpOnly",
		"mayBypassWriteBlocking", "shardVersion", "txnRetryCounter", "versionContext", "requestGossipRoutingCache":
		// What members of a cluster tell each other; MongoDB lets it pass from anybody.
		return true, nil
	default:
		return false, nil
	}
	if !slot.IsMissing() {
		return true, mongoerr.New(40413, "BSON field '%s' is a duplicate field", name)
	}
	if v.Type() != bsonval.TypeNull && v.Type() != bsonval.TypeUndefined {
		*slot = v
	}
	return true, nil
}

// applyGeneric checks the generic arguments and acts on them.
func (c *Call) applyGeneric() error {
	g := &c.generic
	c.Comment = g.comment
	if !g.clusterTime.IsMissing() {
		if err := c.gossip(g.clusterTime); err != nil {
			return err
		}
	}
	if err := c.checkAPI(); err != nil {
		return err
	}
	if !g.lsid.IsMissing() {
		if err := c.enterSession(g.lsid); err != nil {
			return err
		}
	}
	if err := c.checkTransaction(); err != nil {
		return err
	}
	if !g.readConcern.IsMissing() {
		if err := c.checkReadConcern(g.readConcern); err != nil {
			return err
		}
	}
	if !g.writeConcern.IsMissing() {
		if err := c.checkWriteConcern(g.writeConcern); err != nil {
			return err
		}
	} else if d := c.Commands.defaults.Load(); d.write != nil && c.Cmd.WriteConcern && (!c.inTransaction || c.Cmd.EndsTransaction) {
		c.WriteConcern = d.writeConcern
	}
	if !g.readPreference.IsMissing() {
		if err := checkReadPreference(g.readPreference); err != nil {
			return err
		}
	}
	if !g.rawData.IsMissing() && g.rawData.Type() != bsonval.TypeBool {
		return wrongType(c.Cmd.Name, "rawData", g.rawData.Type(), Bool)
	}
	return c.checkMaxTime(g.maxTimeMS)
}

func (c *Call) checkMaxTime(v bsonval.Value) error {
	if v.IsMissing() {
		return nil
	}
	if !v.IsNumber() {
		return wrongType(c.Cmd.Name, "maxTimeMS", v.Type(), Int)
	}
	n, ok := v.AsInt64()
	if !ok {
		return mongoerr.New(mongoerr.FailedToParse, "maxTimeMS has non-integral value")
	}
	if n < 0 || n > math.MaxInt32 {
		return mongoerr.New(mongoerr.BadValue, "%d value for maxTimeMS is out of range [0, %d]", n, math.MaxInt32)
	}
	c.MaxTimeMS = n
	return nil
}

// checkAPI checks the arguments of the stable API.
func (c *Call) checkAPI() error {
	g := &c.generic
	if g.apiVersion.IsMissing() && g.apiStrict.IsMissing() && g.apiDeprecationErrors.IsMissing() {
		return nil
	}
	for _, a := range [...]struct {
		name string
		v    bsonval.Value
		kind Kind
	}{{"apiVersion", g.apiVersion, String}, {"apiStrict", g.apiStrict, Bool}, {"apiDeprecationErrors", g.apiDeprecationErrors, Bool}} {
		if !a.v.IsMissing() && !a.kind.accepts(a.v.Type()) {
			return wrongType(c.Cmd.Name, a.name, a.v.Type(), a.kind)
		}
	}
	switch {
	case g.apiVersion.IsMissing():
		name := "apiStrict"
		if g.apiStrict.IsMissing() {
			name = "apiDeprecationErrors"
		}
		return mongoerr.New(4886600, "Provided %s without passing apiVersion", name)
	case g.apiVersion.Str() != "1":
		return mongoerr.New(mongoerr.APIVersionError, "API version must be \"1\"")
	case g.apiStrict.Truthy() && !c.Cmd.APIv1:
		return mongoerr.New(mongoerr.APIStrictError, "Provided apiStrict:true, but the command %s is not in API Version 1. "+
			"Information on supported commands and migrations in API Version 1 can be found at "+
			"https://dochub.mongodb.org/core/manual-versioned-api", c.Cmd.Name)
	}
	return nil
}

// apiStrict says whether the client wants nothing but the stable API.
func (c *Call) apiStrict() bool { return c.generic.apiStrict.Truthy() }

func checkReadPreference(v bsonval.Value) error {
	if v.Type() != bsonval.TypeDocument {
		return mongoerr.New(mongoerr.TypeMismatch, "\"$readPreference\" had the wrong type. Expected object, found %s", v.Type())
	}
	mode := v.Doc().Lookup("mode")
	switch {
	case mode.IsMissing():
		return mongoerr.New(40414, "BSON field '$readPreference.mode' is missing but a required field")
	case mode.Type() != bsonval.TypeString:
		return wrongType("$readPreference", "mode", mode.Type(), String)
	}
	switch mode.Str() {
	case "primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest":
		return nil
	}
	return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field '$readPreference.mode' is not a valid value.", mode.Str())
}

var lsidFields = []Field{
	{Name: "id", Kind: UUID, Required: true}, {Name: "uid", Kind: Any}, {Name: "txnNumber", Kind: Long},
	{Name: "txnUUID", Kind: UUID}, {Name: "stmtId", Kind: Int32},
}

// parseLSID reads a session id.
func parseLSID(path string, v bsonval.Value) (session.ID, error) {
	var id session.ID
	if v.Type() != bsonval.TypeDocument {
		return id, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s' is the wrong type '%s', expected type 'object'", path, v.Type())
	}
	var vals [5]bsonval.Value
	if err := ParseFields(path, v.Doc(), lsidFields, vals[:]); err != nil {
		return id, err
	}
	for i := 2; i < len(vals); i++ {
		if !vals[i].IsMissing() {
			return id, mongoerr.New(mongoerr.NotImplemented, "'%s.%s' is not implemented", path, lsidFields[i].Name)
		}
	}
	copy(id.UUID[:], vals[0].Bytes())
	id.UID = session.NoUser
	if uid := vals[1]; !uid.IsMissing() {
		if uid.Type() != bsonval.TypeBinary || len(uid.Bytes()) != len(id.UID) {
			return id, mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.uid' is not the digest of a user", path)
		}
		copy(id.UID[:], uid.Bytes())
	}
	return id, nil
}

// enterSession makes or refreshes the session the client names.
func (c *Call) enterSession(v bsonval.Value) error {
	id, err := sessionID("lsid", v, c.Req.Conn.User())
	if err != nil || c.Cmd.NoSession {
		return err
	}
	c.Session, err = c.Commands.cfg.Sessions.Touch(id)
	return err
}

// checkTransaction checks the arguments of transactions and retryable writes.
func (c *Call) checkTransaction() error {
	g := &c.generic
	if g.txnNumber.IsMissing() && g.autocommit.IsMissing() && g.startTransaction.IsMissing() {
		return nil
	}
	if err := c.checkTransactionShape(); err != nil {
		return err
	}
	if !c.Commands.replicated {
		return mongoerr.New(mongoerr.IllegalOperation, "Transaction numbers are only allowed on a replica set member or mongos")
	}
	if g.autocommit.IsMissing() && !c.Cmd.Retryable {
		return mongoerr.New(50768, "txnNumber may only be provided for multi-document transactions and retryable write "+
			"commands. autocommit:false was not provided, and %s is not a retryable write command.", c.Cmd.Name)
	}
	if g.lsid.IsMissing() {
		return mongoerr.New(mongoerr.InvalidOptions, "Transaction number requires a session ID to also be specified")
	}
	if !g.autocommit.IsMissing() {
		return c.checkInTransaction()
	}
	c.TxnNumber, c.HasTxnNumber = g.txnNumber.Int64(), true
	return nil
}

func (c *Call) checkTransactionShape() error {
	g := &c.generic
	for _, a := range [...]struct {
		name string
		v    bsonval.Value
		kind Kind
	}{{"txnNumber", g.txnNumber, Long}, {"autocommit", g.autocommit, Bool}, {"startTransaction", g.startTransaction, Bool}} {
		if !a.v.IsMissing() && !a.kind.accepts(a.v.Type()) {
			return wrongType(c.Cmd.Name, a.name, a.v.Type(), a.kind)
		}
	}
	invalid := func(text string) error { return mongoerr.New(mongoerr.InvalidOptions, "%s", text) }
	switch {
	case g.txnNumber.IsMissing() && !g.autocommit.IsMissing():
		return invalid("'autocommit' field requires a transaction number to also be specified")
	case g.txnNumber.IsMissing():
		return invalid("'startTransaction' field requires a transaction number to also be specified")
	case g.txnNumber.Int64() < 0:
		return invalid("Transaction number cannot be negative")
	case !g.startTransaction.IsMissing() && g.autocommit.IsMissing():
		return invalid("'startTransaction' field requires 'autocommit' field to also be specified")
	case !g.autocommit.IsMissing() && g.autocommit.Bool():
		return invalid("Specifying autocommit=true is not allowed.")
	case !g.startTransaction.IsMissing() && !g.startTransaction.Bool():
		return invalid("Specifying startTransaction=false is not allowed.")
	}
	return nil
}

// deadline is when the operation has to be over, zero for never. It fails if a fail point says that this is now.
func (c *Call) deadline(now time.Time) (time.Time, error) {
	if c.generic.maxTimeMS.IsMissing() {
		c.limitRead()
	}
	if c.MaxTimeMS == 0 || c.Cmd.OwnMaxTime {
		return time.Time{}, nil
	}
	fail := &c.Commands.fail
	if _, never := fail.neverTimeOut.Enter(nil); never {
		return time.Time{}, nil
	}
	if _, always := fail.alwaysTimeOut.Enter(nil); always {
		return time.Time{}, running.ErrTimedOut
	}
	return now.Add(time.Duration(c.MaxTimeMS) * time.Millisecond), nil
}
