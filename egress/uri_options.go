package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archelon-db/archelon/wire"
)

// uriOptions are the options of connection strings, by their names in lower case.
var uriOptions = map[string]func(*URI, string) error{
	"appname":                     text(func(u *URI) *string { return &u.AppName }),
	"authmechanism":               (*URI).setMechanism,
	"authsource":                  text(func(u *URI) *string { return &u.AuthSource }),
	"compressors":                 (*URI).setCompressors,
	"connecttimeoutms":            millis(func(u *URI) *time.Duration { return &u.ConnectTimeout }),
	"directconnection":            boolean(func(u *URI) *bool { return &u.DirectConnection }),
	"heartbeatfrequencyms":        atLeast(minHeartbeat, func(u *URI) *time.Duration { return &u.HeartbeatInterval }),
	"journal":                     func(u *URI, v string) error { return setFlag(&u.WriteConcern.Journal, v) },
	"localthresholdms":            millis(func(u *URI) *time.Duration { return &u.LocalThreshold }),
	"maxconnecting":               number(1, func(u *URI) *int { return &u.MaxConnecting }),
	"maxpoolsize":                 (*URI).setMaxPoolSize,
	"maxstalenessseconds":         (*URI).setMaxStaleness,
	"minpoolsize":                 number(0, func(u *URI) *int { return &u.MinPoolSize }),
	"readconcernlevel":            text(func(u *URI) *string { return &u.ReadConcernLevel }),
	"readpreference":              (*URI).setReadMode,
	"readpreferencetags":          (*URI).addTags,
	"replicaset":                  text(func(u *URI) *string { return &u.ReplicaSet }),
	"retryreads":                  inverted(func(u *URI) *bool { return &u.NoRetryReads }),
	"retrywrites":                 inverted(func(u *URI) *bool { return &u.NoRetryWrites }),
	"servermonitoringmode":        (*URI).setMonitoring,
	"serverselectiontimeoutms":    millis(func(u *URI) *time.Duration { return &u.ServerSelectionTimeout }),
	"sockettimeoutms":             millis(func(u *URI) *time.Duration { return &u.SocketTimeout }),
	"ssl":                         (*URI).setTLS,
	"timeoutms":                   millis(func(u *URI) *time.Duration { return &u.Timeout }),
	"tls":                         (*URI).setTLS,
	"tlsallowinvalidcertificates": tlsFlag(func(t *TLSOptions) *bool { return &t.AllowInvalidCertificates }),
	"tlsallowinvalidhostnames":    tlsFlag(func(t *TLSOptions) *bool { return &t.AllowInvalidHostnames }),
	"tlscafile":                   tlsFile(func(t *TLSOptions) *string { return &t.CAFile }),
	"tlscertificatekeyfile":       tlsFile(func(t *TLSOptions) *string { return &t.CertificateKeyFile }),
	"tlsinsecure":                 tlsFlag(func(t *TLSOptions) *bool { return &t.insecure }),
	"w":                           (*URI).setW,
	"wtimeoutms":                  millis(func(u *URI) *time.Duration { return &u.WriteConcern.WTimeout }),
}

// refusedOptions are options of drivers that are not supported, and why.
var refusedOptions = map[string]string{
	"authmechanismproperties":              "no supported mechanism has properties",
	"loadbalanced":                         "there is no load balancer mode",
	"maxidletimems":                        "idle connections are refreshed, not closed",
	"proxyhost":                            "there is no SOCKS5",
	"proxypassword":                        "there is no SOCKS5",
	"proxyport":                            "there is no SOCKS5",
	"proxyusername":                        "there is no SOCKS5",
	"srvmaxhosts":                          "mongodb+srv is not supported",
	"srvservicename":                       "mongodb+srv is not supported",
	"tlscertificatekeyfilepassword":        "keys must not be encrypted",
	"tlsdisablecertificaterevocationcheck": "revocation is not checked",
	"tlsdisableocspendpointcheck":          "revocation is not checked",
	"uuidrepresentation":                   "documents are passed on as they are",
	"waitqueuemultiple":                    "the number of those who wait is fixed",
	"waitqueuetimeoutms":                   "use timeoutMS",
	"zlibcompressionlevel":                 "the level is fixed",
}

func text(field func(*URI) *string) func(*URI, string) error {
	return func(u *URI, v string) error {
		if v == "" {
			return errors.New("value is empty")
		}
		*field(u) = v
		return nil
	}
}

