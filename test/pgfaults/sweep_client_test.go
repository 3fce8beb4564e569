package pgfaults

import (
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/test/harness"
)

// Further codes that clients see.
const (
	namespaceNotFound = 26
	indexNotFound     = 27
	cursorNotFound    = 43
	namespaceExists   = 48
)

// retryableReads are the codes with which drivers send a read again that can reach a client because of PostgreSQL.
var retryableReads = []int32{hostUnreachable, 7, 89, 91, 189, 262, 9001, notWritablePrimary, 11600, 11602, 13435, 13436}

const (
	transient = "TransientTransactionError"
	retryable = "RetryableWriteError"
)

// send sends a command once.
func (w *sweep) send(cmd bson.D, more ...bson.E) bson.Raw {
	w.t.Helper()
	cmd = append(slices.Clone(cmd), more...)
	if !slices.ContainsFunc(cmd, func(e bson.E) bool { return e.Key == "$db" }) {
		cmd = append(cmd, bson.E{Key: "$db", Value: "d"})
	}
	reply, err := w.conn.Call(harness.Msg(0, harness.Doc(w.t, cmd)))
	if err != nil {
		w.t.Fatalf("%v: %v", cmd, err)
	}
	return reply
}

// isGood says whether a reply tells of no error at all.
func isGood(reply bson.Raw) bool {
	return reply.Lookup("ok").AsFloat64() == 1 && isMissing(reply, "writeErrors") && isMissing(reply, "writeConcernError")
}

func isMissing(reply bson.Raw, key string) bool { return reply.Lookup(key).Type == 0 }

func hasLabel(reply bson.Raw, label string) bool {
	labels, _ := reply.Lookup("errorLabels").ArrayOK()
	values, _ := labels.Values()
	return slices.ContainsFunc(values, func(v bson.RawValue) bool { return v.StringValue() == label })
}

// must sends a command that may be sent again until it succeeds, or fails as it may.
func (w *sweep) must(cmd bson.D, may ...int32) bson.Raw {
	w.t.Helper()
	for try := 1; ; try++ {
		reply := w.send(cmd)
		code := harness.Code(reply)
		if isGood(reply) || slices.Contains(may, code) {
			return reply
		}
		if try == 5 {
			w.t.Fatalf("%v: %s", cmd, reply)
		}
	}
}

// failed notes the error of a reply, and says whether it is one of the whole command.
func (w *sweep) failed(cmd bson.D, reply bson.Raw) {
	w.errors = append(w.errors, fmt.Sprintf("%s: %s", cmd[0].Key, text(normal(reply))))
	if !isMissing(reply, "writeErrors") {
		w.fault("a cut is a write error")
	}
}

// session are the fields of a command in the test's session.
func (w *sweep) session() []bson.E {
	return []bson.E{
		{Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: []byte("sweep's session.")}}}},
		{Key: "txnNumber", Value: w.number},
	}
}

// write sends a retryable write.
func (w *sweep) write(cmd bson.D) bson.D {
	w.t.Helper()
	w.number++
	fields := w.session()
	reply := w.send(cmd, fields...)
	defer func() {
		n, _ := reply.Lookup("n").AsInt64OK()
		w.written += int(n)
	}()
	if isGood(reply) {
		return normal(reply)
	}
	w.failed(cmd, reply)
	if !hasLabel(reply, retryable) {
		w.fault("there is no label %s", retryable)
	}
	happened := -1
	if w.inspects {
		happened = w.writesSoFar() - w.written
	}
	reply = w.send(cmd, fields...)
	if !isGood(reply) {
		w.fault("it fails again: %s", text(normal(reply)))
		reply = w.must(append(slices.Clone(cmd), fields...))
	}
	retried, _ := reply.Lookup("retriedStmtIds").ArrayOK()
	ids, _ := retried.Values()
	n := len(ids)
	if !isMissing(reply, "retriedStmtId") {
		n++
	}
	if happened >= 0 && n != happened {
		w.fault("%d writes had happened, of which %d are said to be retried: %s", happened, n, reply)
	}
	for i, id := range ids {
		if int(id.AsInt64()) != i {
			w.fault("not the first statements in order are said to be retried: %s", reply)
			break
		}
	}
	return normal(reply)
}

// do sends a command that drivers do not send again, and sends it again after an error: may is what it may then fail with.
func (w *sweep) do(cmd bson.D, may ...int32) bson.D {
	w.t.Helper()
	reply := w.send(cmd)
	if isGood(reply) {
		return normal(reply)
	}
	w.failed(cmd, reply)
	if code := harness.Code(reply); code != hostUnreachable && isMissing(reply, "writeConcernError") {
		w.fault("the code is %d", code)
	}
	if hasLabel(reply, retryable) || hasLabel(reply, transient) {
		w.fault("there is a label")
	}
	w.repeated = true
	reply = w.send(cmd)
	if !isGood(reply) && !slices.Contains(may, harness.Code(reply)) {
		w.fault("it fails again: %s", text(normal(reply)))
		reply = w.must(cmd, may...)
	}
	return normal(reply)
}

