package command

import (
	"context"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/database"
	"github.com/archelon-db/archelon/internal/mongoerr"
)

func bulkWriteCommand() *Command {
	return &Command{
		Name: "bulkWrite", Help: "Runs many inserts, updates and deletes on several collections.", AdminOnly: true, APIv1: true,
		WriteConcern: true, Retryable: true, InTransaction: true, Run: runBulkWrite,
		Fields: []Field{
			{Name: "ops", Kind: Array, Required: true, Sequence: true}, {Name: "nsInfo", Kind: Array, Required: true, Sequence: true},
			{Name: "ordered", Kind: Bool}, {Name: "errorsOnly", Kind: Bool}, {Name: "bypassDocumentValidation", Kind: SafeBool},
			{Name: "let", Kind: Object}, {Name: "cursor", Kind: Object}, {Name: "stmtId", Kind: Int32}, {Name: "stmtIds", Kind: Array},
			{Name: "bypassEmptyTsReplacement", Kind: SafeBool},
		},
	}
}

var nsInfoFields = []Field{
	{Name: "ns", Kind: String, Required: true}, {Name: "collectionUUID", Kind: UUID},
	{Name: "encryptionInformation", Kind: Object, Unsupported: true}, {Name: "isTimeseriesNamespace", Kind: SafeBool, Unsupported: true},
}

// bulkTarget is an element of nsInfo.
type bulkTarget struct {
	ns   database.Namespace
	uuid bsonval.Value
}

func (c *Call) bulkTargets() ([]bulkTarget, error) {
	var list []bulkTarget
	err := c.Documents("nsInfo", func(_ int, d bsonval.Doc) error {
		var v [4]bsonval.Value
		if err := ParseFields("bulkWrite.nsInfo", d, nsInfoFields, v[:]); err != nil {
			return err
		}
		db, coll, _ := strings.Cut(v[0].Str(), ".")
		ns := database.Namespace{DB: strings.Clone(db), Coll: strings.Clone(coll)}
		if checkDBName(ns.DB) != nil || CheckCollectionName(ns.DB, ns.Coll) != nil {
			return mongoerr.New(mongoerr.InvalidNamespace, "Invalid namespace specified for bulkWrite: '%s'", v[0].Str())
		}
		if err := c.checkTransactionWrite(ns); err != nil {
			return err
		}
		list = append(list, bulkTarget{ns, v[1]})
		return nil
	})
	return list, err
}

var (
	bulkInsertFields = []Field{{Name: "insert", Kind: Int, Required: true, NonNegative: true}, {Name: "document", Kind: Object, Required: true}}
	bulkUpdateFields = []Field{
		{Name: "update", Kind: Int, Required: true, NonNegative: true}, {Name: "filter", Kind: Object, Required: true},
		{Name: "updateMods", Kind: Any, Required: true}, {Name: "multi", Kind: Bool}, {Name: "upsert", Kind: Bool},
		{Name: "arrayFilters", Kind: Array}, {Name: "hint", Kind: Any}, {Name: "collation", Kind: Object}, {Name: "sort", Kind: Object},
		{Name: "constants", Kind: Object}, {Name: "upsertSupplied", Kind: SafeBool}, {Name: "sampleId", Kind: UUID},
	}
	bulkDeleteFields = []Field{
		{Name: "delete", Kind: Int, Required: true, NonNegative: true}, {Name: "filter", Kind: Object, Required: true},
		{Name: "multi", Kind: Bool}, {Name: "hint", Kind: Any}, {Name: "collation", Kind: Object}, {Name: "sampleId", Kind: UUID},
	}
)

// bulkOp is an element of ops: one of the three is set.
type bulkOp struct {
	target int64
	insert bsonval.Doc
	update *database.UpdateStatement
	delete *database.DeleteStatement
}

func (c *Call) bulkOps(targets int) ([]bulkOp, error) {
	var list []bulkOp
	let := c.Doc("let")
	err := c.Documents("ops", func(i int, d bsonval.Doc) error {
		op, err := parseBulkOp(d, let)
		if err != nil {
			return err
		}
		if op.target < 0 || op.target >= int64(targets) {
			return mongoerr.New(mongoerr.BadValue, "BulkWrite ops entry %d has an invalid nsInfo index.", i)
		}
		list = append(list, op)
		return nil
	})
	return list, err
}

