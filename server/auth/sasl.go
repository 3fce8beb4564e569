package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

const (
	// maxAttempts bounds the conversations of one connection; honest clients need one or two.
	maxAttempts = 20

	// conversationID is the only one there is: a connection has one conversation at a time.
	conversationID = 1
)

var errFailed = mongoerr.New(mongoerr.AuthenticationFailed, "Authentication failed.")

// talk is a conversation: it waits for the client's last message or, when accepted, for its empty goodbye.
type talk struct {
	exchange *exchange
	db       string
	// account is nil for users that cannot log in this way.
	account *Account
	version uint64
	// asText is set if the client sends its messages as base64 instead of bytes.
	asText bool
	// skipEmpty ends the conversation with the server's last message.
	skipEmpty bool
	accepted  bool
}

// saslRequest are the fields of saslStart and saslContinue.
type saslRequest struct {
	mechanism    string
	payload      []byte
	asText       bool
	skipEmpty    bool
	conversation int64
}

// parseSASL reads a command of a conversation.
func parseSASL(name string, body server.Doc) (saslRequest, error) {
	var r saslRequest
	var payload, mechanism, id bsonval.Value
	it := body.Iter()
	for it.Next() {
		switch v := it.Value(); it.KeyStr() {
		case "payload":
			payload = v
		case "mechanism":
			mechanism = v
		case "conversationId":
			id = v
		case "options":
			if v.Type() == bsonval.TypeDocument {
				r.skipEmpty = v.Doc().Lookup("skipEmptyExchange").Truthy()
			}
		}
	}
	if name == "saslStart" {
		switch {
		case mechanism.IsMissing():
			return r, missing(name, "mechanism")
		case mechanism.Type() != bsonval.TypeString:
			return r, wrongType(name, "mechanism", mechanism, "type 'string'")
		}
		r.mechanism = string(mechanism.Bytes())
	} else {
		n, ok := id.AsInt64()
		switch {
		case id.IsMissing():
			return r, missing(name, "conversationId")
		case !ok:
			return r, wrongType(name, "conversationId", id, "type 'int'")
		}
		r.conversation = n
	}
	return r, r.setPayload(name, payload)
}

func (r *saslRequest) setPayload(name string, v bsonval.Value) error {
	switch v.Type() {
	case bsonval.TypeMissing:
		return missing(name, "payload")
	case bsonval.TypeBinary:
		r.payload = v.Bytes()
	case bsonval.TypeString:
		b, err := base64.StdEncoding.DecodeString(v.Str())
		if err != nil {
			return mongoerr.New(mongoerr.FailedToParse, "Failed decoding payload: not a valid base64 string")
		}
		r.payload, r.asText = b, true
	default:
		return wrongType(name, "payload", v, "types '[string, binData]'")
	}
	if len(r.payload) > maxPayload {
		return mongoerr.New(mongoerr.ProtocolError, "the payload of %s has more than %d bytes", name, maxPayload)
	}
	return nil
}

func missing(command, field string) error {
	return mongoerr.New(40414, "BSON field '%s.%s' is missing but a required field", command, field)
}

func wrongType(command, field string, v bsonval.Value, expected string) error {
	return mongoerr.New(mongoerr.TypeMismatch, "BSON field '%s.%s' is the wrong type '%s', expected %s", command, field, v.Type(), expected)
}

// saslStart begins a conversation. One that goes on is forgotten.
func (g *Guard) saslStart(ctx context.Context, req *server.Request, reply *server.Reply) error {
	b, err := g.start(ctx, req.Conn, req.DB, "saslStart", req.Body, reply.Buf)
	if err == nil {
		reply.Buf = b
	}
	return err
}

// start begins a conversation and appends the fields of the answer to dst.
func (g *Guard) start(ctx context.Context, c *server.Conn, db, name string, body server.Doc, dst []byte) ([]byte, error) {
	who := g.client(c)
	who.talk = nil
	if who.attempts++; who.attempts > maxAttempts {
		c.Close()
		return dst, errFailed
	}
	r, err := parseSASL(name, body)
	if err != nil {
		return dst, err
	}
	m := find(r.mechanism)
	if m == nil || db == ExternalDB {
		return dst, mongoerr.New(mongoerr.MechanismUnavailable, "Unsupported mechanism '%s' on authentication database '%s'", r.mechanism, db)
	}
	first, err := parseClientFirst(string(r.payload))
	if err != nil {
		return dst, g.failed(c, m.name, db, "", err)
	}
	version := g.store.Version()
	account, err := g.store.Account(ctx, db, first.user)
	if err != nil {
		return dst, err
	}
	keys := m.decoy(g.secret, db, first.user) // made for all, so that it takes the same time for all
	if account != nil {
		// Who has other keys than those is told at once, and the client tries the other mechanism; hello names it anyway.
		if keys = account.Keys[m.name]; keys == nil {
			return dst, g.failed(c, m.name, db, first.user, errors.New("the user has no keys of this mechanism"))
		}
	}
	who.talk = &talk{
		exchange: newExchange(m, keys, first), db: db, account: account, version: version, asText: r.asText, skipEmpty: r.skipEmpty,
	}
	return who.talk.answer(dst, false, who.talk.exchange.reply), nil
}

