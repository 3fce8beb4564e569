package server

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/archelon-db/archelon/wire"
)

// Defaults of Config.
const (
	DefaultMaxConnections  = 10_000
	DefaultMaxRequestBytes = 256 << 20
	DefaultReadTimeout     = 60 * time.Second
	DefaultWriteTimeout    = 60 * time.Second
	DefaultShutdownGrace   = 15 * time.Second
)

// Config says how a Server listens and what it bears. Only Addresses, Handler and Logger have to be set.
type Config struct {
	// Addresses are the addresses to listen on: "host:port" for TCP (port 0 picks a free one), or the path of a Unix
	// socket, which starts with "/" or "unix:".
	Addresses []string
	// Handler answers the commands.
	Handler Handler
	// Logger gets what is worth telling: refused connections, malformed messages, internal errors.
	Logger *slog.Logger

	// TLS, if set, makes all TCP addresses speak TLS only. Unix sockets stay plain.
	TLS *tls.Config

	// Compressors are the compressors offered to clients, see wire.CompressorByName. Nil means snappy, zstd and zlib;
	// an empty slice means none.
	Compressors []wire.CompressorID

	// MaxConnections bounds the number of open connections. One more is accepted and closed at once. 0 means
	// DefaultMaxConnections.
	MaxConnections int
	// MaxRequestBytes bounds the bytes of memory held by requests over all connections, from the first byte read until
	// the handler returns. Messages of up to 1 KiB are not counted: they live in the memory every connection has. A
	// request past the bound is read, thrown away and answered with IngressRequestRateLimitExceeded and labels that
	// make drivers retry later. It should be above 48 MB, so that the largest message fits. 0 means
	// DefaultMaxRequestBytes.
	MaxRequestBytes int64

	// IdleTimeout closes connections on which no message begins for so long. 0 means never, as in MongoDB.
	IdleTimeout time.Duration
	// ReadTimeout bounds the time from the first byte of a message (or of a TLS handshake) to its last. 0 means
	// DefaultReadTimeout.
	ReadTimeout time.Duration
	// WriteTimeout bounds the time a client takes to accept a reply. 0 means DefaultWriteTimeout.
	WriteTimeout time.Duration
	// ShutdownGrace is how long running commands may go on after the context of Serve has ended. 0 means
	// DefaultShutdownGrace.
	ShutdownGrace time.Duration

	// LegacyCommands lets any command come in an OP_QUERY on `$cmd`, as servers before MongoDB 5.1 did. Otherwise that is
	// for handshakes only, as in MongoDB 8.
	LegacyCommands bool

	// Trace, if set, is called with each message received and, with reply set, sent, uncompressed, as whole frames; the
	// bytes are valid until it returns. It is for debugging.
	Trace func(c *Conn, frame []byte, reply bool)

	// UnixSocketMode is the permission of Unix sockets. 0 means 0700: the user of the server alone.
	UnixSocketMode os.FileMode
}

// EnsureDefaults fills zero fields.
func (c *Config) EnsureDefaults() {
	if c.Compressors == nil {
		c.Compressors = []wire.CompressorID{wire.CompressorSnappy, wire.CompressorZstd, wire.CompressorZlib}
	}
	c.MaxConnections = cmp.Or(c.MaxConnections, DefaultMaxConnections)
	c.MaxRequestBytes = cmp.Or(c.MaxRequestBytes, DefaultMaxRequestBytes)
	c.ReadTimeout = cmp.Or(c.ReadTimeout, DefaultReadTimeout)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, DefaultWriteTimeout)
	c.ShutdownGrace = cmp.Or(c.ShutdownGrace, DefaultShutdownGrace)
	c.UnixSocketMode = cmp.Or(c.UnixSocketMode, 0o700)
}

// Validate reports everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Addresses) == 0 {
		bad("no address to listen on")
	}
	if c.Handler == nil {
		bad("no handler")
	}
	if c.Logger == nil {
		bad("no logger")
	}
	if c.MaxConnections < 0 {
		bad("max connections is negative: %d", c.MaxConnections)
	}
	if c.MaxRequestBytes < 0 {
		bad("max request bytes is negative: %d", c.MaxRequestBytes)
	}
	for _, d := range []time.Duration{c.IdleTimeout, c.ReadTimeout, c.WriteTimeout, c.ShutdownGrace} {
		if d < 0 {
			bad("timeout is negative: %s", d)
		}
	}
	for _, id := range c.Compressors {
		if _, known := wire.CompressorByName(id.String()); !known {
			bad("unknown %s", id)
		}
	}
	return errors.Join(errs...)
}

// TLSFiles names the files of a TLS configuration, all in PEM.
type TLSFiles struct {
	// CertFile and KeyFile hold the server's certificate chain and its key; they may be the same file.
	CertFile, KeyFile string
	// ClientCAFile holds the authorities that sign client certificates. Empty means that clients show none.
	ClientCAFile string
	// RequireClientCert refuses clients without a certificate; otherwise one is checked if shown.
	RequireClientCert bool
}

// Load reads the files.
func (f TLSFiles) Load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("load TLS certificate %q with key %q: %w", f.CertFile, f.KeyFile, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if f.ClientCAFile == "" {
		if f.RequireClientCert {
			return nil, errors.New("client certificates are required but no file with their authorities is given")
		}
		return c, nil
	}
	pem, err := os.ReadFile(f.ClientCAFile)
	if err != nil {
		return nil, fmt.Errorf("load client certificate authorities: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load client certificate authorities: no certificate in %q", f.ClientCAFile)
	}
	c.ClientAuth = tls.VerifyClientCertIfGiven
	if f.RequireClientCert {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}
