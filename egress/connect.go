package egress

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// DefaultConnectTimeout bounds the making of a connection.
const DefaultConnectTimeout = 10 * time.Second

// ConnConfig says how connections are made. The zero value connects in plain, without authentication and compression.
type ConnConfig struct {
	// AppName is told to the server, which shows it in its logs.
	AppName string
	// ConnectTimeout bounds dialing, TLS, hello and authentication together. 0 means DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// TLS, if set, is used on TCP connections. An empty ServerName is filled with the host's name.
	TLS *tls.Config
	// Compressors are those to offer, the most wanted first.
	Compressors []wire.CompressorID
	// Credential, if set, authenticates each connection.
	Credential *Credential
	// Dial opens connections. Nil means a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Connect makes a connection to a server: dials, secures it, says hello in the legacy OP_QUERY, which servers of all
// versions understand, and authenticates.
func Connect(ctx context.Context, host Host, cfg *ConnConfig) (*Conn, error) {
	timeout := cfg.ConnectTimeout
	timeout = cmp.Or(timeout, DefaultConnectTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := dial(ctx, host, cfg)
	if err != nil {
		return nil, err
	}
	c := &Conn{host: host, nc: nc, in: bufio.NewReaderSize(nc, readBufferSize)}
	if err := c.handshake(ctx, cfg); err != nil {
		c.Close()
		if e := statusOf(err); e != nil && e.Phase == PhaseCommand {
			e.Phase = PhaseHandshake
		}
		return nil, err
	}
	return c, nil
}

// dial opens the connection and secures it.
func dial(ctx context.Context, host Host, cfg *ConnConfig) (net.Conn, error) {
	open := cfg.Dial
	if open == nil {
		open = (&net.Dialer{}).DialContext
	}
	nc, err := open(ctx, host.Network(), string(host))
	if err != nil {
		return nil, errorOf(ctx, host, PhaseHandshake, "connect", err)
	}
	if cfg.TLS == nil || host.IsUnix() {
		return nc, nil
	}
	conf := cfg.TLS
	if conf.ServerName == "" {
		conf = conf.Clone()
		conf.ServerName = host.Name()
	}
	secure := tls.Client(nc, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		e := errorOf(ctx, host, PhaseHandshake, "TLS handshake", err)
		if e.Code == mongoerr.HostUnreachable {
			e.Code = mongoerr.SSLHandshakeFailed
		}
		return nil, e
	}
	return secure, nil
}

// handshake says hello and authenticates.
func (c *Conn) handshake(ctx context.Context, cfg *ConnConfig) error {
	options := helloOptions{appName: cfg.AppName, compressors: cfg.Compressors}
	var login *conversation
	var err error
	if cfg.Credential != nil {
		if login, err = cfg.Credential.begin(); err != nil {
			return err
		}
		options.speculative = login.first()
		if cfg.Credential.Mechanism == "" {
			options.mechsOf = cfg.Credential.source() + "." + cfg.Credential.Username
		}
	}
	reply, err := c.greet(ctx, legacyHello(&options))
	if err != nil {
		return err
	}
	if c.hello, err = ParseHello(reply); err != nil {
		return &StatusError{
			Code: CodeOf(err), Host: c.host, Phase: PhaseHandshake, Message: "hello was refused", Err: err,
			Labels: labelsOf(err),
		}
	}
	if err := c.hello.compatible(c.host); err != nil {
		return err
	}
	c.agree(cfg.Compressors)
	if login == nil || c.hello.ArbiterOnly {
		return nil // arbiters have no users
	}
	return cfg.Credential.authenticate(ctx, c, login)
}

// greet sends the first hello as an OP_QUERY and returns the reply.
func (c *Conn) greet(ctx context.Context, hello Doc) (Doc, error) {
	release, err := c.begin(ctx, 0, nil)
	if err != nil {
		return nil, err
	}
	defer release()
	c.lastID++
	if _, err := c.nc.Write(wire.AppendQuery(nil, c.lastID, "admin", hello)); err != nil {
		return nil, c.fail(ctx, "send hello", err)
	}
	body, _, _, err := c.receive(ctx, c.lastID, nil)
	return body, err
}

func labelsOf(err error) []string {
	if e := mongoerr.As(err); e != nil {
		return e.Labels
	}
	return nil
}
