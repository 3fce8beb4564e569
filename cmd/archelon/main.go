// Command archelon is a document database that speaks the MongoDB wire protocol.
// `archelon --help` lists its commands.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/archelon-db/archelon/internal/importer"
)

// version is set when a release is built.
var version string

// cli is the command line.
type cli struct {
	Config kong.ConfigFlag `help:"Read flags of the command from this YAML file." placeholder:"FILE" env:"ARCHELON_CONFIG"`

	Serve   serveCommand   `cmd:"" help:"Run the database."`
	Gateway gatewayCommand `cmd:"" help:"Put one address in front of several databases and services."`
	User    userCommand    `cmd:"" help:"Print an entry of a users file."`
	Replay  replayCommand  `cmd:"" help:"Run recorded commands again and compare the replies."`
	Import  importCommand  `cmd:"" help:"Load a JSON, CSV or BSON file into a server."`
	Copy    copyCommand    `cmd:"" help:"Copy everything from one server to another, and follow its changes."`
	Bench   benchCommand   `cmd:"" help:"Measure a server with fixed workloads."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run parses the arguments and runs the command, and returns the exit code: 1
// for failures, 2 for wrong usage.
func run(ctx context.Context, args []string) int {
	var c cli
	parser, err := newParser(ctx, &c)
	if err != nil {
		fmt.Fprintln(os.Stderr, "archelon:", err)
		return 2
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "archelon: %v\nRun `archelon --help` for the commands and `archelon <command> --help` for flags.\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "archelon:", err)
		return 1
	}
	return 0
}

// newParser makes the parser of the command line.
func newParser(ctx context.Context, c *cli) (*kong.Kong, error) {
	return kong.New(c,
		kong.Name("archelon"),
		kong.Description("A document database that speaks the MongoDB wire protocol.\n\n"+
			"Start with `archelon serve`, then connect with mongosh or any MongoDB driver to mongodb://127.0.0.1:27017/."),
		kong.Configuration(loadYAML),
		kong.Vars{"types": importer.TypeNames},
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(c),
	)
}
