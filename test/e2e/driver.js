// End-to-end check with the Node.js driver: node driver.js mongodb://host:port/
"use strict";
const assert = require("node:assert/strict");
const m = require("mongodb");

const uri = process.argv[2];
if (!uri) {
  console.error("usage: node driver.js mongodb://host:port/");
  process.exit(2);
}

const checks = [];
const check = (name, run) => checks.push({ name, run });

// fails asserts that a promise is rejected with a server error of this code, and returns the error.
async function fails(code, promise) {
  try {
    await promise;
  } catch (err) {
    assert.equal(err.code, code, `code ${err.code} (${err.message}) instead of ${code}`);
    return err;
  }
  assert.fail(`no error, want code ${code}`);
}

// eventually waits for a condition.
async function eventually(what, condition) {
  for (const end = Date.now() + 5000; Date.now() < end; await new Promise((r) => setTimeout(r, 20))) {
    if (await condition()) return;
  }
  assert.fail(`${what} did not come true`);
}

check("topology and diagnostics", async ({ client, db }) => {
  const admin = client.db("admin");
  const hello = await admin.command({ hello: 1 });
  assert.equal(hello.isWritablePrimary, true);
  assert.equal(hello.maxBsonObjectSize, 16 * 1024 * 1024);
  assert.ok(hello.maxWireVersion >= 25);
  const info = await admin.command({ buildInfo: 1 });
  assert.match(info.version, /^8\.2\.\d+$/);
  const status = await admin.command({ serverStatus: 1 });
  assert.ok(status.connections.current >= 1);
  assert.ok(status.uptime >= 0);
  assert.equal((await db.command({ ping: 1 })).ok, 1);
});

check("create, read, update, delete", async ({ db }) => {
  const c = db.collection("crud");
  const one = await c.insertOne({ name: "ada", n: 1 });
  assert.ok(one.insertedId instanceof m.ObjectId);
  assert.deepEqual(await c.findOne({ _id: one.insertedId }), { _id: one.insertedId, name: "ada", n: 1 });
  const many = await c.insertMany([1, 2, 3, 4].map((n) => ({ _id: n, n, tags: ["t" + n, "all"] })));
  assert.equal(many.insertedCount, 4);
  const found = await c.find({ n: { $gte: 2 }, tags: "all" }, { projection: { tags: 0 } }).sort({ n: -1 }).skip(1).limit(2).toArray();
  assert.deepEqual(found, [{ _id: 3, n: 3 }, { _id: 2, n: 2 }]);
  let res = await c.updateOne({ _id: 1 }, { $inc: { n: 10 }, $push: { tags: "new" } });
  assert.deepEqual([res.matchedCount, res.modifiedCount, res.upsertedCount], [1, 1, 0]);
  assert.deepEqual(await c.findOne({ _id: 1 }), { _id: 1, n: 11, tags: ["t1", "all", "new"] });
  res = await c.updateMany({ tags: "all" }, { $set: { seen: true } });
  assert.deepEqual([res.matchedCount, res.modifiedCount], [4, 4]);
  res = await c.updateMany({ tags: "all" }, { $set: { seen: true } });
  assert.deepEqual([res.matchedCount, res.modifiedCount], [4, 0]);
  res = await c.updateOne({ _id: "up" }, { $setOnInsert: { made: true } }, { upsert: true });
  assert.equal(res.upsertedId, "up");
  res = await c.replaceOne({ _id: 2 }, { replaced: true });
  assert.equal(res.modifiedCount, 1);
  assert.deepEqual(await c.findOne({ _id: 2 }), { _id: 2, replaced: true });
  res = await c.updateOne({ _id: 3 }, [{ $set: { double: { $multiply: ["$n", 2] } } }]);
  assert.equal(res.modifiedCount, 1);
  assert.equal((await c.findOne({ _id: 3 })).double, 6);
  assert.equal((await c.deleteOne({ _id: 4 })).deletedCount, 1);
  assert.equal((await c.deleteMany({ seen: true })).deletedCount, 2);
  assert.equal(await c.countDocuments(), 3);
  assert.equal(await c.estimatedDocumentCount(), 3);
});