// read sends a command that reads, and gets all of what its cursor has.
func (w *sweep) read(cmd bson.D) bson.D {
	w.t.Helper()
	reply := w.readOnce(cmd)
	cursor, ok := reply.Lookup("cursor").DocumentOK()
	if !ok {
		return normal(reply)
	}
	var docs bson.A
	add := func(cursor bson.Raw, batch string) {
		list, _ := cursor.Lookup(batch).ArrayOK()
		values, _ := list.Values()
		for _, v := range values {
			docs = append(docs, normal(v.Document()))
		}
	}
	add(cursor, "firstBatch")
	for id := cursor.Lookup("id").AsInt64(); id != 0; {
		more := bson.D{{Key: "getMore", Value: id}, {Key: "collection", Value: "c"}, {Key: "batchSize", Value: 100}}
		reply := w.send(more)
		if !isGood(reply) { // drivers report it
			w.failed(more, reply)
			w.checkRead(reply)
			reply = w.send(more)
			if !isGood(reply) {
				if code := harness.Code(reply); code != cursorNotFound && !slices.Contains(retryableReads, code) {
					w.fault("and then %s", reply)
				}
				return w.read(cmd)
			}
		}
		add(reply.Lookup("cursor").Document(), "nextBatch")
		id = reply.Lookup("cursor", "id").AsInt64()
	}
	return bson.D{{Key: "all", Value: docs}}
}

func (w *sweep) checkRead(reply bson.Raw) {
	if !slices.Contains(retryableReads, harness.Code(reply)) {
		w.fault("drivers do not send a read again with such an error")
	}
}

// readOnce sends a command that drivers send again once.
func (w *sweep) readOnce(cmd bson.D) bson.Raw {
	w.t.Helper()
	reply := w.send(cmd)
	if isGood(reply) {
		return reply
	}
	w.failed(cmd, reply)
	w.checkRead(reply)
	if reply = w.send(cmd); !isGood(reply) {
		w.fault("it fails again: %s", text(normal(reply)))
		reply = w.must(cmd)
	}
	return reply
}

// transaction runs statements and ends as a driver's withTransaction does.
func (w *sweep) transaction(end string, statements ...bson.D) (replies []bson.D) {
	w.t.Helper()
	if len(w.errors) > maxAttempts {
		w.fault("there is no end to it")
		return nil
	}
	if len(w.errors) > 1 { // PostgreSQL keeps the locks of a connection until it hears of its end
		<-time.After(10 * time.Millisecond)
	}
	w.number++
	in := append(w.session(), bson.E{Key: "autocommit", Value: false})
	for i, cmd := range statements {
		more := in
		if i == 0 {
			more = append(slices.Clone(in), bson.E{Key: "startTransaction", Value: true})
		}
		reply := w.send(cmd, more...)
		if isGood(reply) {
			replies = append(replies, normal(reply))
			continue
		}
		w.failed(cmd, reply)
		if !hasLabel(reply, transient) {
			w.fault("there is no label %s", transient)
		}
		w.send(bson.D{{Key: "abortTransaction", Value: 1}, {Key: "$db", Value: "admin"}}, in...)
		return w.transaction(end, statements...)
	}
	ending := bson.D{{Key: end, Value: 1}, {Key: "$db", Value: "admin"}}
	for tries := 1; ; tries++ {
		reply := w.send(ending, in...)
		if isGood(reply) {
			return replies
		}
		w.failed(ending, reply)
		switch {
		case hasLabel(reply, retryable) && tries == 1:
		case hasLabel(reply, transient) && end == "commitTransaction":
			return w.transaction(end, statements...)
		case end == "abortTransaction" && tries == 2:
			return replies // drivers do not report it
		default:
			w.fault("it is not said that it may be sent again, or it is again")
			return nil
		}
	}
}

// watch reads some events of a stream on c while change writes, as drivers do, and returns the keys of their documents.
func (w *sweep) watch(events int, change func()) []bson.D {
	w.t.Helper()
	var resume bson.D // where to go on
	open := func() bson.Raw {
		cursor := w.readOnce(aggregateOf(bson.D{{Key: "$changeStream", Value: resume}})).Lookup("cursor").Document()
		resume = bson.D{{Key: "resumeAfter", Value: cursor.Lookup("postBatchResumeToken").Document()}}
		return cursor
	}
	resume = bson.D{}
	cursor, batch := open(), "firstBatch"
	change()
	var keys []bson.D
	for try := 0; try < maxAttempts; try++ {
		list, _ := cursor.Lookup(batch).ArrayOK()
		values, _ := list.Values()
		for _, v := range values {
			keys = append(keys, normal(v.Document().Lookup("documentKey").Document()))
			resume = bson.D{{Key: "resumeAfter", Value: v.Document().Lookup("_id").Document()}}
		}
		if len(keys) >= events {
			break
		}
		more := bson.D{{Key: "getMore", Value: cursor.Lookup("id").AsInt64()}, {Key: "collection", Value: "c"}}
		reply := w.send(more)
		if isGood(reply) {
			cursor, batch = reply.Lookup("cursor").Document(), "nextBatch"
			continue
		}
		w.failed(more, reply)
		if !hasLabel(reply, "ResumableChangeStreamError") {
			w.fault("there is no label ResumableChangeStreamError")
		}
		cursor, batch = open(), "firstBatch"
	}
	w.must(bson.D{{Key: "killCursors", Value: "c"}, {Key: "cursors", Value: bson.A{cursor.Lookup("id").AsInt64()}}})
	return keys
}
