// Calls services mounted in a database with mongosh: mongosh --quiet mongodb://host:port/texts mount.js
"use strict";
const assert = require("assert");
const plain = (v) => JSON.parse(EJSON.stringify(v, { relaxed: true }));

assert.strictEqual(db.drafts.insertOne({ _id: 1, text: "the quick fox and the lazy dog" }).acknowledged, true);
const draft = db.drafts.findOne({ _id: 1 });
assert.strictEqual(db.runCommand({ words: draft.text }).words, 7);
assert.strictEqual(db.runCommand({ WORDS: draft.text }).most, "the");
assert.ok(db.runCommand({ where: 1 }).uri.endsWith("/texts"));
const first = plain(db.runCommand({ primes: 1, below: 20, cursor: { batchSize: 3 } }));
assert.deepStrictEqual(first.cursor.firstBatch, [{ prime: 2 }, { prime: 3 }, { prime: 5 }]);
assert.strictEqual(first.cursor.ns, "texts.$cmd.primes");

assert.ok(db.getCollectionNames().includes("drafts"));
assert.ok(db.listCommands && db.runCommand({ listCommands: 1 }).commands.words.mounted);
assert.strictEqual(db.runCommand({ words: 1, help: true }).help, "help for: words Counts the words of a text.");
const names = db.adminCommand({ listDatabases: 1, nameOnly: true }).databases.map((d) => d.name);
assert.ok(names.includes("texts") && names.includes("far"), names.join());
assert.ok(db.serverStatus().services.some((s) => s.database === "texts" && s.commands.words.total >= 2));

const far = db.getSiblingDB("far");
far.things.insertMany(Array.from({ length: 250 }, (_, i) => ({ _id: i })));
assert.strictEqual(far.things.find().batchSize(20).toArray().length, 250);
for (const [command, code] of [[{ words: " " }, 10000200], [{ sleep: 60, maxTimeMS: 50 }, 50], [{ wrds: 1 }, 59]]) {
  let got;
  try {
    db.runCommand(command);
  } catch (err) {
    got = err.code;
  }
  assert.strictEqual(got, code);
}
print("ok");
