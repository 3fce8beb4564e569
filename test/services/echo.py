"""Calls the echo service with PyMongo: echo.py mongodb://host:port/"""

import sys

import pymongo
from bson import SON
from pymongo.errors import OperationFailure

client = pymongo.MongoClient(sys.argv[1])
db = client.test
want = {"pong": {"ping": 1, "hello": "world"}, "ok": 1.0}
arguments = SON([("ping", 1), ("hello", "world")])

got = db.command(arguments)
assert {k: got[k] for k in want} == want, got
got = db.command("ping", hello="world")
assert got["pong"] == {"ping": 1, "hello": "world"}, got
# As in the text that the service is taken from: pymongo.Connection().test['$cmd'].find_one(…)
got = db["$cmd"].find_one(arguments)
assert got == want, got
assert list(db["$cmd"].find(arguments)) == [want]

assert client.is_mongos and client.is_primary
try:
    db.command("pign")
    raise AssertionError("no error")
except OperationFailure as err:
    assert err.code == 59 and "did you mean 'ping'" in str(err), err
print("ok")
