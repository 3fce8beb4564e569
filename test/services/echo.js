// Calls the echo service with mongosh: mongosh --quiet mongodb://host:port/ echo.js
"use strict";
const assert = require("assert");
const text = (v) => EJSON.stringify(v, { relaxed: true });
const same = (got, want) => assert.strictEqual(text(got), text(want));

const want = { pong: { ping: 1, hello: "world" }, ok: 1 };
const reply = db.runCommand({ ping: 1, hello: "world" });
same({ pong: reply.pong, ok: reply.ok }, want);
same(db.runCommand({ PING: 1 }).pong, { PING: 1 });
same(db.runCommand({ find: "$cmd", filter: { ping: 1, hello: "world" } }).cursor.firstBatch, [want]);

assert.ok(db.hello().isWritablePrimary);
assert.strictEqual(db.hello().msg, "isdbgrid");
assert.ok(db.version().startsWith("8.2."));
assert.strictEqual(db.serverBuildInfo().service.name, "echo");
assert.ok(db.serverStatus().metrics.commands.ping.total >= 3);
assert.strictEqual(db.runCommand({ ping: 1, help: true }).help, "help for: ping Answers what it is sent.");
assert.ok(JSON.stringify(db.listCommands()).includes("Answers what it is sent."));
assert.ok(db.currentOp().inprog.length >= 1);
assert.strictEqual(db.adminCommand({ connectionStatus: 1 }).ok, 1);
try {
  db.runCommand({ pign: 1 });
  assert.fail("no error");
} catch (err) {
  assert.strictEqual(err.code, 59);
  assert.strictEqual(err.message, "no such command: 'pign', did you mean 'ping'?");
}
print("ok");
