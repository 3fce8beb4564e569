package pgfaults

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// volatile are the fields of replies and of events that are different each time.
var volatile = []string{
	"operationTime", "$clusterTime", "opTime", "electionId", "retriedStmtIds", "retriedStmtId", "recoveryToken", "id", "uuid", "ui",
	"collectionUUID", "clusterTime", "wallTime", "lsid", "txnNumber", "info", "dropTarget",
}

// normal is a document without what is different each time.
func normal(raw bson.Raw) bson.D {
	var d bson.D
	if err := bson.Unmarshal(raw, &d); err != nil {
		return bson.D{{Key: "error", Value: err.Error()}}
	}
	return without(d)
}

func without(d bson.D) bson.D {
	out := bson.D{}
	for _, e := range d {
		if slices.Contains(volatile, e.Key) {
			continue
		}
		switch v := e.Value.(type) {
		case bson.D:
			e.Value = without(v)
		case bson.A:
			list := bson.A{}
			for _, x := range v {
				if doc, ok := x.(bson.D); ok {
					x = without(doc)
				}
				list = append(list, x)
			}
			e.Value = list
		}
		out = append(out, e)
	}
	return out
}

func text(d bson.D) string {
	b, err := bson.MarshalExtJSON(d, false, false)
	if err != nil {
		return err.Error()
	}
	return temporary.ReplaceAllString(string(b), "tmp.agg_out")
}

// temporary are the names of the collections that $out writes.
var temporary = regexp.MustCompile(`tmp\.agg_out\.\d+`)

// all is everything that the cursor of a command gives.
func (w *sweep) all(cmd bson.D) (docs []bson.Raw) {
	w.t.Helper()
	cursor := w.must(cmd).Lookup("cursor").Document()
	if cursor.Lookup("id").AsInt64() != 0 {
		w.t.Fatalf("%v: more than a batch", cmd)
	}
	list, err := cursor.Lookup("firstBatch").Array().Values()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range list {
		docs = append(docs, v.Document())
	}
	return docs
}

// names are the names of all collections and views.
func (w *sweep) names() (names []string) {
	w.t.Helper()
	for _, c := range w.all(kv("listCollections", 1)) {
		names = append(names, c.Lookup("name").StringValue())
	}
	slices.Sort(names)
	return names
}

// events is what the stream of the database has told since the run began, up to now.
func (w *sweep) events() (events []string) {
	w.t.Helper()
	w.mark++
	// Sent again, it changes nothing.
	w.must(bson.D{{Key: "update", Value: "marks"}, {Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: bson.D{{Key: "_id", Value: w.mark}}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: 1}}}}}, {Key: "upsert", Value: true},
	}}}})
	reply := w.must(bson.D{{Key: "aggregate", Value: 1}, {Key: "cursor", Value: bson.D{{Key: "batchSize", Value: 10000}}}, {Key: "pipeline", Value: bson.A{
		bson.D{{Key: "$changeStream", Value: bson.D{{Key: "startAtOperationTime", Value: w.began}, {Key: "showExpandedEvents", Value: true}}}},
	}}})
	cursor := reply.Lookup("cursor").Document()
	id, batch := cursor.Lookup("id").AsInt64(), cursor.Lookup("firstBatch").Array()
	defer func() {
		w.must(bson.D{{Key: "killCursors", Value: "$cmd.aggregate"}, {Key: "cursors", Value: bson.A{id}}})
	}()
	for range 10 {
		list, err := batch.Values()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, v := range list {
			e := normal(v.Document())[1:] // without the token
			if v.Document().Lookup("ns", "coll").StringValue() != "marks" {
				events = append(events, text(e))
			} else if v.Document().Lookup("documentKey", "_id").AsInt64() == int64(w.mark) {
				return events
			}
		}
		batch = w.must(bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "$cmd.aggregate"}, {Key: "batchSize", Value: 10000}}).Lookup("cursor", "nextBatch").Array()
	}
	w.fault("the stream does not tell of a later write")
	return events
}

