package gateway

import (
	"strings"
	"time"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// uuidLen is the length of a session's id.
const uuidLen = 16

// sessionID is the id of a client's session.
type sessionID [uuidLen]byte

// call is a command on its way: what has to be known of it to send it somewhere.
type call struct {
	hop  *hop
	req  *server.Request
	name string
	// database and collection are what routes are matched with. The collection is empty for commands that have none.
	database, collection string

	session    sessionID
	hasSession bool
	txn        int64
	numbered   bool // txn is set
	// unnumbered is set if the upstream gets the command without its number.
	unnumbered       bool
	inTransaction    bool
	starts           bool
	hasClusterTime   bool
	whole            bool        // the body has its $db
	token            bsonval.Doc // recoveryToken, nil if there is none
	afterClusterTime uint64      // of readConcern, 0 if there is none
	readConcern      bsonval.Doc
	maxTime          time.Duration // 0 if there is none
	preference       *egress.ReadPreference
	changeStream     bool
	pipeline         bsonval.Doc // of an aggregate, nil if there is none
}

// parse reads the top-level fields of a command.
func (c *call) parse(req *server.Request) error {
	*c = call{hop: c.hop, req: req, name: req.Command, database: req.DB}
	body := req.Body
	if key, v, _ := body.First(); key == "explain" && v.Type() == bsonval.TypeDocument {
		c.place(v.Doc())
	} else {
		c.place(body)
	}
	it := body.Iter()
	for it.Next() {
		if err := c.field(it.KeyStr(), it.Value()); err != nil {
			return err
		}
	}
	return nil
}

// namespaced are the commands whose first field is a whole namespace rather than a collection.
var namespaced = map[string]bool{"renameCollection": true, "checkShardingIndex": true, "splitVector": true, "dataSize": true}

// unplaced are the commands whose first field, if it is a string, is no collection.
var unplaced = map[string]bool{
	"createUser": true, "updateUser": true, "dropUser": true, "createRole": true, "updateRole": true, "dropRole": true,
	"grantRolesToUser": true, "revokeRolesFromUser": true, "usersInfo": true, "rolesInfo": true, "getLog": true,
	"configureFailPoint": true, "waitForFailPoint": true, "setFeatureCompatibilityVersion": true, "grantRolesToRole": true,
	"revokeRolesFromRole": true, "grantPrivilegesToRole": true, "revokePrivilegesFromRole": true, "applyOps": true,
}

// place finds the namespace of a command document.
func (c *call) place(body bsonval.Doc) {
	key, v, _ := body.First()
	if v.Type() != bsonval.TypeString || unplaced[key] {
		return
	}
	c.collection = v.Str()
	if namespaced[key] {
		if db, coll, ok := strings.Cut(c.collection, "."); ok {
			c.database, c.collection = db, coll
		}
	}
}

// field reads one top-level field. What has another type than it should is left to the upstream to refuse.
func (c *call) field(key string, v bsonval.Value) error {
	switch key {
	case "lsid":
		if v.Type() == bsonval.TypeDocument {
			if id := v.Doc().Lookup("id"); id.Type() == bsonval.TypeBinary && len(id.Bytes()) == uuidLen {
				c.session, c.hasSession = sessionID(id.Bytes()), true
			}
		}
	case "txnNumber":
		c.txn, c.numbered = v.Int64(), v.Type() == bsonval.TypeInt64
	case "autocommit":
		c.inTransaction = v.Type() == bsonval.TypeBool
	case "startTransaction":
		c.starts = v.Truthy()
	case "$clusterTime":
		c.hasClusterTime = true
	case "$db":
		c.whole = true
	case "recoveryToken":
		if v.Type() == bsonval.TypeDocument {
			c.token = v.Doc()
		}
	case "readConcern":
		if v.Type() == bsonval.TypeDocument {
			c.readConcern = v.Doc()
			if t := c.readConcern.Lookup("afterClusterTime"); t.Type() == bsonval.TypeTimestamp {
				c.afterClusterTime = uint64(t.Int64())
			}
		}
	case "maxTimeMS":
		if n, ok := v.AsInt64(); ok && n > 0 && n < int64(1<<31) && c.name != "getMore" {
			c.maxTime = time.Duration(n) * time.Millisecond
		}
	case "pipeline":
		if c.name == "aggregate" && v.Type() == bsonval.TypeArray {
			c.pipeline = v.Doc()
			c.changeStream = firstStage(c.pipeline) == "$changeStream"
		}
	case "$readPreference":
		p, err := parsePreference(v)
		c.preference = p
		return err
	}
	return nil
}

func firstStage(pipeline bsonval.Doc) string {
	_, v, ok := pipeline.First()
	if !ok || v.Type() != bsonval.TypeDocument {
		return ""
	}
	name, _, _ := v.Doc().First()
	return name
}

// parsePreference reads a $readPreference.
func parsePreference(v bsonval.Value) (*egress.ReadPreference, error) {
	if v.Type() != bsonval.TypeDocument {
		return nil, mongoerr.New(mongoerr.FailedToParse, "$readPreference must be a document, not of type %s", v.Type())
	}
	p := &egress.ReadPreference{}
	for it := v.Doc().Iter(); it.Next(); {
		switch v := it.Value(); it.KeyStr() {
		case "mode":
			if v.Type() != bsonval.TypeString {
				return nil, mongoerr.New(mongoerr.FailedToParse, "mode of $readPreference must be a string")
			}
			p.Mode = egress.ReadMode(strings.Clone(v.Str()))
		case "tags":
			if v.Type() == bsonval.TypeArray {
				p.TagSets = tagSets(v.Doc())
			}
		case "maxStalenessSeconds":
			if n, ok := v.AsInt64(); ok && n > 0 {
				p.MaxStaleness = time.Duration(min(n, 1<<31)) * time.Second
			}
		}
	}
	return p, p.Validate()
}

func tagSets(array bsonval.Doc) []map[string]string {
	var out []map[string]string
	for it := array.Iter(); it.Next(); {
		if it.Value().Type() != bsonval.TypeDocument {
			continue
		}
		set := map[string]string{}
		for t := it.Value().Doc().Iter(); t.Next(); {
			if t.Value().Type() == bsonval.TypeString {
				set[string(t.Key())] = string(t.Value().Bytes())
			}
		}
		out = append(out, set)
	}
	return out
}

// sequences are the document sequences of the request, as egress takes them. They point into the request.
func (c *call) sequences() []egress.Sequence {
	from := c.req.Sequences()
	if len(from) == 0 {
		return nil
	}
	out := make([]egress.Sequence, len(from))
	for i, s := range from {
		out[i].Name = string(s.Name)
		for d := range s.Documents() {
			out[i].Documents = append(out[i].Documents, d)
		}
	}
	return out
}
