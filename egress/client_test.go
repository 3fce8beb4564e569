package egress_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/archelon-db/archelon/egress"
	"github.com/archelon-db/archelon/egress/simnet"
	"github.com/archelon-db/archelon/internal/bsonval"
	"github.com/archelon-db/archelon/internal/mongoerr"
	"github.com/archelon-db/archelon/server"
)

// simSet is a simulated replica set. Its members share one store, as if replication were instant.
type simSet struct {
	net     *simnet.Network
	members map[egress.Host]*simMember

	mu     sync.Mutex // guards the fields below
	term   int64
	writes map[string]int     // by value: how often it was applied
	done   map[string]bool    // lsid and txnNumber
	seen   []egress.Host      // who answered finds
	last   bson.M             // the last command seen
	fail   map[string][]error // errors to answer the next commands of a name with
	ended  int
}

type simMember struct {
	host     egress.Host
	topology *server.Topology
}

func newSimSet(names ...egress.Host) *simSet {
	s := &simSet{
		net: simnet.New(1), members: map[egress.Host]*simMember{}, term: 1,
		writes: map[string]int{}, done: map[string]bool{}, fail: map[string][]error{},
	}
	var list []string
	for _, n := range names {
		list = append(list, string(n))
	}
	for _, n := range names {
		state := server.State{
			Posture: server.ReplicaSet, SetName: "rs", SetVersion: 1, Role: server.RoleSecondary, Hosts: list, Me: string(n),
			Tags: must(bson.Marshal(bson.D{{Key: "name", Value: strings.Split(string(n), ".")[0]}})),
		}
		m := &simMember{host: n, topology: server.NewTopology(state)}
		s.members[n] = m
		mux := server.NewMux()
		server.NewHello(server.HelloConfig{Topology: m.topology, LastWrite: func() server.LastWrite {
			return server.LastWrite{Date: time.Now()}
		}}).Register(mux)
		for _, c := range []string{"insert", "update", "commitTransaction"} {
			mux.HandleFunc(c, func(_ context.Context, req *server.Request, r *server.Reply) error { return s.write(m, req, r) })
		}
		for _, c := range []string{"find", "custom", "aggregate"} {
			mux.HandleFunc(c, func(_ context.Context, req *server.Request, r *server.Reply) error { return s.read(m, req, r) })
		}
		mux.HandleFunc("endSessions", func(_ context.Context, req *server.Request, _ *server.Reply) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.ended += req.Body.Lookup("endSessions").Doc().Len()
			return nil
		})
		s.net.AddHost(n, simnet.Serve(mux))
		s.net.SetLink("client", n, simnet.Link{Delay: time.Millisecond})
	}
	s.elect(names[0])
	return s
}

// elect makes a member the primary.
func (s *simSet) elect(primary egress.Host) {
	s.mu.Lock()
	s.term++
	id := server.ElectionIDForTerm(s.term)
	s.mu.Unlock()
	for h, m := range s.members {
		m.topology.Update(func(st *server.State) {
			st.Role, st.Primary = server.RoleSecondary, string(primary)
			if h == primary {
				st.Role, st.ElectionID = server.RolePrimary, id
			}
		})
	}
}

// stepDown leaves the set without a primary.
func (s *simSet) stepDown() {
	for _, m := range s.members {
		m.topology.Update(func(st *server.State) { st.Role, st.Primary = server.RoleSecondary, "" })
	}
}

func (m *simMember) refuse(code server.Code, labels ...string) error {
	extra, at := bsonval.BeginDoc(nil)
	extra = m.topology.Version().AppendElement(extra, "topologyVersion")
	return server.Errorf(code, "not primary").WithLabels(labels...).WithExtra(bsonval.EndDoc(extra, at))
}

// note remembers the command and returns an error that the script wants for it.
func (s *simSet) note(req *server.Request) error {
	bson.Unmarshal(req.Body, &s.last)
	if list := s.fail[req.Command]; len(list) > 0 {
		s.fail[req.Command] = list[1:]
		return list[0]
	}
	return nil
}

