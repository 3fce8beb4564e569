package command

import (
	"context"
	"math"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

// defaultBatch is the number of documents in a first batch that no size was asked for.
const defaultBatch = 101

// readCommands are the commands that read documents.
func readCommands() []*Command {
	return []*Command{
		{
			Name: "find", Help: "Finds the documents of a collection or view that match a filter.", First: FirstCollectionOrUUID,
			Fields: findFields, APIv1: true, SecondaryOK: true, ReadConcern: true, Snapshot: true, InTransaction: true, Transient: true, Run: runFind,
		},
		{
			Name: "count", Help: "Counts the documents that match a query.", First: FirstCollectionOrUUID,
			Fields: countFields, APIv1: true, SecondaryOK: true, ReadConcern: true, Run: runCount,
		},
		{
			Name: "distinct", Help: "Lists the different values of a field among the documents that match a query.",
			First: FirstCollectionOrUUID, Fields: distinctFields, SecondaryOK: true, ReadConcern: true, Snapshot: true, InTransaction: true, Run: runDistinct,
		},
		aggregateCommand(), explainCommand(),
	}
}

var findFields = []Field{
	{Name: "filter", Kind: Object}, {Name: "projection", Kind: Object}, {Name: "sort", Kind: Object}, {Name: "hint", Kind: Any},
	{Name: "skip", Kind: Int, NonNegative: true}, {Name: "limit", Kind: Int, NonNegative: true},
	{Name: "batchSize", Kind: Int, NonNegative: true}, {Name: "singleBatch", Kind: SafeBool}, {Name: "max", Kind: Object},
	{Name: "min", Kind: Object}, {Name: "returnKey", Kind: SafeBool}, {Name: "showRecordId", Kind: SafeBool},
	{Name: "tailable", Kind: SafeBool}, {Name: "oplogReplay", Kind: SafeBool}, {Name: "noCursorTimeout", Kind: SafeBool},
	{Name: "awaitData", Kind: SafeBool}, {Name: "allowPartialResults", Kind: SafeBool}, {Name: "collation", Kind: Object},
	{Name: "allowDiskUse", Kind: SafeBool}, {Name: "let", Kind: Object}, {Name: "mirrored", Kind: Bool}, {Name: "readOnce", Kind: SafeBool},
	{Name: "term", Kind: Long, Unsupported: true}, {Name: "requestResumeToken", Kind: SafeBool, Unsupported: true},
	{Name: "resumeAfter", Kind: Object, Unsupported: true}, {Name: "startAt", Kind: Object, Unsupported: true},
	{Name: "legacyRuntimeConstants", Kind: Object, Unsupported: true}, {Name: "runtimeConstants", Kind: Object, Unsupported: true},
	{Name: "encryptionInformation", Kind: Object, Unsupported: true}, {Name: "querySettings", Kind: Object, Unsupported: true},
	{Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
}

// runFind answers find: the short way for a look-up by _id, else by a cursor.
func runFind(ctx context.Context, c *Call) error {
	c.Commands.stats.queries.Add(1)
	size := c.Int64("batchSize", defaultBatch)
	if size > 0 && c.txn == nil && c.snapshot == nil && c.isLookup() {
		if done, err := c.lookUp(ctx); done || err != nil {
			return err
		}
	}
	if err := c.keep(); err != nil {
		return err
	}
	q, err := c.findQuery()
	if err != nil {
		return err
	}
	q.First = size
	cur, err := c.Database().Find(ctx, c.Op(ctx), c.Namespace(), q)
	if err != nil {
		return err
	}
	return c.FirstBatch(ctx, cur, c.Namespace().String(), size, c.Bool("singleBatch"))
}

// isLookup says whether nothing but a filter and what cannot matter for one document was given.
func (c *Call) isLookup() bool {
	filter := false
	for i := range c.args {
		switch c.args[i].field.Name {
		case "filter":
			filter = true
		case "limit", "batchSize", "singleBatch":
		default:
			return false
		}
	}
	return filter
}

// lookUp answers a find by _id; done is false if it is something else.
func (c *Call) lookUp(ctx context.Context) (done bool, err error) {
	ns := c.Namespace()
	at := len(c.Reply.Buf)
	b, cursor := bsonval.BeginElement(c.Reply.Buf, bsonval.TypeDocument, "cursor")
	b, batch := bsonval.BeginElement(b, bsonval.TypeArray, "firstBatch")
	first := len(b)
	b = append(b, byte(bsonval.TypeDocument), '0', 0)
	b, found, ok, err := c.Database().FindByID(ctx, ns, c.Arg("filter").Doc(), b)
	if !ok || err != nil {
		c.Reply.Buf = b[:at]
		return false, err
	}
	if !found {
		b = b[:first]
	}
	b = bsonval.EndDoc(b, batch)
	b = bsonval.AppendElement(b, "id", bsonval.Int64(0))
	b = appendNS(b, ns)
	c.Reply.Buf = bsonval.EndDoc(b, cursor)
	return true, nil
}

func appendNS(b []byte, ns database.Namespace) []byte {
	n := len(ns.DB) + 1 + len(ns.Coll) + 1
	b = append(b, byte(bsonval.TypeString), 'n', 's', 0, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	b = append(append(append(b, ns.DB...), '.'), ns.Coll...)
	return append(b, 0)
}

// findQuery reads the arguments of find.
func (c *Call) findQuery() (*database.FindQuery, error) {
	q := &database.FindQuery{
		Filter: c.Doc("filter"), Projection: c.Doc("projection"), Sort: c.Doc("sort"), Let: c.Doc("let"),
		Skip: c.Int64("skip", 0), Limit: c.Int64("limit", 0), Min: c.Doc("min"), Max: c.Doc("max"),
		ReturnKey: c.Bool("returnKey"), ShowRecordID: c.Bool("showRecordId"), AllowDiskUse: c.BoolOr("allowDiskUse", true),
		NoCursorTimeout: c.Bool("noCursorTimeout"), Tailable: c.Bool("tailable"), AwaitData: c.Bool("awaitData"), Comment: c.Comment,
	}
	if err := c.checkFind(q); err != nil {
		return nil, err
	}
	var err error
	if q.Collation, err = c.Collation(); err != nil {
		return nil, err
	}
	q.Hint, err = c.Hint()
	return q, err
}

// checkFind checks arguments that do not go together.
func (c *Call) checkFind(q *database.FindQuery) error {
	natural := !q.Sort.Lookup("$natural").IsMissing()
	switch {
	case q.AwaitData && !q.Tailable:
		return mongoerr.New(mongoerr.FailedToParse, "Cannot set 'awaitData' without also setting 'tailable'")
	case q.Tailable && c.Bool("singleBatch"):
		return mongoerr.New(mongoerr.BadValue, "cannot use tailable option with the 'singleBatch' option")
	case q.Tailable && len(q.Sort) > 5 && !natural:
		return mongoerr.New(mongoerr.BadValue, "cannot use tailable option with a sort other than {$natural: 1}")
	case q.Tailable && natural && q.Sort.Lookup("$natural").AsDouble() < 0:
		return mongoerr.New(mongoerr.BadValue, "cannot use tailable option with a sort other than {$natural: 1}")
	}
	if natural {
		v := q.Sort.Lookup("$natural")
		if n, ok := v.AsInt64(); !v.IsNumber() || !ok || n != 1 && n != -1 {
			return mongoerr.New(mongoerr.BadValue, "$natural sort cannot be set to a value other than -1 or 1.")
		}
		if q.Sort.Len() > 1 {
			return mongoerr.New(mongoerr.BadValue, "$natural sort cannot be combined with other sort keys")
		}
	}
	return nil
}

var countFields = []Field{
	{Name: "query", Kind: Object}, {Name: "limit", Kind: Any}, {Name: "skip", Kind: Int, NonNegative: true}, {Name: "hint", Kind: Any},
	{Name: "collation", Kind: Object}, {Name: "fields", Kind: Object}, {Name: "mirrored", Kind: Bool},
	{Name: "encryptionInformation", Kind: Object, Unsupported: true}, {Name: "querySettings", Kind: Object, Unsupported: true},
	{Name: "queryOptions", Kind: Object, Unsupported: true}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
}

func runCount(ctx context.Context, c *Call) error {
	q, err := c.countQuery()
	if err != nil {
		return err
	}
	n, err := c.Database().Count(ctx, c.Op(ctx), c.Namespace(), q)
	if err != nil {
		return err
	}
	c.Append("n", shortInt(n))
	return nil
}

func (c *Call) countQuery() (*database.FindQuery, error) {
	q := &database.FindQuery{Filter: c.Doc("query"), Skip: c.Int64("skip", 0), Comment: c.Comment}
	var err error
	if q.Limit, err = countLimit(c.Arg("limit")); err != nil {
		return nil, err
	}
	if q.Collation, err = c.Collation(); err != nil {
		return nil, err
	}
	q.Hint, err = c.Hint()
	return q, err
}

// countLimit reads the limit of a count, whose sign does not matter.
func countLimit(v bsonval.Value) (int64, error) {
	if v.IsNullish() {
		return 0, nil
	}
	if !v.IsNumber() {
		return 0, mongoerr.New(mongoerr.BadValue, "limit value is not a valid number")
	}
	n, ok := v.AsInt64()
	switch {
	case !ok:
		return 0, mongoerr.New(mongoerr.FailedToParse, "limit value is not an integer: %s", bsonval.Format(v))
	case n == math.MinInt64:
		return 0, mongoerr.New(mongoerr.BadValue, "Limit value for count cannot be min long")
	case n < 0:
		return -n, nil
	}
	return n, nil
}

// shortInt is a number as an int32 if it fits, else as an int64.
func shortInt(n int64) bsonval.Value {
	if n == int64(int32(n)) {
		return bsonval.Int32(int32(n))
	}
	return bsonval.Int64(n)
}

var distinctFields = []Field{
	{Name: "key", Kind: String, Required: true}, {Name: "query", Kind: Object}, {Name: "collation", Kind: Object},
	{Name: "hint", Kind: Any}, {Name: "mirrored", Kind: Bool},
	{Name: "querySettings", Kind: Object, Unsupported: true}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
}

func runDistinct(ctx context.Context, c *Call) error {
	q, err := c.distinctQuery()
	if err != nil {
		return err
	}
	values, err := c.Database().Distinct(ctx, c.Op(ctx), c.Namespace(), c.Str("key"), q)
	if err != nil {
		return err
	}
	c.Append("values", bsonval.Array(values))
	c.appendSnapshotTime()
	if coll := c.Database().Catalog().Collection(c.DB, c.Coll); coll != nil && coll.IsView() {
		// MongoDB answers for views from within, and there the number is an int32.
		c.Reply.AppendDoc(bsonval.NewBuilder().Int32("ok", 1).Build())
	}
	return nil
}

func (c *Call) distinctQuery() (*database.FindQuery, error) {
	if strings.IndexByte(c.Arg("key").Str(), 0) >= 0 {
		return nil, mongoerr.New(31032, "The field name 'distinct.key' cannot contain null bytes")
	}
	q := &database.FindQuery{Filter: c.Doc("query"), Comment: c.Comment}
	var err error
	if q.Collation, err = c.Collation(); err != nil {
		return nil, err
	}
	q.Hint, err = c.Hint()
	return q, err
}
