"""End-to-end check with PyMongo 3.11 or later: driver.py mongodb://host:port/"""

import datetime
import decimal
import re
import sys
import time
import traceback

import bson
import pymongo
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import DeleteOne, IndexModel, InsertOne, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, OperationFailure

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def equal(got, want):
    assert got == want, "got %r, want %r" % (got, want)


def fails(code, call, *args, **kwargs):
    """Asserts that a call fails with a server error of this code and returns the error."""
    try:
        call(*args, **kwargs)
    except OperationFailure as err:
        got = err.code
        if isinstance(err, BulkWriteError):
            got = err.details["writeErrors"][0]["code"]
        assert got == code, "code %s (%s) instead of %s" % (got, err, code)
        return err
    raise AssertionError("no error, want code %s" % code)


def eventually(what, condition):
    end = time.time() + 5
    while time.time() < end:
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("%s did not come true" % what)


@check
def diagnostics(client, db):
    admin = client.admin
    assert re.match(r"8\.2\.\d+$", client.server_info()["version"]), client.server_info()["version"]
    equal(admin.command("ping")["ok"], 1.0)
    assert admin.command("serverStatus")["connections"]["current"] >= 1
    assert admin.command("isMaster")["ismaster"] is True
    assert client.is_primary


@check
def create_read_update_delete(client, db):
    c = db.crud
    equal(c.insert_one({"_id": 1, "n": 1}).inserted_id, 1)
    equal(c.insert_many([{"_id": i, "n": i} for i in range(2, 11)]).inserted_ids, list(range(2, 11)))
    equal([d["n"] for d in c.find({"n": {"$gt": 5}}, sort=[("n", -1)], limit=2)], [10, 9])
    result = c.update_many({"n": {"$lte": 3}}, {"$inc": {"n": 100}, "$set": {"seen": True}})
    equal((result.matched_count, result.modified_count), (3, 3))
    result = c.update_one({"_id": "new"}, {"$set": {"n": 0}}, upsert=True)
    equal(result.upserted_id, "new")
    equal(c.replace_one({"_id": 4}, {"x": None}).modified_count, 1)
    equal(c.find_one({"_id": 4}), {"_id": 4, "x": None})
    equal(c.delete_many({"seen": True}).deleted_count, 3)
    equal(c.count_documents({}), 8)
    equal(c.estimated_document_count(), 8)


@check
def types_round_trip(client, db):
    doc = {
        "_id": ObjectId(), "date": datetime.datetime(1931, 2, 3, 4, 5, 6, 789000), "decimal": Decimal128(decimal.Decimal("1.2300")),
        "binary": b"\x00\xff", "sub": Binary(b"abc", 0x80), "long": Int64(2**53 + 1), "int": 7, "double": 7.0, "text": u"Gr\u00f6\u00dfe \U0001f600",
        "regex": Regex("^a", "i"), "code": Code("f()"), "min": MinKey(), "max": MaxKey(), "stamp": Timestamp(5, 6), "none": None,
        "deep": {"a": [{"b": [[]]}, []]},
    }
    db.types.insert_one(doc)
    found = db.types.find_one({"_id": doc["_id"]})
    equal(found, doc)
    equal(list(found), list(doc))
    for field, alias in [("long", "long"), ("int", "int"), ("double", "double"), ("decimal", "decimal"), ("date", "date"), ("sub", "binData")]:
        equal(db.types.count_documents({field: {"$type": alias}}), 1)


@check
def bulk_write(client, db):
    c = db.bulk
    result = c.bulk_write([
        InsertOne({"_id": 1, "v": 1}), InsertOne({"_id": 2, "v": 2}), UpdateOne({"_id": 1}, {"$set": {"v": 10}}),
        UpdateMany({}, {"$inc": {"w": 1}}), ReplaceOne({"_id": 3}, {"v": 3}, upsert=True), DeleteOne({"_id": 2}),
    ])
    equal((result.inserted_count, result.matched_count, result.upserted_count, result.deleted_count), (2, 3, 1, 1))
    try:
        c.insert_many([{"_id": 10}, {"_id": 1}, {"_id": 11}], ordered=False)
        raise AssertionError("a duplicate was accepted")
    except BulkWriteError as err:
        equal([(e["index"], e["code"]) for e in err.details["writeErrors"]], [(1, 11000)])
        equal(err.details["nInserted"], 2)


