// Authentication with the Node.js driver: node users.js host:port
"use strict";
const assert = require("node:assert/strict");
const { MongoClient } = require("mongodb");
const host = process.argv[2];

async function fails(code, promise) {
  await assert.rejects(promise, (err) => {
    assert.equal(err.code, code, err.message);
    return true;
  });
}

async function using(auth, run) {
  const client = new MongoClient(`mongodb://${host}/`, auth);
  try {
    await run(client);
  } finally {
    await client.close();
  }
}

(async () => {
  for (const authMechanism of ["SCRAM-SHA-256", "SCRAM-SHA-1", "DEFAULT"]) {
    await using({ auth: { username: "alice", password: "se:c/ret" }, authMechanism }, async (client) => {
      const info = (await client.db("admin").command({ connectionStatus: 1, showPrivileges: true })).authInfo;
      assert.deepEqual(info.authenticatedUsers, [{ user: "alice", db: "admin" }]);
      assert.deepEqual(info.authenticatedUserRoles, [{ role: "readWrite", db: "shop" }]);
      assert.ok(info.authenticatedUserPrivileges[0].actions.includes("find"));
      const things = client.db("shop").collection("node");
      await things.insertOne({ a: 1 });
      assert.equal(await things.countDocuments(), 1);
      await fails(13, client.db("bank").collection("c").insertOne({}));
      // Many connections at once, and a change stream.
      await Promise.all(Array.from({ length: 20 }, (_, i) => things.insertOne({ i })));
      const stream = things.watch();
      const next = stream.next();
      await new Promise((r) => setTimeout(r, 100));
      await things.insertOne({ seen: true });
      assert.equal((await next).fullDocument.seen, true);
      await stream.close();
      await things.drop();
    });
  }
  await using({ auth: { username: "alice", password: "wrong" } }, (c) => fails(18, c.db("shop").collection("c").findOne()));
  await using({}, (c) => fails(13, c.db("shop").collection("c").findOne()));
  console.log("ok: node");
})().catch((err) => {
  console.error("FAILED", err);
  process.exit(1);
});
