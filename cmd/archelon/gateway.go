package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
	"github.com/archelon-db/archelon/server/auth"
)

// gatewayCommand runs a gateway. Its routes are in the config file, beside the flags.
type gatewayCommand struct {
	Listen []string `default:"127.0.0.1:27017" env:"ARCHELON_LISTEN" placeholder:"ADDR" help:"Addresses to listen on: host:port, or the path of a Unix socket. Repeat or separate by commas."`

	TLSCert     string `name:"tls-cert" env:"ARCHELON_TLS_CERT" placeholder:"FILE" help:"TLS certificate chain (PEM). With a certificate, TCP clients must use TLS."`
	TLSKey      string `name:"tls-key" env:"ARCHELON_TLS_KEY" placeholder:"FILE" help:"Key of the certificate (PEM)."`
	TLSClientCA string `name:"tls-client-ca" env:"ARCHELON_TLS_CLIENT_CA" placeholder:"FILE" help:"Authorities whose client certificates are required (PEM)."`

	userFlags `embed:""`

	MaxConnections int           `env:"ARCHELON_MAX_CONNECTIONS" placeholder:"N" help:"Connections of clients at a time. Default 10000."`
	IdleTimeout    time.Duration `env:"ARCHELON_IDLE_TIMEOUT" placeholder:"DURATION" help:"Close connections that are idle for so long. Default: never."`
	Quiesce        time.Duration `default:"1s" env:"ARCHELON_QUIESCE" placeholder:"DURATION" help:"After SIGTERM, how long everything but hello is still answered, so that drivers turn to another gateway."`
	ShutdownGrace  time.Duration `default:"15s" env:"ARCHELON_SHUTDOWN_GRACE" placeholder:"DURATION" help:"How long running commands and transactions may go on after that."`
	Reload         time.Duration `default:"2s" env:"ARCHELON_RELOAD" placeholder:"DURATION" help:"How often to look whether the config file has changed; 0: on SIGHUP only."`

	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"ARCHELON_LOG_LEVEL" help:"Least level logged: debug, info, warn or error."`
	LogFormat string `default:"text" enum:"text,json" env:"ARCHELON_LOG_FORMAT" help:"Form of log lines: text or json."`
}

// Help is shown above the flags.
func (*gatewayCommand) Help() string {
	return `Puts one address in front of several databases, services and gateways, and routes by database, collection or command:

  archelon gateway --config routes.yaml

  # routes.yaml
  listen: 127.0.0.1:27017
  upstreams:
    shop: {uri: "mongodb://127.0.0.1:27018/?maxPoolSize=20"}
    echo: {uri: "mongodb://127.0.0.1:27020/"}
  routes:
    - {command: echo, upstream: echo}
    - {upstream: shop}

The first route that matches decides. Changes of upstreams and routes are taken up while it runs, at SIGHUP or by
themselves. docs/gateway.md tells all.`
}

// Run serves until ctx ends.
func (g *gatewayCommand) Run(ctx context.Context, c *cli) error {
	if c.Config == "" {
		return errors.New("the gateway needs --config FILE with its upstreams and routes; see `archelon gateway --help`")
	}
	limitMemory()
	log, _, err := newLogger(g.LogLevel, g.LogFormat)
	if err != nil {
		return err
	}
	table, err := readTable(string(c.Config))
	if err != nil {
		return err
	}
	users, err := g.load()
	if err != nil {
		return err
	}
	var guard *auth.Guard
	if users != nil {
		guard = auth.NewGuard(users, log)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	gw, err := gateway.New(gateway.Config{
		Table: table, Logger: log, Version: archelon.Version(version), Quiesce: quiesce(g.Quiesce), Shutdown: stop, Auth: guard,
	})
	if err != nil {
		return err
	}
	defer gw.Close()
	sc := server.Config{
		Addresses: g.Listen, MaxConnections: g.MaxConnections, IdleTimeout: g.IdleTimeout, ShutdownGrace: g.ShutdownGrace,
		Trace: gateway.Trace(log),
	}
	if g.TLSCert != "" {
		files := server.TLSFiles{CertFile: g.TLSCert, KeyFile: g.TLSKey, ClientCAFile: g.TLSClientCA, RequireClientCert: g.TLSClientCA != ""}
		if sc.TLS, err = files.Load(); err != nil {
			return err
		}
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		g.watch(ctx, gw, string(c.Config), users, log)
	}()
	err = gw.Serve(ctx, sc, func(s *server.Server) {
		log.Info("ready", "uri", "mongodb://"+reachable(s.Addr())+"/")
	})
	stop()
	<-watched
	return err
}

// quiesce is the flag as gateway.Config has it, where 0 is the default.
func quiesce(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// reachable is an address that clients on this machine can use.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// watch takes up changes of the file, and at SIGHUP those of the users.
func (g *gatewayCommand) watch(ctx context.Context, gw *gateway.Gateway, file string, users *auth.File, log *slog.Logger) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	var tick <-chan time.Time
	if g.Reload > 0 {
		t := time.NewTicker(g.Reload)
		defer t.Stop()
		tick = t.C
	}
	last := stamp(file)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			if users != nil {
				reloadUsers(users, log)
			}
		case <-tick:
			if stamp(file) == last {
				continue
			}
		}
		last = stamp(file)
		table, err := readTable(file)
		if err == nil {
			err = gw.Reload(table)
		}
		if err != nil {
			log.Error("the changed config file is not taken up", "file", file, "error", err)
		}
	}
}

// fileStamp tells versions of a file apart.
type fileStamp struct {
	changed time.Time
	size    int64
}

func stamp(file string) fileStamp {
	info, err := os.Stat(file)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.ModTime(), info.Size()}
}

// tableKeys are the keys of a config file that are no flags.
var tableKeys = []string{"upstreams", "routes"}

// readTable reads the upstreams and routes of a config file.
func readTable(file string) (gateway.Table, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return gateway.Table{}, err
	}
	var all map[string]yaml.Node
	if err := yaml.Unmarshal(text, &all); err != nil {
		return gateway.Table{}, fmt.Errorf("%s: %w", file, err)
	}
	parts := map[string]*yaml.Node{}
	for _, key := range tableKeys {
		if n, ok := all[key]; ok {
			parts[key] = &n
		}
	}
	text, err = yaml.Marshal(parts)
	if err != nil {
		return gateway.Table{}, fmt.Errorf("%s: %w", file, err)
	}
	table, err := gateway.ParseTable(text)
	if err != nil {
		return table, fmt.Errorf("%s: %s", file, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return table, nil
}
