package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// DefaultLeaseTTL is how long a lease holds without being renewed.
const DefaultLeaseTTL = 10 * time.Second

// Lease makes one of several instances the active one. Clients see the instances as a replica set whose primary the
// active one is, so every driver finds it and follows when it changes. The others run only what is SecondaryOK.
//
// The lease is a document in any MongoDB or Archelon, judged by that database's clock alone:
//
//	{_id: set name, instance: ObjectId, holder: "host:port", term: NumberLong, until: Date}
//
// An instance that cannot renew its lease gives up well before it ends, and interrupts what runs; none begins a call after
// the end of its lease by its own clock.
type Lease struct {
	// DB is a client of the database, see NewRunner. Database and Collection are where the document is.
	DB                   Runner
	Database, Collection string
	// SetName is the name of the replica set. Services with the same name compete for one lease.
	SetName string
	// Me is this instance's host:port as clients reach it, Members are all instances', this one's among them.
	Me      string
	Members []string
	// TTL is how long the lease holds without being renewed, and about how long the others wait for an instance that
	// died. 0 means DefaultLeaseTTL.
	TTL time.Duration
}

func (l *Lease) validate() error {
	var errs []error
	for name, missing := range map[string]bool{
		"database client": l.DB == nil, "database": l.Database == "", "collection": l.Collection == "", "set name": l.SetName == "",
		"address": l.Me == "", "members": len(l.Members) == 0,
	} {
		if missing {
			errs = append(errs, errors.New("no "+name))
		}
	}
	if l.TTL < 0 {
		errs = append(errs, fmt.Errorf("TTL is negative: %s", l.TTL))
	}
	return errors.Join(errs...)
}

// UseLease makes the service's instances take turns. It is called before the service serves; Run looks after the lease.
func (s *Service) UseLease(l Lease) error {
	if err := l.validate(); err != nil {
		return fmt.Errorf("lease of service %q: %w", s.name, err)
	}
	l.TTL = cmp.Or(l.TTL, DefaultLeaseTTL)
	h := &leaseHolder{Lease: l, service: s, given: make(chan struct{})}
	rand.Read(h.id[:])
	s.lease = h
	s.cfg.Topology.Update(func(t *server.State) {
		*t = server.State{Posture: server.ReplicaSet, SetName: l.SetName, SetVersion: 1, Role: server.RoleSecondary, Hosts: l.Members, Me: l.Me}
	})
	s.Background(h.loop)
	return nil
}

// leaseHolder competes for a lease.
type leaseHolder struct {
	Lease
	service *Service
	id      bson.ObjectID

	mu sync.Mutex // guards the fields below
	// active instances run commands; until is when that ends by our own clock.
	active bool
	until  time.Time
	// retiring instances become active no more; given is closed when such a one holds no lease.
	retiring bool
	given    chan struct{}
}

// loop renews the lease, or tries to get it.
func (h *leaseHolder) loop(ctx context.Context) {
	for h.step(ctx) {
	}
}

// step looks after the lease once and waits until it is time again. It says whether there is a next time.
func (h *leaseHolder) step(ctx context.Context) bool {
	asked := time.Now()
	attempt, cancel := context.WithTimeout(ctx, h.TTL/3)
	term, holder, err := h.acquire(attempt)
	cancel()
	switch {
	case ctx.Err() != nil:
		h.stepDown()
		return false
	case err != nil:
		h.service.log.Warn("cannot look after the lease", "service", h.service.name, "set", h.SetName, "error", err)
		h.expire()
	case term == 0:
		h.follow(holder)
	default:
		h.lead(term, asked.Add(h.TTL))
	}
	t := time.NewTimer(h.TTL / 6)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		h.stepDown()
		return false
	case <-h.given:
		return false
	}
}

