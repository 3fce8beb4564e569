package gateway

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/server/auth"
)

// Defaults of Config.
const (
	DefaultQuiesce = time.Second
	DefaultRetire  = 30 * time.Second
)

// Defaults of upstreams whose connection string does not say. They are shorter than those of drivers: whoever waits for
// the gateway waits with a driver's patience.
const (
	defaultSelection = 5 * time.Second
	defaultConnect   = 3 * time.Second
	defaultHeartbeat = 3 * time.Second
)

// Config says what a Gateway does. Only Table and Logger have to be set.
type Config struct {
	// Table are the upstreams and routes to begin with, see Gateway.Reload.
	Table Table
	// Logger gets what is worth telling: upstreams that come and go, reloads.
	Logger *slog.Logger
	// Version is shown by serverStatus.
	Version string
	// Quiesce is how long a gateway that stops goes on with everything but hello, so that drivers turn elsewhere without an
	// error. 0 means DefaultQuiesce, less than 0 none.
	Quiesce time.Duration
	// Retire is how long an upstream that a reload has removed is kept for its cursors and transactions. 0 means
	// DefaultRetire.
	Retire time.Duration
	// ForeignTimes is set where clients bring cluster times of other servers than the upstreams, which must not reach them.
	// A Gateway of more than one upstream behaves so by itself.
	ForeignTimes bool
	// Auth authenticates clients and lets them do what their roles allow, whatever the upstreams think of the user that the
	// gateway is to them. Nil lets everybody in.
	Auth *auth.Guard
	// Shutdown is called by the shutdown command. Nil: there is no such command.
	Shutdown func()
}

func (c *Config) ensureDefaults() {
	c.Quiesce = cmp.Or(c.Quiesce, DefaultQuiesce)
	c.Retire = cmp.Or(c.Retire, DefaultRetire)
}

// Table says which upstreams there are and what goes where. It is the `upstreams` and `routes` of a configuration file.
type Table struct {
	Upstreams map[string]Upstream `yaml:"upstreams"`
	// Routes are tried in order: the first that matches decides.
	Routes []Route `yaml:"routes"`
}

// Upstream is a deployment that commands go to.
type Upstream struct {
	// URI is its connection string. Its maxPoolSize is how many connections all clients share for each server.
	URI string `yaml:"uri"`
	// Drain refuses new work with an error that clients try again after, while cursors and transactions go on.
	Drain bool `yaml:"drain"`
}

// Route sends what matches all of its patterns to an upstream. A pattern is a name, in which `*` stands for any
// characters; no pattern at all matches everything.
type Route struct {
	Database   Patterns `yaml:"database"`
	Collection Patterns `yaml:"collection"`
	// Command is matched without regard to case.
	Command  Patterns `yaml:"command"`
	Upstream string   `yaml:"upstream"`
	// ReadPreference is for reads that come without one. Nil means that of the upstream's connection string.
	ReadPreference *ReadPreference `yaml:"read-preference"`
}

// Patterns are alternatives. In YAML one may stand without a list.
type Patterns []string

// UnmarshalYAML reads a string or a list of strings.
func (p *Patterns) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*p = Patterns{n.Value}
		return nil
	}
	return n.Decode((*[]string)(p))
}

// ReadPreference is a read preference in a configuration file: a mode, or a mapping.
type ReadPreference struct {
	Mode         string              `yaml:"mode"`
	Tags         []map[string]string `yaml:"tags"`
	MaxStaleness time.Duration       `yaml:"max-staleness"`
}

// UnmarshalYAML reads a mode or a mapping.
func (p *ReadPreference) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		p.Mode = n.Value
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i].Value; !slices.Contains([]string{"mode", "tags", "max-staleness"}, k) {
			return fmt.Errorf("line %d: read-preference has no field %q", n.Line, k)
		}
	}
	type plain ReadPreference
	return n.Decode((*plain)(p))
}

func (p *ReadPreference) preference() *egress.ReadPreference {
	if p == nil {
		return nil
	}
	return &egress.ReadPreference{Mode: egress.ReadMode(p.Mode), TagSets: p.Tags, MaxStaleness: p.MaxStaleness}
}

// ParseTable reads a table from YAML. Unknown fields are errors.
func ParseTable(text []byte) (Table, error) {
	var t Table
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&t); err != nil && !errors.Is(err, io.EOF) {
		return Table{}, fmt.Errorf("routes: %w", err)
	}
	return t, t.Validate()
}

// Validate reports everything that is wrong with t.
func (t *Table) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(t.Upstreams) == 0 {
		bad("there are no upstreams")
	}
	if len(t.Routes) == 0 {
		bad("there are no routes; `- {upstream: NAME}` sends everything to one upstream")
	}
	for _, name := range sortedNames(t.Upstreams) {
		if _, err := clientConfig(t.Upstreams[name].URI); err != nil {
			bad("upstream %q: %w", name, err)
		}
	}
	for i, r := range t.Routes {
		where := fmt.Sprintf("route %d", i+1)
		if _, ok := t.Upstreams[r.Upstream]; !ok {
			bad("%s: there is no upstream %q", where, r.Upstream)
		}
		if slices.Contains(slices.Concat(r.Database, r.Collection, r.Command), "") {
			bad("%s: a pattern is empty; leave it out to match everything", where)
		}
		if err := r.ReadPreference.preference().Validate(); err != nil {
			bad("%s: %w", where, err)
		}
	}
	return errors.Join(errs...)
}

// clientConfig is how to talk to the deployment of a connection string.
func clientConfig(uri string) (egress.ClientConfig, error) {
	u, err := egress.ParseURI(uri)
	if err != nil {
		return egress.ClientConfig{}, err
	}
	c, err := u.ClientConfig()
	if err != nil {
		return c, err
	}
	c.ServerSelectionTimeout = cmp.Or(c.ServerSelectionTimeout, defaultSelection)
	c.Conn.ConnectTimeout = cmp.Or(c.Conn.ConnectTimeout, defaultConnect)
	c.HeartbeatInterval = cmp.Or(c.HeartbeatInterval, defaultHeartbeat)
	c.Conn.AppName = cmp.Or(c.Conn.AppName, "archelon-gateway")
	c.EnsureDefaults()
	return c, c.Validate()
}
