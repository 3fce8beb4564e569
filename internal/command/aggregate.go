package command

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func aggregateCommand() *Command {
	return &Command{
		Name: "aggregate", Help: "Runs a pipeline of stages on the documents of a collection or of the stages' own making.",
		First: FirstCollectionOrOne, Fields: aggregateFields, APIv1: true, SecondaryOK: true, ReadConcern: true, WriteConcern: true,
		InTransaction: true, Snapshot: true,
		Run: runAggregate,
	}
}

var aggregateFields = []Field{
	{Name: "pipeline", Kind: Array, Required: true}, {Name: "cursor", Kind: Any}, {Name: "explain", Kind: SafeBool},
	{Name: "allowDiskUse", Kind: SafeBool}, {Name: "bypassDocumentValidation", Kind: SafeBool}, {Name: "collation", Kind: Object},
	{Name: "hint", Kind: Any}, {Name: "let", Kind: Object}, {Name: "bypassEmptyTsReplacement", Kind: SafeBool},
	{Name: "needsMerge", Kind: SafeBool, Unsupported: true}, {Name: "fromMongos", Kind: SafeBool, Unsupported: true},
	{Name: "fromRouter", Kind: SafeBool, Unsupported: true}, {Name: "exchange", Kind: Object, Unsupported: true},
	{Name: "isMapReduceCommand", Kind: SafeBool, Unsupported: true}, {Name: "collectionUUID", Kind: UUID},
	{Name: "requestReshardingResumeToken", Kind: SafeBool, Unsupported: true}, {Name: "runtimeConstants", Kind: Object, Unsupported: true},
	{Name: "legacyRuntimeConstants", Kind: Object, Unsupported: true}, {Name: "encryptionInformation", Kind: Object, Unsupported: true},
	{Name: "querySettings", Kind: Object, Unsupported: true}, {Name: "includeQueryStatsMetrics", Kind: Bool, Unsupported: true},
}

var cursorFields = []Field{{Name: "batchSize", Kind: Int, NonNegative: true}}

// cursorOption reads {batchSize: n}, the `cursor` argument of commands whose results are read by cursor.
func cursorOption(command string, v bsonval.Value, otherwise int64) (int64, error) {
	if v.Type() != bsonval.TypeDocument {
		return 0, mongoerr.New(mongoerr.TypeMismatch, "cursor field must be missing or an object")
	}
	var vals [1]bsonval.Value
	if err := ParseFields(command+".cursor", v.Doc(), cursorFields, vals[:]); err != nil {
		return 0, err
	}
	if vals[0].IsMissing() {
		return otherwise, nil
	}
	return toInt64(vals[0]), nil
}

func runAggregate(ctx context.Context, c *Call) error {
	explain := c.Bool("explain")
	size := int64(defaultBatch)
	var err error
	if v := c.Arg("cursor"); !v.IsMissing() {
		if size, err = cursorOption("aggregate", v, size); err != nil {
			return err
		}
	} else if !explain {
		return mongoerr.New(mongoerr.FailedToParse, "The 'cursor' option is required, except for aggregate with the explain argument")
	}
	if explain && c.txn != nil {
		return errInTransaction("Cannot run 'explain' in a multi-document transaction.")
	}
	q, err := c.aggregateQuery()
	if err != nil {
		return err
	}
	if err := c.checkCollectionUUID(); err != nil {
		return err
	}
	op := c.Op(ctx)
	op.BypassValidation = c.Bool("bypassDocumentValidation")
	op.KeepEmptyTimestamps = c.Bool("bypassEmptyTsReplacement")
	if explain {
		if c.apiStrict() {
			return mongoerr.New(mongoerr.APIStrictError, "aggregate command with explain is not in API Version 1")
		}
		return c.explainReply(ctx, "queryPlanner", c.Req.Body.Clone(), func(verbosity string) (bsonval.Doc, error) {
			return c.Database().ExplainAggregate(ctx, op, c.Namespace(), q, verbosity)
		})
	}
	cur, err := c.Database().Aggregate(ctx, op, c.Namespace(), q)
	if err != nil {
		return err
	}
	return c.FirstBatch(ctx, cur, cur.Namespace().String(), size, false)
}

