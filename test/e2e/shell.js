// End-to-end check with mongosh: mongosh --quiet mongodb://host:port/ shell.js
"use strict";
const assert = require("assert");
const name = "e2e_shell";
const d = db.getSiblingDB(name);
let failed = 0;

function check(what, run) {
  try {
    run();
    print("ok " + what);
  } catch (err) {
    failed++;
    print("FAILED " + what + ": " + (err.stack || err));
  }
}

// same compares values by their canonical Extended JSON, so that types count.
function same(got, want) {
  assert.strictEqual(EJSON.stringify(got, { relaxed: false }), EJSON.stringify(want, { relaxed: false }));
}

function fails(code, run) {
  try {
    run();
  } catch (err) {
    const got = err.code ?? err.writeErrors?.[0]?.code;
    assert.strictEqual(got, code, "code " + got + " (" + err.message + ") instead of " + code);
    return err;
  }
  assert.fail("no error, want code " + code);
}

d.dropDatabase();

check("shell basics", () => {
  same(db.adminCommand({ ping: 1 }).ok, 1);
  assert.ok(db.version().startsWith("8.2."), db.version());
  assert.ok(db.hello().isWritablePrimary);
  assert.ok(db.serverStatus().uptime >= 0);
  assert.ok(db.serverBuildInfo().bits === 64);
  assert.ok(Array.isArray(db.adminCommand({ listDatabases: 1 }).databases));
  assert.ok(db.getMongo().getDBNames().includes("admin"));
});

check("insert and read", () => {
  same(d.things.insertOne({ _id: 1, a: NumberInt(5), when: ISODate("2024-05-06T07:08:09.010Z"), price: NumberDecimal("1.50") }).acknowledged, true);
  same(d.things.insertMany([{ _id: 2, a: NumberLong("9007199254740993") }, { _id: 3, a: Double(1) }]).insertedIds, { 0: 2, 1: 3 });
  same(d.things.findOne({ _id: 1 }).price, NumberDecimal("1.50"));
  same(d.things.find({ a: { $type: "long" } }).toArray().length, 1);
  same(d.things.find().sort({ _id: -1 }).toArray().map((x) => x._id), [3, 2, 1]);
  same(d.things.countDocuments({}), 3);
  assert.ok(d.getCollectionNames().includes("things"));
});

check("update and delete", () => {
  same(d.things.updateOne({ _id: 1 }, { $inc: { a: 1 } }).modifiedCount, 1);
  same(d.things.findOne({ _id: 1 }).a, 6);
  same(d.things.findAndModify({ query: { _id: 3 }, update: { $set: { z: 1 } }, new: true }).z, 1);
  same(d.things.deleteOne({ _id: 3 }).deletedCount, 1);
  const bulk = d.things.initializeUnorderedBulkOp();
  bulk.insert({ _id: 30 });
  bulk.find({ _id: 30 }).upsert().updateOne({ $set: { b: true } });
  same(bulk.execute().insertedCount, 1);
});

check("indexes and explain", () => {
  d.idx.insertMany(Array.from({ length: 200 }, (_, i) => ({ n: i, k: i % 10 })));
  same(d.idx.createIndex({ k: 1 }), "k_1");
  assert.ok(JSON.stringify(d.idx.find({ k: 3 }).explain()).includes("IXSCAN"));
  same(d.idx.getIndexes().map((i) => i.name), ["_id_", "k_1"]);
  same(d.idx.find({ k: 3 }).hint("k_1").itcount(), 20);
  same(d.idx.createIndex({ n: 1 }, { unique: true }), "n_1");
  const err = fails(11000, () => d.idx.insertOne({ n: 5 }));
  assert.ok(err.message.includes("E11000 duplicate key error"), err.message);
  d.idx.dropIndex("k_1");
  same(d.idx.validate().valid, true);
  assert.ok(d.idx.stats().count === 200);
});

check("aggregate and batches", () => {
  d.many.insertMany(Array.from({ length: 2500 }, (_, i) => ({ _id: i, g: i % 5 })));
  same(d.many.find().batchSize(100).toArray().length, 2500);
  same(d.many.aggregate([{ $group: { _id: "$g", n: { $sum: 1 } } }, { $sort: { _id: 1 } }]).toArray(), [0, 1, 2, 3, 4].map((g) => ({ _id: g, n: 500 })));
  same(d.many.distinct("g"), [0, 1, 2, 3, 4]);
});

check("errors", () => {
  fails(59, () => d.runCommand({ nonsense: 1 }));
  fails(2, () => d.many.find({ a: { $nope: 1 } }).toArray());
  d.createCollection("there");
  same(d.createCollection("there").ok, 1); // the same options again are no error
  fails(48, () => d.createCollection("there", { validator: { n: 1 } }));
});

check("transactions", () => {
  d.txn.insertMany([{ _id: "a", n: 10 }, { _id: "b", n: 0 }]);
  const session = db.getMongo().startSession();
  const c = session.getDatabase(name).txn;
  session.startTransaction();
  c.updateOne({ _id: "a" }, { $inc: { n: -3 } });
  c.updateOne({ _id: "b" }, { $inc: { n: 3 } });
  same(c.findOne({ _id: "b" }).n, 3);
  same(d.txn.findOne({ _id: "b" }).n, 0);
  session.commitTransaction();
  same(d.txn.findOne({ _id: "b" }).n, 3);
  session.startTransaction();
  c.insertOne({ _id: "gone" });
  session.abortTransaction();
  same(d.txn.findOne({ _id: "gone" }), null);
  session.endSession();
});

check("change streams", () => {
  d.watched.insertOne({ _id: 0 });
  const stream = d.watched.watch([], { fullDocument: "updateLookup" });
  same(stream.tryNext(), null);
  d.watched.insertOne({ _id: 1, n: 1 });
  d.watched.updateOne({ _id: 1 }, { $inc: { n: 1 } });
  same(stream.next().fullDocument, { _id: 1, n: 1 });
  const update = stream.next();
  same([update.operationType, update.fullDocument], ["update", { _id: 1, n: 2 }]);
  stream.close();
  d.watched.deleteOne({ _id: 1 });
  const resumed = d.watch([], { resumeAfter: update._id });
  same(resumed.next().operationType, "delete");
  resumed.close();
});

check("the oplog", () => {
  const last = db.getSiblingDB("local").oplog.rs.find({ ns: name + ".watched" }).sort({ $natural: -1 }).limit(1).next();
  same([last.op, last.o], ["d", { _id: 1 }]);
  const behind = db.getSiblingDB("local").oplog.rs.find({ ts: { $gte: last.ts } }).tailable({ awaitData: true });
  same(behind.next().ts, last.ts);
  d.watched.insertOne({ _id: "tailed" });
  same(behind.next().o, { _id: "tailed" });
  assert.ok(rs.status().members[0].stateStr === "PRIMARY");
  assert.ok(db.getReplicationInfo().logSizeMB > 0);
});

check("show commands", () => {
  assert.ok(d.getCollectionInfos({ name: "there" })[0].info.uuid);
  assert.ok(d.stats().collections >= 4);
  same(d.there.drop(), true);
  same(d.dropDatabase().ok, 1);
  assert.ok(!db.getMongo().getDBNames().includes(name));
});

if (failed > 0) {
  print(failed + " checks failed");
  process.exit(1);
}
