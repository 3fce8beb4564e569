package pgfaults

import "go.mongodb.org/mongo-driver/v2/bson"

// seed puts documents from one number up to before another one into a collection.
func (w *sweep) seed(coll string, from, to int) {
	w.t.Helper()
	w.number++
	w.must(append(insertOf(coll, from, to), w.session()...))
}

func docOf(n int) bson.D {
	return bson.D{{Key: "_id", Value: n}, {Key: "s", Value: n % 3}, {Key: "u", Value: n}, {Key: "n", Value: 0}}
}

func insertOf(coll string, from, to int) bson.D {
	docs := bson.A{}
	for n := from; n < to; n++ {
		docs = append(docs, docOf(n))
	}
	return bson.D{{Key: "insert", Value: coll}, {Key: "documents", Value: docs}}
}

func kv(key string, value any) bson.D { return bson.D{{Key: key, Value: value}} }

var inc = kv("$inc", bson.D{{Key: "n", Value: 1}, {Key: "s", Value: 1}})

// updateOf is an update of c with statements of a filter and a change.
func updateOf(statements ...any) bson.D {
	list := bson.A{}
	for i := 0; i < len(statements); i += 2 {
		list = append(list, bson.D{{Key: "q", Value: statements[i]}, {Key: "u", Value: statements[i+1]}})
	}
	return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: list}}
}

func upsertOf(q, u bson.D) bson.D {
	return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: q}, {Key: "u", Value: u}, {Key: "upsert", Value: true}}}}}
}

func multiOf(q, u bson.D) bson.D {
	return bson.D{{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "q", Value: q}, {Key: "u", Value: u}, {Key: "multi", Value: true}}}}}
}

func deleteOf(limit int, filters ...bson.D) bson.D {
	list := bson.A{}
	for _, q := range filters {
		list = append(list, bson.D{{Key: "q", Value: q}, {Key: "limit", Value: limit}})
	}
	return bson.D{{Key: "delete", Value: "c"}, {Key: "deletes", Value: list}}
}

func findAndModifyOf(fields ...bson.E) bson.D {
	return append(bson.D{{Key: "findAndModify", Value: "c"}}, fields...)
}

func aggregateOf(stages ...any) bson.D {
	return bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A(stages)}, {Key: "cursor", Value: bson.D{}}}
}

// bulkWriteOf is a bulkWrite to c and another collection.
func bulkWriteOf() bson.D {
	return bson.D{{Key: "bulkWrite", Value: 1}, {Key: "ops", Value: bson.A{
		bson.D{{Key: "insert", Value: 0}, {Key: "document", Value: docOf(7)}},
		bson.D{{Key: "insert", Value: 0}, {Key: "document", Value: docOf(8)}},
		bson.D{{Key: "update", Value: 0}, {Key: "filter", Value: kv("_id", 1)}, {Key: "updateMods", Value: inc}},
		bson.D{{Key: "insert", Value: 1}, {Key: "document", Value: docOf(1)}},
		bson.D{{Key: "delete", Value: 0}, {Key: "filter", Value: kv("u", 2)}},
	}}, {Key: "nsInfo", Value: bson.A{kv("ns", "d.c"), kv("ns", "d.other")}}, {Key: "$db", Value: "admin"}}
}

func other(w *sweep) { w.must(kv("create", "other"), namespaceExists) }

func many(w *sweep) { w.seed("c", 5, 300) }

// writing is the case of retryable writes.
func writing(name string, cmds ...bson.D) sweepCase {
	return sweepCase{name: name, run: func(w *sweep) (replies []bson.D) {
		for _, cmd := range cmds {
			replies = append(replies, w.write(cmd))
		}
		return replies
	}}
}

// doing is the case of a command that cannot be retried.
func doing(name string, cmd bson.D, may ...int32) sweepCase {
	return sweepCase{name: name, run: func(w *sweep) []bson.D { return []bson.D{w.do(cmd, may...)} }}
}

// reading is the case of a command that reads.
func reading(name string, cmd bson.D) sweepCase {
	return sweepCase{name: name, run: func(w *sweep) []bson.D { return []bson.D{w.read(cmd)} }}
}

// inTransactionCase is the case of a transaction.
func inTransactionCase(name, end string, statements ...bson.D) sweepCase {
	return sweepCase{name: name, run: func(w *sweep) []bson.D { return w.transaction(end, statements...) }}
}

func (c sweepCase) afresh() sweepCase {
	c.fresh = true
	return c
}

func (c sweepCase) after(setup func(*sweep)) sweepCase {
	c.setup = setup
	return c
}

func (c sweepCase) maybeTwice() sweepCase {
	c.again = true
	return c
}