func parseBulkOp(d, let bsonval.Doc) (bulkOp, error) {
	var op bulkOp
	var err error
	name, _, _ := d.First()
	switch name {
	case "insert":
		var v [2]bsonval.Value
		if err = ParseFields("bulkWrite.ops.insert", d, bulkInsertFields, v[:]); err != nil {
			return op, err
		}
		op.target, op.insert = toInt64(v[0]), v[1].Doc()
	case "update":
		var v [12]bsonval.Value
		if err = ParseFields("bulkWrite.ops.update", d, bulkUpdateFields, v[:]); err != nil {
			return op, err
		}
		op.target = toInt64(v[0])
		op.update = &database.UpdateStatement{Filter: v[1].Doc(), Update: v[2], Multi: v[3].Truthy(), Upsert: v[4].Truthy(), Let: let}
		err = finishUpdate(op.update, v[5], v[6], v[7], v[8], v[9], v[10])
	case "delete":
		var v [6]bsonval.Value
		if err = ParseFields("bulkWrite.ops.delete", d, bulkDeleteFields, v[:]); err != nil {
			return op, err
		}
		op.target = toInt64(v[0])
		op.delete = &database.DeleteStatement{Filter: v[1].Doc(), Multi: v[2].Truthy(), Let: let}
		if op.delete.Hint, err = parseHint(v[3]); err == nil {
			op.delete.Collation, err = parseCollation(v[4])
		}
	default:
		err = mongoerr.New(mongoerr.FailedToParse, "BSON field 'bulkWrite.ops' entry has an unknown operation '%s'", name)
	}
	return op, err
}

// bulk is a bulkWrite being run.
type bulk struct {
	c       *Call
	once    *once
	op      *database.Op
	targets []bulkTarget
	ordered bool
	series  series

	results    []bsonval.Doc
	errorsOnly bool
	retried    []int32

	errors, inserted, matched, modified, upserted, deleted int64
}

func runBulkWrite(ctx context.Context, c *Call) error {
	targets, err := c.bulkTargets()
	if err != nil {
		return err
	}
	ops, err := c.bulkOps(len(targets))
	if err == nil {
		err = checkBatchSize(len(ops))
	}
	if err != nil {
		return err
	}
	if c.WriteConcern.unacknowledged() && c.BoolOr("ordered", true) {
		return mongoerr.New(mongoerr.InvalidOptions, "bulkWrite with w: 0 must be unordered")
	}
	size := int64(-1)
	if v := c.Arg("cursor"); !v.IsMissing() {
		if size, err = cursorOption("bulkWrite", v, -1); err != nil {
			return err
		}
	}
	b := &bulk{c: c, op: c.writeOp(ctx), targets: targets, ordered: c.BoolOr("ordered", true) || c.txn != nil, errorsOnly: c.Bool("errorsOnly")}
	if b.once, err = c.beginOnce(ctx, len(ops)); err != nil {
		return err
	}
	defer b.once.end()
	wait := c.waitOnce(ctx, b.op, len(ops))
	b.series = series{c: c, op: b.op, once: b.once}
	for i := 0; i < len(ops); {
		n, stop, err := b.run(ctx, ops, i)
		if err != nil {
			return wait(ctx, err)
		}
		if i += n; stop {
			break
		}
	}
	if err := wait(ctx, nil); err != nil {
		return err
	}
	return b.reply(ctx, size)
}

// run runs operation i, with the inserts into the same collection that follow it if it is one, and returns how many it
// ran.
func (b *bulk) run(ctx context.Context, ops []bulkOp, i int) (n int, stop bool, err error) {
	target := &b.targets[ops[i].target]
	if err := b.checkUUID(target); err != nil {
		return 1, b.ordered, b.fail(i, err)
	}
	if ops[i].insert != nil {
		return b.insert(ctx, ops, i)
	}
	next := func(i int) error { return b.change(ctx, target.ns, &ops[i], i) }
	if !b.series.isOff() {
		before := *b
		n, err = b.series.run(ctx, target.ns, seriesOf(ops[i:]), i, next, func() {
			before.series = b.series
			*b = before
		})
	}
	if n == 0 && err == nil {
		n, err = 1, next(i)
	}
	for _, o := range ops[i : i+max(n, 1)] {
		if o.update != nil {
			b.c.Commands.stats.updates.Add(1)
		} else {
			b.c.Commands.stats.deletes.Add(1)
		}
	}
	if err != nil {
		return 1, b.ordered, b.fail(i, err)
	}
	return n, false, nil
}

// seriesOf returns the filters of the first operations, as far as they each change one document of the same collection.
func seriesOf(ops []bulkOp) []bsonval.Doc {
	var filters []bsonval.Doc
	for i := range min(len(ops), seriesSize) {
		switch o := &ops[i]; {
		case o.target != ops[0].target:
			return filters
		case o.update != nil && !o.update.Multi:
			filters = append(filters, o.update.Filter)
		case o.delete != nil && !o.delete.Multi:
			filters = append(filters, o.delete.Filter)
		default:
			return filters
		}
	}
	return filters
}

