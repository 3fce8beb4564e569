package database

import (
	"context"
	"errors"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/catalog"
	"github.com/archelon-db/archelon/internal/collation"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/oplog"
	"github.com/archelon-db/archelon/internal/pipeline"
	"github.com/archelon-db/archelon/internal/plan"
	"github.com/archelon-db/archelon/internal/storage"
	"github.com/archelon-db/archelon/internal/update"
)

// multiBatch is how many records a multi-document update or delete changes in
// one transaction.
const multiBatch = 500

// UpdateStatement is one element of an update command.
type UpdateStatement struct {
	Filter    bsonval.Doc
	Update    bsonval.Value // document or pipeline
	Upsert    bool
	Multi     bool
	Sort      bsonval.Doc // which of several to update; not with Multi
	Hint      *plan.Hint
	Collation *collation.Spec
	Let       bsonval.Doc
	Constants bsonval.Doc // further variables for a pipeline update

	ArrayFilters []bsonval.Doc
}

// UpdateResult says what an update did.
type UpdateResult struct {
	Matched, Modified int64
	Upserted          bsonval.Value // the _id; missing if nothing was inserted
}

// updater is a compiled update statement.
type updater struct {
	s    *UpdateStatement
	c    compilation
	prog update.Program
	ec   *expr.Context // nil as long as nothing needs it

	as      logForm
	targets *oplog.Targets // what the operators name; nil for other updates

	planned bool // the planner has seen the filter, and may keep it
}

func (d *DB) newUpdater(op *Op, ns Namespace, coll *catalog.Collection, s *UpdateStatement) (*updater, error) {
	u := d.updaters.Get().(*updater)
	u.s = s
	if err := u.c.init(op, coll, s.Collation, s.Let); err != nil {
		return nil, err
	}
	if err := u.c.declare(s.Constants); err != nil {
		return nil, err
	}
	if err := u.compile(op, ns); err != nil {
		return nil, err
	}
	if d.oplog == nil {
		return u, nil
	}
	switch u.prog.Kind() {
	case update.Replacement:
		u.as = logWhole
	case update.Operators:
		u.as, u.targets = logOperators, d.oplog.scalars
		if !setsScalars(s.Update.Doc()) {
			u.targets = oplog.NewTargets(u.prog.LoggedPaths()...)
		}
	}
	return u, nil
}

// release gives the updater of a finished statement back, if nothing else can have kept
// a part of it.
func (u *updater) release(d *DB) {
	if u.planned || u.ec != nil || u.prog.Kind() != update.Operators {
		return
	}
	*u = updater{}
	d.updaters.Put(u)
}

func (u *updater) compile(op *Op, ns Namespace) error {
	o := update.Options{
		Compiler: u.c.compiler, ArrayFilters: u.s.ArrayFilters, Multi: u.s.Multi,
		KeepEmptyTimestamps: op.KeepEmptyTimestamps,
	}
	if u.s.Update.Type() == bsonval.TypeArray {
		o.Pipeline = func(stages bsonval.Doc) (update.Transform, error) {
			p, err := pipeline.Parse(stages, pipeline.Options{Compiler: u.c.compiler, NS: ns, Update: true})
			if err != nil {
				return nil, err
			}
			return p.Transform()
		}
	}
	return u.prog.Compile(u.s.Update, o)
}

// Update runs one update statement. The collection is created if an upsert
// needs it.
func (d *DB) Update(ctx context.Context, op *Op, ns Namespace, s *UpdateStatement) (UpdateResult, error) {
	defer op.assumeNothing()
	for {
		res, err := d.updateCompiled(ctx, op, ns, s)
		if !errors.Is(err, errOtherCollation) {
			d.count(op, &d.Metrics.Updated, res.Modified)
			return res, err
		}
	}
}

func (d *DB) updateCompiled(ctx context.Context, op *Op, ns Namespace, s *UpdateStatement) (res UpdateResult, err error) {
	coll, err := d.assume(ctx, op, ns, s.Collation)
	if err != nil {
		return res, err
	}
	u, err := d.newUpdater(op, ns, coll, s)
	if err != nil {
		return res, err
	}
	if s.Multi {
		return d.updateMany(ctx, op, ns, u)
	}
	res, err = d.updateFirst(ctx, op, ns, u)
	u.release(d)
	return res, err
}

