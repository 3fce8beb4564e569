"""Calls services mounted in a database with PyMongo: mount.py mongodb://host:port/"""

import sys

import pymongo
from bson import SON
from pymongo.errors import DuplicateKeyError, ExecutionTimeout, OperationFailure

client = pymongo.MongoClient(sys.argv[1])
db = client.texts
db.notes.replace_one({"_id": 1}, {"text": "to be or not to be"}, upsert=True)
assert db.command("words", db.notes.find_one({"_id": 1})["text"])["distinct"] == 4
assert [p["prime"] for p in db["$cmd"].find(SON([("primes", 1), ("below", 12)]), batch_size=2)] == [2, 3, 5, 7, 11]
assert "texts" in client.list_database_names()
try:
    db.command("words", "")
    raise AssertionError("no error")
except OperationFailure as err:
    assert err.code == 10000200, err
try:
    db.command("sleep", 60, maxTimeMS=50)
    raise AssertionError("no error")
except ExecutionTimeout:
    pass
client.far.people.insert_one({"_id": "far"})
try:
    client.far.people.insert_one({"_id": "far"})
    raise AssertionError("no error")
except DuplicateKeyError:
    pass
print("ok")