func (c *Call) aggregateQuery() (*database.AggregateQuery, error) {
	q := &database.AggregateQuery{
		Pipeline: c.Doc("pipeline"), Let: c.Doc("let"), AllowDiskUse: c.BoolOr("allowDiskUse", true), Comment: c.Comment,
	}
	it := q.Pipeline.Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeDocument {
			return nil, mongoerr.New(mongoerr.TypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		if err := c.checkStageReadConcern(it.Value().Doc()); err != nil {
			return nil, err
		}
		if c.apiStrict() {
			if err := checkStableStage(it.Value().Doc()); err != nil {
				return nil, err
			}
		}
	}
	if err := c.checkReplicatedRead(); err != nil {
		return nil, err
	}
	var err error
	if q.Collation, err = c.Collation(); err != nil {
		return nil, err
	}
	q.Hint, err = c.Hint()
	return q, err
}

// checkStageReadConcern says whether a stage can run with the command's read concern.
func (c *Call) checkStageReadConcern(stage bsonval.Doc) error {
	name, arg, _ := stage.First()
	if err := c.checkStageInTransaction(name); err != nil {
		return err
	}
	if c.txn != nil {
		if err := c.checkInnerStages(name, arg); err != nil {
			return err
		}
	}
	switch name {
	case "$changeStream":
		if c.concern.level == "" || c.concern.level == "majority" {
			return nil
		}
		return mongoerr.New(mongoerr.InvalidOptions, "$changeStream cannot run with a readConcern other than 'majority'. "+
			"Current readConcern: { level: \"%s\" }", c.concern.level)
	case "$out", "$merge":
		if c.concern.level != "linearizable" {
			return nil
		}
	case "$currentOp", "$listClusterCatalog", "$listLocalSessions", "$planCacheStats":
		if c.concern.level == "" || c.concern.level == "local" {
			return nil
		}
	default:
		return nil
	}
	return mongoerr.New(mongoerr.InvalidOptions, "Aggregation stage %s cannot run with a readConcern other than 'local', or in a "+
		"multi-document transaction. Current readConcern: { level: \"%s\" }", name, c.concern.level)
}

// checkInnerStages checks the stages of the pipelines inside a stage for a transaction.
func (c *Call) checkInnerStages(name string, arg bsonval.Value) error {
	if arg.Type() != bsonval.TypeDocument {
		return nil
	}
	it := arg.Doc().Iter()
	for it.Next() {
		if it.Value().Type() != bsonval.TypeArray || name != "$facet" && (name != "$lookup" || it.KeyStr() != "pipeline") {
			continue
		}
		stages := it.Value().Doc().Iter()
		for stages.Next() {
			if stages.Value().Type() != bsonval.TypeDocument {
				continue
			}
			inner, innerArg, _ := stages.Value().Doc().First()
			if err := c.checkStageInTransaction(inner); err != nil {
				return err
			}
			if err := c.checkInnerStages(inner, innerArg); err != nil {
				return err
			}
		}
	}
	return nil
}

// unstableStages are not in version 1 of the stable API.
var unstableStages = map[string]bool{
	"$currentOp": true, "$indexStats": true, "$listLocalSessions": true, "$listSessions": true, "$planCacheStats": true,
	"$search": true, "$searchMeta": true, "$vectorSearch": true, "$queryStats": true, "$querySettings": true,
	"$listClusterCatalog": true, "$listSearchIndexes": true, "$listSampledQueries": true, "$shardedDataDistribution": true,
	"$rankFusion": true, "$scoreFusion": true, "$score": true,
}

func checkStableStage(stage bsonval.Doc) error {
	name, arg, _ := stage.First()
	unstable := unstableStages[name] || strings.HasPrefix(name, "$_internal")
	if name == "$collStats" && arg.Type() == bsonval.TypeDocument {
		it := arg.Doc().Iter()
		for it.Next() {
			unstable = unstable || it.KeyStr() != "count"
		}
	}
	if unstable {
		return mongoerr.New(mongoerr.APIStrictError, "stage %s is not allowed with 'apiStrict: true' in API Version 1", name)
	}
	return nil
}

// checkCollectionUUID fails if the argument collectionUUID is not that of the collection.
func (c *Call) checkCollectionUUID() error {
	v := c.Arg("collectionUUID")
	if v.IsMissing() {
		return nil
	}
	return checkCollectionUUID(c.Database(), c.Namespace(), v)
}

func checkCollectionUUID(db *database.DB, ns database.Namespace, uuid bsonval.Value) error {
	coll := db.Catalog().Collection(ns.DB, ns.Coll)
	if coll != nil && string(coll.UUID[:]) == string(uuid.Bytes()) {
		return nil
	}
	actual := bsonval.Null
	for _, x := range db.Catalog().Collections(ns.DB) {
		if string(x.UUID[:]) == string(uuid.Bytes()) {
			actual = bsonval.String(x.Name)
		}
	}
	return mongoerr.New(mongoerr.CollectionUUIDMismatch, "Collection UUID does not match that specified").WithExtra(
		bsonval.NewBuilder().Str("db", ns.DB).Value("collectionUUID", uuid).Str("expectedCollection", ns.Coll).
			Value("actualCollection", actual).Build())
}
