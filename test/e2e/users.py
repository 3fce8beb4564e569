"""Authentication with PyMongo: users.py host:port [ca.pem client.pem]"""

import sys

import pymongo
from pymongo.errors import OperationFailure

HOST = sys.argv[1]
TLS = sys.argv[2:]


def connect(**options):
    return pymongo.MongoClient("mongodb://%s/" % HOST, serverSelectionTimeoutMS=10000, **options)


def fails(code, call):
    try:
        call()
    except OperationFailure as err:
        assert err.code == code, "code %s (%s) instead of %s" % (err.code, err, code)
        return err
    raise AssertionError("no error, want code %s" % code)


def users(client):
    info = client.admin.command("connectionStatus")["authInfo"]
    return [u["user"] + "@" + u["db"] for u in info["authenticatedUsers"]]


if TLS:
    client = connect(tls=True, tlsCAFile=TLS[0], tlsCertificateKeyFile=TLS[1], authMechanism="MONGODB-X509")
    assert users(client) == ["CN=app,O=Example@$external"], users(client)
    client.shop.things.insert_one({"by": "certificate"})
    fails(13, lambda: client.bank.things.insert_one({}))
    nobody = connect(tls=True, tlsCAFile=TLS[0], tlsCertificateKeyFile=TLS[1])
    fails(13, lambda: nobody.shop.things.find_one())
    print("ok: certificates")
    sys.exit(0)

for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-1", None]:
    client = connect(username="alice", password="se:c/ret", **({"authMechanism": mechanism} if mechanism else {}))
    assert users(client) == ["alice@admin"], users(client)
    client.shop.things.insert_one({"by": mechanism})
    assert client.shop.things.count_documents({}) > 0
    assert client.list_database_names() == ["shop"], client.list_database_names()
    assert client.shop.list_collection_names() == ["things"]
    fails(13, lambda: client.bank.things.insert_one({}))
    err = fails(13, lambda: client.admin.command("shutdown"))
    assert "not authorized on admin to execute command { shutdown: 1" in str(err), err
    with client.start_session() as session:
        with session.start_transaction():
            client.shop.things.insert_one({"in": "transaction"}, session=session)
    client.shop.things.insert_many([{"n": i} for i in range(300)])
    assert sum(1 for _ in client.shop.things.find({"n": {"$exists": True}}, batch_size=10)) == 300
    client.shop.things.drop()
    client.close()

fails(18, lambda: connect(username="alice", password="wrong").shop.things.find_one())
fails(18, lambda: connect(username="nobody", password="wrong").shop.things.find_one())
fails(18, lambda: connect(username="alice", password="se:c/ret", authSource="shop").shop.things.find_one())
fails(18, lambda: connect(username="modern", password="x", authMechanism="SCRAM-SHA-1").shop.things.find_one())
fails(13, lambda: connect().shop.things.find_one())
assert connect().admin.command("ping")["ok"] == 1
modern = connect(username="modern", password="x")
assert modern.shop.things.count_documents({}) == 0
fails(13, lambda: modern.shop.things.insert_one({}))
print("ok: passwords")
