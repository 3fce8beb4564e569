package main

import (
	"errors"
	"log/slog"

	"github.com/archelon-db/archelon"
	"github.com/archelon-db/archelon/gateway"
	"github.com/archelon-db/archelon/server"
)

// proxyFlags are the flags of serve about another server beside this one.
type proxyFlags struct {
	Mode      string `default:"normal" enum:"normal,proxy,diff-normal,diff-proxy" env:"ARCHELON_MODE" help:"Who answers: this server (normal), another one (proxy), or both are asked, differences are logged, and this one (diff-normal) or the other (diff-proxy) answers."`
	ProxyAddr string `env:"ARCHELON_PROXY_ADDR" placeholder:"URI" help:"Connection string of the other server."`
	Record    string `env:"ARCHELON_RECORD" placeholder:"FILE" help:"Append all commands and replies to a file, for archelon replay."`
}

// compare makes what asks the other server, and puts it into the database's configuration.
func (p *proxyFlags) compare(cfg *archelon.Config, log *slog.Logger) (*gateway.Compare, error) {
	cfg.Trace = gateway.Trace(log)
	cc := gateway.CompareConfig{Mode: gateway.Mode(p.Mode), URI: p.ProxyAddr, Logger: log}
	if p.Record != "" {
		recorder, err := gateway.NewRecorder(p.Record)
		if err != nil {
			return nil, err
		}
		cc.Recorder = recorder
	}
	c, err := gateway.NewCompare(cc)
	if err != nil {
		return nil, errors.Join(err, cc.Recorder.Close())
	}
	if cc.Mode != gateway.ModeNormal || cc.Recorder != nil {
		cfg.Middleware = append(cfg.Middleware, server.Middleware(c.Middleware))
	}
	return c, nil
}