func (s *simSet) write(m *simMember, req *server.Request, _ *server.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.note(req); err != nil {
		return err
	}
	txn, lsid := req.Body.Lookup("txnNumber"), req.Body.Lookup("lsid")
	if m.topology.State().Role != server.RolePrimary {
		if txn.IsMissing() {
			return m.refuse(mongoerr.NotWritablePrimary)
		}
		return m.refuse(mongoerr.NotWritablePrimary, mongoerr.LabelRetryableWrite)
	}
	if !txn.IsMissing() {
		key := fmt.Sprintf("%x %d", lsid.Doc().Lookup("id").Bytes(), txn.Int64())
		if s.done[key] {
			return nil
		}
		s.done[key] = true
	}
	s.writes[req.Body.Lookup("value").Str()]++
	return nil
}

func (s *simSet) read(m *simMember, req *server.Request, reply *server.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.note(req); err != nil {
		return err
	}
	if m.topology.State().Role != server.RolePrimary && req.Body.Lookup("$readPreference").IsMissing() {
		return m.refuse(mongoerr.NotPrimaryNoSecondaryOk)
	}
	s.seen = append(s.seen, m.host)
	clock := bsonval.NewBuilder().Value("clusterTime", bsonval.Timestamp(uint32(len(s.seen)), 1)).Build()
	reply.AppendDoc(bsonval.NewBuilder().Str("me", string(m.host)).Doc("$clusterTime", clock).Build())
	return nil
}

// client makes a client of the set whose network is simulated.
func (s *simSet) client(t *testing.T, change func(*egress.ClientConfig)) *egress.Client {
	t.Helper()
	cfg := egress.ClientConfig{Seeds: []egress.Host{hostB}, Network: s.net.From("client"), Monitors: s.net.From("client")}
	if change != nil {
		change(&cfg)
	}
	c, err := egress.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func insert(t *testing.T, value string) *egress.Operation {
	return &egress.Operation{Command: command(t, "test", bson.D{{Key: "insert", Value: "c"}, {Key: "value", Value: value}})}
}

func find(t *testing.T, p *egress.ReadPreference) *egress.Operation {
	return &egress.Operation{Command: command(t, "test", bson.D{{Key: "find", Value: "c"}}), ReadPreference: p}
}

// simulate runs a test on a set of three with a client, in virtual time.
func simulate(t *testing.T, change func(*egress.ClientConfig), test func(*testing.T, *simSet, *egress.Client)) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimSet(hostA, hostB, hostC)
		c := s.client(t, change)
		test(t, s, c)
		c.Close(t.Context())
		s.net.Stop()
		if r := c.Run(t.Context(), find(t, nil)); egress.CodeOf(r.Status) != mongoerr.ShutdownInProgress {
			t.Error("a closed client runs commands: ", r.Status)
		}
	})
}

func wantOK(t *testing.T, r egress.ResponseOnAny, host egress.Host) {
	t.Helper()
	if r.Err() != nil || r.Target != host {
		t.Fatalf("from %s: %v; want a reply of %s", r.Target, r.Err(), host)
	}
}