// writesSoFar is the number of documents written since the run began, as the stream tells it.
func (w *sweep) writesSoFar() (n int) {
	w.t.Helper()
	for _, e := range w.events() {
		for _, kind := range []string{"insert", "update", "replace", "delete"} {
			if strings.HasPrefix(e, `{"operationType":"`+kind+`"`) {
				n++
			}
		}
	}
	return n
}

// state is everything that is there, as text, and as each index tells it. After that it is written, which nobody must hinder.
func (w *sweep) state() string {
	w.t.Helper()
	var out strings.Builder
	for _, c := range w.all(kv("listCollections", 1)) {
		fmt.Fprintln(&out, text(normal(c)))
		name := c.Lookup("name").StringValue()
		if name == "marks" || strings.HasPrefix(name, "system.") || c.Lookup("type").StringValue() == "view" {
			continue
		}
		docs := w.docs(name, "_id_")
		for _, index := range w.all(bson.D{{Key: "listIndexes", Value: name}}) {
			fmt.Fprintln(&out, name, text(normal(index)))
			if by := index.Lookup("name").StringValue(); by != "_id_" {
				if found := w.docs(name, by); !slices.Equal(found, docs) {
					w.fault("%s has in %s\n%s", name, by, strings.Join(found, "\n"))
				}
			}
		}
		fmt.Fprintln(&out, strings.Join(docs, "\n"))
		if n := w.must(bson.D{{Key: "count", Value: name}}).Lookup("n").AsInt64(); n != int64(len(docs)) {
			w.fault("%s has %d documents, and %d are counted", name, len(docs), n)
		}
		v := w.must(bson.D{{Key: "validate", Value: name}, {Key: "full", Value: true}})
		if warnings, _ := v.Lookup("warnings").Array().Values(); !v.Lookup("valid").Boolean() || len(warnings) > 0 {
			w.fault("validate: %s", v)
		}
		w.touch(name, len(docs))
	}
	return out.String()
}

// docs are the documents of a collection that are found through an index, in the order of their text.
func (w *sweep) docs(coll, index string) (docs []string) {
	w.t.Helper()
	for _, d := range w.all(bson.D{{Key: "find", Value: coll}, {Key: "hint", Value: index}, {Key: "batchSize", Value: 10000}}) {
		docs = append(docs, d.String())
	}
	slices.Sort(docs)
	return docs
}

// touch writes all documents of a collection.
func (w *sweep) touch(coll string, n int) {
	w.t.Helper()
	reply := w.send(bson.D{{Key: "update", Value: coll}, {Key: "maxTimeMS", Value: unhindered}, {Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: bson.D{}}, {Key: "u", Value: bson.D{{Key: "$set", Value: bson.D{{Key: "touched", Value: w.mark}}}}}, {Key: "multi", Value: true},
	}}}})
	if !isGood(reply) || reply.Lookup("nModified").AsInt64() != int64(n) {
		w.fault("writing all %d documents of %s: %s", n, coll, reply)
	}
}

// checkQuiet checks that nothing is left of all runs in PostgreSQL.
func (w *sweep) checkQuiet() {
	w.t.Helper()
	w.must(bson.D{{Key: "setParameter", Value: 1}, {Key: "minSnapshotHistoryWindowInSeconds", Value: 0}, {Key: "$db", Value: "admin"}}) // they hold connections
	for deadline := time.Now().Add(recovery); ; <-time.After(50 * time.Millisecond) {
		left := sql(w.t, w.url, "SELECT pid, state, xact_start, left(query, 80) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		rows := strings.Split(left, "\n")
		if len(rows) <= sweepConns && !slices.ContainsFunc(rows, func(r string) bool { return !strings.Contains(r, "|idle|") }) {
			break
		}
		if time.Now().After(deadline) {
			w.t.Errorf("connections are left:\n%s", left)
			break
		}
	}
	if open := w.must(bson.D{{Key: "serverStatus", Value: 1}}).Lookup("transactions", "currentOpen").AsInt64(); open != 0 {
		w.t.Errorf("%d transactions are open", open)
	}
}