func parseBool(v string) (bool, error) {
	if v != "true" && v != "false" {
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
	return v == "true", nil
}

func boolean(field func(*URI) *bool) func(*URI, string) error {
	return func(u *URI, v string) (err error) {
		*field(u), err = parseBool(v)
		return err
	}
}

func inverted(field func(*URI) *bool) func(*URI, string) error {
	return func(u *URI, v string) error {
		b, err := parseBool(v)
		*field(u) = !b
		return err
	}
}

func setFlag(field **bool, v string) error {
	b, err := parseBool(v)
	*field = &b
	return err
}

func number(least int, field func(*URI) *int) func(*URI, string) error {
	return func(u *URI, v string) error {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || int(n) < least {
			return fmt.Errorf("%q is no number from %d", v, least)
		}
		*field(u) = int(n)
		return nil
	}
}

func millis(field func(*URI) *time.Duration) func(*URI, string) error { return atLeast(0, field) }

func atLeast(least time.Duration, field func(*URI) *time.Duration) func(*URI, string) error {
	return func(u *URI, v string) error {
		n, err := strconv.ParseInt(v, 10, 32)
		d := time.Duration(n) * time.Millisecond
		if err != nil || d < least {
			return fmt.Errorf("%q is no number of milliseconds from %d", v, least.Milliseconds())
		}
		*field(u) = d
		return nil
	}
}

func tlsFlag(field func(*TLSOptions) *bool) func(*URI, string) error {
	return func(u *URI, v string) (err error) {
		u.TLS.Enabled = true
		*field(&u.TLS), err = parseBool(v)
		return err
	}
}

func tlsFile(field func(*TLSOptions) *string) func(*URI, string) error {
	return func(u *URI, v string) error {
		if v == "" {
			return errors.New("value is empty")
		}
		u.TLS.Enabled = true
		*field(&u.TLS) = v
		return nil
	}
}

func (u *URI) setTLS(v string) error {
	b, err := parseBool(v)
	if err == nil && u.TLS.explicit != nil && *u.TLS.explicit != b {
		err = errors.New("tls and ssl contradict each other")
	}
	u.TLS.explicit = &b
	return err
}

func (u *URI) setMaxPoolSize(v string) error {
	err := number(0, func(u *URI) *int { return &u.MaxPoolSize })(u, v)
	if err == nil && u.MaxPoolSize == 0 {
		u.MaxPoolSize = math.MaxInt32 // no limit
	}
	return err
}

func (u *URI) setMechanism(v string) error {
	if v != ScramSHA1 && v != ScramSHA256 {
		return fmt.Errorf("mechanism %q is not supported, only %s and %s are", v, ScramSHA1, ScramSHA256)
	}
	u.AuthMechanism = v
	return nil
}

func (u *URI) setCompressors(v string) error {
	u.Compressors = nil
	for name := range strings.SplitSeq(v, ",") {
		id, ok := wire.CompressorByName(name)
		if !ok {
			return fmt.Errorf("unknown compressor %q", name)
		}
		if !slices.Contains(u.Compressors, id) {
			u.Compressors = append(u.Compressors, id)
		}
	}
	return nil
}

func (u *URI) setMaxStaleness(v string) error {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < -1 {
		return fmt.Errorf("%q is no number of seconds", v)
	}
	u.ReadPreference.MaxStaleness = time.Duration(max(n, 0)) * time.Second // -1: no limit
	return nil
}

func (u *URI) setReadMode(v string) error {
	for _, m := range []ReadMode{Primary, PrimaryPreferred, Secondary, SecondaryPreferred, Nearest} {
		if strings.EqualFold(v, string(m)) {
			u.ReadPreference.Mode = m
			return nil
		}
	}
	return fmt.Errorf("unknown mode %q", v)
}

func (u *URI) addTags(v string) error {
	set := map[string]string{}
	for pair := range strings.SplitSeq(v, ",") {
		if v == "" {
			break
		}
		name, value, ok := strings.Cut(pair, ":")
		if !ok || name == "" {
			return fmt.Errorf("tag %q is not of the form name:value", pair)
		}
		set[name] = value
	}
	u.ReadPreference.TagSets = append(u.ReadPreference.TagSets, set)
	return nil
}

func (u *URI) setMonitoring(v string) error {
	switch v {
	case "auto", "stream":
		u.Poll = false
	case "poll":
		u.Poll = true
	default:
		return fmt.Errorf("%q is none of auto, stream and poll", v)
	}
	return nil
}

func (u *URI) setW(v string) error {
	if v == "" {
		return errors.New("value is empty")
	}
	if n, err := strconv.ParseInt(v, 10, 32); err == nil && n < 0 {
		return errors.New("number of members is negative")
	}
	u.WriteConcern.W = v
	return nil
}

// Config reads the files and returns the configuration for package crypto/tls, nil without TLS.
func (t *TLSOptions) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read tlsCAFile: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in tlsCAFile %q", t.CAFile)
		}
	}
	if t.CertificateKeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertificateKeyFile, t.CertificateKeyFile)
		if err != nil {
			return nil, fmt.Errorf("load tlsCertificateKeyFile: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	switch {
	case t.AllowInvalidCertificates || t.insecure:
		c.InsecureSkipVerify = true
	case t.AllowInvalidHostnames:
		c.InsecureSkipVerify = true // in favour of the check below
		c.VerifyConnection = verifyChain(c.RootCAs)
	}
	return c, nil
}

// verifyChain checks that the server's certificate comes from a known authority, whatever name it is for.
func verifyChain(roots *x509.CertPool) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		intermediates := x509.NewCertPool()
		for _, c := range s.PeerCertificates[1:] {
			intermediates.AddCert(c)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates})
		return err
	}
}