// existing runs fn, which is about one record, on the collection, which an upsert creates;
// without one nothing is done, even if fn has been run: the collection may have been renamed or dropped
// before that could be committed.
func (d *DB) existing(ctx context.Context, op *Op, ns Namespace, upsert bool, fn func(*writer) error) (exists bool, err error) {
	if upsert {
		return true, d.writeCreating(ctx, op, ns, oneRecord, fn)
	}
	if err = d.write(ctx, op, ns, oneRecord, fn); errors.Is(err, errNoCollection) {
		op.Outcome = Outcome{}
		return false, nil
	}
	return true, err
}

func (d *DB) updateFirst(ctx context.Context, op *Op, ns Namespace, u *updater) (res UpdateResult, err error) {
	for attempt := 0; ; attempt++ {
		exists, err := d.existing(ctx, op, ns, u.s.Upsert, func(w *writer) error {
			res = UpdateResult{}
			sel, err := u.selection(w)
			if err != nil {
				return err
			}
			t, ok, err := w.first(ctx, sel)
			if err != nil {
				return err
			}
			if !ok {
				if u.s.Upsert {
					_, res.Upserted, err = w.upsert(ctx, u)
				}
				op.Outcome.Update = res
				return err
			}
			_, changed, err := w.change(ctx, u, t)
			res.Matched = 1
			if changed {
				res.Modified = 1
			}
			op.Outcome.Update = res
			return err
		})
		if !exists {
			return UpdateResult{}, nil
		}
		if !u.s.Upsert || op.Txn != nil || attempt > 3 || !mongoerr.Is(err, mongoerr.DuplicateKey) || !u.retryUpsert(err) {
			return res, err
		}
	}
}

// retryUpsert says whether a duplicate key of an upsert is on the fields that
// the filter asked for: somebody inserted the document meanwhile, and now the
// update finds it (https://www.mongodb.com/docs/manual/reference/method/db.collection.update/#upsert-with-unique-index).
func (u *updater) retryUpsert(err error) bool {
	pattern := bsonval.Doc(mongoerr.As(err).Extra).Lookup("keyPattern")
	if pattern.Type() != bsonval.TypeDocument {
		return false
	}
	it := pattern.Doc().Iter()
	for it.Next() {
		if u.s.Filter.Lookup(it.KeyStr()).IsMissing() {
			return false
		}
	}
	return true
}

func (u *updater) selection(w *writer) (*selection, error) {
	sel, err := w.selection(&u.c, u.s.Filter, u.s.Sort, u.s.Hint)
	if err != nil {
		return nil, err
	}
	if u.prog.Positional() {
		sel.index = true
		if sel.matcher == nil {
			sel.id = bsonval.Missing
			sel.matcher, err = u.c.filter(sel.filter, 0)
		}
	}
	u.planned = u.planned || sel.matcher != nil
	if u.prog.NeedsContext() {
		u.ec = u.c.context()
	}
	return sel, err
}

// change applies the update to a record and returns the new version, which is valid
// until the next change.
func (w *writer) change(ctx context.Context, u *updater, t target) (doc bsonval.Doc, changed bool, err error) {
	if !t.claimed {
		if err := w.txn.Lock(ctx, w.coll.Table, t.id); err != nil {
			return nil, false, err
		}
	}
	doc, changed, err = u.prog.Apply(u.ec, t.doc, update.Input{ArrayIndex: t.index, Room: w.room.new})
	if err != nil || !changed {
		return t.doc, false, err
	}
	if u.prog.Kind() == update.Operators { // the others' documents may share bytes with something else
		w.room.new = doc
	}
	if len(doc) > bsonval.MaxDocumentBytes {
		return nil, false, mongoerr.New(mongoerr.BSONObjectTooLarge,
			"Resulting document after update is larger than %d", bsonval.MaxDocumentBytes)
	}
	if err := w.validate(ctx, doc, t.doc); err != nil {
		return nil, false, err
	}
	w.as, w.targets = u.as, u.targets
	return doc, true, w.replace(ctx, t.id, t.doc, doc, u.prog.Touches)
}

// upsert inserts the document that the filter and the update describe.
func (w *writer) upsert(ctx context.Context, u *updater) (doc bsonval.Doc, id bsonval.Value, err error) {
	m, err := u.c.filter(u.s.Filter, 0)
	if err != nil {
		return nil, bsonval.Missing, err
	}
	doc, err = u.prog.UpsertDocument(u.ec, m, w.db.ids.next)
	if err != nil {
		return nil, bsonval.Missing, err
	}
	if doc, err = w.db.prepare(w.op, doc); err != nil {
		return nil, bsonval.Missing, err
	}
	if err := w.validate(ctx, doc, nil); err != nil {
		return nil, bsonval.Missing, err
	}
	return doc, doc.Lookup("_id"), w.insert(ctx, doc)
}