func TestClientFindsPrimaryAndSecondaries(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		wantOK(t, c.Run(t.Context(), insert(t, "x")), hostA)
		pass(time.Second)
		top := c.Topology()
		if top.Kind != egress.TopologyReplicaSetHasPrimary || top.SetName != "rs" || top.Primary().Host != hostA || len(top.Hosts()) != 3 {
			t.Errorf("%+v", top)
		}
		if rtt := top.Servers[hostB].RTT; rtt != 2*time.Millisecond {
			t.Errorf("round trip %s", rtt)
		}
		wantOK(t, c.Run(t.Context(), find(t, nil)), hostA)
		seen := map[egress.Host]int{}
		for range 40 {
			r := c.Run(t.Context(), find(t, &egress.ReadPreference{Mode: egress.Secondary}))
			if r.Err() != nil {
				t.Fatal(r.Err())
			}
			seen[r.Target]++
		}
		if seen[hostA] != 0 || seen[hostB] == 0 || seen[hostC] == 0 {
			t.Errorf("secondary reads went to %v", seen)
		}
		byTag := &egress.ReadPreference{Mode: egress.Nearest, TagSets: []map[string]string{{"name": "c"}}, MaxStaleness: 2 * time.Minute}
		wantOK(t, c.Run(t.Context(), find(t, byTag)), hostC)
		want := bson.D{
			{Key: "mode", Value: "nearest"}, {Key: "tags", Value: bson.A{bson.D{{Key: "name", Value: "c"}}}},
			{Key: "maxStalenessSeconds", Value: int64(120)},
		}
		if got, _ := s.last["$readPreference"].(bson.D); !reflect.DeepEqual(got, want) {
			t.Errorf("server was told %v", got)
		}
		if s.last["$clusterTime"] == nil {
			t.Error("cluster time is not passed on")
		}
		r := c.Run(t.Context(), &egress.Operation{Command: find(t, nil).Command, Target: hostC})
		if r.Target != hostC {
			t.Error("a command for one server went to ", r.Target)
		}
		r = c.Run(t.Context(), &egress.Operation{Command: find(t, nil).Command, Target: "z:1"})
		wantCode(t, r.Status, mongoerr.HostNotFound)
		r = c.Run(t.Context(), find(t, &egress.ReadPreference{Mode: egress.Secondary, MaxStaleness: time.Second}))
		wantCode(t, r.Status, mongoerr.MaxStalenessOutOfRange)
		out := command(t, "test", bson.D{{Key: "aggregate", Value: "c"}, {Key: "pipeline", Value: bson.A{bson.D{{Key: "$out", Value: "x"}}}}})
		wantOK(t, c.Run(t.Context(), &egress.Operation{Command: out, ReadPreference: &egress.ReadPreference{Mode: egress.Secondary}}), hostA)
	})
}

// TestClientFollowsFailovers writes through step-downs, kills, cut connections and lost replies: no write fails, and each
// is applied once.
func TestClientFollowsFailovers(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		s.net.At(10*time.Second, func() { s.elect(hostB) })
		s.net.At(20*time.Second, s.stepDown)
		s.net.At(25*time.Second, func() { s.elect(hostC) })
		s.net.At(40*time.Second, func() { s.net.Kill(hostC) })
		s.net.At(45*time.Second, func() { s.elect(hostA) })
		s.net.At(50*time.Second, func() { s.net.Revive(hostC) })
		s.net.At(60*time.Second, func() { s.net.Lose(hostA, "client", 1) })
		s.net.At(65*time.Second, func() { s.net.Lose("client", hostA, 1) })
		start := time.Now()
		n := 0
		var slowest time.Duration
		for ; time.Since(start) < 90*time.Second; n++ {
			r := c.Run(t.Context(), insert(t, fmt.Sprint(n)))
			if r.Err() != nil {
				t.Fatalf("write %d after %s: %v", n, time.Since(start), r.Err())
			}
			slowest = max(slowest, r.Elapsed)
			pass(50 * time.Millisecond)
		}
		for i := range n {
			if s.writes[fmt.Sprint(i)] != 1 {
				t.Errorf("write %d was applied %d times", i, s.writes[fmt.Sprint(i)])
			}
		}
		if slowest < 4*time.Second || slowest > 7*time.Second {
			t.Errorf("the longest a write took is %s; five seconds were without a primary", slowest)
		}
		if c.Topology().Primary().Host != hostA {
			t.Errorf("primary %v", c.Topology().Primary())
		}
	})
}

func TestClientHearsOfChangesAtOnce(t *testing.T) {
	for _, poll := range []bool{false, true} {
		simulate(t, func(c *egress.ClientConfig) { c.Poll = poll }, func(t *testing.T, s *simSet, c *egress.Client) {
			pass(5 * time.Second)
			s.elect(hostB)
			pass(10 * time.Millisecond)
			heard := c.Topology().Primary().Host == hostB
			if heard == poll {
				t.Errorf("poll %v: heard %v", poll, heard)
			}
			pass(10 * time.Second)
			if c.Topology().Primary().Host != hostB {
				t.Errorf("poll %v: never heard", poll)
			}
		})
	}
}

