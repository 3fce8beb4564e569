package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/mongoerr"
)

// Runner runs commands on a database that a service uses: an adapter of few lines makes any driver's client one. A
// failed command is an error that is an *Error or the official driver's.
type Runner interface {
	RunCommand(ctx context.Context, db string, command bson.Raw) (reply bson.Raw, err error)
}

const (
	// claimLease is how long a claim holds without being renewed: that long a retry waits for an instance that died.
	claimLease = 30 * time.Second
	// claimPoll is how often a waiting claim first looks again; it doubles up to claimPollMax.
	claimPoll    = 5 * time.Millisecond
	claimPollMax = 500 * time.Millisecond
)

// collectionResults is a ResultStore that instances share. A document is a session's latest call:
//
//	{_id: session, txn: NumberLong, state: "running" | "done" | "released", owner: ObjectId,
//	 until: Date,     // running: when the claim ends unless it is renewed
//	 at: Date,        // last change, for the TTL index
//	 reply: {…}}      // done
//
// All changes are single-document updates that name the state they replace, so two instances cannot both win a claim.
type collectionResults struct {
	db     Runner
	dbName string
	coll   string
	owner  bson.ObjectID
	lease  time.Duration
	now    func() time.Time
}

var _ ResultStore = (*collectionResults)(nil)

// NewCollectionResults returns a ResultStore in a collection of any MongoDB or Archelon, for instances that share it.
// It makes the collection's TTL index, so that results go when their sessions would. The instances' clocks may differ by
// a few seconds. If an instance dies while it runs a call, a retry waits for its claim to end and then runs the call
// again: whether it had an effect nobody knows.
func NewCollectionResults(ctx context.Context, db Runner, dbName, coll string) (ResultStore, error) {
	r := &collectionResults{db: db, dbName: dbName, coll: coll, lease: claimLease, now: time.Now}
	rand.Read(r.owner[:])
	_, err := r.run(ctx, bson.D{{Key: "createIndexes", Value: coll}, {Key: "indexes", Value: bson.A{bson.D{
		{Key: "key", Value: bson.D{{Key: "at", Value: 1}}}, {Key: "name", Value: "at_1"},
		{Key: "expireAfterSeconds", Value: int32(DefaultResultAge / time.Second)},
	}}}})
	if err != nil {
		return nil, fmt.Errorf("results in %s.%s: %w", dbName, coll, err)
	}
	return r, nil
}

func (r *collectionResults) run(ctx context.Context, command bson.D) (bson.Raw, error) {
	raw, err := bson.Marshal(command)
	if err != nil {
		return nil, err
	}
	return r.db.RunCommand(ctx, r.dbName, raw)
}

// onceDoc is a document of the collection.
type onceDoc struct {
	ID    bson.Binary   `bson:"_id"`
	Txn   int64         `bson:"txn"`
	State string        `bson:"state"`
	Owner bson.ObjectID `bson:"owner"`
	Until time.Time     `bson:"until"`
	Reply bson.Raw      `bson:"reply"`
}

func (k OnceKey) id() bson.Binary { return bson.Binary{Data: []byte(k.Session)} }

