package command

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/failpoint"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// failPoints are the places where tests make commands fail.
type failPoints struct {
	set *failpoint.Set
	// command is visited by every command before it runs, and by commands with a write concern after they have.
	command *failpoint.Point
	// getMore is visited by every getMore that has found its cursor.
	getMore *failpoint.Point
	// transactional is visited by the statements of retryable writes before they commit.
	transactional *failpoint.Point
	// alwaysTimeOut and neverTimeOut are visited by commands with a time limit.
	alwaysTimeOut, neverTimeOut *failpoint.Point
}

func newFailPoints() failPoints {
	const command, getMore, transactional = "failCommand", "failGetMoreAfterCursorCheckout", "onPrimaryTransactionalWrite"
	const always, never = "maxTimeAlwaysTimeOut", "maxTimeNeverTimeOut"
	s := failpoint.NewSet(command, getMore, transactional, always, never)
	return failPoints{
		set: s, command: s.Point(command), getMore: s.Point(getMore), transactional: s.Point(transactional),
		alwaysTimeOut: s.Point(always), neverTimeOut: s.Point(never),
	}
}

// failPointCommands are the commands on fail points. They exist if enableTestCommands is set.
func failPointCommands() []*Command {
	return []*Command{
		{
			Name: "configureFailPoint", Help: "Makes a place in the server misbehave, for tests.", First: FirstValue, FirstKind: String,
			AdminOnly: true, SecondaryOK: true, TestOnly: true, Run: runConfigureFailPoint,
			Fields: []Field{{Name: "mode", Kind: Any}, {Name: "data", Kind: Any}},
		},
		{
			Name: "waitForFailPoint", Help: "Waits until a fail point has fired so many times.", First: FirstValue, FirstKind: String,
			AdminOnly: true, SecondaryOK: true, TestOnly: true, Run: runWaitForFailPoint,
			Fields: []Field{{Name: "timesEntered", Kind: Int, Required: true, NonNegative: true}},
		},
	}
}

// failPointData are the fields that the data of each fail point can have, with their types.
var failPointData = map[string][]Field{
	"failCommand": {
		{Name: "failCommands", Kind: Array}, {Name: "failAllCommands", Kind: SafeBool}, {Name: "errorCode", Kind: Int},
		{Name: "errorLabels", Kind: Array}, {Name: "errorExtraInfo", Kind: Object}, {Name: "closeConnection", Kind: SafeBool},
		{Name: "blockConnection", Kind: SafeBool}, {Name: "blockTimeMS", Kind: Int, NonNegative: true},
		{Name: "writeConcernError", Kind: Object}, {Name: "appName", Kind: String}, {Name: "threadName", Kind: String},
		{Name: "namespace", Kind: String}, {Name: "failInternalCommands", Kind: SafeBool}, {Name: "failLocalClients", Kind: SafeBool},
	},
	"failGetMoreAfterCursorCheckout": {{Name: "errorCode", Kind: Int}, {Name: "closeConnection", Kind: SafeBool}},
	"onPrimaryTransactionalWrite":    {{Name: "closeConnection", Kind: SafeBool}, {Name: "failBeforeCommitExceptionCode", Kind: Int}},
}

func runConfigureFailPoint(_ context.Context, c *Call) error {
	point, err := c.Commands.fail.set.Find(c.First.Str())
	if err != nil {
		return err
	}
	mode, err := failpoint.ParseMode(c.Arg("mode"))
	if err != nil {
		return err
	}
	data := c.Arg("data")
	switch {
	case data.IsNullish():
		data = bsonval.Document(bsonval.EmptyDoc)
	case data.Type() != bsonval.TypeDocument:
		return mongoerr.New(mongoerr.TypeMismatch, "the 'data' option must be a JSON object")
	}
	fields := failPointData[c.First.Str()]
	if err := ParseFields("data", data.Doc(), fields, make([]bsonval.Value, len(fields))); err != nil {
		return err
	}
	c.Append("count", bsonval.Int32(int32(point.Configure(mode, data.Doc()))))
	return nil
}

func runWaitForFailPoint(ctx context.Context, c *Call) error {
	point, err := c.Commands.fail.set.Find(c.First.Str())
	if err != nil {
		return err
	}
	if err := point.Wait(ctx, c.Int64("timesEntered", 0)); err != nil {
		return ctx.Err()
	}
	return nil
}

// injection is what fail points do to a call beyond making it fail.
type injection struct {
	// hangUp closes the connection instead of an answer.
	hangUp bool
	// labels are the labels of the reply if relabel is set, instead of those the server would give.
	relabel bool
	labels  []string
	// writeConcernError is that of the reply, if not nil.
	writeConcernError bsonval.Doc
}

