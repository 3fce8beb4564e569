package egress

import (
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
)

// Operation is a command for a deployment.
type Operation struct {
	Command
	// ReadPreference is for this command; nil means the client's. It is of no effect on commands that write.
	ReadPreference *ReadPreference
	// Target, if set, is the server to run the command on, such as the one that has the cursor. It is not retried.
	Target Host
	// NoRetry switches retries off.
	NoRetry bool
}

// verb says what a command is to a client.
type verb uint8

const (
	// reads go where the read preference says and are repeated after failures.
	reads verb = 1 << iota
	// writes go to the primary and are repeated as the number of the transaction allows.
	writes
	// ends are the ends of transactions: they are writes that are repeated under the transaction's own number.
	ends
	// concerned commands take a writeConcern but are not repeated.
	concerned
	// leveled commands take a readConcern.
	leveled
)

// verbs are the commands that a client treats in a special way; all others go where the read preference says and are not
// repeated, as the specifications of retryable reads and writes have it.
var verbs = map[string]verb{
	"find": reads | leveled, "aggregate": reads | leveled, "count": reads | leveled, "distinct": reads | leveled,
	"listCollections": reads, "listDatabases": reads, "listIndexes": reads,

	"insert": writes, "update": writes, "delete": writes, "bulkWrite": writes, "findAndModify": writes, "findandmodify": writes,

	"commitTransaction": ends, "abortTransaction": ends,

	"create": concerned, "createIndexes": concerned, "drop": concerned, "dropDatabase": concerned, "dropIndexes": concerned,
	"renameCollection": concerned, "collMod": concerned, "createUser": concerned, "updateUser": concerned,
	"dropUser": concerned, "createRole": concerned, "updateRole": concerned, "dropRole": concerned,
}

// plan is how an operation is to be run.
type plan struct {
	op       *Operation
	verb     verb
	selector selector
	// repeatable tells whether the command may be sent again after a failure that leaves its effect open.
	repeatable bool
	// numbered tells that the client has to give the command a session and a number, so that it is repeatable.
	numbered bool
	// inTransaction is set for commands of a transaction of the caller's.
	inTransaction bool
	// repeated is set once the command has been sent a second time.
	repeated bool
	// has are the generic arguments that the command has already.
	has arguments
	// session is that of a numbered command, nil until the first attempt.
	session *session
	// start is when the attempt began, for calls with a Caller.
	start time.Time
}

// arguments are generic arguments of a command, those that a client adds or heeds.
type arguments uint8

const (
	hasSession arguments = 1 << iota
	hasNumber
	hasAutocommit
	hasWriteConcern
	hasReadConcern
	hasClusterTime
	hasPreference
)

// argument is the flag of a field, 0 for fields of a command's own.
func argument(key string) arguments {
	switch key {
	case "lsid":
		return hasSession
	case "txnNumber":
		return hasNumber
	case "autocommit":
		return hasAutocommit
	case "writeConcern":
		return hasWriteConcern
	case "readConcern":
		return hasReadConcern
	case "$clusterTime":
		return hasClusterTime
	case "$readPreference":
		return hasPreference
	}
	return 0
}

// arguments returns those that the command has.
func (c *Command) arguments() (has arguments) {
	for it := c.Metadata.Iter(); it.Next(); {
		has |= argument(it.KeyStr())
	}
	for it := c.Body.Iter(); it.Next(); {
		has |= argument(it.KeyStr())
	}
	return has
}

// plan decides how to run an operation.
func (c *Client) plan(op *Operation) plan {
	name := op.Name()
	p := plan{op: op, verb: verbs[name], has: op.arguments()}
	p.selector = selector{heartbeat: c.cfg.HeartbeatInterval, window: c.cfg.LocalThreshold}
	p.inTransaction = p.has&hasAutocommit != 0
	if name == "aggregate" && writesOut(op.lookup("pipeline")) {
		p.verb = concerned | leveled
	}
	if p.verb&(writes|ends|concerned) == 0 && !p.inTransaction {
		p.selector.preference = op.ReadPreference
		if op.ReadPreference == nil {
			p.selector.preference = &c.cfg.ReadPreference
		}
	}
	if op.NoRetry || op.FireAndForget || op.Target != "" {
		return p
	}
	switch {
	case p.verb&ends != 0:
		p.repeatable = true
	case p.inTransaction:
	case p.verb&reads != 0:
		p.repeatable = !c.cfg.NoRetryReads
	case p.verb&writes != 0 && !c.cfg.NoRetryWrites && repeatableWrite(op) && !c.unacknowledged(op):
		p.numbered = p.has&(hasNumber|hasSession) == 0
		p.repeatable = p.numbered || p.has&hasNumber != 0
	}
	return p
}

// writesOut tells pipelines that end in a stage that writes.
func writesOut(pipeline bsonval.Value) bool {
	if pipeline.Type() != bsonval.TypeArray {
		return false
	}
	for it := pipeline.Doc().Iter(); it.Next(); {
		if it.Value().Type() == bsonval.TypeDocument {
			if stage, _, _ := it.Value().Doc().First(); stage == "$out" || stage == "$merge" {
				return true
			}
		}
	}
	return false
}

