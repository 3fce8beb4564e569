// Authentication with mongosh: mongosh mongodb://host:port/ users-shell.js
"use strict";
const assert = require("assert");

// fails is written out: the shell waits for its calls in scripts, but not within functions of Node.
function fails(code, run) {
  try {
    run();
  } catch (err) {
    assert.strictEqual(err.code, code, err.message);
    return;
  }
  assert.fail("no error, want code " + code);
}

const admin = db.getSiblingDB("admin");
const shop = db.getSiblingDB("shop");
fails(13, () => shop.shell.findOne());
fails(18, () => admin.auth("alice", "wrong"));
assert.strictEqual(admin.auth("alice", "se:c/ret").ok, 1);
shop.shell.insertOne({ a: 1 });
assert.strictEqual(shop.getCollectionNames().join(), "shell");
assert.strictEqual(db.getMongo().getDBNames().join(), "shop");
fails(13, () => db.getSiblingDB("bank").c.insertOne({}));
fails(13, () => admin.serverStatus());
assert.strictEqual(admin.getUser("alice").roles[0].role, "readWrite");
shop.shell.drop();
print("ok: mongosh");