@check
def indexes(client, db):
    c = db.indexes
    c.insert_many([{"_id": i, "email": "u%d" % i, "group": i % 50} for i in range(500)])
    equal(c.create_indexes([IndexModel([("email", 1)], unique=True), IndexModel([("group", 1), ("_id", -1)])]), ["email_1", "group_1__id_-1"])
    try:
        c.insert_one({"email": "u7"})
        raise AssertionError("a duplicate was accepted")
    except DuplicateKeyError as err:
        equal(err.details["keyPattern"], {"email": 1})
        equal(err.details["keyValue"], {"email": "u7"})
    equal(sorted(c.index_information()), ["_id_", "email_1", "group_1__id_-1"])
    plan = repr(c.find({"group": 3}).explain())
    assert "IXSCAN" in plan and "COLLSCAN" not in plan, plan
    c.drop_index("email_1")
    fails(27, c.drop_index, "email_1")


@check
def cursors_over_batches(client, db):
    c = db.cursors
    total = 100000
    equal(len(c.insert_many(({"_id": i, "x": i % 7} for i in range(total)), ordered=False).inserted_ids), total)
    n = 0
    for doc in c.find(sort=[("_id", 1)], batch_size=3333):
        assert doc["_id"] == n
        n += 1
    equal(n, total)
    cursor = c.find(batch_size=2)
    next(cursor)
    identifier = cursor.cursor_id
    cursor.close()
    eventually("the cursor is killed", lambda: gone(db, identifier))
    equal(c.find(skip=total - 1).sort("_id", 1).next()["_id"], total - 1)


def gone(db, identifier):
    try:
        db.command({"getMore": Int64(identifier), "collection": "cursors", "batchSize": 1})
    except OperationFailure as err:
        return err.code == 43
    return False


@check
def aggregation(client, db):
    db.people.insert_many([{"_id": 1, "name": "ada"}, {"_id": 2, "name": "bo"}])
    db.orders.insert_many([{"_id": i, "who": 1 + i % 2, "n": [i, i]} for i in range(10)])
    equal(list(db.orders.aggregate([
        {"$unwind": "$n"}, {"$group": {"_id": "$who", "sum": {"$sum": "$n"}}},
        {"$lookup": {"from": "people", "localField": "_id", "foreignField": "_id", "as": "p"}}, {"$sort": {"_id": 1}},
        {"$project": {"sum": 1, "name": {"$arrayElemAt": ["$p.name", 0]}}},
    ])), [{"_id": 1, "sum": 40, "name": "ada"}, {"_id": 2, "sum": 50, "name": "bo"}])
    equal(list(db.orders.aggregate([{"$facet": {"a": [{"$count": "n"}], "b": [{"$limit": 1}, {"$project": {"_id": 1}}]}}])),
          [{"a": [{"n": 10}], "b": [{"_id": 0}]}])
    equal(sorted(db.orders.distinct("who")), [1, 2])


@check
def find_and_modify(client, db):
    c = db.fam
    equal(c.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, upsert=True), None)
    equal(c.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER), {"_id": 1, "n": 2})
    equal(c.find_one_and_replace({"_id": 1}, {"m": 1}), {"_id": 1, "n": 2})
    equal(c.find_one_and_delete({"_id": 1}), {"_id": 1, "m": 1})


@check
def sessions(client, db):
    with client.start_session() as session:
        db.sessions.insert_one({"_id": 1}, session=session)
        equal(db.sessions.find_one({}, session=session), {"_id": 1})


@check
def transactions(client, db):
    db.txn.insert_many([{"_id": "a", "n": 10}, {"_id": "b", "n": 0}])

    def move(session):
        db.txn.update_one({"_id": "a"}, {"$inc": {"n": -3}}, session=session)
        db.txn.update_one({"_id": "b"}, {"$inc": {"n": 3}}, session=session)
        db.log.insert_one({"moved": 3}, session=session)
        equal(db.txn.find_one({"_id": "b"}, session=session)["n"], 3)
        equal(db.txn.find_one({"_id": "b"})["n"], 0)

    with client.start_session() as session:
        session.with_transaction(move)
        equal(db.txn.find_one({"_id": "b"})["n"], 3)
        equal(db.log.count_documents({}), 1)

        session.start_transaction()
        db.txn.insert_one({"_id": "gone"}, session=session)
        session.abort_transaction()
        equal(db.txn.find_one({"_id": "gone"}), None)

        session.start_transaction()
        equal(len(list(db.txn.find({}, session=session))), 2)
        db.txn.update_one({"_id": "a"}, {"$inc": {"n": 1}})
        err = fails(112, db.txn.update_one, {"_id": "a"}, {"$inc": {"n": 1}}, session=session)
        assert err.has_error_label("TransientTransactionError"), err
        session.abort_transaction()