// Claim implements ResultStore.
func (r *collectionResults) Claim(ctx context.Context, key OnceKey) (bson.Raw, error) {
	for pause := claimPoll; ; pause = min(2*pause, claimPollMax) {
		mine, err := r.claim(ctx, key, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: "txn", Value: bson.D{{Key: "$lt", Value: key.TxnNumber}}}},
			bson.D{{Key: "txn", Value: key.TxnNumber}, {Key: "state", Value: "released"}},
		}}}, true)
		if err != nil || mine {
			return nil, err
		}
		d, err := r.latest(ctx, key)
		if err != nil {
			return nil, err
		}
		switch {
		case d == nil || d.Txn < key.TxnNumber || d.State == "released":
			continue // it has changed in between
		case d.Txn > key.TxnNumber:
			return nil, errTooOld(key, d.Txn)
		case d.State == "done":
			return d.Reply, nil
		case d.Until.Before(r.now()):
			mine, err := r.claim(ctx, key, bson.D{{Key: "txn", Value: key.TxnNumber}, {Key: "state", Value: "running"}, {Key: "owner", Value: d.Owner}, {Key: "until", Value: d.Until}}, false)
			if err != nil || mine {
				return nil, err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// claim takes the session's document if it is as described, or makes it.
func (r *collectionResults) claim(ctx context.Context, key OnceKey, state bson.D, upsert bool) (mine bool, err error) {
	reply, err := r.run(ctx, bson.D{
		{Key: "findAndModify", Value: r.coll},
		{Key: "query", Value: append(bson.D{{Key: "_id", Value: key.id()}}, state...)},
		{Key: "update", Value: bson.D{
			{Key: "$set", Value: bson.D{
				{Key: "txn", Value: key.TxnNumber}, {Key: "state", Value: "running"}, {Key: "owner", Value: r.owner},
				{Key: "until", Value: r.now().Add(r.lease)}, {Key: "at", Value: r.now()},
			}},
			{Key: "$unset", Value: bson.D{{Key: "reply", Value: ""}}},
		}},
		{Key: "upsert", Value: upsert}, {Key: "new", Value: true}, {Key: "fields", Value: bson.D{{Key: "_id", Value: 1}}},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	})
	if isDuplicate(err) {
		return false, nil // somebody has the document, and it is not as described
	}
	if err != nil {
		return false, err
	}
	v, err := reply.LookupErr("value")
	return err == nil && v.Type == bson.TypeEmbeddedDocument, nil
}

func isDuplicate(err error) bool {
	const duplicateKey = 11000
	if mongoerr.Is(err, duplicateKey) {
		return true
	}
	var d driverError
	if !errors.As(err, &d) {
		return false
	}
	for _, code := range d.ErrorCodes() {
		if code == duplicateKey {
			return true
		}
	}
	return false
}

// latest reads the session's document; nil if there is none.
func (r *collectionResults) latest(ctx context.Context, key OnceKey) (*onceDoc, error) {
	reply, err := r.run(ctx, bson.D{
		{Key: "find", Value: r.coll}, {Key: "filter", Value: bson.D{{Key: "_id", Value: key.id()}}}, {Key: "limit", Value: 1},
		{Key: "singleBatch", Value: true}, {Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}}},
	})
	if err != nil {
		return nil, err
	}
	v, err := reply.LookupErr("cursor", "firstBatch", "0")
	if err != nil {
		return nil, nil //nolint:nilerr // an empty batch: the session has no document
	}
	d := &onceDoc{}
	return d, v.Unmarshal(d)
}

// Finish implements ResultStore.
func (r *collectionResults) Finish(ctx context.Context, key OnceKey, result bson.Raw) error {
	return r.end(ctx, key, bson.D{{Key: "state", Value: "done"}, {Key: "reply", Value: result}, {Key: "at", Value: r.now()}})
}

// Release implements ResultStore.
func (r *collectionResults) Release(ctx context.Context, key OnceKey) error {
	return r.end(ctx, key, bson.D{{Key: "state", Value: "released"}, {Key: "at", Value: r.now()}})
}

// Renew implements Renewer.
func (r *collectionResults) Renew(ctx context.Context, key OnceKey) error {
	return r.end(ctx, key, bson.D{{Key: "until", Value: r.now().Add(r.lease)}})
}

// RenewEvery implements Renewer.
func (r *collectionResults) RenewEvery() time.Duration { return r.lease / 3 }

// end changes the document of a claim that is still ours.
func (r *collectionResults) end(ctx context.Context, key OnceKey, set bson.D) error {
	reply, err := r.run(ctx, bson.D{
		{Key: "update", Value: r.coll}, {Key: "updates", Value: bson.A{bson.D{
			{Key: "q", Value: bson.D{{Key: "_id", Value: key.id()}, {Key: "txn", Value: key.TxnNumber}, {Key: "state", Value: "running"}, {Key: "owner", Value: r.owner}}},
			{Key: "u", Value: bson.D{{Key: "$set", Value: set}}},
		}}},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	})
	if err != nil {
		return err
	}
	if n, ok := reply.Lookup("n").AsInt64OK(); !ok || n != 1 {
		return errors.New("the claim was lost: it took longer than its lease to store a result")
	}
	return nil
}
