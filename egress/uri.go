package egress

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/wire"
)

// URI is a parsed connection string.
//
//	mongodb://[user:password@]host[:port][,…][/[database][?option=value[&…]]]
//
// User, password, database, option values and paths of Unix sockets are percent-encoded. Option names are matched
// without regard to case. Options that are not supported are errors, by name.
type URI struct {
	// Hosts are the seeds, in the order of the string. Invariant: not empty.
	Hosts              []Host
	Username, Password string
	// Database is the default database, which is also the default of AuthSource.
	Database string

	AppName                     string
	AuthMechanism, AuthSource   string
	Compressors                 []wire.CompressorID
	ReplicaSet                  string
	DirectConnection            bool
	TLS                         TLSOptions
	ReadPreference              ReadPreference
	ReadConcernLevel            string
	WriteConcern                WriteConcern
	NoRetryReads, NoRetryWrites bool
	// Poll is set by serverMonitoringMode=poll.
	Poll bool

	// Zero means that the string does not say.

	MaxPoolSize, MinPoolSize, MaxConnecting                   int
	ConnectTimeout, SocketTimeout, Timeout                    time.Duration
	HeartbeatInterval, LocalThreshold, ServerSelectionTimeout time.Duration
}

// TLSOptions are the options of a connection string about TLS.
type TLSOptions struct {
	Enabled                                         bool
	CAFile, CertificateKeyFile                      string
	AllowInvalidCertificates, AllowInvalidHostnames bool

	explicit *bool // what tls or ssl says
	insecure bool
}

// WriteConcern is what w, wTimeoutMS and journal say. The zero value says nothing.
type WriteConcern struct {
	W        string // a number or a name
	WTimeout time.Duration
	Journal  *bool
}

const (
	scheme    = "mongodb://"
	schemeSRV = "mongodb+srv://"
)

// badURI is the error of a connection string.
func badURI(format string, args ...any) error {
	return mongoerr.New(mongoerr.FailedToParse, format, args...)
}

var errUserEncoding = badURI("user and password must be percent-encoded")

// ParseURI reads a connection string. Errors never contain the password.
func ParseURI(s string) (*URI, error) {
	if strings.HasPrefix(s, schemeSRV) {
		return nil, mongoerr.New(mongoerr.NotImplemented,
			"mongodb+srv is not supported: it needs DNS; write the hosts out in a mongodb:// string")
	}
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return nil, badURI("connection string must start with %s", scheme)
	}
	authority, tail, _ := strings.Cut(rest, "/")
	if i := strings.IndexByte(authority, '?'); i >= 0 { // without a slash
		authority, tail = authority[:i], authority[i:]
		if strings.Contains(rest, "/") {
			return nil, badURI("connection string has a question mark before the slash that ends the hosts")
		}
	}
	db, query, _ := strings.Cut(tail, "?")
	if strings.Contains(db, "@") {
		return nil, errUserEncoding // a slash in the password; quoting any of what follows would tell
	}
	u := &URI{}
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := u.parseUser(authority[:i]); err != nil {
			return nil, err
		}
		hosts = authority[i+1:]
	}
	if err := u.parseHosts(hosts); err != nil {
		return nil, err
	}
	if err := u.parseDatabase(db); err != nil {
		return nil, err
	}
	if err := u.parseOptions(query); err != nil {
		return nil, err
	}
	return u, u.check()
}

func (u *URI) parseUser(info string) error {
	user, password, _ := strings.Cut(info, ":")
	if strings.ContainsAny(user, "@/:") || strings.ContainsAny(password, "@/:") {
		return errUserEncoding
	}
	var err1, err2 error
	u.Username, err1 = url.PathUnescape(user)
	u.Password, err2 = url.PathUnescape(password)
	if err1 != nil || err2 != nil {
		return errUserEncoding
	}
	if u.Username == "" {
		return badURI("user name is empty")
	}
	return nil
}

func (u *URI) parseHosts(list string) error {
	for s := range strings.SplitSeq(list, ",") {
		if strings.ContainsRune(s, '%') {
			var err error
			if s, err = url.PathUnescape(s); err != nil {
				return badURI("host %q is not percent-encoded", s)
			}
		}
		h, err := ParseHost(s)
		if err != nil {
			return err
		}
		if !slices.Contains(u.Hosts, h) {
			u.Hosts = append(u.Hosts, h)
		}
	}
	return nil
}

func (u *URI) parseDatabase(s string) error {
	db, err := url.PathUnescape(s)
	if err != nil || strings.ContainsAny(db, "/\\ \"$.\x00") {
		return badURI("database name %q is invalid", s)
	}
	u.Database = db
	return nil
}

// parseOptions reads what follows the question mark. The last of repeated options counts, but for readPreferenceTags.
func (u *URI) parseOptions(query string) error {
	if query == "" {
		return nil
	}
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, ok := strings.Cut(pair, "=")
		if strings.TrimFunc(name, isLetter) != "" {
			return badURI("an option's name has other characters than letters") // it may be part of a password
		}
		if !ok {
			return badURI("option %q has no value", name)
		}
		var err error
		if value, err = url.PathUnescape(value); err != nil {
			return badURI("value of option %q is not percent-encoded", name)
		}
		lower := strings.ToLower(name)
		if reason, refused := refusedOptions[lower]; refused {
			return mongoerr.New(mongoerr.NotImplemented, "option %q is not supported: %s", name, reason)
		}
		set, known := uriOptions[lower]
		if !known {
			return badURI("unknown option %q", name)
		}
		if err := set(u, value); err != nil {
			return badURI("option %q: %v", name, err)
		}
	}
	return nil
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// check reports options that contradict each other.
func (u *URI) check() error {
	if u.DirectConnection && len(u.Hosts) > 1 {
		return badURI("directConnection takes a single host")
	}
	if u.MinPoolSize > 0 && u.MaxPoolSize > 0 && u.MinPoolSize > u.MaxPoolSize {
		return badURI("minPoolSize is above maxPoolSize")
	}
	if u.AuthMechanism != "" && u.Username == "" {
		return badURI("authMechanism needs a user name")
	}
	if u.TLS.insecure && (u.TLS.AllowInvalidCertificates || u.TLS.AllowInvalidHostnames) {
		return badURI("tlsInsecure goes with neither tlsAllowInvalidCertificates nor tlsAllowInvalidHostnames")
	}
	if u.TLS.explicit != nil {
		u.TLS.Enabled = *u.TLS.explicit
	}
	if u.WriteConcern.W == "0" && u.WriteConcern.Journal != nil && *u.WriteConcern.Journal {
		return badURI("w=0 and journal=true contradict each other")
	}
	return u.ReadPreference.Validate()
}

// Options returns the names of all options that are supported, in lower case, sorted.
func (u *URI) Options() []string { return sortedKeys(uriOptions) }

// Credential returns how to authenticate, nil if the string has no user.
func (u *URI) Credential() *Credential {
	if u.Username == "" {
		return nil
	}
	c := &Credential{Username: u.Username, Password: u.Password, Mechanism: u.AuthMechanism, Source: u.AuthSource}
	if c.Source == "" {
		c.Source = u.Database
	}
	return c
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