check("types round trip", async ({ db }) => {
  const c = db.collection("types");
  const doc = {
    _id: new m.ObjectId(), date: new Date(-1234567890123), decimal: m.Decimal128.fromString("1234567890.123456789000"),
    infinite: m.Decimal128.fromString("-Infinity"), binary: new m.Binary(Buffer.from([0, 1, 255]), 5), uuid: new m.UUID(),
    long: m.Long.fromString("9007199254740993"), int: new m.Int32(7), double: new m.Double(7), text: "Größe 😀 \u0000 é", empty: "",
    regex: new m.BSONRegExp("^a.b$", "im"), code: new m.Code("return 1"), min: new m.MinKey(), max: new m.MaxKey(),
    stamp: new m.Timestamp({ t: 5, i: 6 }), nothing: null, yes: true, nested: { a: [{ b: [] }, [], [[1]]], "": { x: {} } },
  };
  await c.insertOne(doc);
  const sent = m.BSON.serialize(doc);
  const raw = await c.findOne({ _id: doc._id }, { raw: true });
  assert.deepEqual(Buffer.from(m.BSON.serialize(m.BSON.deserialize(raw, { promoteValues: false, bsonRegExp: true }))), Buffer.from(sent));
  for (const [field, alias] of [["date", "date"], ["decimal", "decimal"], ["long", "long"], ["int", "int"], ["double", "double"],
    ["binary", "binData"], ["regex", "regex"], ["code", "javascript"], ["min", "minKey"], ["max", "maxKey"], ["stamp", "timestamp"]]) {
    assert.equal(await c.countDocuments({ [field]: { $type: alias } }), 1, `${field} is not a ${alias}`);
  }
});

check("bulk write", async ({ db }) => {
  const c = db.collection("bulk");
  const res = await c.bulkWrite([
    { insertOne: { document: { _id: 1, v: 1 } } }, { insertOne: { document: { _id: 2, v: 2 } } },
    { updateOne: { filter: { _id: 1 }, update: { $set: { v: 10 } } } }, { updateMany: { filter: {}, update: { $inc: { w: 1 } } } },
    { replaceOne: { filter: { _id: 3 }, replacement: { v: 3 }, upsert: true } }, { deleteOne: { filter: { _id: 2 } } },
  ]);
  assert.deepEqual([res.insertedCount, res.matchedCount, res.modifiedCount, res.upsertedCount, res.deletedCount], [2, 3, 3, 1, 1]);
  assert.deepEqual(await c.find().sort({ _id: 1 }).toArray(), [{ _id: 1, v: 10, w: 1 }, { _id: 3, v: 3 }]);
  const ordered = await fails(11000, c.insertMany([{ _id: 10 }, { _id: 1 }, { _id: 11 }]));
  assert.equal(ordered.insertedCount ?? ordered.result.insertedCount, 1);
  assert.equal(await c.countDocuments({ _id: 11 }), 0);
  const loose = await fails(11000, c.insertMany([{ _id: 12 }, { _id: 1 }, { _id: 13 }], { ordered: false }));
  assert.deepEqual([].concat(loose.writeErrors).map((e) => e.index), [1]);
  assert.equal(await c.countDocuments({ _id: { $in: [12, 13] } }), 2);
});

check("indexes", async ({ db }) => {
  const c = db.collection("indexes");
  await c.insertMany(Array.from({ length: 500 }, (_, i) => ({ _id: i, email: `u${i}@x`, group: i % 50, at: i })));
  assert.equal(await c.createIndex({ email: 1 }, { unique: true }), "email_1");
  assert.equal(await c.createIndex({ group: 1, at: -1 }), "group_1_at_-1");
  const err = await fails(11000, c.insertOne({ email: "u7@x" }));
  assert.deepEqual(err.keyPattern, { email: 1 });
  assert.deepEqual(err.keyValue, { email: "u7@x" });
  assert.match(err.message, /E11000 duplicate key error collection: .*indexes index: email_1 dup key: { email: "u7@x" }/);
  await fails(11000, c.updateOne({ _id: 1 }, { $set: { email: "u2@x" } }));
  assert.deepEqual((await c.indexes()).map((i) => i.name), ["_id_", "email_1", "group_1_at_-1"]);
  const stages = JSON.stringify(await c.find({ group: 7 }).sort({ at: -1 }).explain("executionStats"));
  assert.match(stages, /"IXSCAN"/);
  assert.doesNotMatch(stages, /"COLLSCAN"|"SORT"/);
  assert.match(JSON.stringify(await c.find({ at: 7 }).explain()), /"COLLSCAN"/);
  assert.deepEqual((await c.find({ group: 7 }).sort({ at: -1 }).toArray()).map((d) => d.at), [457, 407, 357, 307, 257, 207, 157, 107, 57, 7]);
  await fails(86, c.createIndex({ email: 1 }, { name: "email_1", sparse: true }));
  await fails(27, c.dropIndex("nope"));
  await c.dropIndex("email_1");
  await c.insertOne({ email: "u7@x" });
  await fails(11000, c.createIndex({ email: 1 }, { unique: true }));
});