// answer appends the fields of a reply.
func (t *talk) answer(dst []byte, done bool, payload string) []byte {
	dst = bsonval.AppendElement(dst, "conversationId", bsonval.Int32(conversationID))
	dst = bsonval.AppendElement(dst, "done", bsonval.Bool(done))
	if t.asText {
		return bsonval.AppendElement(dst, "payload", bsonval.String(base64.StdEncoding.EncodeToString([]byte(payload))))
	}
	return bsonval.AppendElement(dst, "payload", bsonval.Binary(0, []byte(payload)))
}

// saslContinue is the next step of a conversation.
func (g *Guard) saslContinue(_ context.Context, req *server.Request, reply *server.Reply) error {
	who := g.client(req.Conn)
	t := who.talk
	who.talk = nil // unless it goes on
	r, err := parseSASL("saslContinue", req.Body)
	switch {
	case err != nil:
		return err
	case t == nil:
		return mongoerr.New(mongoerr.ProtocolError, "No SASL session state found")
	case t.db != req.DB:
		return mongoerr.New(mongoerr.ProtocolError, "Attempt to switch database target during SASL authentication.")
	case r.conversation != conversationID:
		return mongoerr.New(mongoerr.ProtocolError, "sasl: Mismatched conversation id")
	}
	t.asText = r.asText
	if t.accepted {
		if len(r.payload) > 0 {
			return g.failed(req.Conn, t.exchange.m.name, t.db, t.exchange.first.user, errSCRAM)
		}
		if err := g.succeeded(req.Conn, t.account, t.version, t.exchange.m.name); err != nil {
			return err
		}
		reply.Buf = t.answer(reply.Buf, true, "")
		return nil
	}
	final, err := t.exchange.finish(string(r.payload))
	if t.account == nil {
		err = errors.New("there is no such user")
	}
	if err != nil {
		return g.failed(req.Conn, t.exchange.m.name, t.db, t.exchange.first.user, err)
	}
	if t.skipEmpty {
		if err := g.succeeded(req.Conn, t.account, t.version, t.exchange.m.name); err != nil {
			return err
		}
	} else {
		t.accepted = true
		who.talk = t
	}
	reply.Buf = t.answer(reply.Buf, t.skipEmpty, final)
	return nil
}

// failed logs a failure. The client gets to know nothing of its cause.
func (g *Guard) failed(c *server.Conn, mechanism, db, user string, cause error) error {
	g.Failed.Add(1)
	remote := ""
	if a := c.RemoteAddr(); a != nil {
		remote = a.String()
	}
	g.log.Warn("authentication failed", "mechanism", mechanism, "user", user, "db", db, "connection_id", c.ID(), "remote", remote, "error", cause)
	return errFailed
}

// succeeded makes an account the connection's user, if it has no other.
func (g *Guard) succeeded(c *server.Conn, a *Account, version uint64, mechanism string) error {
	switch old := c.User(); {
	case old == nil, old.Name == a.Name && old.DB == a.DB:
	case old.DB == a.DB:
		return mongoerr.New(5626701, "Each client connection may only be authenticated once. Previously authenticated as: %s", old)
	default:
		return mongoerr.New(5626702, "Client has attempted to authenticate on multiple databases.Already authenticated as: %s", old)
	}
	g.Succeeded.Add(1)
	g.client(c).accept(c, a, version)
	g.log.Debug("authenticated", "mechanism", mechanism, "user", c.User().String(), "connection_id", c.ID())
	return nil
}

// Mechanisms is for server.HelloConfig.SASLMechanisms. Users that do not exist seem to have what new ones get.
func (g *Guard) Mechanisms(ctx context.Context, db, user string) ([]string, error) {
	if db == ExternalDB {
		return nil, nil
	}
	a, err := g.store.Account(ctx, db, user)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, m := range mechanisms {
		if a == nil || a.Keys[m.name] != nil {
			out = append(out, m.name)
		}
	}
	return out, nil
}

// Speculate is for server.HelloConfig.Extend: it takes the first step of authentication that clients send along with
// hello. If it cannot, the answer is left out, and the client begins anew.
func (g *Guard) Speculate(ctx context.Context, req *server.Request, dst []byte) ([]byte, error) {
	v := req.Body.Lookup("speculativeAuthenticate")
	if v.Type() != bsonval.TypeDocument || req.Conn.User() != nil {
		return dst, nil
	}
	body := v.Doc()
	db := strings.Clone(text(body.Lookup("db"))) // the conversation outlives the request
	if db == "" {
		db = "admin"
	}
	before := len(dst)
	dst, at := bsonval.BeginElement(dst, bsonval.TypeDocument, "speculativeAuthenticate")
	dst, ok := g.firstStep(ctx, req.Conn, db, body, dst)
	if !ok {
		return dst[:before], nil
	}
	return bsonval.EndDoc(dst, at), nil
}

// firstStep appends the answer to the first command of authentication, and says whether there is one.
func (g *Guard) firstStep(ctx context.Context, c *server.Conn, db string, body server.Doc, dst []byte) ([]byte, bool) {
	var err error
	switch name, _, _ := body.First(); name {
	case "saslStart":
		dst, err = g.start(ctx, c, db, name, body, dst)
	case "authenticate":
		dst, err = g.byCertificate(ctx, c, db, body, dst)
	default:
		return dst, false
	}
	return dst, err == nil
}