// repeatableWrite tells whether each statement changes one document at most; others cannot be told to happen once.
func repeatableWrite(op *Operation) bool {
	single := func(d Doc) bool {
		if d.Lookup("multi").Truthy() {
			return false
		}
		limit := d.Lookup("limit")
		return !limit.IsNumber() || !limit.IsZero()
	}
	for _, field := range []string{"updates", "deletes", "ops"} {
		if v := op.Body.Lookup(field); v.Type() == bsonval.TypeArray {
			for it := v.Doc().Iter(); it.Next(); {
				if it.Value().Type() == bsonval.TypeDocument && !single(it.Value().Doc()) {
					return false
				}
			}
		}
		for _, s := range op.Sequences {
			if s.Name != field {
				continue
			}
			for _, d := range s.Documents {
				if !single(d) {
					return false
				}
			}
		}
	}
	return true
}

// unacknowledged tells writes with w: 0.
func (c *Client) unacknowledged(op *Operation) bool {
	concern := Doc(nil)
	if v := op.lookup("writeConcern"); v.Type() == bsonval.TypeDocument {
		concern = v.Doc()
	} else if v.IsMissing() {
		concern = c.cfg.WriteConcern
	}
	if concern == nil {
		return false
	}
	w := concern.Lookup("w")
	return w.IsNumber() && w.IsZero()
}

// request makes the request for one server, in the memory of k if that is not nil.
func (c *Client) request(p *plan, d *ServerDescription, k *Caller) *RequestOnAny {
	var req *RequestOnAny
	var buf []byte
	if k == nil {
		req, buf = &RequestOnAny{Targets: []Host{d.Host}, Command: p.op.Command}, make([]byte, 0, 256)
	} else {
		k.host[0] = d.Host
		k.req = RequestOnAny{Targets: k.host[:], Command: p.op.Command}
		req, buf = &k.req, k.meta[:0]
	}
	if req.Timeout == 0 {
		req.Timeout = c.cfg.Timeout
	}
	req.apart = len(p.op.Metadata) == 0
	buf, at := bsonval.BeginDoc(buf)
	empty := len(buf)
	again := p.repeated && p.op.Name() == "commitTransaction"
	for it := p.op.Metadata.Iter(); it.Next(); {
		if !again || it.KeyStr() != "writeConcern" {
			buf = append(buf, it.Raw()...)
		}
	}
	if again {
		req.apart = false
		buf = bsonval.AppendElement(buf, "writeConcern", bsonval.Document(majority(p.op.lookup("writeConcern"))))
	}
	add := func(key string, doc Doc) {
		if doc != nil && p.has&argument(key) == 0 {
			buf = bsonval.AppendElement(buf, key, bsonval.Document(doc))
		}
	}
	if s := p.session; s != nil {
		add("lsid", s.document())
		buf = bsonval.AppendElement(buf, "txnNumber", bsonval.Int64(s.txn))
	}
	if p.verb&(writes|concerned) != 0 && !p.inTransaction {
		add("writeConcern", c.cfg.WriteConcern)
	}
	if p.verb&leveled != 0 && !p.inTransaction {
		add("readConcern", c.cfg.ReadConcern)
	}
	if d.Kind != ServerStandalone {
		add("$clusterTime", c.clock.now())
	}
	add("$readPreference", c.preferenceFor(p, d))
	if len(buf) > empty {
		req.Metadata = bsonval.EndDoc(buf, at)
	}
	if k != nil {
		k.meta = buf
	}
	return req
}

// commitPatience is how long a commit that is repeated waits for the majority, unless it says itself.
const commitPatience = 10 * time.Second

// majority is the write concern of a commit that is repeated: the first attempt may have been applied on a primary that
// has lost it since, which only a majority rules out.
func majority(concern bsonval.Value) Doc {
	b := bsonval.NewBuilder().Str("w", "majority")
	timed := false
	if concern.Type() == bsonval.TypeDocument {
		for it := concern.Doc().Iter(); it.Next(); {
			timed = timed || it.KeyStr() == "wtimeout"
			if it.KeyStr() != "w" {
				b.Value(string(it.Key()), it.Value())
			}
		}
	}
	if !timed {
		b.Int64("wtimeout", commitPatience.Milliseconds())
	}
	return b.Build()
}

// anyMember makes a member of a replica set answer whatever it is. It must not be written to.
var anyMember = (&ReadPreference{}).document(PrimaryPreferred)

// preferenceFor is the read preference to tell a server, nil for none. A member that is talked to directly is told to
// answer whatever it is.
func (c *Client) preferenceFor(p *plan, d *ServerDescription) Doc {
	if d.Kind == ServerStandalone {
		return nil
	}
	preference := p.selector.preference
	if c.Topology().Kind == TopologySingle && d.Kind != ServerRouter && preference.mode() == Primary {
		return anyMember
	}
	if preference.mode() == Primary {
		return nil
	}
	return preference.document(preference.mode())
}

// Servers that are overloaded have done nothing yet: the command is tried again, with growing pauses.
const (
	overloadAttempts  = 5
	overloadPause     = 100 * time.Millisecond
	overloadPauseMost = 10 * time.Second
)