// acquire gets or renews the lease: term is 0 if somebody else has it.
func (h *leaseHolder) acquire(ctx context.Context) (term int64, holder string, err error) {
	first := bson.D{{Key: "$ifNull", Value: bson.A{"$term", int64(1)}}}
	term, err = h.claim(ctx, bson.D{{Key: "instance", Value: h.id}}, first, !h.isRetiring())
	if !isDuplicate(err) {
		return term, h.Me, err
	}
	ended := bson.D{{Key: "$expr", Value: bson.D{{Key: "$lt", Value: bson.A{"$until", "$$NOW"}}}}}
	next := bson.D{{Key: "$add", Value: bson.A{"$term", int64(1)}}}
	if term, err = h.claim(ctx, ended, next, false); err != nil || term != 0 {
		return term, h.Me, err
	}
	holder, err = h.holder(ctx)
	return 0, holder, err
}

// claim writes the instance into the lease if it is as described; term is 0 if it is not.
func (h *leaseHolder) claim(ctx context.Context, state, newTerm bson.D, upsert bool) (term int64, err error) {
	reply, err := h.run(ctx, bson.D{
		{Key: "findAndModify", Value: h.Collection},
		{Key: "query", Value: append(bson.D{{Key: "_id", Value: h.SetName}}, state...)},
		{Key: "update", Value: bson.A{bson.D{{Key: "$set", Value: bson.D{
			{Key: "term", Value: newTerm}, {Key: "instance", Value: h.id}, {Key: "holder", Value: h.Me},
			{Key: "until", Value: bson.D{{Key: "$add", Value: bson.A{"$$NOW", h.TTL.Milliseconds()}}}},
		}}}}},
		{Key: "upsert", Value: upsert}, {Key: "new", Value: true}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	})
	if err != nil {
		return 0, err
	}
	v, err := reply.LookupErr("value", "term")
	if err != nil {
		return 0, nil //nolint:nilerr // no document is as described
	}
	term, _ = v.AsInt64OK()
	return term, nil
}

// holder reads who has the lease.
func (h *leaseHolder) holder(ctx context.Context) (string, error) {
	reply, err := h.run(ctx, bson.D{
		{Key: "find", Value: h.Collection}, {Key: "filter", Value: bson.D{{Key: "_id", Value: h.SetName}}}, {Key: "limit", Value: 1},
		{Key: "singleBatch", Value: true}, {Key: "readConcern", Value: bson.D{{Key: "level", Value: "majority"}}},
	})
	if err != nil {
		return "", err
	}
	holder, _ := reply.Lookup("cursor", "firstBatch", "0", "holder").StringValueOK()
	return holder, nil
}

// release gives the lease to whoever asks next. It takes the instance out, so that a renewal on its way comes to nothing.
func (h *leaseHolder) release(ctx context.Context) error {
	_, err := h.run(ctx, bson.D{
		{Key: "update", Value: h.Collection}, {Key: "updates", Value: bson.A{bson.D{
			{Key: "q", Value: bson.D{{Key: "_id", Value: h.SetName}, {Key: "instance", Value: h.id}}},
			{Key: "u", Value: bson.D{
				{Key: "$set", Value: bson.D{{Key: "until", Value: time.UnixMilli(0)}}}, {Key: "$unset", Value: bson.D{{Key: "instance", Value: ""}}},
			}},
		}}},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}}},
	})
	return err
}

func (h *leaseHolder) run(ctx context.Context, command bson.D) (bson.Raw, error) {
	raw, err := bson.Marshal(command)
	if err != nil {
		return nil, err
	}
	return h.DB.RunCommand(ctx, h.Database, raw)
}

func (h *leaseHolder) isRetiring() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.retiring
}

// lead makes the instance the active one until a time of its own clock.
func (h *leaseHolder) lead(term int64, until time.Time) {
	h.mu.Lock()
	h.until = until
	begins := !h.active && !h.retiring
	if begins {
		h.active = true
	}
	h.mu.Unlock()
	if !begins {
		return
	}
	h.service.log.Info("instance is active", "service", h.service.name, "set", h.SetName, "term", term)
	h.service.cfg.Topology.Update(func(t *server.State) {
		t.Role, t.Primary, t.ElectionID = server.RolePrimary, h.Me, server.ElectionIDForTerm(term)
	})
}