@check
def change_streams(client, db):
    c = db.watched
    c.insert_one({"_id": 0})
    with c.watch(full_document="updateLookup") as stream:
        equal(stream.try_next(), None)
        c.insert_one({"_id": 1, "n": 1})
        c.update_one({"_id": 1}, {"$set": {"n": 2}, "$unset": {"gone": 1}})
        event = next(stream)
        equal((event["operationType"], event["fullDocument"]), ("insert", {"_id": 1, "n": 1}))
        event = next(stream)
        equal((event["operationType"], event["updateDescription"]["updatedFields"]), ("update", {"n": 2}))
        equal(event["fullDocument"], {"_id": 1, "n": 2})
        token = stream.resume_token
    c.delete_one({"_id": 1})
    with db.watch(resume_after=token) as stream:
        event = next(stream)
        equal((event["operationType"], event["documentKey"]), ("delete", {"_id": 1}))


@check
def causal_consistency(client, db):
    with client.start_session(causal_consistency=True) as session:
        db.causal.insert_one({"_id": 1}, session=session)
        assert session.operation_time is not None and session.cluster_time is not None
        with client.start_session(causal_consistency=True) as other:
            other.advance_cluster_time(session.cluster_time)
            other.advance_operation_time(session.operation_time)
            equal(db.causal.find_one({}, session=other), {"_id": 1})
    if pymongo.version_tuple < (3, 12):
        return  # it knows no snapshot sessions
    with client.start_session(snapshot=True) as session:
        equal(db.causal.count_documents({}, session=session), 1)
        db.causal.insert_one({"_id": 2})
        equal(db.causal.count_documents({}, session=session), 1)
        equal(db.causal.distinct("_id", session=session), [1])


@check
def names_and_errors(client, db):
    db.create_collection("made", validator={"n": {"$type": "int"}})
    assert "made" in db.list_collection_names()
    assert db.name in client.list_database_names()
    fails(121, db.made.insert_one, {"n": "text"})
    fails(59, db.command, "noSuchCommand")
    fails(2, db.made.find_one, {"a": {"$nope": 1}})
    fails(9, db.made.update_one, {}, {"$nope": {"a": 1}})
    fails(40324, lambda: list(db.made.aggregate([{"$nope": 1}])))
    db.made.drop()
    assert "made" not in db.list_collection_names()


@check
def unacknowledged(client, db):
    c = db.get_collection("fire", write_concern=pymongo.WriteConcern(w=0))
    assert c.insert_one({"_id": 1}).acknowledged is False
    eventually("the unacknowledged insert", lambda: db.fire.count_documents({}) == 1)


def compression(uri, name):
    client = pymongo.MongoClient(uri, compressors=name, serverSelectionTimeoutMS=5000)
    hello = client.admin.command({"hello": 1, "compression": [name]})
    equal(hello["compression"], [name])
    c = client.e2e_python["compressed_" + name]
    c.insert_many([{"_id": i, "text": "again and again " * 20} for i in range(5000)])
    equal(len(list(c.find())), 5000)
    client.close()


def compressors():
    names = ["zlib"]
    for name, module in [("snappy", "snappy"), ("zstd", "zstandard")]:
        try:
            __import__(module)
            names.append(name)
        except ImportError:
            print("skip compression %s: module %s is not installed" % (name, module))
    return names


def attempt(name, function, *args):
    try:
        function(*args)
        print("ok " + name)
        return 0
    except Exception:
        sys.stderr.write("FAILED %s: %s\n" % (name, traceback.format_exc()))
        return 1


def main(uri):
    print("pymongo %s, bson with C: %s" % (pymongo.version, bson.has_c()))
    client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=5000)
    hello = client.admin.command("hello")
    client.drop_database("e2e_python")
    failed = sum(attempt(f.__name__, f, client, client.e2e_python) for f in CHECKS)
    failed += sum(attempt("compression " + name, compression, uri, name) for name in compressors())
    client.drop_database("e2e_python")
    client.close()
    if "setName" in hello:
        failed += attempt("discovery of the replica set", discovery, uri, hello["setName"])
    if failed:
        sys.exit("%d checks failed" % failed)


def discovery(uri, name):
    client = pymongo.MongoClient(uri, replicaSet=name, serverSelectionTimeoutMS=5000)
    equal(client.admin.command("ping")["ok"], 1.0)
    assert client.primary is not None
    client.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: driver.py mongodb://host:port/")
    main(sys.argv[1])
