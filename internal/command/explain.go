package command

import (
	"context"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

func explainCommand() *Command {
	return &Command{
		Name: "explain", Help: "Tells how a command would find its documents.", First: FirstValue, FirstKind: Object, APIv1: true,
		SecondaryOK: true, ReadConcern: true, Fields: []Field{{Name: "verbosity", Kind: String}}, Run: runExplain,
	}
}

// explainable are the commands that explain knows.
var explainable = map[string]func(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error){
	"find": explainFind, "count": explainCount, "distinct": explainDistinct, "aggregate": explainAggregate, "update": explainUpdate,
	"delete": explainDelete, "findAndModify": explainFindAndModify,
}

func runExplain(ctx context.Context, c *Call) error {
	verbosity := "allPlansExecution"
	if c.Has("verbosity") {
		verbosity = c.Str("verbosity")
	}
	switch verbosity {
	case "queryPlanner", "executionStats", "allPlansExecution":
	default:
		return mongoerr.New(mongoerr.BadValue, "Enumeration value '%s' for field 'explain.verbosity' is not a valid value.", verbosity)
	}
	body := c.First.Doc()
	name, _, ok := body.First()
	if !ok {
		return mongoerr.New(mongoerr.CommandNotFound, "Explain failed due to unknown command: ")
	}
	cmd := c.Commands.byName[name]
	if cmd == nil {
		return mongoerr.New(mongoerr.CommandNotFound, "Explain failed due to unknown command: %s", name)
	}
	if v := body.Lookup("$db"); v.Type() == bsonval.TypeString && v.Str() != c.DB {
		return mongoerr.New(mongoerr.InvalidNamespace, "Mismatched $db in explain command. Expected %s but got %s", c.DB, v.Str())
	}
	run := explainable[cmd.Name]
	if run == nil {
		return mongoerr.New(mongoerr.IllegalOperation, "Cannot explain cmd: %s", cmd.Name)
	}
	inner := newCall(c.Commands, cmd, server.NewRequest(c.Req.Conn, c.DB, body), c.Reply)
	defer inner.release()
	if err := inner.parse(); err != nil {
		return err
	}
	inner.Session = c.Session
	if err := c.explainReply(ctx, verbosity, body, func(verbosity string) (bsonval.Doc, error) { return run(ctx, inner, verbosity) }); err != nil {
		return err
	}
	shape, err := inner.queryShape()
	if shape != nil {
		c.Append("queryShapeHash", bsonval.String(database.ShapeHash(shape)))
	}
	return err
}

// explainReply appends an explanation and what it was made for.
func (c *Call) explainReply(_ context.Context, verbosity string, command bsonval.Doc, explain func(string) (bsonval.Doc, error)) error {
	doc, err := explain(verbosity)
	if err != nil {
		return err
	}
	c.Reply.AppendDoc(doc)
	shown := bsonval.NewBuilder()
	it := command.Iter()
	for it.Next() {
		switch it.KeyStr() {
		case "$db", "lsid", "$clusterTime", "$readPreference":
		default:
			shown.Value(string(it.Key()), it.Value())
		}
	}
	shown.Str("$db", c.DB)
	c.Append("command", bsonval.Document(shown.Build()))
	c.Append("serverInfo", bsonval.Document(c.Commands.serverInfo()))
	c.Append("serverParameters", bsonval.Document(c.Commands.params.queryParameters()))
	return nil
}

func explainFind(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	q, err := c.findQuery()
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainFind(ctx, c.Op(ctx), c.Namespace(), q, verbosity)
}

func explainCount(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	q, err := c.countQuery()
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainCount(ctx, c.Op(ctx), c.Namespace(), q, verbosity)
}

func explainDistinct(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	q, err := c.distinctQuery()
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainDistinct(ctx, c.Op(ctx), c.Namespace(), c.Str("key"), q, verbosity)
}

func explainAggregate(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	q, err := c.aggregateQuery()
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainAggregate(ctx, c.Op(ctx), c.Namespace(), q, verbosity)
}

// explainOne checks that a write command has one statement.
func explainOne(n int) error {
	if n != 1 {
		return mongoerr.New(mongoerr.InvalidLength, "explained write batches must be of size 1")
	}
	return nil
}

func explainUpdate(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	statements, err := c.updateStatements()
	if err == nil {
		err = explainOne(len(statements))
	}
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainUpdate(ctx, c.Op(ctx), c.Namespace(), &statements[0], verbosity)
}

func explainDelete(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	statements, err := c.deleteStatements()
	if err == nil {
		err = explainOne(len(statements))
	}
	if err != nil {
		return nil, err
	}
	return c.Database().ExplainDelete(ctx, c.Op(ctx), c.Namespace(), &statements[0], verbosity)
}

func explainFindAndModify(ctx context.Context, c *Call, verbosity string) (bsonval.Doc, error) {
	s, err := c.findAndModify()
	if err != nil {
		return nil, err
	}
	if s.Remove {
		return c.Database().ExplainDelete(ctx, c.Op(ctx), c.Namespace(), &database.DeleteStatement{
			Filter: s.Filter, Hint: s.Hint, Collation: s.Collation, Let: s.Let,
		}, verbosity)
	}
	return c.Database().ExplainUpdate(ctx, c.Op(ctx), c.Namespace(), &database.UpdateStatement{
		Filter: s.Filter, Update: s.Update, Upsert: s.Upsert, Sort: s.Sort, Hint: s.Hint, Collation: s.Collation, Let: s.Let,
		ArrayFilters: s.ArrayFilters,
	}, verbosity)
}