func sweepCases() []sweepCase {
	id, two, missing := kv("_id", 1), kv("u", 2), kv("_id", 9)
	upserted := kv("$set", bson.D{{Key: "s", Value: 9}, {Key: "u", Value: 9}, {Key: "n", Value: 9}})
	zero, one := kv("n", 0), kv("$set", kv("n", 1))
	level := func(cmd bson.D, level string) bson.D {
		return append(cmd, bson.E{Key: "readConcern", Value: kv("level", level)})
	}
	return []sweepCase{
		writing("insert of one", insertOf("c", 5, 6)),
		writing("insert of one into a new table", insertOf("c", 5, 6)).afresh(),
		writing("insert of three", insertOf("c", 5, 8)),
		writing("insert of 300", insertOf("c", 5, 305)).afresh(),
		writing("insert that creates", insertOf("new", 5, 8)),
		writing("update by _id", updateOf(id, inc)),
		writing("update by a filter", updateOf(kv("s", 1), inc)),
		writing("update by a unique key", updateOf(two, inc)),
		writing("replacement", updateOf(id, kv("n", 7))),
		writing("upsert, new", upsertOf(missing, upserted)),
		writing("upsert, there", upsertOf(id, inc)),
		writing("updates", updateOf(id, inc, two, inc, id, inc, kv("_id", 4), inc)),
		writing("delete by _id", deleteOf(1, id)),
		writing("deletes", deleteOf(1, two, id, kv("s", 0))),
		writing("findAndModify, update", findAndModifyOf(bson.E{Key: "query", Value: id}, bson.E{Key: "update", Value: inc}, bson.E{Key: "new", Value: true})),
		writing("findAndModify, sorted", findAndModifyOf(bson.E{Key: "query", Value: bson.D{}}, bson.E{Key: "sort", Value: kv("s", -1)}, bson.E{Key: "update", Value: inc})),
		writing("findAndModify, remove", findAndModifyOf(bson.E{Key: "query", Value: id}, bson.E{Key: "remove", Value: true})),
		writing("findAndModify, upsert", findAndModifyOf(bson.E{Key: "query", Value: missing}, bson.E{Key: "update", Value: upserted}, bson.E{Key: "upsert", Value: true})),
		writing("bulkWrite", bulkWriteOf()).after(other),
		writing("three in turn", insertOf("c", 5, 6), updateOf(kv("_id", 5), inc), deleteOf(1, kv("_id", 5))),
		doing("updateMany", multiOf(zero, one)),
		{name: "updateMany that counts", setup: many, again: true, run: func(w *sweep) []bson.D {
			cmd := multiOf(kv("u", kv("$gte", 0)), kv("$inc", kv("n", 1)))
			reply := w.send(cmd)
			if !isGood(reply) { // it may have happened
				w.failed(cmd, reply)
				w.repeated = true
				w.must(multiOf(bson.D{}, one))
			}
			return []bson.D{normal(reply)}
		}},
		doing("deleteMany", deleteOf(0, zero)),
		doing("$merge", aggregateOf(kv("$merge", kv("into", "other")))).after(other).maybeTwice(),
		doing("$out", aggregateOf(kv("$out", "out"))).maybeTwice(),
		doing("create", kv("create", "new"), namespaceExists),
		doing("create a view", bson.D{{Key: "create", Value: "view"}, {Key: "viewOn", Value: "c"}, {Key: "pipeline", Value: bson.A{}}}, namespaceExists),
		doing("createIndexes", bson.D{{Key: "createIndexes", Value: "c"}, {Key: "indexes", Value: bson.A{
			bson.D{{Key: "key", Value: kv("n", 1)}, {Key: "name", Value: "n_1"}},
			bson.D{{Key: "key", Value: bson.D{{Key: "n", Value: 1}, {Key: "u", Value: 1}}}, {Key: "name", Value: "n_1_u_1"}, {Key: "unique", Value: true}},
		}}}).afresh().maybeTwice(),
		doing("dropIndexes", bson.D{{Key: "dropIndexes", Value: "c"}, {Key: "index", Value: "s_1"}}, indexNotFound),
		doing("drop", kv("drop", "c"), namespaceNotFound),
		doing("renameCollection", bson.D{{Key: "renameCollection", Value: "d.c"}, {Key: "to", Value: "d.new"}, {Key: "$db", Value: "admin"}}, namespaceNotFound),
		doing("renameCollection over another", bson.D{{Key: "renameCollection", Value: "d.c"}, {Key: "to", Value: "d.other"}, {Key: "dropTarget", Value: true}, {Key: "$db", Value: "admin"}}, namespaceNotFound).after(other),
		doing("collMod", bson.D{{Key: "collMod", Value: "c"}, {Key: "validator", Value: kv("n", kv("$gte", 0))}}).afresh(),
		inTransactionCase("transaction", "commitTransaction", insertOf("c", 5, 7), updateOf(id, inc), deleteOf(1, two)),
		inTransactionCase("transaction that reads first", "commitTransaction", kv("find", "c"), updateOf(id, inc), aggregateOf(kv("$count", "n"))),
		inTransactionCase("transaction that creates", "commitTransaction", insertOf("new", 1, 2), updateOf(id, inc)),
		inTransactionCase("transaction that reads", "commitTransaction", kv("find", "c"), kv("find", "c")),
		inTransactionCase("transaction that is aborted", "abortTransaction", insertOf("c", 5, 7), updateOf(id, inc)),
		reading("find by _id", bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: id}}),
		reading("find by an index", bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: kv("s", 1)}}),
		reading("find, majority", level(bson.D{{Key: "find", Value: "c"}, {Key: "filter", Value: id}}, "majority")),
		reading("find, snapshot", level(bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 2}}, "snapshot")),
		reading("find and getMore", bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 100}}).after(many),
		reading("find by an index and getMore", bson.D{{Key: "find", Value: "c"}, {Key: "batchSize", Value: 100}, {Key: "hint", Value: "u_1"}}).after(many),
		reading("aggregate", aggregateOf(kv("$group", bson.D{{Key: "_id", Value: nil}, {Key: "sum", Value: kv("$sum", "$u")}}))),
		reading("count", bson.D{{Key: "count", Value: "c"}, {Key: "query", Value: kv("s", kv("$gt", 0))}}),
		reading("distinct", bson.D{{Key: "distinct", Value: "c"}, {Key: "key", Value: "s"}}),
		{name: "change stream", run: func(w *sweep) []bson.D {
			return w.watch(3, func() { w.write(insertOf("c", 5, 8)) })
		}},
		reading("listCollections", kv("listCollections", 1)),
		reading("listIndexes", kv("listIndexes", "c")),
	}
}
