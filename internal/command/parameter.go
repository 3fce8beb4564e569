package command

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/clock"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/session"
	"github.com/archelon-db/archelon/server"
)

// parameterCommands are the commands on server parameters.
func parameterCommands() []*Command {
	return []*Command{
		{Name: "getParameter", Help: "Tells server parameters.", AdminOnly: true, SecondaryOK: true, Loose: true, Run: runGetParameter},
		{Name: "setParameter", Help: "Changes a server parameter.", AdminOnly: true, SecondaryOK: true, Loose: true, Run: runSetParameter},
	}
}

// parameter is a row of the table of server parameters.
type parameter struct {
	name string
	get  func() bsonval.Value
	// set changes it and is nil for those fixed.
	set func(bsonval.Value) error
	// atStart parameters are set before serving only.
	atStart bool
}

// settable says whether the command setParameter can change it.
func (p *parameter) settable() bool { return p.set != nil && !p.atStart }

// parameters is the table of server parameters, sorted by name.
type parameters struct{ rows []parameter }

func fixed(name string, v bsonval.Value) parameter {
	return parameter{name: name, get: func() bsonval.Value { return v }}
}

func newParameters(cs *Commands) *parameters {
	limit := bsonval.Int64(pipeline.DefaultMemoryLimit)
	fcv := bsonval.Document(bsonval.NewBuilder().Str("version", "8.2").Build())
	rows := []parameter{
		fixed("authenticationMechanisms", bsonval.Array(bsonval.EmptyDoc)),
		{name: "enableTestCommands", atStart: true, get: func() bsonval.Value { return bsonval.Bool(cs.testCommands) }, set: cs.setTestCommands},
		fixed("featureCompatibilityVersion", fcv),
		fixed("internalDocumentSourceGroupMaxMemoryBytes", limit),
		fixed("internalDocumentSourceSetWindowFieldsMaxMemoryBytes", limit),
		fixed("internalQueryFacetBufferSizeBytes", limit),
		fixed("internalQueryFacetMaxOutputDocSizeBytes", limit),
		fixed("internalQueryMaxBlockingSortMemoryUsageBytes", limit),
		fixed("localLogicalSessionTimeoutMinutes", bsonval.Int32(server.LogicalSessionTimeoutMinutes)),
		{name: "logLevel", get: cs.logLevel, set: cs.setLogLevel},
		fixed("maxBSONDepth", bsonval.Int32(bsonval.MaxDepth)),
		cs.transactionLifetime(), cs.snapshotWindow(),
		fixed("TransactionRecordMinimumLifetimeMinutes", bsonval.Int32(int32(session.Timeout/time.Minute))),
		fixed("maxAcceptableLogicalClockDriftSecs", bsonval.Int64(int64(clock.MaxDrift/time.Second))),
	}
	slices.SortFunc(rows, func(a, b parameter) int { return strings.Compare(a.name, b.name) })
	return &parameters{rows}
}

func (p *parameters) find(name string) *parameter {
	for i := range p.rows {
		if p.rows[i].name == name {
			return &p.rows[i]
		}
	}
	return nil
}

// queryParameters are those that explain shows.
func (p *parameters) queryParameters() bsonval.Doc {
	b := bsonval.NewBuilder()
	for i := range p.rows {
		if strings.HasPrefix(p.rows[i].name, "internal") {
			b.Value(p.rows[i].name, p.rows[i].get())
		}
	}
	return b.Build()
}

// setTestCommands turns the commands on that are for tests only.
func (cs *Commands) setTestCommands(v bsonval.Value) error {
	if v.Type() != bsonval.TypeBool && !v.IsNumber() {
		return mongoerr.New(mongoerr.BadValue, "Invalid value for parameter enableTestCommands: %s", bsonval.Format(v))
	}
	cs.testCommands = v.Truthy()
	return nil
}

// logLevel is MongoDB's verbosity: 0, or more for debugging.
func (cs *Commands) logLevel() bsonval.Value {
	if cs.cfg.LogLevel == nil || cs.cfg.LogLevel.Level() >= slog.LevelInfo {
		return bsonval.Int32(0)
	}
	return bsonval.Int32(1)
}