// isFailCommandTarget says whether the data of failCommand is about this call.
func (c *Call) isFailCommandTarget(data bsonval.Doc) bool {
	if c.Cmd.Name == "configureFailPoint" {
		return false
	}
	if v := data.Lookup("appName"); !v.IsMissing() {
		meta := c.Req.Conn.Metadata()
		if meta == nil || meta.LookupPath("application", "name").Str() != v.Str() {
			return false
		}
	}
	if v := data.Lookup("threadName"); !v.IsMissing() && v.Str() != fmt.Sprintf("conn%d", c.Req.Conn.ID()) {
		return false
	}
	if v := data.Lookup("namespace"); !v.IsMissing() && v.Str() != c.Namespace().String() {
		return false
	}
	if data.Lookup("failAllCommands").Truthy() && !data.Lookup("failAllCommands").IsMissing() {
		return true
	}
	it := data.Lookup("failCommands").Doc().Iter()
	for it.Next() {
		if name := it.Value().Str(); name == c.Cmd.Name || slices.Contains(c.Cmd.Aliases, name) {
			return true
		}
	}
	return false
}

// isSet says whether a field of a fail point's data is there and true.
func isSet(v bsonval.Value) bool { return !v.IsMissing() && v.Truthy() }

// failBefore is the visit of failCommand before a command runs.
func (c *Call) failBefore(ctx context.Context) error {
	data, fires := c.Commands.fail.command.Enter(func(d bsonval.Doc) bool {
		acts := isSet(d.Lookup("closeConnection")) || !d.Lookup("errorCode").IsMissing() || isSet(d.Lookup("blockConnection"))
		return acts && c.isFailCommandTarget(d)
	})
	if !fires {
		return nil
	}
	c.relabel(data)
	if isSet(data.Lookup("blockConnection")) {
		pause := time.NewTimer(time.Duration(data.Lookup("blockTimeMS").TruncInt64()) * time.Millisecond)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if isSet(data.Lookup("closeConnection")) {
		c.injected.hangUp = true
		return mongoerr.New(50985, "Failing command due to 'failCommand' failpoint")
	}
	if code := data.Lookup("errorCode"); !code.IsMissing() {
		e := mongoerr.New(mongoerr.Code(code.TruncInt64()), "Failing command via 'failCommand' failpoint")
		if extra := data.Lookup("errorExtraInfo"); !extra.IsMissing() {
			e = e.WithExtra(extra.Doc())
		}
		return e
	}
	return nil
}

// failAfter is the visit of failCommand after a command with a write concern has run.
func (c *Call) failAfter() {
	data, fires := c.Commands.fail.command.Enter(func(d bsonval.Doc) bool {
		alone := !isSet(d.Lookup("closeConnection")) && d.Lookup("errorCode").IsMissing()
		return alone && !d.Lookup("writeConcernError").IsMissing() && c.isFailCommandTarget(d)
	})
	if fires {
		c.relabel(data)
		c.injected.writeConcernError = data.Lookup("writeConcernError").Doc()
	}
}

// relabel replaces the labels of the reply if the data of failCommand says so.
func (c *Call) relabel(data bsonval.Doc) {
	v := data.Lookup("errorLabels")
	if v.IsMissing() {
		return
	}
	c.injected.relabel, c.injected.labels = true, nil
	it := v.Doc().Iter()
	for it.Next() {
		c.injected.labels = append(c.injected.labels, strings.Clone(it.Value().Str()))
	}
}

// failGetMore is the visit of the fail point of getMores.
func (c *Call) failGetMore() error {
	data, fires := c.Commands.fail.getMore.Enter(nil)
	if !fires {
		return nil
	}
	c.injected.hangUp = isSet(data.Lookup("closeConnection"))
	code := mongoerr.OperationFailed
	if v := data.Lookup("errorCode"); !v.IsMissing() {
		code = mongoerr.Code(v.TruncInt64())
	} else if !c.injected.hangUp {
		return nil
	}
	return mongoerr.New(code, "Hit the 'failGetMoreAfterCursorCheckout' failpoint")
}

// failTransactional is the visit of the fail point of retryable writes, just before one commits.
func (c *Call) failTransactional() error {
	data, fires := c.Commands.fail.transactional.Enter(nil)
	if !fires {
		return nil
	}
	if v := data.Lookup("closeConnection"); v.IsMissing() || v.Truthy() {
		c.injected.hangUp = true
	}
	if v := data.Lookup("failBeforeCommitExceptionCode"); !v.IsMissing() {
		return mongoerr.New(mongoerr.Code(v.TruncInt64()), "Failing write due to failpoint. The write must not be reflected.")
	}
	return nil
}

// failHello is the visit of failCommand for each further hello of a stream.
func (cs *Commands) failHello(ctx context.Context, req *server.Request) error {
	if !cs.fail.command.On() {
		return nil
	}
	c := newCall(cs, cs.byName[req.Command], req, nil)
	defer c.release()
	err := c.failBefore(ctx)
	if c.injected.hangUp {
		return server.ErrHangUp
	}
	return err
}
