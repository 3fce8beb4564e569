package main

import (
	"context"
	"fmt"
	"os"

	"github.com/archelon-db/archelon/gateway"
)

// replayCommand runs recorded commands again.
type replayCommand struct {
	File string `arg:"" help:"Record made by archelon serve --record."`
	URI  string `name:"uri" default:"mongodb://127.0.0.1:27017/" help:"Connection string of the server to run the commands on."`
}

// Help is shown above the flags.
func (*replayCommand) Help() string {
	return `Runs the commands that archelon serve --record has recorded on a server, one after the other, and prints where the
replies differ from those recorded. The exit code is 1 if any did.

  archelon replay record.jsonl --uri mongodb://127.0.0.1:27018/`
}

// Run replays the file.
func (r *replayCommand) Run(ctx context.Context) error {
	f, err := os.Open(r.File)
	if err != nil {
		return err
	}
	defer f.Close()
	result, err := gateway.Replay(ctx, f, r.URI, os.Stdout)
	if err != nil {
		return err
	}
	fmt.Printf("%d commands, %d different, %d failed\n", result.Commands, result.Different, result.Failed)
	if result.Different+result.Failed > 0 {
		return fmt.Errorf("%d of %d replies are not as recorded", result.Different+result.Failed, result.Commands)
	}
	return nil
}