func (cs *Commands) setLogLevel(v bsonval.Value) error {
	n, ok := v.AsInt64()
	if !v.IsNumber() || !ok || n < 0 || n > 5 {
		return mongoerr.New(mongoerr.BadValue, "Invalid value for logLevel: %s", bsonval.Format(v))
	}
	if cs.cfg.LogLevel == nil {
		return mongoerr.New(mongoerr.NotImplemented, "the log level of this server cannot be changed")
	}
	level := slog.LevelInfo
	if n > 0 {
		level = slog.LevelDebug
	}
	cs.cfg.LogLevel.Set(level)
	return nil
}

var getParameterFields = []Field{
	{Name: "showDetails", Kind: SafeBool}, {Name: "allParameters", Kind: SafeBool}, {Name: "setAt", Kind: String},
}

func runGetParameter(_ context.Context, c *Call) error {
	var v [3]bsonval.Value
	all := c.First.Type() == bsonval.TypeString && c.First.Str() == "*"
	if c.First.Type() == bsonval.TypeDocument {
		it := c.First.Doc().Iter()
		for it.Next() {
			i := fieldIndex(getParameterFields, it.Key())
			if i < 0 || it.Value().IsNullish() {
				continue
			}
			if err := getParameterFields[i].check("getParameter", it.Value()); err != nil {
				return err
			}
			v[i] = it.Value()
		}
		all = v[1].Truthy() && !v[1].IsMissing()
	}
	details, setAt := !v[0].IsMissing() && v[0].Truthy(), ""
	if !v[2].IsMissing() {
		if setAt = v[2].Str(); setAt != "runtime" && setAt != "startup" {
			return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'getParameter.setAt' is not a valid value.", setAt)
		}
	}
	found := false
	for i := range c.Commands.params.rows {
		p := &c.Commands.params.rows[i]
		if !all && c.Req.Body.Lookup(p.name).IsMissing() || setAt == "runtime" && !p.settable() {
			continue
		}
		found = true
		if details {
			c.Append(p.name, bsonval.Document(bsonval.NewBuilder().Value("value", p.get()).
				Bool("settableAtRuntime", p.settable()).Bool("settableAtStartup", true).Build()))
		} else {
			c.Append(p.name, p.get())
		}
	}
	if !found && !all {
		return mongoerr.New(mongoerr.InvalidOptions, "no option found to get")
	}
	return nil
}

func runSetParameter(_ context.Context, c *Call) error {
	it := c.Req.Body.Iter()
	it.Next()
	found := false
	for it.Next() {
		var g generic
		if known, _ := g.set(it.Key(), it.Value()); known {
			continue
		}
		p := c.Commands.params.find(it.KeyStr())
		switch {
		case p == nil:
			return mongoerr.New(mongoerr.InvalidOptions, "attempted to set unrecognized parameter [%s], use help:true to see options ", it.Key())
		case !p.settable():
			return mongoerr.New(mongoerr.IllegalOperation, "not allowed to change [%s] at runtime", it.Key())
		}
		was := p.get()
		if err := p.set(it.Value()); err != nil {
			return err
		}
		if !found {
			c.Append("was", was)
		}
		found = true
	}
	if !found {
		return mongoerr.New(mongoerr.InvalidOptions, "no option found to set, use help:true to see options ")
	}
	return nil
}

// setSlow changes which operations are slow enough for the log.
func (s *slowLog) set(millis int64, sample float64) {
	s.millis.Store(millis)
	s.sample.Store(math.Float64bits(sample))
}

func (s *slowLog) get() (millis int64, sample float64) {
	return s.millis.Load(), math.Float64frombits(s.sample.Load())
}

// SetParameter changes a parameter before serving, from its text: a number, true, false, or else a string.
func (cs *Commands) SetParameter(name, text string) error {
	p := cs.params.find(name)
	if p == nil || p.set == nil {
		return mongoerr.New(mongoerr.BadValue, "there is no parameter %q that can be set", name)
	}
	v := bsonval.String(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		v = bsonval.Int64(n)
	} else if f, err := strconv.ParseFloat(text, 64); err == nil {
		v = bsonval.Double(f)
	} else if b, err := strconv.ParseBool(text); err == nil {
		v = bsonval.Bool(b)
	}
	return p.set(v)
}