func TestClientRetriesReads(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		any := &egress.ReadPreference{Mode: egress.Secondary}
		for _, err := range []error{server.Errorf(mongoerr.InterruptedAtShutdown, "x"), server.Errorf(mongoerr.ExceededTimeLimit, "x")} {
			s.fail["find"] = []error{err}
			if r := c.Run(t.Context(), find(t, any)); r.Err() != nil {
				t.Error(r.Err())
			}
			pass(11 * time.Second)
		}
		s.fail["find"] = []error{server.Errorf(mongoerr.BadValue, "x")}
		wantCode(t, c.Run(t.Context(), find(t, any)).Err(), mongoerr.BadValue)
		twice := server.Errorf(mongoerr.ExceededTimeLimit, "x")
		s.fail["find"] = []error{twice, twice}
		wantCode(t, c.Run(t.Context(), find(t, any)).Err(), mongoerr.ExceededTimeLimit)
		s.fail["find"] = []error{twice}
		op := find(t, any)
		op.NoRetry = true
		wantCode(t, c.Run(t.Context(), op).Err(), mongoerr.ExceededTimeLimit)
		s.net.Lose("client", hostB, 1)
		for range 4 {
			if r := c.Run(t.Context(), find(t, &egress.ReadPreference{Mode: egress.SecondaryPreferred})); r.Err() != nil {
				t.Error(r.Err())
			}
		}
	})
}

func TestClientRetriesOnlyWhatIsSafe(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		refused := server.Errorf(mongoerr.PrimarySteppedDown, "x").WithLabels(mongoerr.LabelRetryableWrite)
		for name, body := range map[string]bson.D{
			"many":           {{Key: "update", Value: "c"}, {Key: "updates", Value: bson.A{bson.D{{Key: "multi", Value: true}}}}},
			"transaction":    {{Key: "insert", Value: "c"}, {Key: "lsid", Value: bson.D{}}, {Key: "txnNumber", Value: int64(1)}, {Key: "autocommit", Value: false}},
			"unacknowledged": {{Key: "insert", Value: "c"}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 0}}}},
			"own session":    {{Key: "insert", Value: "c"}, {Key: "lsid", Value: bson.D{}}},
		} {
			s.fail["insert"], s.fail["update"] = []error{refused}, []error{refused}
			r := c.Run(t.Context(), &egress.Operation{Command: command(t, "test", body)})
			if egress.CodeOf(r.Err()) != mongoerr.PrimarySteppedDown {
				t.Errorf("%s: %v", name, r.Err())
			}
			s.fail["insert"], s.fail["update"] = nil, nil
			pass(11 * time.Second)
		}
		// The caller's own number makes a write safe.
		own := command(t, "test", bson.D{{Key: "insert", Value: "c"}, {Key: "value", Value: "own"}, {Key: "lsid", Value: bson.D{{Key: "id", Value: bson.Binary{Subtype: 4, Data: make([]byte, 16)}}}}, {Key: "txnNumber", Value: int64(1)}})
		s.fail["insert"] = []error{refused}
		if r := c.Run(t.Context(), &egress.Operation{Command: own}); r.Err() != nil {
			t.Error(r.Err())
		}
		// An error that says nothing was written leaves the first error in place.
		first := server.Errorf(mongoerr.PrimarySteppedDown, "first").WithLabels(mongoerr.LabelRetryableWrite)
		s.fail["insert"] = []error{first, server.Errorf(mongoerr.NotWritablePrimary, "second").WithLabels(mongoerr.LabelRetryableWrite, "NoWritesPerformed")}
		r := c.Run(t.Context(), insert(t, "z"))
		if r.Err() == nil || r.Err().Error() != "first" {
			t.Error(r.Err())
		}
		pass(11 * time.Second)
		// Labels of network errors.
		s.net.Lose("client", hostA, 1)
		op := insert(t, "y")
		op.Body = must(bson.Marshal(bson.D{{Key: "insert", Value: "c"}, {Key: "lsid", Value: bson.D{}}, {Key: "txnNumber", Value: int64(2)}, {Key: "autocommit", Value: false}}))
		if r := c.Run(t.Context(), op); !egress.HasLabel(r.Err(), mongoerr.LabelTransientTransaction) {
			t.Error(r.Err())
		}
		pass(11 * time.Second)
		// A command that nobody knows to be safe is not repeated once it may have been sent, but is before.
		s.net.Lose(hostA, "client", 1)
		custom := &egress.Operation{Command: command(t, "test", bson.D{{Key: "custom", Value: 1}})}
		wantCode(t, c.Run(t.Context(), custom).Status, mongoerr.HostUnreachable)
		pass(11 * time.Second)
		s.net.Kill(hostA)
		custom.ReadPreference = &egress.ReadPreference{Mode: egress.PrimaryPreferred}
		if r := c.Run(t.Context(), custom); r.Err() != nil || r.Target == hostA {
			t.Error(r.Target, r.Err())
		}
	})
}