check("cursors", async ({ client, db }) => {
  const c = db.collection("cursors");
  const total = 100_000;
  const inserted = await c.insertMany(Array.from({ length: total }, (_, i) => ({ _id: i, pad: "x".repeat(i % 50) })), { ordered: false });
  assert.equal(inserted.insertedCount, total);
  let n = 0;
  for await (const doc of c.find({}, { batchSize: 1777 }).sort({ _id: 1 })) assert.equal(doc._id, n++);
  assert.equal(n, total);
  const first = await db.command({ find: "cursors", batchSize: 10 });
  assert.equal(first.cursor.firstBatch.length, 10);
  const id = m.Long.fromValue(first.cursor.id);
  const more = await db.command({ getMore: id, collection: "cursors", batchSize: 5 });
  assert.equal(more.cursor.nextBatch.length, 5);
  const killed = await db.command({ killCursors: "cursors", cursors: [id] });
  assert.equal(killed.cursorsKilled.length, 1);
  await fails(43, db.command({ getMore: id, collection: "cursors" }));
  const cursor = c.find({}, { batchSize: 2 });
  await cursor.next();
  await cursor.close();
  assert.equal((await db.command({ find: "cursors", limit: 3, singleBatch: true })).cursor.id.toString(), "0");
});

check("aggregation", async ({ db }) => {
  const orders = db.collection("orders");
  await db.collection("people").insertMany([{ _id: 1, name: "ada" }, { _id: 2, name: "bo" }]);
  await orders.insertMany([
    { _id: 1, who: 1, items: [{ sku: "a", n: 2 }, { sku: "b", n: 1 }] }, { _id: 2, who: 2, items: [{ sku: "a", n: 5 }] },
    { _id: 3, who: 1, items: [] },
  ]);
  assert.deepEqual(await orders.aggregate([
    { $unwind: "$items" }, { $group: { _id: "$items.sku", n: { $sum: "$items.n" }, who: { $addToSet: "$who" } } }, { $sort: { _id: 1 } },
    { $project: { n: 1, people: { $size: "$who" } } },
  ]).toArray(), [{ _id: "a", n: 7, people: 2 }, { _id: "b", n: 1, people: 1 }]);
  assert.deepEqual(await orders.aggregate([
    { $match: { _id: 2 } }, { $lookup: { from: "people", localField: "who", foreignField: "_id", as: "who" } }, { $project: { who: 1 } },
  ]).toArray(), [{ _id: 2, who: [{ _id: 2, name: "bo" }] }]);
  assert.deepEqual(await orders.aggregate([
    { $facet: { count: [{ $count: "n" }], last: [{ $sort: { _id: -1 } }, { $limit: 1 }, { $project: { _id: 1 } }] } },
  ]).toArray(), [{ count: [{ n: 3 }], last: [{ _id: 3 }] }]);
  await orders.aggregate([{ $group: { _id: "$who", orders: { $sum: 1 } } }, { $out: "per_person" }]).toArray();
  assert.deepEqual(await db.collection("per_person").find().sort({ _id: 1 }).toArray(), [{ _id: 1, orders: 2 }, { _id: 2, orders: 1 }]);
  assert.deepEqual(await orders.distinct("items.sku"), ["a", "b"]);
});

check("find and modify", async ({ db }) => {
  const c = db.collection("fam");
  await c.insertMany([{ _id: 1, n: 1 }, { _id: 2, n: 2 }]);
  assert.deepEqual(await c.findOneAndUpdate({ _id: 1 }, { $inc: { n: 5 } }), { _id: 1, n: 1 });
  assert.deepEqual(await c.findOneAndUpdate({ _id: 1 }, { $inc: { n: 5 } }, { returnDocument: "after" }), { _id: 1, n: 11 });
  assert.deepEqual(await c.findOneAndUpdate({ _id: 9 }, { $set: { n: 9 } }, { upsert: true, returnDocument: "after" }), { _id: 9, n: 9 });
  assert.deepEqual(await c.findOneAndReplace({ n: 9 }, { m: 1 }, { returnDocument: "after" }), { _id: 9, m: 1 });
  assert.deepEqual(await c.findOneAndDelete({}, { sort: { n: -1 } }), { _id: 1, n: 11 });
  assert.equal(await c.findOneAndDelete({ _id: "none" }), null);
});