// follow makes the instance a passive one that knows who is active.
func (h *leaseHolder) follow(holder string) {
	h.stepDown()
	if holder == h.Me || h.service.cfg.Topology.State().Primary == holder {
		return // what an earlier process at this address held is nobody's
	}
	h.service.cfg.Topology.Update(func(t *server.State) { t.Primary = holder })
}

// expire makes the instance passive if its lease may end before the next look.
func (h *leaseHolder) expire() {
	h.mu.Lock()
	ends := h.active && time.Until(h.until) < h.TTL/3+h.TTL/6
	h.mu.Unlock()
	if ends {
		h.stepDown()
	}
}

var errSteppedDown = mongoerr.New(mongoerr.InterruptedDueToReplStateChange, "the instance is not active any more").
	WithLabels(mongoerr.LabelRetryableWrite)

// stepDown makes the instance passive and interrupts what only an active one may run.
func (h *leaseHolder) stepDown() {
	h.mu.Lock()
	was := h.active
	h.active = false
	h.mu.Unlock()
	if !was {
		return
	}
	s := h.service
	s.log.Info("instance is passive", "service", s.name, "set", h.SetName)
	h.showPassive()
	s.interrupt(errSteppedDown, func(c *Call) bool { return c.row.needsActive() })
	for _, st := range s.cursors.all() {
		if st.call.row.needsActive() {
			st.cancel(errSteppedDown)
		}
	}
}

func (h *leaseHolder) showPassive() {
	h.service.cfg.Topology.Update(func(t *server.State) { t.Role, t.Primary, t.ElectionID = server.RoleSecondary, "", [12]byte{} })
}

// needsActive tells commands that only the active instance runs.
func (r *row) needsActive() bool { return !r.builtin && !r.SecondaryOK }

// check refuses a command on a passive instance. The call is listed already: it is refused here or found by stepDown.
func (h *leaseHolder) check(r *row) error {
	if h == nil || !r.needsActive() {
		return nil
	}
	h.mu.Lock()
	active := h.active && time.Now().Before(h.until)
	h.mu.Unlock()
	if active {
		return nil
	}
	b, at := bsonval.BeginDoc(nil)
	b = h.service.cfg.Topology.Version().AppendElement(b, "topologyVersion")
	return errNotActive.WithExtra(bsonval.EndDoc(b, at))
}

var errNotActive = mongoerr.New(mongoerr.NotWritablePrimary, "not primary: another instance is active").WithLabels(mongoerr.LabelRetryableWrite)

// retire ends an instance's turn in order: it takes no new work, finishes what runs, and then gives the lease away.
func (h *leaseHolder) retire(ctx context.Context) {
	s := h.service
	h.mu.Lock()
	was := h.active
	h.retiring, h.active = true, false
	h.mu.Unlock()
	if was {
		h.showPassive()
		// The lease is renewed while work is being finished.
		_ = s.await(ctx, h.idle)
		s.interrupt(errSteppedDown, func(c *Call) bool { return c.row.needsActive() })
		if err := h.release(context.WithoutCancel(ctx)); err != nil {
			s.log.Warn("cannot give the lease away: it has to end by itself", "service", s.name, "set", h.SetName, "error", err)
		}
	}
	close(h.given)
}

// idle says whether nothing runs that only an active instance may run.
func (h *leaseHolder) idle() bool {
	for _, r := range h.service.table.rows() {
		if r.needsActive() && r.counts.running.Load() > 0 {
			return false
		}
	}
	for _, st := range h.service.cursors.all() {
		if st.call.row.needsActive() {
			return false
		}
	}
	return true
}
