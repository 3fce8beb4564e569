package loadgen

import "time"

// Config says what to measure and where. The tags name the command line's flags.
type Config struct {
	URI         string        `name:"uri" default:"mongodb://127.0.0.1:27017/" help:"Connection string of the server."`
	DB          string        `name:"db" default:"archelon_bench" help:"Database to work in; the collection docs is dropped first."`
	Docs        int           `name:"docs" default:"100000" help:"Documents to load."`
	Seed        uint64        `name:"seed" default:"1" help:"Seed of the documents and of the choices."`
	Batch       int           `name:"batch" default:"1000" help:"Documents per insertMany while loading."`
	Workloads   []string      `name:"workloads" help:"Workloads to run after loading (default: all)."`
	Duration    time.Duration `name:"duration" default:"5s" help:"Time per workload."`
	Connections int           `name:"connections" default:"16" help:"Operations under way side by side."`
	JSON        bool          `name:"json" help:"Print one JSON object per line instead of a table."`
	Keep        bool          `name:"keep" help:"Leave the collection behind; use it as it is when it has the documents already."`
}

func (c *Config) ensureDefaults() {
	set := func(v *int, def int) {
		if *v <= 0 {
			*v = def
		}
	}
	set(&c.Docs, 100_000)
	set(&c.Batch, 1000)
	set(&c.Connections, 16)
	if c.Duration <= 0 {
		c.Duration = 5 * time.Second
	}
	if c.DB == "" {
		c.DB = "archelon_bench"
	}
}