check("sessions", async ({ client, db }) => {
  const session = client.startSession({ causalConsistency: true });
  const c = db.collection("sessions");
  await c.insertOne({ _id: 1 }, { session });
  assert.deepEqual(await c.findOne({}, { session }), { _id: 1 });
  await session.endSession();
  const stray = await client.db("admin").command({ startSession: 1 });
  assert.equal(stray.timeoutMinutes, 30);
  assert.equal((await client.db("admin").command({ endSessions: [stray.id] })).ok, 1);
});

check("transactions", async ({ client, db }) => {
  const c = db.collection("txn");
  await c.insertMany([{ _id: "a", n: 10 }, { _id: "b", n: 0 }]);
  const session = client.startSession();
  await session.withTransaction(async () => {
    await c.updateOne({ _id: "a" }, { $inc: { n: -3 } }, { session });
    await c.updateOne({ _id: "b" }, { $inc: { n: 3 } }, { session });
    await db.collection("log").insertOne({ moved: 3 }, { session });
    assert.equal((await c.findOne({ _id: "b" }, { session })).n, 3);
    assert.equal((await c.findOne({ _id: "b" })).n, 0);
  }, { readConcern: { level: "snapshot" }, writeConcern: { w: "majority" } });
  assert.equal((await c.findOne({ _id: "b" })).n, 3);
  assert.equal(await db.collection("log").countDocuments(), 1);

  session.startTransaction();
  await c.insertOne({ _id: "gone" }, { session });
  await session.abortTransaction();
  assert.equal(await c.findOne({ _id: "gone" }), null);

  session.startTransaction();
  assert.equal((await c.find({}, { session }).toArray()).length, 2);
  await c.updateOne({ _id: "a" }, { $inc: { n: 1 } });
  const err = await fails(112, c.updateOne({ _id: "a" }, { $inc: { n: 1 } }, { session }));
  assert.equal(err.hasErrorLabel("TransientTransactionError"), true);
  await session.abortTransaction();
  await session.endSession();
});

check("change streams", async ({ client, db }) => {
  const c = db.collection("watched");
  await db.createCollection("watched", { changeStreamPreAndPostImages: { enabled: true } });
  const stream = c.watch([{ $match: { operationType: { $ne: "delete" } } }], { fullDocument: "updateLookup", fullDocumentBeforeChange: "whenAvailable" });
  const opened = stream.tryNext();
  assert.equal(await opened, null);
  await c.insertOne({ _id: 1, n: 1 });
  await c.updateOne({ _id: 1 }, { $set: { n: 2 } });
  await c.replaceOne({ _id: 1 }, { n: 3 });
  const first = await stream.next();
  assert.deepEqual([first.operationType, first.fullDocument, first.ns], ["insert", { _id: 1, n: 1 }, { db: db.databaseName, coll: "watched" }]);
  const second = await stream.next();
  assert.equal(second.operationType, "update");
  assert.deepEqual(second.updateDescription.updatedFields, { n: 2 });
  assert.deepEqual(second.fullDocumentBeforeChange, { _id: 1, n: 1 });
  await stream.close();

  const resumed = c.watch([], { resumeAfter: second._id });
  const third = await resumed.next();
  assert.deepEqual([third.operationType, third.fullDocument], ["replace", { _id: 1, n: 3 }]);
  const session = client.startSession();
  await session.withTransaction(async () => {
    await c.insertOne({ _id: 2 }, { session });
    await c.deleteOne({ _id: 1 }, { session });
  });
  await session.endSession();
  const inTransaction = [await resumed.next(), await resumed.next()];
  assert.deepEqual(inTransaction.map((e) => [e.operationType, e.documentKey._id]), [["insert", 2], ["delete", 1]]);
  assert.ok(inTransaction.every((e) => e.lsid && e.txnNumber !== undefined && e.clusterTime.equals(inTransaction[0].clusterTime)));
  await c.drop();
  assert.equal((await resumed.next()).operationType, "drop");
  assert.equal((await resumed.next()).operationType, "invalidate");
  await resumed.close();
});

check("causal consistency and snapshots", async ({ client, db }) => {
  const c = db.collection("causal");
  const session = client.startSession({ causalConsistency: true });
  await c.insertOne({ _id: 1, n: 1 }, { session });
  assert.ok(session.operationTime && session.clusterTime);
  const other = client.startSession({ causalConsistency: true });
  other.advanceClusterTime(session.clusterTime);
  other.advanceOperationTime(session.operationTime);
  assert.deepEqual(await c.findOne({ _id: 1 }, { session: other, readConcern: { level: "majority" } }), { _id: 1, n: 1 });
  await Promise.all([session.endSession(), other.endSession()]);

  const snapshot = client.startSession({ snapshot: true });
  assert.equal((await c.findOne({ _id: 1 }, { session: snapshot })).n, 1);
  await c.updateOne({ _id: 1 }, { $set: { n: 2 } });
  assert.equal((await c.findOne({ _id: 1 }, { session: snapshot })).n, 1);
  assert.equal((await c.aggregate([{ $match: { n: 2 } }], { session: snapshot }).toArray()).length, 0);
  assert.equal((await c.findOne({ _id: 1 })).n, 2);
  await snapshot.endSession();
});