func TestClientOverload(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		busy := server.Errorf(462, "busy").WithLabels(mongoerr.LabelSystemOverloaded, mongoerr.LabelRetryable)
		s.fail["custom"] = []error{busy, busy, busy}
		op := &egress.Operation{Command: command(t, "test", bson.D{{Key: "custom", Value: 1}})}
		if r := c.Run(t.Context(), op); r.Err() != nil || r.Elapsed < 8*time.Millisecond {
			t.Errorf("%v after %s", r.Err(), r.Elapsed)
		}
		s.fail["custom"] = []error{busy, busy, busy, busy, busy, busy, busy, busy}
		wantCode(t, c.Run(t.Context(), op).Err(), 462)
		if left := len(s.fail["custom"]); left != 2 {
			t.Errorf("%d attempts", 8-left)
		}
	})
}

func TestClientWithoutServers(t *testing.T) {
	simulate(t, func(c *egress.ClientConfig) { c.ServerSelectionTimeout = 5 * time.Second }, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		s.stepDown()
		pass(time.Second)
		r := c.Run(t.Context(), insert(t, "x"))
		wantCode(t, r.Status, mongoerr.FailedToSatisfyReadPreference)
		if r.Elapsed != 5*time.Second || !strings.Contains(r.Status.Error(), "a.test:27017 is RSSecondary") {
			t.Errorf("after %s: %v", r.Elapsed, r.Status)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		r = c.Run(ctx, insert(t, "x"))
		wantCode(t, r.Status, mongoerr.CallbackCanceled)
		for h := range s.members {
			s.net.Kill(h)
		}
		pass(time.Minute)
		r = c.Run(t.Context(), find(t, &egress.ReadPreference{Mode: egress.Nearest}))
		wantCode(t, r.Status, mongoerr.FailedToSatisfyReadPreference)
		if !strings.Contains(r.Status.Error(), "refused") {
			t.Error("the cause is not told: ", r.Status)
		}
		for h := range s.members {
			s.net.Revive(h)
		}
		s.elect(hostC)
		wantOK(t, c.Run(t.Context(), insert(t, "x")), hostC)
	})
}

func TestClientSurvivesStallsAndPartitions(t *testing.T) {
	simulate(t, func(c *egress.ClientConfig) { c.Timeout = 2 * time.Second }, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		s.net.Stall(hostA)
		r := c.Run(t.Context(), insert(t, "stalled"))
		wantCode(t, r.Status, mongoerr.NetworkInterfaceExceededTimeLimit)
		if c.Topology().Primary() != nil {
			pass(21 * time.Second) // the monitor gives up on the hello it awaits
		}
		if c.Topology().Primary() != nil {
			t.Error("a primary that does not answer is still taken for one")
		}
		s.elect(hostB)
		wantOK(t, c.Run(t.Context(), insert(t, "x")), hostB)
		s.net.Revive(hostA)
		s.net.Partition([]egress.Host{"client", hostA}, []egress.Host{hostB, hostC})
		pass(time.Minute)
		wantOK(t, c.Run(t.Context(), find(t, &egress.ReadPreference{Mode: egress.Nearest})), hostA)
		s.net.Heal()
		wantOK(t, c.Run(t.Context(), insert(t, "y")), hostB)
	})
}

func TestClientMembersComeAndGo(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		for _, m := range s.members {
			m.topology.Update(func(st *server.State) {
				st.Hosts = []string{string(hostA), string(hostC)}
				st.SetVersion++
			})
		}
		pass(time.Second)
		if got := c.Topology().Hosts(); len(got) != 2 || got[1] != hostC {
			t.Errorf("members %v", got)
		}
	})
}

func TestClientEndsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSimSet(hostA, hostB, hostC)
		c := s.client(t, nil)
		var all sync.WaitGroup
		for i := range 5 {
			all.Go(func() { c.Run(t.Context(), insert(t, fmt.Sprint(i))) })
		}
		all.Wait()
		c.Run(t.Context(), insert(t, "again"))
		c.Close(t.Context())
		if s.ended != 5 {
			t.Errorf("%d sessions ended", s.ended)
		}
	})
}

