package egress

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"slices"
	"sync"

	"github.com/xdg-go/scram"
	"github.com/xdg-go/stringprep"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// The mechanisms of authentication.
const (
	ScramSHA1   = "SCRAM-SHA-1"
	ScramSHA256 = "SCRAM-SHA-256"
)

const (
	// minIterations is the least work a server may ask to be derived from a password: less would make a stolen exchange
	// cheap to search.
	minIterations = 4096

	// maxSASLSteps bounds a conversation; SCRAM takes three.
	maxSASLSteps = 5
)

// Credential is a user and how to prove it. It remembers derived keys, so use one for all connections. It is safe for
// concurrent use and not to be copied.
type Credential struct {
	Username, Password string
	// Source is the database the user is defined in. Empty means admin.
	Source string
	// Mechanism is ScramSHA1, ScramSHA256, or empty for the best that the server offers the user.
	Mechanism string

	mu      sync.Mutex // guards the field below
	clients map[string]*scram.Client
}

func (c *Credential) source() string {
	if c.Source == "" {
		return "admin"
	}
	return c.Source
}

// client returns the maker of conversations of a mechanism.
func (c *Credential) client(mechanism string) (*scram.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.clients[mechanism]; s != nil {
		return s, nil
	}
	var s *scram.Client
	var err error
	switch mechanism {
	case ScramSHA1:
		sum := md5.Sum([]byte(c.Username + ":mongo:" + c.Password))
		s, err = scram.SHA1.NewClientUnprepped(c.Username, hex.EncodeToString(sum[:]), "")
	case ScramSHA256:
		var password string
		if password, err = stringprep.SASLprep.Prepare(c.Password); err == nil {
			s, err = scram.SHA256.NewClientUnprepped(c.Username, password, "")
		}
	default:
		return nil, localError(mongoerr.MechanismUnavailable, "", "authentication mechanism %q is not supported", mechanism)
	}
	if err != nil {
		return nil, localError(mongoerr.AuthenticationFailed, "", "prepare credentials: %v", err)
	}
	if c.clients == nil {
		c.clients = map[string]*scram.Client{}
	}
	c.clients[mechanism] = s.WithMinIterations(minIterations)
	return c.clients[mechanism], nil
}

// conversation is one login in progress.
type conversation struct {
	mechanism, source string
	scram             *scram.ClientConversation
	payload           string // of the first message
}

// begin starts a conversation in the mechanism of the credential or, if that is open, in SCRAM-SHA-256, so that it can be
// sent along with hello.
func (c *Credential) begin() (*conversation, error) {
	mechanism := c.Mechanism
	if mechanism == "" {
		mechanism = ScramSHA256
	}
	return c.beginWith(mechanism)
}

func (c *Credential) beginWith(mechanism string) (*conversation, error) {
	client, err := c.client(mechanism)
	if err != nil {
		return nil, err
	}
	conv := &conversation{mechanism: mechanism, source: c.source(), scram: client.NewConversation()}
	if conv.payload, err = conv.scram.Step(""); err != nil {
		return nil, localError(mongoerr.AuthenticationFailed, "", "start %s: %v", mechanism, err)
	}
	return conv, nil
}

// start is the saslStart command.
func (c *conversation) start() *bsonval.Builder {
	return bsonval.NewBuilder().Int32("saslStart", 1).Str("mechanism", c.mechanism).
		Value("payload", bsonval.Binary(0, []byte(c.payload))).
		StartDoc("options").Bool("skipEmptyExchange", true).End()
}

// first is the conversation's start as speculativeAuthenticate of a hello.
func (c *conversation) first() Doc { return c.start().Str("db", c.source).Build() }

// authenticate runs the conversation that was offered in hello to its end, or another one if the server did not take it
// up.
func (c *Credential) authenticate(ctx context.Context, conn *Conn, offered *conversation) error {
	conv, reply := offered, conn.hello.SpeculativeAuthenticate
	if reply == nil {
		mechanism := c.Mechanism
		if mechanism == "" {
			mechanism = bestMechanism(conn.hello.SASLSupportedMechs)
		}
		var err error
		if conv, err = c.beginWith(mechanism); err != nil {
			return err
		}
		if reply, err = saslStep(ctx, conn, conv.source, conv.start().Build()); err != nil {
			return err
		}
	}
	for range maxSASLSteps {
		id, done, payload, err := parseSASL(reply)
		if err != nil {
			return authError(conn.host, err)
		}
		answer := ""
		if !conv.scram.Done() || payload != "" {
			if answer, err = conv.scram.Step(payload); err != nil {
				return authError(conn.host, err)
			}
		}
		if done {
			if !conv.scram.Valid() {
				return authError(conn.host, errors.New("server did not prove that it knows the password"))
			}
			return nil
		}
		next := bsonval.NewBuilder().Int32("saslContinue", 1).Int32("conversationId", id).
			Value("payload", bsonval.Binary(0, []byte(answer))).Build()
		if reply, err = saslStep(ctx, conn, conv.source, next); err != nil {
			return err
		}
	}
	return authError(conn.host, errors.New("conversation does not end"))
}

// bestMechanism picks from what the server says the user has; servers that do not say have SCRAM-SHA-1.
func bestMechanism(offered []string) string {
	if slices.Contains(offered, ScramSHA256) {
		return ScramSHA256
	}
	return ScramSHA1
}

func saslStep(ctx context.Context, conn *Conn, db string, body Doc) (Doc, error) {
	r := conn.Run(ctx, &Command{DB: db, Body: body})
	if r.Status != nil {
		return nil, r.Status
	}
	if err := r.Err(); err != nil {
		return nil, authError(conn.host, err)
	}
	return r.Body, nil
}

func parseSASL(reply Doc) (id int32, done bool, payload string, err error) {
	n, ok := reply.Lookup("conversationId").AsInt64()
	p, d := reply.Lookup("payload"), reply.Lookup("done")
	if !ok || p.Type() != bsonval.TypeBinary || d.Type() != bsonval.TypeBool {
		return 0, false, "", errors.New("malformed reply to saslStart or saslContinue")
	}
	return int32(n), d.Bool(), string(p.Bytes()), nil
}

func authError(host Host, err error) error {
	code := CodeOf(err) // a server that shuts down says so here, too
	if code == 0 {
		code = mongoerr.AuthenticationFailed
	}
	return &StatusError{
		Code: code, Host: host, Phase: PhaseHandshake, Message: "cannot authenticate", Err: err,
		Labels: labelsOf(err),
	}
}
