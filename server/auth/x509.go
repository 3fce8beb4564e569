package auth

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// authenticate answers the command of that name, which is for certificates; SCRAM has saslStart.
func (g *Guard) authenticate(ctx context.Context, req *server.Request, reply *server.Reply) error {
	b, err := g.byCertificate(ctx, req.Conn, req.DB, req.Body, reply.Buf)
	if err == nil {
		reply.Buf = b
	}
	return err
}

// byCertificate authenticates the subject of the client's certificate and appends the fields of the answer to dst.
func (g *Guard) byCertificate(ctx context.Context, c *server.Conn, db string, body server.Doc, dst []byte) ([]byte, error) {
	who := g.client(c)
	who.talk = nil
	if who.attempts++; who.attempts > maxAttempts {
		c.Close()
		return dst, errFailed
	}
	if mechanism := text(body.Lookup("mechanism")); mechanism != X509 {
		return dst, g.failed(c, mechanism, db, text(body.Lookup("user")), errors.New("not a mechanism of the command authenticate"))
	}
	if db != ExternalDB {
		return dst, mongoerr.New(mongoerr.ProtocolError, "X.509 authentication must always use the $external database.")
	}
	subject, err := subjectOf(c)
	if err != nil {
		return dst, g.failed(c, X509, db, "", err)
	}
	if claimed := body.Lookup("user"); !claimed.IsMissing() && text(claimed) != subject {
		return dst, g.failed(c, X509, db, subject, errors.New("the user is not the subject of the certificate"))
	}
	version := g.store.Version()
	account, err := g.store.Account(ctx, ExternalDB, subject)
	if err != nil {
		return dst, err
	}
	if account == nil {
		return dst, g.failed(c, X509, db, subject, errors.New("there is no such user"))
	}
	if err := g.succeeded(c, account, version, X509); err != nil {
		return dst, err
	}
	dst = bsonval.AppendElement(dst, "dbname", bsonval.String(ExternalDB))
	return bsonval.AppendElement(dst, "user", bsonval.String(subject)), nil
}

// subjectOf is the subject of the client's certificate, which the handshake has verified.
func subjectOf(c *server.Conn) (string, error) {
	state := c.TLS()
	if state == nil || len(state.VerifiedChains) == 0 || len(state.PeerCertificates) == 0 {
		return "", errors.New("the client has shown no certificate")
	}
	return Subject(state.PeerCertificates[0])
}

// Subject is the subject of a certificate as the name of a user: by RFC 2253, the most specific part first.
func Subject(cert *x509.Certificate) (string, error) {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &names); err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", errors.New("the certificate has no subject")
	}
	return names.String(), nil
}