check("names of databases and collections", async ({ client, db }) => {
  await db.createCollection("made", { validator: { n: { $type: "int" } } });
  assert.ok((await db.listCollections().toArray()).some((c) => c.name === "made" && c.type === "collection" && c.options.validator));
  assert.ok((await client.db().admin().listDatabases()).databases.some((d) => d.name === db.databaseName && d.empty === false));
  await fails(48, db.createCollection("made"));
  const err = await fails(121, db.collection("made").insertOne({ n: "text" }));
  assert.ok(err.errInfo?.details);
  await db.collection("made").rename("renamed");
  assert.deepEqual(await db.listCollections({ name: "made" }).toArray(), []);
  await db.collection("renamed").drop();
});

check("error codes", async ({ db }) => {
  const c = db.collection("errors");
  await c.insertOne({ _id: 1, s: "text", a: [1] });
  assert.match((await fails(59, db.command({ noSuchCommand: 1 }))).message, /no such command: 'noSuchCommand'/);
  await fails(2, c.findOne({ a: { $nope: 1 } }));
  await fails(40324, c.aggregate([{ $nope: 1 }]).toArray());
  await fails(168, c.aggregate([{ $addFields: { x: { $nope: 1 } } }]).toArray());
  await fails(9, c.updateOne({}, { $nope: { a: 1 } }));
  await fails(66, c.updateOne({ _id: 1 }, { $set: { _id: 2 } }));
  await fails(14, c.updateOne({ _id: 1 }, { $inc: { s: 1 } }));
  await fails(2, c.updateOne({ _id: 1 }, { $push: { s: 1 } }));
  await fails(73, db.command({ find: "" }));
  await fails(26, db.command({ collMod: "not_there" }));
  const err = await fails(59, db.command({ noSuchCommand: 1 }));
  assert.equal(err.codeName, "CommandNotFound");
});

check("unacknowledged writes", async ({ db }) => {
  const c = db.collection("fire", { writeConcern: { w: 0 } });
  const res = await c.insertOne({ _id: 1 });
  assert.equal(res.acknowledged, false);
  await c.updateOne({ _id: 1 }, { $set: { x: 1 } });
  await eventually("the unacknowledged update", async () => (await db.collection("fire").countDocuments({ x: 1 })) === 1);
  await c.deleteOne({ _id: 1 });
  await eventually("the unacknowledged delete", async () => (await db.collection("fire").countDocuments()) === 0);
});

async function compression(name) {
  try {
    if (name === "snappy") require("snappy");
    if (name === "zstd") require("@mongodb-js/zstd");
  } catch {
    console.log(`skip compression ${name}: its module is not installed`);
    return;
  }
  const client = await m.MongoClient.connect(uri, { compressors: [name], serverSelectionTimeoutMS: 5000 });
  try {
    const hello = await client.db("admin").command({ hello: 1, compression: [name] });
    assert.deepEqual(hello.compression, [name]);
    const c = client.db("e2e_node").collection("compressed_" + name);
    await c.insertMany(Array.from({ length: 5000 }, (_, i) => ({ _id: i, text: "again and again ".repeat(20) })));
    assert.equal((await c.find().toArray()).length, 5000);
    console.log(`ok compression ${name}`);
  } finally {
    await client.close();
  }
}

async function main() {
  const client = await m.MongoClient.connect(uri, { serverSelectionTimeoutMS: 5000 });
  const db = client.db("e2e_node");
  let failed = 0;
  await db.dropDatabase();
  for (const { name, run } of checks) {
    try {
      await run({ client, db });
      console.log(`ok ${name}`);
    } catch (err) {
      failed++;
      console.error(`FAILED ${name}: ${err.stack}`);
    }
  }
  for (const name of ["zlib", "snappy", "zstd"]) {
    try {
      await compression(name);
    } catch (err) {
      failed++;
      console.error(`FAILED compression ${name}: ${err.stack}`);
    }
  }
  await db.dropDatabase();
  await client.close();
  if (failed > 0) {
    console.error(`${failed} checks failed`);
    process.exit(1);
  }
}

main().catch((err) => {
  console.error(`FAILED: ${err.stack}`);
  process.exit(1);
});