// updateMany finds the matching records as of one moment and updates them in
// batches, each record only if it still matches.
func (d *DB) updateMany(ctx context.Context, op *Op, ns Namespace, u *updater) (total UpdateResult, err error) {
	m, err := u.c.filter(u.s.Filter, 0)
	if err != nil {
		return total, err
	}
	ids, err := d.all(ctx, op, ns, &u.c, m, u.s.Hint)
	if err != nil {
		return total, clientError(ctx, err)
	}
	if len(ids) == 0 && u.s.Upsert {
		one := *u
		return d.updateFirst(ctx, op, ns, &one)
	}
	var res UpdateResult // of a batch
	err = d.inBatches(ctx, op, ns, ids, func(w *writer, begin bool, id storage.RecordID) error {
		if begin {
			res, u.ec = UpdateResult{}, u.c.context()
		}
		t, ok, err := w.again(ctx, id, m, u.ec)
		if !ok || err != nil {
			return err
		}
		_, changed, err := w.change(ctx, u, t)
		if err != nil {
			return err
		}
		res.Matched++
		if changed {
			res.Modified++
		}
		return nil
	}, func() { total.Matched += res.Matched; total.Modified += res.Modified })
	return total, err
}

// inBatches runs fn on the records in transactions of at most multiBatch of
// them. After an error of the client's the records before the culprit are done
// one by one, so that they stay changed, as in MongoDB. begin says that a record is the
// first of its transaction, which may be run several times; done is called after its commit.
func (d *DB) inBatches(ctx context.Context, op *Op, ns Namespace, ids []storage.RecordID,
	fn func(w *writer, begin bool, id storage.RecordID) error, done func(),
) error {
	size := multiBatch
	if op.Txn != nil {
		size = len(ids) // all or nothing anyway
	}
	relaxed := *op
	relaxed.NoSync = true
	generation, durable := uint64(0), op.Txn == nil && !op.NoSync
	if durable {
		var err error
		if generation, err = storage.Generation(ctx, d.engine); err != nil {
			return clientError(ctx, err)
		}
	}
	for first := true; len(ids) > 0; first = false {
		n, ran := min(size, len(ids)), 0
		var failed error // of an operation: nothing of the batch has happened
		batch := &relaxed
		if n == len(ids) {
			batch = op // the last commit makes all of them durable
		}
		err := d.write(ctx, batch, ns, hopeful, func(w *writer) error {
			if a, ok := w.txn.(storage.AheadLocker); ok && n > 1 {
				a.LockAhead(w.coll.Table, ids[:n])
			}
			failed = nil
			for ran = 0; ran < n && (ran == 0 || !w.isFull()); ran++ {
				if failed = fn(w, ran == 0, ids[ran]); failed != nil {
					return failed
				}
			}
			return nil
		})
		switch {
		case errors.Is(err, errNoCollection), errors.Is(err, errOtherCollation): // the one with the records is gone
			return nil
		case failed != nil && n > 1 && op.Txn == nil && mongoerr.As(err) != nil && ctx.Err() == nil:
			size = 1
			continue
		case err != nil:
			if !op.NoSync && op.Txn == nil {
				err = errors.Join(err, d.engine.Sync(context.WithoutCancel(ctx)))
			}
			return err
		}
		if len(ids) == ran && !first && durable {
			now, err := storage.Generation(ctx, d.engine)
			if err == nil && now != generation {
				err = errLostBatch
			}
			if err != nil {
				return clientError(ctx, err)
			}
		}
		done()
		ids = ids[ran:]
	}
	return nil
}

// syncSince makes everything durable that is committed, and fails if what was committed in a generation of the storage may not be.
func (d *DB) syncSince(ctx context.Context, generation uint64) error {
	if err := d.engine.Sync(ctx); err != nil {
		return err
	}
	now, err := storage.Generation(ctx, d.engine)
	if err == nil && now != generation {
		err = errLostBatch
	}
	return err
}

// errLostBatch is the error of a command whose last transaction is durable, and not necessarily those before it.
var errLostBatch = mongoerr.New(mongoerr.HostUnreachable, "the connection to the storage was lost while the command was writing")