func TestClientConcerns(t *testing.T) {
	doc := must(bson.Marshal(bson.D{{Key: "w", Value: "majority"}}))
	level := must(bson.Marshal(bson.D{{Key: "level", Value: "majority"}}))
	simulate(t, func(c *egress.ClientConfig) { c.WriteConcern, c.ReadConcern = doc, level }, func(t *testing.T, s *simSet, c *egress.Client) {
		c.Run(t.Context(), insert(t, "x"))
		if s.last["writeConcern"] == nil || s.last["readConcern"] != nil || s.last["txnNumber"] != int64(1) {
			t.Errorf("%v", s.last)
		}
		s.last = nil
		c.Run(t.Context(), find(t, nil))
		if s.last["readConcern"] == nil || s.last["writeConcern"] != nil || s.last["lsid"] != nil {
			t.Errorf("%v", s.last)
		}
	})
}

// TestClientRepeatsCommits: a commit is repeated under the same number, and then wants a majority.
func TestClientRepeatsCommits(t *testing.T) {
	simulate(t, nil, func(t *testing.T, s *simSet, c *egress.Client) {
		pass(time.Second)
		s.fail["commitTransaction"] = []error{server.Errorf(mongoerr.PrimarySteppedDown, "x").WithLabels(mongoerr.LabelRetryableWrite)}
		commit := command(t, "admin", bson.D{
			{Key: "commitTransaction", Value: 1}, {Key: "lsid", Value: bson.D{}}, {Key: "txnNumber", Value: int64(7)},
			{Key: "autocommit", Value: false}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: 1}, {Key: "j", Value: true}}},
		})
		if r := c.Run(t.Context(), &egress.Operation{Command: commit}); r.Err() != nil {
			t.Fatal(r.Err())
		}
		want := bson.D{{Key: "w", Value: "majority"}, {Key: "j", Value: true}, {Key: "wtimeout", Value: int64(10_000)}}
		if !reflect.DeepEqual(s.last["writeConcern"], want) || s.last["txnNumber"] != int64(7) {
			t.Errorf("sent %v", s.last)
		}
	})
}

func TestClientStandalone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := simnet.New(1)
		mux := server.NewMux()
		server.NewHello(server.HelloConfig{Topology: server.NewTopology(server.State{})}).Register(mux)
		var last server.Doc
		mux.HandleFunc("insert", func(_ context.Context, req *server.Request, _ *server.Reply) error {
			last = req.Body.Clone()
			return nil
		})
		net.AddHost(hostA, simnet.Serve(mux))
		c := must(egress.NewClient(egress.ClientConfig{Seeds: []egress.Host{hostA}, Network: net.From("c"), Monitors: net.From("c")}))
		if r := c.Run(t.Context(), insert(t, "x")); r.Err() != nil {
			t.Error(r.Err())
		}
		if !last.Lookup("lsid").IsMissing() || !last.Lookup("$readPreference").IsMissing() {
			t.Errorf("sent %v", bson.Raw(last))
		}
		if k := c.Topology().Kind; k != egress.TopologySingle {
			t.Error(k)
		}
		c.Close(t.Context())
	})
}

func TestClientConfigErrors(t *testing.T) {
	for _, cfg := range []egress.ClientConfig{
		{},
		{Seeds: []egress.Host{hostA, hostB}, Direct: true},
		{Seeds: []egress.Host{hostA}, HeartbeatInterval: time.Millisecond},
		{Seeds: []egress.Host{hostA}, ReadPreference: egress.ReadPreference{Mode: "best"}},
		{Seeds: []egress.Host{hostA}, HeartbeatInterval: time.Hour, ReadPreference: egress.ReadPreference{Mode: egress.Nearest, MaxStaleness: 2 * time.Minute}},
	} {
		if c, err := egress.NewClient(cfg); err == nil {
			c.Close(t.Context())
			t.Errorf("%+v was taken", cfg)
		}
	}
	for _, uri := range []string{"http://x", "mongodb://a/?tlsCAFile=/nonexistent"} {
		if _, err := egress.Open(uri); err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("%s was taken", uri)
		}
	}
}