// change runs operation i, which is an update or a delete.
func (b *bulk) change(ctx context.Context, ns database.Namespace, o *bulkOp, i int) error {
	if o.update != nil {
		switch clock := b.c.Commands.clock; {
		case !b.c.Commands.replicated:
		case b.op.InSeries(): // its commit, which lets time go on, is still to come
			b.op.Env.ClusterTime = clock.Next(1)
		default:
			b.op.Env.ClusterTime = clock.Time()
		}
		res, retried, err := b.once.update(ctx, b.c.Database(), b.op, ns, i, o.update)
		if err != nil {
			return err
		}
		b.note(i, retried)
		b.updated(i, res)
		return nil
	}
	n, retried, err := b.once.delete(ctx, b.c.Database(), b.op, ns, i, o.delete)
	if err != nil {
		return err
	}
	b.note(i, retried)
	b.deleted += n
	b.add(bsonval.NewBuilder().Double("ok", 1).Int32("idx", int32(i)).Int32("n", int32(n)).Build())
	return nil
}

// insert runs the inserts that follow each other, from operation i on.
func (b *bulk) insert(ctx context.Context, ops []bulkOp, i int) (n int, stop bool, err error) {
	var docs []bsonval.Doc
	for n = 0; i+n < len(ops) && ops[i+n].insert != nil && ops[i+n].target == ops[i].target; n++ {
		docs = append(docs, ops[i+n].insert)
	}
	b.c.Commands.stats.inserts.Add(int64(n))
	var res writeResult
	ns := b.targets[ops[i].target].ns
	if b.once.r == nil {
		err = insertInto(ctx, b.c.Database(), b.op, ns, docs, b.ordered, &res)
	} else {
		err = b.once.insert(ctx, b.c.Database(), b.op, ns, i, docs, b.ordered, &res)
		b.op.BeforeCommit = nil
	}
	if err != nil {
		return n, true, err
	}
	b.retried = append(b.retried, res.retried...)
	errs := res.errors
	for j := range docs {
		if len(errs) > 0 && errs[0].Index == j {
			if err := b.fail(i+j, errs[0].Err); err != nil || b.ordered {
				return n, true, err
			}
			errs = errs[1:]
			continue
		}
		b.inserted++
		b.add(bsonval.NewBuilder().Double("ok", 1).Int32("idx", int32(i+j)).Int32("n", 1).Build())
	}
	return n, false, nil
}

func (b *bulk) note(i int, retried bool) {
	if retried {
		b.retried = append(b.retried, b.once.ids.at(i))
	}
}

func (b *bulk) updated(i int, res database.UpdateResult) {
	b.matched += res.Matched
	b.modified += res.Modified
	r := bsonval.NewBuilder().Double("ok", 1).Int32("idx", int32(i))
	if res.Upserted.IsMissing() {
		b.add(r.Value("n", countValue(res.Matched)).Value("nModified", countValue(res.Modified)).Build())
		return
	}
	b.upserted++
	b.add(r.Int32("n", 1).Int32("nModified", 0).StartDoc("upserted").Value("_id", res.Upserted).End().Build())
}

// add keeps the result of an operation that did not fail.
func (b *bulk) add(result bsonval.Doc) {
	if !b.errorsOnly {
		b.results = append(b.results, result)
	}
}

// fail keeps the error of an operation; it returns errors that end the command.
func (b *bulk) fail(i int, err error) error {
	e := mongoerr.As(err)
	if e == nil || endsCommand(e, b.op) {
		return err
	}
	failTransaction(b.op)
	b.errors++
	r := bsonval.NewBuilder().Double("ok", 0).Int32("idx", int32(i)).Int32("code", int32(e.Code))
	it := bsonval.Doc(e.Extra).Iter()
	for len(e.Extra) > 5 && it.Next() {
		r.Value(string(it.Key()), it.Value())
	}
	b.results = append(b.results, r.Str("errmsg", e.Message).Int32("n", 0).Build())
	return nil
}

func (b *bulk) checkUUID(t *bulkTarget) error {
	if t.uuid.IsMissing() {
		return nil
	}
	return checkCollectionUUID(b.c.Database(), t.ns, t.uuid)
}

func (b *bulk) reply(ctx context.Context, size int64) error {
	c := b.c
	c.Commands.stats.retried(len(b.retried))
	if c.WriteConcern.unacknowledged() {
		return nil
	}
	ns := database.Namespace{DB: "admin", Coll: "$cmd.bulkWrite"}
	if err := c.FirstBatch(ctx, c.Database().NewListCursor(b.op, ns, b.results), ns.String(), size, false); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		n    int64
	}{
		{"nErrors", b.errors}, {"nInserted", b.inserted}, {"nMatched", b.matched}, {"nModified", b.modified},
		{"nUpserted", b.upserted}, {"nDeleted", b.deleted},
	} {
		c.Append(f.name, countValue(f.n))
	}
	c.Reply.Buf = appendRetried(c.Reply.Buf, b.retried)
	if c.Commands.replicated {
		c.Reply.Buf = c.Commands.appendOpTime(c.Reply.Buf)
	}
	return nil
}
