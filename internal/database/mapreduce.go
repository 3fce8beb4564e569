package database

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/expr"
	"github.com/archelon-db/archelon/internal/js"
	"github.com/archelon-db/archelon/internal/keystring"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/internal/pipeline"
)

// MapReduceOut says what becomes of the results of a mapReduce.
type MapReduceOut int

// The ways to put results into a collection.
const (
	OutInline  MapReduceOut = iota // return them
	OutReplace                     // they become the collection
	OutMerge                       // a result replaces the document with its key
	OutReduce                      // a result is reduced together with the document with its key
)

// MapReduce is a mapReduce command
// (https://www.mongodb.com/docs/manual/reference/command/mapReduce/).
type MapReduce struct {
	Query                 *FindQuery
	Map, Reduce, Finalize string // sources of functions; Finalize may be empty
	Scope                 bsonval.Doc
	Out                   MapReduceOut
	Target                Namespace
}

// mapReduceLimit bounds the memory of emitted values, as of other blocking
// stages.
const mapReduceLimit = pipeline.DefaultMemoryLimit

// mergeChunk is how many results are handed over together.
const mergeChunk = 100

// mapReducer runs the functions of one mapReduce in one JavaScript session.
type mapReducer struct {
	m      *MapReduce
	js     *js.Session
	c      bsonval.Collator
	groups map[string]*emitted
	size   int
}

// emitted are the values emitted under one key.
type emitted struct {
	key    bsonval.Value
	values []bsonval.Value
}

// MapReduce runs a mapReduce and returns its results in the order of their keys,
// or puts them into the target and returns nil.
func (d *DB) MapReduce(ctx context.Context, op *Op, ns Namespace, m *MapReduce) ([]bsonval.Doc, error) {
	if d.js == nil {
		return nil, expr.ErrNoJavaScript()
	}
	r := &mapReducer{m: m, js: d.js.NewSession(), groups: map[string]*emitted{}}
	r.js.Define("emit", r.emit)
	r.js.SetGlobals(filterOf(m.Scope))
	if err := r.run(ctx, d, op, ns); err != nil {
		return nil, clientError(ctx, err)
	}
	docs, err := r.results(ctx)
	if err != nil || m.Out == OutInline {
		return docs, clientError(ctx, err)
	}
	return nil, clientError(ctx, r.write(ctx, d, op, docs))
}

// run calls map on every document.
func (r *mapReducer) run(ctx context.Context, d *DB, op *Op, ns Namespace) error {
	cur, err := d.Find(ctx, op, ns, r.m.Query)
	if err != nil {
		return err
	}
	defer cur.Close()
	if cur.env != nil {
		r.c = cur.env.Collator
	}
	var buf []byte
	for {
		buf, err = cur.out.Append(ctx, buf[:0])
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := r.js.Call(ctx, r.m.Map, bsonval.Document(buf), nil); err != nil {
			return err
		}
	}
}

// emit is the global function that map calls.
func (r *mapReducer) emit(args []bsonval.Value) (bsonval.Value, error) {
	if len(args) != 2 {
		return bsonval.Missing, mongoerr.New(mongoerr.BadValue, "emit takes 2 args")
	}
	key, value := args[0].Clone(), args[1].Clone()
	if key.IsMissing() {
		key = bsonval.Null
	}
	if value.IsMissing() {
		value = bsonval.Undefined
	}
	r.size += len(key.Bytes()) + len(value.Bytes()) + 64
	if r.size > mapReduceLimit {
		return bsonval.Missing, mongoerr.New(mongoerr.ExceededMemoryLimit,
			"mapReduce emitted more than %d bytes of values", mapReduceLimit)
	}
	id := string(keystring.Append(nil, key, false, r.c))
	g := r.groups[id]
	if g == nil {
		g = &emitted{key: key}
		r.groups[id] = g
	}
	g.values = append(g.values, value)
	return bsonval.Missing, nil
}

// results reduces and finalises every group.
func (r *mapReducer) results(ctx context.Context) ([]bsonval.Doc, error) {
	ids := make([]string, 0, len(r.groups))
	for id := range r.groups {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, strings.Compare)
	docs := make([]bsonval.Doc, 0, len(ids))
	for _, id := range ids {
		g := r.groups[id]
		v, err := r.reduce(ctx, g.key, g.values)
		if err == nil {
			v, err = r.finalize(ctx, g.key, v)
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, bsonval.NewBuilder().Value("_id", g.key).Value("value", v).Build())
	}
	return docs, nil
}

func (r *mapReducer) reduce(ctx context.Context, key bsonval.Value, values []bsonval.Value) (bsonval.Value, error) {
	if len(values) == 1 {
		return values[0], nil
	}
	return r.js.Call(ctx, r.m.Reduce, bsonval.Missing, []bsonval.Value{key, bsonval.ArrayOf(values...)})
}

func (r *mapReducer) finalize(ctx context.Context, key, v bsonval.Value) (bsonval.Value, error) {
	if r.m.Finalize == "" {
		return v, nil
	}
	return r.js.Call(ctx, r.m.Finalize, bsonval.Missing, []bsonval.Value{key, v})
}

// write puts the results into the target collection.
func (r *mapReducer) write(ctx context.Context, d *DB, op *Op, docs []bsonval.Doc) error {
	c, err := op.compilation(d.catalog.Collection(r.m.Target.DB, r.m.Target.Coll), nil, nil)
	if err != nil {
		return err
	}
	t := &data{db: d, op: op, c: c}
	if r.m.Out == OutReplace {
		w, err := t.Out(ctx, pipeline.OutSpec{NS: r.m.Target})
		if err != nil {
			return err
		}
		defer w.Abort()
		for _, doc := range docs {
			if err := w.Write(ctx, doc); err != nil {
				return err
			}
		}
		return w.Commit(ctx)
	}
	ops := make([]pipeline.MergeOp, 0, len(docs))
	for _, doc := range docs {
		id := doc.Lookup("_id")
		filter := bsonval.NewBuilder().StartDoc("_id").Value("$eq", id).End().Build()
		ops = append(ops, pipeline.MergeOp{Filter: filter, Insert: doc, Update: func(old bsonval.Doc) (bsonval.Doc, error) {
			if r.m.Out == OutMerge {
				return doc, nil
			}
			v, err := r.reduce(ctx, id, []bsonval.Value{old.Lookup("value"), doc.Lookup("value")})
			if err == nil {
				v, err = r.finalize(ctx, id, v)
			}
			return bsonval.NewBuilder().Value("_id", id).Value("value", v).Build(), err
		}})
	}
	for some := range slices.Chunk(ops, mergeChunk) {
		if err := t.Merge(ctx, r.m.Target, some); err != nil {
			return err
		}
	}
	return t.Merged(ctx)
}
